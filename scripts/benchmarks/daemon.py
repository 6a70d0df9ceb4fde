"""A daemon of one's own, and a client that keeps its connection."""
import base64
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("INTROSPECT_PROGRAMS") or ROOT / "target" / "release")
THREADS = 2
IDLE = 10  # Seconds.


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=600)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Client:
    """Asks over the Unix socket; `seconds` is how long the last answer took, there and back."""

    def __init__(self, path):
        self.connection = Connection(path)
        self.seconds, self.last_used = 0.0, 0.0

    def ask(self, method, **params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if time.perf_counter() - self.last_used > IDLE:
            # A server may close what has been idle for long.
            self.connection.close()
        started = time.perf_counter()
        self.connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse().read()
        self.last_used = time.perf_counter()
        self.seconds = self.last_used - started
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]


class Daemon:
    """`introspectd` in folders of its own; ends with the block that it is used in."""

    def __init__(self, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.socket = Path(self.folder.name) / "run" / "introspectd.sock"
        command = [PROGRAMS / "introspectd", "--socket", self.socket, "--data-dir", Path(self.folder.name) / "data"]
        quiet = {**os.environ, "INTROSPECT_LOG": "error"}
        self.started = time.perf_counter()
        self.process = subprocess.Popen([*command, "--threads", str(THREADS), *options], env=quiet)
        while not self.answers():
            time.sleep(0.0005)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def client(self):
        return Client(self.socket)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def numbers(tensor):
    """An answer's array."""
    return np.frombuffer(base64.b64decode(tensor["data"]), np.float32).reshape(tensor["shape"])


def memory(pid, field):
    """Bytes of a field of the process's status, such as `VmHWM`, the most that it ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} of process {pid}")
