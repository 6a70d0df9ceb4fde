#!/usr/bin/env python3
"""Writes tone.flac, tone.ogg and tone.mp3: half a second of 440 Hz at a level of 0.5, 22,050 Hz, two channels.

usage: make_sounds.py    (needs numpy and soundfile)
"""
from pathlib import Path

import numpy
import soundfile

HERE, RATE = Path(__file__).resolve().parent, 22050

time = numpy.arange(RATE // 2) / RATE
tone = 0.5 * numpy.sin(2 * numpy.pi * 440 * time)
for ending in ("flac", "ogg", "mp3"):
    soundfile.write(HERE / f"tone.{ending}", numpy.stack([tone, tone], axis=1), RATE)
