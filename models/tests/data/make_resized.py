#!/usr/bin/env python3
"""Prints what Pillow makes of a small picture of hard edges, for the tests of `front_ends/resize.rs`; needs Pillow.

usage: make_resized.py
"""
from PIL import Image


def picture(columns, rows):
    levels = bytes((place * place * 31 + place * 7919) % 256 for place in range(columns * rows * 3))
    return Image.frombytes("RGB", (columns, rows), levels)


for size, resized in [((9, 7), (5, 4)), ((3, 2), (6, 4))]:
    for name in ["BICUBIC", "BILINEAR"]:
        print(size, resized, name, list(picture(*size).resize(resized, getattr(Image.Resampling, name)).tobytes()))
