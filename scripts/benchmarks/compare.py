"""The table of calls: introspectd beside PyTorch, Captum and zennit."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import networks
from daemon import PROGRAMS, ROOT, Daemon, memory, numbers

PAUSE = 0.3  # Seconds before each call, in which threads that still spin for the other side come to rest.
TRACE_BYTES = 1 << 30  # Filled before the first call, as that of a daemon is that has been asked all day.
N_BATCH = 16
LAYERS_OF_FRAMES = ["acoustic_model.0", "acoustic_model.8", "acoustic_model.16"]
STEPS_OF_MAXIMIZE, CHANNEL = 64, 12

# Call, what it is, what the peer does, and the largest ratio that is asked, by network.
CALLS = [
    ("forward", "forward", "PyTorch", {"W": 0.6, "E": 0.5, "R": 0.7, "V": 0.8}),
    ("saliency", "saliency, whole, nothing cached", "Captum", {"W": 0.5, "E": 0.4, "R": 0.5, "V": 0.7}),
    ("saliency_of_frame", "saliency of one letter at one frame, trace cached", "Captum", {"W": 0.05}),
    ("targets", "8 targets, trace cached", "1 forward + 8 backward", {"W": 0.1, "E": 0.5, "R": 0.5, "V": 0.5}),
    ("grad_cam", "Grad-CAM at the last convolution, trace cached", "Captum", {"W": 0.05, "E": 0.05, "R": 0.05, "V": 0.12}),
    ("guided_backprop", "guided backpropagation, nothing cached", "Captum", {"W": 0.6, "E": 0.6, "R": 0.6, "V": 0.6}),
    ("activations", f"all activations of {N_BATCH} inputs", f"hooks, batch {N_BATCH}", {"W": 0.6, "E": 0.6, "R": 0.6, "V": 0.6}),
    ("frame_gradients", "a gradient for each output frame at 3 layers, cropped", "as many backward walks (10 measured)", {"W": 0.02}),
    ("lrp", "LRP, epsilon-plus, trace cached", "zennit", {"W": 0.3, "E": 0.3, "R": 0.3, "V": 0.3}),
    ("integrated_gradients", "integrated gradients, 50 steps (W: one letter)", "Captum", {"W": 0.1, "E": 0.55, "R": 0.7, "V": 0.65}),
    ("maximize", f"{STEPS_OF_MAXIMIZE} steps of maximising a middle layer's channel", "PyTorch, as lucent does, up to the layer", {"W": 0.5, "E": 0.5, "R": 0.5}),
    ("first_answer", "first answer of a fresh process", "import + load + 1 call", {"W": 0.2, "E": 0.2, "R": 0.2, "V": 0.2}),
    ("first_memory", "its peak memory (MB)", "the same", {"W": 0.5, "E": 0.5, "R": 0.5, "V": 0.5}),
    ("running", "the same asked again, of the running daemon", "the same", {"W": 0.02, "E": 0.02, "R": 0.02, "V": 0.02}),
]


class Peer:
    def __init__(self, device):
        program = Path(__file__).with_name("peer.py")
        self.process = subprocess.Popen([sys.executable, program, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **call):
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer ended at {call['call']} of {call['network']}")
        return json.loads(answer)["seconds"]


class Bench:
    """Both sides with what they work on."""

    def __init__(self, folder, repeats, device):
        self.folder, self.repeats = Path(folder), repeats
        self.peer = Peer(device)
        self.daemon = Daemon("--trace-bytes", str(TRACE_BYTES), "--input-bytes", str(8 << 30), "--device", device)
        self.client = self.daemon.client()
        self.models, self.classes, self.n_inputs = {}, {}, 0

    def model(self, name):
        if name not in self.models:
            loaded = self.client.ask("model.load", source=networks.SOURCES[name], weights=str(networks.weights_file(name)))
            self.models[name] = loaded["model"]
        return self.models[name]

    def fill(self, name):
        """Has the daemon keep as much as it may."""
        evictions = lambda: next(cache for cache in self.client.ask("server.stats")["caches"] if cache["name"] == "traces")["evictions"]
        while evictions() == 0:
            self.ours("model.forward", name, self.input(name)[1])

    def input(self, name):
        """A new input: its file, and what the daemon calls it."""
        self.n_inputs += 1
        path = self.folder / f"{name}{self.n_inputs}.npy"
        np.save(path, np.random.default_rng(self.n_inputs).normal(size=networks.shape(name)).astype(np.float32))
        return str(path), self.client.ask("input.load", path=str(path), model=self.model(name))["input"]

    def explained_class(self, name):
        """One that the network often says, so that the rectifiers before the output let its gradient pass."""
        if name not in self.classes:
            answer, _ = self.ours("model.forward", name, self.input(name)[1])
            said = numbers(answer["tensor"]).argmax(0)
            self.classes[name] = int(np.bincount(said.ravel()).argmax())
        return self.classes[name]

    def ours(self, method, name, inputs, **params):
        answer = self.client.ask(method, model=self.model(name), input=inputs, **params)
        return answer, self.client.seconds

    def theirs(self, call, name, paths, **more):
        """The time, and the answer where it is kept for comparison."""
        keep = str(self.folder / "answer.npy")
        seconds = self.peer.ask(call=call, network=name, inputs=paths, keep=keep, **more)
        return np.load(keep), seconds


def once(bench, call, name):
    """One call on both sides with a new input: our answer and time, theirs. Each side has just answered the same of
    two other inputs, so that both are hot."""
    if call == "frame_gradients":
        return frame_gradients(bench, name)
    if call == "maximize":
        return maximize(bench, name)
    sides = [sides_of(bench, call, name) for _ in range(3)]
    time.sleep(PAUSE)
    *_, (answer, our_seconds) = [ours() for ours, _ in sides]
    time.sleep(PAUSE)
    *_, (expected, their_seconds) = [theirs() for _, theirs in sides]
    found = None if call == "activations" else numbers(answer["tensor"])
    return found, our_seconds, expected, their_seconds


def sides_of(bench, call, name):
    """What asks a call of us, and what of them; of an input whose trace is cached where the call says so."""
    target = {"class": bench.explained_class(name)}
    path, held = bench.input(name)
    explained = {"target": target, "of": "output"}
    if call == "activations":
        more = [bench.input(name) for _ in range(N_BATCH - 1)]
        paths, helds = [path] + [path for path, _ in more], [held] + [held for _, held in more]
        layers = [layer["name"] for layer in bench.client.ask("model.describe", model=bench.model(name))["layers"]]
        ours = lambda: bench.ours("activation.get", name, helds, layer=layers, encoding="none")
        return ours, lambda: bench.theirs("activations", name, paths)
    if call == "forward":
        return lambda: bench.ours("model.forward", name, held), lambda: bench.theirs("forward", name, [path])
    if call in ("saliency", "guided_backprop"):
        ours = lambda: bench.ours(f"attribution.{call}", name, held, **explained)
        return ours, lambda: bench.theirs(call, name, [path], target=target)
    bench.ours("model.forward", name, held)
    if call == "saliency_of_frame":
        explained["target"] = {**target, "frame": 250}
        ours = lambda: bench.ours("attribution.saliency", name, held, **explained)
        return ours, lambda: bench.theirs("saliency", name, [path], target=explained["target"])
    if call == "targets":
        targets = [{"class": nth, "frame": 20 + 60 * nth} if name == "W" else {"class": nth} for nth in range(8)]
        ours = lambda: bench.ours("attribution.saliency", name, held, target=targets, of="output")
        return ours, lambda: bench.theirs("targets", name, [path], targets=targets)
    if call == "lrp":
        ours = lambda: bench.ours("attribution.lrp", name, held, target=target, composite="epsilon_plus")
        return ours, lambda: bench.theirs("lrp", name, [path], target=target)
    if call == "integrated_gradients":
        explained["target"] = {**target, "frame": 250} if name == "W" else target
        ours = lambda: bench.ours("attribution.integrated_gradients", name, held, **explained)
        return ours, lambda: bench.theirs("integrated_gradients", name, [path], target=explained["target"])
    layer = networks.LAST_CONVOLUTION[name]
    ours = lambda: bench.ours("attribution.grad_cam", name, held, layer=layer, upsample=False, **explained)
    return ours, lambda: bench.theirs("grad_cam", name, [path], target=target, layer=layer)


def frame_gradients(bench, name):
    path, held = bench.input(name)
    output, _ = bench.ours("model.forward", name, held)
    letters = numbers(output["tensor"]).argmax(0)
    targets = [{"class": int(letter), "frame": frame} for frame, letter in enumerate(letters)]
    time.sleep(PAUSE)
    answer, seconds = bench.ours(
        "attribution.saliency", name, held, target=targets, of="output", at=LAYERS_OF_FRAMES, crop=True, encoding="npy"
    )
    first = spread(answer, 450)
    time.sleep(PAUSE)
    expected, their_seconds = bench.theirs("frame_gradients", name, [path], targets=targets, layers=LAYERS_OF_FRAMES)
    return first, seconds, expected, their_seconds


def maximize(bench, name):
    """Compared is the objective's gradient at an input, since each side draws noise and moves of its own."""
    path, held = bench.input(name)
    objective = {"kind": "channel", "layer": networks.MIDDLE[name], "channel": CHANNEL}
    about = {"layer": networks.MIDDLE[name], "channel": CHANNEL}
    gradient, _ = bench.ours("visualization.gradient", name, held, objective=objective)
    expected, _ = bench.theirs("objective_gradient", name, [path], **about)
    asked = {"model": bench.model(name), "objective": objective, "steps": STEPS_OF_MAXIMIZE, "transforms": ["standard"]}
    time.sleep(PAUSE)
    bench.client.ask("visualization.maximize", **{**asked, "steps": 4})
    bench.client.ask("visualization.maximize", **asked)
    seconds = bench.client.seconds
    time.sleep(PAUSE)
    bench.theirs("maximize", name, [path], steps=4, **about)
    _, their_seconds = bench.theirs("maximize", name, [path], steps=STEPS_OF_MAXIMIZE, **about)
    return numbers(gradient["tensor"]), seconds, expected, their_seconds


