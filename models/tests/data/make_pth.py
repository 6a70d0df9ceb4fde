#!/usr/bin/env python3
"""Writes the `.pth` files of the tests, by the format alone: PyTorch is not needed.

usage: make_pth.py    (writes beside itself)
"""
import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

here = Path(__file__).parent

# Stand-ins, so that the pickles name PyTorch's own callables.
torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
sys.modules |= {"torch": torch, "torch._utils": utils}
for kind in ["FloatStorage", "HalfStorage", "LongStorage"]:
    setattr(torch, kind, type(kind, (), {"__module__": "torch", "__qualname__": kind}))


def _rebuild_tensor_v2(*args):
    raise NotImplementedError


_rebuild_tensor_v2.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2


class Storage:
    def __init__(self, kind, key, length, data):
        self.kind, self.key, self.length, self.data = kind, key, length, data


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.args = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", getattr(torch, obj.kind), obj.key, "cpu", obj.length)
        return None


def pickled(obj):
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(obj)
    return buffer.getvalue()


numbers = Storage("FloatStorage", "0", 6, struct.pack("<6f", 1, 2, 3, 4, 5, 6))
halves = Storage("HalfStorage", "1", 3, struct.pack("<3e", 9, -2, 0.5))
count = Storage("LongStorage", "2", 1, struct.pack("<q", 7))
weights = collections.OrderedDict([
    ("conv.weight", Tensor(numbers, 0, (2, 3), (3, 1))),
    ("conv.transposed", Tensor(numbers, 0, (3, 2), (1, 3))),
    ("conv.half", Tensor(halves, 1, (2,), (1,))),
    ("bn.num_batches_tracked", Tensor(count, 0, (), ())),
])
weights._metadata = collections.OrderedDict([("", {"version": 1})])
storages = [numbers, halves, count]

legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
legacy += pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
legacy += pickled(weights) + pickle.dumps([s.key for s in storages], 2)
for s in storages:
    legacy += struct.pack("<q", s.length) + s.data
(here / "legacy.pth").write_bytes(legacy)

with zipfile.ZipFile(here / "zipped.pth", "w", zipfile.ZIP_STORED) as archive:
    def member(name, data):
        archive.writestr(zipfile.ZipInfo("weights/" + name, (1980, 1, 1, 0, 0, 0)), data)
    member("data.pkl", pickled({"epoch": 3, "state_dict": weights}))
    member("byteorder", b"little")
    for s in storages:
        member("data/" + s.key, s.data)


class RunsCode:
    def __reduce__(self):
        return os.system, ("true",)


hostile = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
hostile += pickle.dumps({"conv.weight": RunsCode()}, 2) + pickle.dumps([], 2)
(here / "runs_code.pth").write_bytes(hostile)
