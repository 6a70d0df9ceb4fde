"""Reads the novels out of Debian's r-cran-janeaustenr without R.

usage: novels.py UNPACKED_PACKAGE OUT    (writes OUT/emma.txt and the others, a line a line)

R keeps a package's data as an index (.rdx) of offsets into a file (.rdb) of compressed objects.
"""
import bz2
import lzma
import struct
import sys
import warnings
import zlib
from pathlib import Path

import rdata

warnings.filterwarnings("ignore")
FOLDER = "usr/lib/R/site-library/janeaustenr/data"


def main():
    package, out = map(Path, sys.argv[1:3])
    index = zlib.decompress((package / FOLDER / "Rdata.rdx").read_bytes(), 32 + zlib.MAX_WBITS)
    objects = (package / FOLDER / "Rdata.rdb").read_bytes()
    for name, (offset, length) in rdata.conversion.convert(rdata.parser.parse_data(index))["variables"].items():
        packed = objects[int(offset) : int(offset) + int(length)]
        lines = rdata.conversion.convert(rdata.parser.parse_data(unpacked(packed)))
        (out / f"{name}.txt").write_text("\n".join(map(str, lines)))


def unpacked(packed):
    """Four bytes of length, and a letter where it is not zlib's."""
    kind = packed[4:5]
    if kind == b"2":
        return bz2.decompress(packed[5:])
    if kind == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
        return lzma.decompress(packed[5:], format=lzma.FORMAT_RAW, filters=filters)
    (length,) = struct.unpack(">I", packed[:4])
    found = zlib.decompress(packed[4:])
    assert len(found) == length
    return found


if __name__ == "__main__":
    main()