def spread(answer, frame):
    """A cropped map of one frame, put back where it was cut."""
    cropped = np.load(answer["tensor"]["data"], mmap_mode="r")[frame]
    whole = np.zeros((cropped.shape[0], networks.N_FRAMES // 2), np.float32)
    start = answer["crop_start"][frame][1]
    whole[:, start : start + cropped.shape[1]] = cropped
    return whole


def check(call, name, found, expected):
    """Fails unless both sides answer alike, kinks of rectifiers aside."""
    # zennit needs to be told which sums are branches, and otherwise shares relevance out to both in full.
    if found is None or (call == "lrp" and name in "ER"):
        return
    found, expected = found.ravel().astype(np.float64), expected.ravel().astype(np.float64)
    if found.shape != expected.shape:
        raise SystemExit(f"{call} of {name}: {found.shape} numbers are not {expected.shape}")
    apart = np.abs(found - expected).max() / np.abs(expected).max()
    distance = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print(f"  {call} of {name} agrees: largest difference {apart:.1e} of the maximum, distance {distance:.1e}", flush=True)
    # Another order of summation flips a rectifier whose input is almost zero, which moves a gradient in places.
    # A comparison of what is no number, or of zeros alone, shows nothing.
    if not np.isfinite([apart, distance]).all() or apart > (1e-4 if call == "forward" else 0.3) or distance > 1e-2:
        raise SystemExit(f"{call} of {name} disagrees with the peer")


def measure(bench, call, name):
    """Medians of both sides in ms, after one round that compares and warms."""
    bench.fill(name)
    found, _, expected, _ = once(bench, call, name)
    check(call, name, found, expected)
    repeats = max(2, bench.repeats // 3) if call in ("activations", "frame_gradients", "integrated_gradients", "maximize") else bench.repeats
    rounds = [once(bench, call, name) for _ in range(repeats)]
    return [1e3 * statistics.median(times) for times in zip(*[(ours, theirs) for _, ours, _, theirs in rounds])]


def first_answers(bench, name):
    """Wall time in ms and peak memory in MB of fresh processes, and the time where a daemon runs; ours and theirs."""
    source, weights, of_class = networks.SOURCES[name], networks.weights_file(name), bench.explained_class(name)
    rounds = []
    for _ in range(max(3, bench.repeats // 2)):
        path, _ = bench.input(name)
        line = f"model {source} weights={weights}; input {path}; saliency target={of_class} of=output > {bench.folder}/map.npy"
        with tempfile.TemporaryDirectory() as runtime:
            environment = {**os.environ, "XDG_RUNTIME_DIR": runtime, "XDG_DATA_HOME": runtime, "INTROSPECT_LOG": "error"}
            client = lambda line: subprocess.run(
                [PROGRAMS / "introspect", "-q", "-c", line], env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            time.sleep(PAUSE)
            fresh = timed(lambda: client(line))
            information = client("info")
            pid = next(text.split()[1] for text in information.splitlines() if text.startswith("pid:"))
            held = memory(pid, "VmHWM")
            running = timed(lambda: client(line))
            client("shutdown")
        program = [sys.executable, Path(__file__).with_name("first_answer.py"), name, path, str(of_class)]
        time.sleep(PAUSE)
        theirs, their_memory = timed_with_memory(program)
        rounds.append((fresh, theirs, held, their_memory, running))
    fresh, theirs, held, their_memory, running = (statistics.median(column) for column in zip(*rounds))
    return {
        "first_answer": (1e3 * fresh, 1e3 * theirs),
        "first_memory": (held / 1e6, their_memory / 1e6),
        "running": (1e3 * running, 1e3 * theirs),
    }


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def timed_with_memory(program):
    """Wall seconds of a process, and the most bytes that it held."""
    started = time.perf_counter()
    process = subprocess.Popen(program)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{program} failed")
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def small_things(bench):
    """What is asked in milliseconds rather than as a ratio."""
    _, held = bench.input("E")
    bench.ours("model.forward", "E", held)
    cam = lambda: bench.ours("attribution.grad_cam", "E", held, upsample=False)[1]
    round_trip = 1e3 * statistics.median(cam() for _ in range(50))
    with Daemon() as fresh:
        client = fresh.client()
        client.ask("server.info")
        information = 1e3 * (time.perf_counter() - fresh.started)
        client.ask("model.load", source=networks.SOURCES["W"], weights=str(networks.weights_file("W")))
        loading = 1e3 * client.seconds
    return [
        ("Grad-CAM, trace cached, over the Unix socket and back", round_trip, 3),
        ("server.info of a daemon that is just started", information, 50),
        ("model.load of W in a fresh daemon", loading, 200),
        *waiting(bench),
    ]


def waiting(bench):
    """How much later an interactive query is answered while a long job runs."""
    path, held = bench.input("W")
    output, _ = bench.ours("model.forward", "W", held)
    letters = numbers(output["tensor"]).argmax(0)
    targets = [{"class": int(letter), "frame": frame} for frame, letter in enumerate(letters)]
    _, photo = bench.input("E")
    bench.ours("model.forward", "E", photo)

    def p95(count):
        times = []
        for _ in range(count):
            times.append(bench.ours("attribution.saliency", "E", photo, target={"class": 3})[1])
            time.sleep(0.01)
        return 1e3 * float(np.percentile(times, 95))

    alone = p95(40)
    jobs = [
        bench.ours("attribution.saliency", "W", held, target=targets, at=LAYERS_OF_FRAMES[0], crop=True, encoding="npy", background=True)[0]["job"]
        for _ in range(4)
    ]
    time.sleep(0.1)
    beside = p95(40)
    states = [bench.client.ask("job.get", job=job)["state"] for job in jobs]
    if "done" in states[-1:]:
        raise SystemExit("the jobs ended before the queries beside them were measured")
    for job in jobs:
        bench.client.ask("job.cancel", job=job)
    return [("p95 of a saliency (E) while a job runs, beyond its p95 alone", beside - alone, 25)]


def machine():
    cpu = next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    flags = Path("/proc/cpuinfo").read_text()
    widest = next(name for name in ["avx512f", "avx2", "sse2"] if name in flags)
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    import captum
    import torch

    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "instructions": widest,
        "memory": f"{memory_gb:.0f} GB",
        "system": platform.platform(),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "peers": f"torch {torch.__version__}, captum {captum.__version__}, 2 threads",
    }


def table(rows, small, about):
    lines = [
        f"{about['processor']}, {about['cores']} cores ({about['instructions']}), {about['memory']}; commit {about['commit']}, "
        f"{about['date']}; {about['peers']}. Medians in ms; both sides in one run, alternately.",
        "",
        "| call | peer | network | ours | peer's | ours / peer | asked |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        mark = "" if row["ratio"] <= row["bound"] else " **missed**"
        lines.append(
            f"| {row['what']} | {row['peer']} | {row['network']} | {row['ours']:.4g} | {row['theirs']:.4g} "
            f"| {row['ratio']:.3f}{mark} | {row['bound']} |"
        )
    if small:
        lines += ["", "| what | ms | asked, at most |", "| --- | ---: | ---: |"]
        lines += [f"| {what} | {found:.1f}{'' if found <= bound else ' **missed**'} | {bound} |" for what, found, bound in small]
    return "\n".join(lines) + "\n"


def keep(rows, small, about):
    """Puts rows in the place of those of earlier runs, and the table into the page."""
    file, page = ROOT / "docs/performance/table.json", ROOT / "docs/performance.md"
    kept = json.loads(file.read_text()) if file.exists() else {"rows": [], "small": []}
    fresh = {(row["call"], row["network"]) for row in rows}
    rows = rows + [row for row in kept["rows"] if (row["call"], row["network"]) not in fresh]
    order = [call for call, *_ in CALLS]
    rows.sort(key=lambda row: (order.index(row["call"]), "WERV".index(row["network"])))
    small = small or kept["small"]
    file.write_text(json.dumps({"machine": about, "rows": rows, "small": small}, indent=1) + "\n")
    before, _, rest = page.read_text().partition("<!-- table -->\n")
    behind = rest.partition("<!-- end -->\n")[2]
    page.write_text(f"{before}<!-- table -->\n{table(rows, small, about)}<!-- end -->\n{behind}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="calls, with commas; `small` are those without a peer")
    parser.add_argument("--networks", default="W,E,R,V")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="`cuda` for both sides; programs built so are found by INTROSPECT_PROGRAMS")
    parser.add_argument("--keep", action="store_true", help="put the rows into docs/performance.md")
    parser.add_argument("--list", action="store_true", help="print the calls and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join([call for call, *_ in CALLS] + ["small"]))
        return 0
    only = options.only.split(",") if options.only else [call for call, *_ in CALLS] + ["small"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder, options.repeats, options.device)
        with bench.daemon:
            for name in options.networks.split(","):
                firsts = {}
                for call, what, peer, bounds in CALLS:
                    if call not in only or name not in bounds:
                        continue
                    if call in ("first_answer", "first_memory", "running"):
                        firsts = firsts or first_answers(bench, name)
                        ours, theirs = firsts[call]
                    else:
                        ours, theirs = measure(bench, call, name)
                    row = {"call": call, "what": what, "peer": peer, "network": name, "ours": ours, "theirs": theirs}
                    rows.append({**row, "ratio": ours / theirs, "bound": bounds[name]})
                    print(f"{name} {what}: {ours:.4g} / {theirs:.4g} = {ours / theirs:.3f} (asked {bounds[name]})", flush=True)
            small = small_things(bench) if "small" in only else []
    rows.sort(key=lambda row: [call for call, *_ in CALLS].index(row["call"]))
    about = machine()
    print("\n" + table(rows, small, about))
    if options.keep:
        keep(rows, small, about)
    return 0 if all(row["ratio"] <= row["bound"] for row in rows) and all(found <= bound for _, found, bound in small) else 1


if __name__ == "__main__":
    sys.exit(main())
