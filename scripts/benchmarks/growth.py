"""How introspectd grows: time with seconds of audio, memory with cached inputs, latency with clients; as plots."""
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import matplotlib
import numpy as np

import networks
from daemon import ROOT, Daemon, memory

matplotlib.use("svg")
import matplotlib.pyplot as plt

FOLDER = ROOT / "docs/performance"
SECONDS = [1, 3, 10, 30, 100, 300, 600]
FRAMES_PER_SECOND = 100
INPUTS = [1, 2, 4, 8, 16, 32, 64]
CLIENTS = [1, 2, 5, 10, 20, 50, 100, 200]
CALLS = 400  # Of all clients together.
REPEATS = 3


class Asked:
    """A daemon with a network, and inputs of its own."""

    def __init__(self, folder, name, *options):
        self.folder, self.n = Path(folder), 0
        self.daemon = Daemon("--input-bytes", str(8 << 30), *options)
        self.client = self.daemon.client()
        weights = str(networks.weights_file(name))
        self.model = self.client.ask("model.load", source=networks.SOURCES[name], weights=weights)["model"]

    def input(self, shape):
        self.n += 1
        path = self.folder / f"{self.n}.npy"
        np.save(path, np.random.default_rng(self.n).normal(size=shape).astype(np.float32))
        held = self.client.ask("input.load", path=str(path), model=self.model)["input"]
        path.unlink()
        return held

    def ask(self, method, held, **params):
        """Seconds of a call."""
        self.client.ask(method, model=self.model, input=held, encoding="none", **params)
        return self.client.seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.__exit__()


def of_audio(folder):
    """Median seconds of a forward pass, a whole saliency and that of one letter, by seconds of audio."""
    *leading, _ = networks.shape("W")
    found = {"forward, nothing cached": [], "saliency of the whole, cached": [], "saliency of one letter, cached": []}
    for seconds in SECONDS:
        with Asked(folder, "W", "--trace-bytes", str(8 << 30)) as asked:
            times = []
            for _ in range(REPEATS):
                held = asked.input((*leading, seconds * FRAMES_PER_SECOND))
                times.append([
                    asked.ask("model.forward", held),
                    asked.ask("attribution.saliency", held, target={"class": 3}),
                    asked.ask("attribution.saliency", held, target={"class": 3, "frame": seconds * 25}),
                ])
        for name, column in zip(found, zip(*times)):
            found[name].append(statistics.median(column))
        print(f"{seconds} s of audio: {[round(1e3 * column[-1], 1) for column in found.values()]} ms", flush=True)
    return found


def of_inputs(folder):
    """MB of the process beyond those with packed weights and one trace, and MB that it says its traces have, by inputs."""
    with Asked(folder, "W", "--trace-bytes", str(8 << 30)) as asked:
        resident, said = [], []
        held = [asked.input(networks.shape("W")) for _ in range(max(INPUTS))]
        asked.ask("model.forward", asked.input(networks.shape("W")))  # Packs the weights.
        before = memory(asked.daemon.process.pid, "VmRSS")
        for nth, one in enumerate(held, 1):
            asked.ask("model.forward", one)
            if nth in INPUTS:
                traces = next(cache for cache in asked.client.ask("server.stats")["caches"] if cache["name"] == "traces")
                resident.append((memory(asked.daemon.process.pid, "VmRSS") - before) / 1e6)
                said.append(traces["bytes"] / 1e6)
                print(f"{nth} inputs: {resident[-1]:.0f} MB more, of which traces {said[-1]:.0f} MB", flush=True)
    return {"process": resident, "traces": said}


def of_clients(folder):
    """Median and 95th percentile of seconds of a cached Grad-CAM, and answers a second, by clients that ask at once."""
    found = {"median": [], "p95": [], "rate": []}
    with Asked(folder, "R") as asked:
        held = asked.input(networks.shape("R"))
        asked.ask("model.forward", held)
        for n_clients in CLIENTS:
            times, begin = [], threading.Barrier(n_clients + 1)

            def work():
                client = asked.daemon.client()
                begin.wait()
                for _ in range(max(2, CALLS // n_clients)):
                    client.ask("attribution.grad_cam", model=asked.model, input=held, target={"class": 3}, upsample=False)
                    times.append(client.seconds)

            threads = [threading.Thread(target=work) for _ in range(n_clients)]
            [thread.start() for thread in threads]
            begin.wait()
            wall = -time.perf_counter()
            [thread.join() for thread in threads]
            wall += time.perf_counter()
            found["median"].append(statistics.median(times))
            found["p95"].append(float(np.percentile(times, 95)))
            found["rate"].append(len(times) / wall)
            print(f"{n_clients} clients: median {1e3 * found['median'][-1]:.1f} ms, {found['rate'][-1]:.0f} a second", flush=True)
    return found


def plot(name, x, curves, x_label, y_label, marker="o", logarithmic=True):
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for label, y in curves.items():
        axes.plot(x, y, marker=marker, label=label)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(x, [str(value) for value in x])
        axes.minorticks_off()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    plt.rcParams["svg.hashsalt"] = name
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})


def main():
    with tempfile.TemporaryDirectory() as folder:
        clients, inputs, audio = of_clients(folder), of_inputs(folder), of_audio(folder)
    milliseconds = lambda values: [1e3 * value for value in values]
    plot("audio", SECONDS, {name: milliseconds(y) for name, y in audio.items()}, "seconds of audio", "ms")
    plot("inputs", INPUTS, {"the process, beyond weights and one input": inputs["process"], "its traces": inputs["traces"]}, "cached inputs of 10 s", "MB", logarithmic=False)
    latency = {"median": milliseconds(clients["median"]), "95th percentile": milliseconds(clients["p95"])}
    plot("clients", CLIENTS, latency, "clients that ask at once", "ms")
    figures = {"seconds": SECONDS, "audio": audio, "n_inputs": INPUTS, "inputs": inputs, "n_clients": CLIENTS, "clients": clients}
    (FOLDER / "growth.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
