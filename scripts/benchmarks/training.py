"""Speech: training beside PyTorch's on the same threads in one run, and how many times faster than real time a sound is heard.

Both sides train Wav2Letter's narrow shape with batch norms on batches of as much speech, with CTC, AdamW and gradients cut
to a length. Ours reads and changes a corpus as it always does; PyTorch is given ready spectrograms of as many frames.
"""
import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import torch
from torch import nn

from daemon import PROGRAMS, THREADS, Daemon

RATE = 16000
N_BANDS, EARLY, LATE, N_LETTERS = 40, 144, 576, 29
UTTERANCES, SECONDS = 16, 4.0
STEPS = 12


def network():
    layers, n_in = [], N_BANDS
    for n_out, kernel, stride, padding in [(EARLY, 48, 2, 23), *[(EARLY, 7, 1, 3)] * 7, (LATE, 32, 1, 16), (LATE, 1, 1, 0)]:
        layers += [nn.Conv1d(n_in, n_out, kernel, stride, padding, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers, nn.Conv1d(n_in, N_LETTERS, 1))


class Theirs:
    def __init__(self):
        torch.set_num_threads(THREADS)
        self.module = network()
        self.optimiser = torch.optim.AdamW(self.module.parameters(), 1e-3)

    def rate(self):
        """Seconds of speech a second."""
        x = torch.randn(UTTERANCES, N_BANDS, int(100 * SECONDS))
        letters = torch.randint(0, N_LETTERS - 1, (UTTERANCES, int(14 * SECONDS)))
        lengths = torch.full((UTTERANCES,), letters.shape[1])
        started = time.perf_counter()
        for _ in range(STEPS):
            logs = self.module(x).log_softmax(1).permute(2, 0, 1)
            frames = torch.full((UTTERANCES,), logs.shape[0])
            loss = nn.functional.ctc_loss(logs, letters, frames, lengths, blank=N_LETTERS - 1)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
            self.optimiser.step()
        return STEPS * UTTERANCES * SECONDS / (time.perf_counter() - started)


def corpus(folder):
    """Noise with letters: what is said does not matter for the time."""
    random = np.random.default_rng(1)
    chapter = folder / "1" / "1"
    chapter.mkdir(parents=True)
    lines = []
    for nth in range(4 * UTTERANCES):
        sound(chapter / f"1-1-{nth:04}.wav", SECONDS, random)
        lines.append(f"1-1-{nth:04} " + "".join(random.choice(list("ABCDEFGHIJ KLMNOPQRST"), int(14 * SECONDS))))
    (chapter / "1-1.trans.txt").write_text("\n".join(lines) + "\n")
    return folder


def sound(path, seconds, random):
    samples = (3000 * random.normal(size=int(seconds * RATE))).clip(-32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def ours(folder, data):
    """The rate that our own program tells."""
    command = [PROGRAMS / "introspect-train", "speech", "--corpus", data, "--out", folder / "w.safetensors"]
    command += ["--hours", "100", "--batch-seconds", str(UTTERANCES * SECONDS), "--pause-after", "12"]
    (folder / "w.checkpoint").unlink(missing_ok=True)
    said = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stderr
    return float(re.findall(r"([\d.]+) s of speech/s", said)[-1])


def training(repeats):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data, theirs = corpus(folder / "corpus"), Theirs()
        theirs.rate()
        pairs = [(ours(folder, data), theirs.rate()) for _ in range(repeats)]
    mine, peer = (statistics.median(rates) for rates in zip(*pairs))
    print(f"training of wav2letter-small: {mine:.0f} s of speech a second, PyTorch {peer:.0f}; ours / PyTorch {mine / peer:.2f}")


def real_time():
    seconds = 60.0
    with tempfile.TemporaryDirectory() as folder, Daemon() as daemon:
        client = daemon.client()
        random = np.random.default_rng(2)
        for source, more in [("wav2letter-small", {}), ("wav2letter", {})]:
            model = client.ask("model.load", source=source, **more)["model"]
            read, heard = [], []
            for nth in range(6):
                path = sound(Path(folder) / f"{source}{nth}.wav", seconds, random)
                given = client.ask("input.load", path=str(path), model=model)["input"]
                # Features are made when a model first asks for them.
                client.ask("activation.get", model=model, input=given, layer="input", encoding="none")
                read.append(client.seconds)
                client.ask("model.forward", model=model, input=given, encoding="none")
                heard.append(client.seconds)
            whole = statistics.median(a + b for a, b in zip(read[1:], heard[1:]))
            print(f"{source}: {seconds:.0f} s of sound in {1000 * whole:.0f} ms, {seconds / whole:.0f} times faster than real time")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--repeats", type=int, default=3)
arguments = parser.parse_args()
real_time()
training(arguments.repeats)
