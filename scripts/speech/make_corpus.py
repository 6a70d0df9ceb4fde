"""The second half of scripts/speech-corpus, which see; runs with the packages that `speech-corpus prepare` installed."""
import argparse
import json
import random
import re
from math import gcd
from pathlib import Path

import numpy
import soundfile
from scipy.signal import resample_poly

import synthesisers
from speakers import SHARES, speakers
from texts import Texts, transcript

RATE = 16000
UTTERANCES_OF_A_CHAPTER = 12
SHORTEST, LONGEST = 0.25, 24.0  # seconds


def main():
    arguments = parsed()
    engines = arguments.engines.split(",")
    unknown = sorted(set(engines) - set(SHARES))
    if unknown:
        raise SystemExit(f"error: no engine {', '.join(unknown)}; there are {', '.join(SHARES)}")
    chosen = [
        speaker
        for speaker in speakers(arguments.seed)
        if speaker["engine"] in engines and re.search(arguments.speakers, f"{speaker['engine']}:{speaker['voice']}")
    ]
    if not chosen:
        raise SystemExit(f"error: no speaker is called as {arguments.speakers!r} says")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "SPEAKERS.TXT").write_text("".join(line_of(speaker) for speaker in chosen))
    texts = Texts(arguments.tools / "texts", arguments.seed)
    total = sum(SHARES[engine] for engine in {speaker["engine"] for speaker in chosen})
    for engine in [engine for engine in engines if any(speaker["engine"] == engine for speaker in chosen)]:
        of_engine = [speaker for speaker in chosen if speaker["engine"] == engine]
        seconds = arguments.minutes * 60 * SHARES[engine] / total / len(of_engine)
        machine = machine_of(engine, arguments.tools)
        made = sum(one_speaker(machine, speaker, texts, seconds, arguments) for speaker in of_engine)
        print(f"{engine}: {made / 60:.1f} minutes of {len(of_engine)} speakers", flush=True)


def parsed():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--engines", default=",".join(SHARES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speakers", default="")
    return parser.parse_args()


def machine_of(engine, tools):
    kinds = {
        "flite": synthesisers.Flite, "festival": synthesisers.Festival, "espeak": synthesisers.Espeak,
        "pico": synthesisers.Pico, "piper": synthesisers.Piper,
    }
    return synthesisers.Kokoro(tools / "kokoro") if engine == "kokoro" else kinds[engine]()


def line_of(speaker):
    known = ("id", "part", "engine", "voice")
    rest = {name: value for name, value in speaker.items() if name not in known}
    return " | ".join([*(speaker[name] for name in known), json.dumps(rest)]) + "\n"


def one_speaker(machine, speaker, texts, seconds, arguments):
    """Chapters of one speaker until there are so many seconds; returns how many there are."""
    # Of the speaker's own, so that another choice of speakers leaves this one's levels alone.
    draw = random.Random(f"{arguments.seed} {speaker['id']}")
    made, chapter = 0.0, 0
    while made < seconds:
        name = f"{speaker['id']}-{chapter}"
        folder = arguments.out / speaker["part"] / speaker["id"] / str(chapter)
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for nth in range(UTTERANCES_OF_A_CHAPTER):
            text = texts.one(speaker["part"])
            utterance = f"{name}-{nth:04d}"
            length = one_utterance(machine, speaker, text, folder / utterance, draw)
            if length:
                lines.append(f"{utterance} {transcript(text)}\n")
                made += length
            if made >= seconds:
                break
        (folder / f"{name}.trans.txt").write_text("".join(lines))
        if not lines:
            raise SystemExit(f"error: {speaker['engine']}:{speaker['voice']} says nothing")
        chapter += 1
    return made


def one_utterance(machine, speaker, text, path, draw):
    """Writes a sound with its phones; returns its length in seconds, 0 where it is not fit for use."""
    samples, rate, phones = machine.say(text, speaker)
    if rate != RATE:
        common = gcd(rate, RATE)
        samples = resample_poly(samples, RATE // common, rate // common).astype(numpy.float32)
    loudest, length = float(numpy.abs(samples).max(initial=0)), len(samples) / RATE
    if loudest < 1e-3 or not SHORTEST <= length <= LONGEST:
        return 0.0
    soundfile.write(f"{path}.flac", samples * (draw.uniform(0.3, 0.9) / loudest), RATE, subtype="PCM_16")
    if phones:
        shifted = ((max(0.0, start - machine.late), end - machine.late, symbol) for start, end, symbol in phones)
        rows = (
            f"{start:.4f}\t{end:.4f}\t{symbol}\t{machine.arpabet(symbol)}\n"
            for start, end, symbol in shifted
            if end > start
        )
        Path(f"{path}.phones.tsv").write_text("".join(rows))
    return length


if __name__ == "__main__":
    main()
