#!/usr/bin/env python3
"""Makes features.safetensors, features.json and features.wav: what torchaudio makes of a sound, for several settings.

usage: make_features.py    (needs torch, torchaudio 2, numpy and safetensors)

features.json names, for each array, the front end that shall give the same. The sound has tones that glide, noise and
silence, so that all bands and both ends of the logarithm are met.
"""
import json
import wave
from pathlib import Path

import numpy
import torch

# The two packages may be built for other versions of CUDA, which torchaudio minds even where there is no such device.
torch.version.cuda = None
from safetensors.numpy import save_file  # noqa: E402
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram, Spectrogram  # noqa: E402

HERE = Path(__file__).resolve().parent
RATE = 16000


def sound():
    """16 bits, so that a WAV file holds it exactly."""
    time = numpy.arange(int(0.3 * RATE)) / RATE
    glide = numpy.sin(2 * numpy.pi * (200 * time + 4000 * time**2))
    hum = sum(numpy.sin(2 * numpy.pi * 120 * k * time) / k for k in range(1, 9))
    noise = numpy.random.default_rng(1).normal(size=len(time)) * (time > 0.2)
    samples = 0.3 * glide + 0.1 * hum + 0.05 * noise
    samples[(time > 0.1) & (time < 0.13)] = 0
    return (samples * 32767).round().astype(numpy.int16)


def main():
    integers = sound()
    with wave.open(str(HERE / "features.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(integers.tobytes())
    samples = torch.from_numpy(integers.astype(numpy.float32) / 32768)
    arrays, front_ends = {}, {}
    for name, (features, front_end) in cases(samples).items():
        # [band, frame] to [frame, band]
        arrays[name] = numpy.ascontiguousarray(features.T.numpy().astype(numpy.float32))
        front_ends[name] = {"sample_rate": RATE, **front_end}
    save_file(arrays, HERE / "features.safetensors")
    (HERE / "features.json").write_text(json.dumps(front_ends, indent=2) + "\n")


def cases(samples):
    added = {"unit": "natural", "floor": 1e-6, "floor_is": "added"}
    log = lambda features: torch.log(features + 1e-6)
    of = lambda kind, **options: kind(RATE, **options)(samples) if kind is MelSpectrogram else kind(**options)(samples)
    z_score = lambda x: (x - x.mean()) / x.std(unbiased=False)
    hamming = torch.hamming_window
    htk = {"window_length": 400, "hop_length": 160, "mel": {"n_bands": 40}, "logarithm": added}
    slaney = {"n_bands": 64, "low": 20, "high": 7600, "scale": "slaney", "norm": "slaney"}
    decibel = {"unit": "decibel", "floor": 1e-10, "range": 80}
    in_htk = log(of(MelSpectrogram, n_fft=400, hop_length=160, n_mels=40))
    in_slaney = of(
        MelSpectrogram, n_fft=512, win_length=400, hop_length=128, n_mels=64, f_min=20, f_max=7600, norm="slaney",
        mel_scale="slaney",
    )
    magnitude = of(
        MelSpectrogram, n_fft=400, hop_length=200, n_mels=23, power=1, center=False, window_fn=hamming, norm="slaney",
    )
    of_lecture = of(MelSpectrogram, n_fft=512, hop_length=128, n_mels=128, norm="slaney", mel_scale="slaney")
    return {
        "htk": (in_htk, {"spectrogram": htk}),
        "htk normalised": (z_score(in_htk), {"spectrogram": htk, "normalization": "utterance"}),
        "slaney in dB": (
            AmplitudeToDB("power", top_db=80)(in_slaney),
            {"spectrogram": {"window_length": 400, "n_fft": 512, "hop_length": 128, "mel": slaney, "logarithm": decibel}},
        ),
        "magnitudes, not centred": (
            AmplitudeToDB("magnitude")(magnitude),
            {
                "spectrogram": {
                    "window_length": 400, "hop_length": 200, "window": "hamming", "centered": False, "power": 1,
                    "mel": {"n_bands": 23, "norm": "slaney"}, "logarithm": {"unit": "decibel", "floor": 1e-10},
                }
            },
        ),
        "bins, zeros beyond": (
            of(Spectrogram, n_fft=200, hop_length=333, pad_mode="constant", window_fn=torch.blackman_window),
            {"spectrogram": {"window_length": 200, "hop_length": 333, "padding": "zeros", "window": "blackman"}},
        ),
        "an odd transform": (
            of(Spectrogram, n_fft=301, win_length=201, hop_length=400, power=1),
            {"spectrogram": {"window_length": 201, "n_fft": 301, "hop_length": 400, "power": 1}},
        ),
        "128 bands": (
            AmplitudeToDB("power")(of_lecture),
            {
                "spectrogram": {
                    "window_length": 512, "hop_length": 128,
                    "mel": {"n_bands": 128, "scale": "slaney", "norm": "slaney"},
                    "logarithm": {"unit": "decibel", "floor": 1e-10},
                }
            },
        ),
    }


if __name__ == "__main__":
    main()
