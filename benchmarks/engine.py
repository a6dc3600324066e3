"""How fast is the compiled loop? Against its peers, forward and forward + backward, interleaved in one run.

python -m benchmarks.engine              # all questions, about half an hour
python -m benchmarks.engine layers       # torch.nn, a careful Python loop, jax.jit(lax.scan) where jax is installed
python -m benchmarks.engine folder       # every cell of the folder that has no layer in torch.nn, against a Python loop
python -m benchmarks.engine autocast     # the layers under torch.autocast with bfloat16, against torch.nn
python -m benchmarks.engine products     # the large products around LSTM's loop, against torch.mm
python -m benchmarks.engine stacks       # two layers, both directions, against torch.nn
python -m benchmarks.engine waves        # what two layers would gain at most with a thread each, at batch 1
python -m benchmarks.engine steps        # steps that no test names, against a Python loop
python -m benchmarks.engine diagonal     # a diagonal linear recurrence: Python loop, share of memory bandwidth
python -m benchmarks.engine compiled     # torch.compile of the loop, with its compile time
python -m benchmarks.engine beside       # beside as many busy programs as there are processors, against torch.nn
python -m benchmarks.engine costs        # a call, one after a rest, rows that end, compiling a cell, a second process
"""

import inspect
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torch import nn
from torch.nn import functional as F

import unrolled
from benchmarks import jax_peers
from benchmarks.harness import append, interleaved, quartiles
from unrolled import cells
from unrolled.engine.backends.cpu.large_products import multiply, outer_sum
from unrolled.engine.backends.cpu.peak import peak

SHAPES = ((1, 128, 128), (16, 128, 64), (32, 128, 128), (32, 128, 256), (64, 128, 512), (128, 64, 1024))
KINDS = {"LSTM": (cells.LSTM, nn.LSTM, 4), "GRU": (cells.GRU, nn.GRU, 3), "RNN": (cells.Elman, nn.RNN, 1)}


def python_loop(cell, xs, state):
    """As a careful user writes it: unbind, no indexing of the input, whose backward is O(time²)."""
    ys = []
    for x in xs.unbind(0):
        y, state = cell(x, state)
        ys.append(y)
    return torch.stack(ys)


def both_ways(runs, leaves, gradient):
    """Forward without a graph, and forward + backward, of functions that give the outputs."""

    def without_graph(run):
        with torch.no_grad():
            return run()

    def with_backward(run):
        for leaf in leaves:
            leaf.grad = None
        run().backward(gradient)

    return {
        "forward": {name: lambda run=run: without_graph(run) for name, run in runs.items()},
        "forward+backward": {name: lambda run=run: with_backward(run) for name, run in runs.items()},
    }


def measured(question, name, shape, ways, rounds, *, flops=0, rest=0.0, burst=1):
    """Times the rivals of both ways; rows for the results, and a line on the screen."""
    rows = []
    for way, runs in ways.items():
        at_first = peak() if flops else 0.0  # and once more after: the machine changes
        seconds = interleaved(runs, rounds=rounds, warm_up=2, rest=rest, burst=burst)
        ours = statistics.median(seconds["fused"])
        share = flops * (3 if "backward" in way else 1) / ours / 1e9 / max(at_first, peak()) if flops else 0
        shown = []
        for rival, each in seconds.items():
            ratio = statistics.median(each) / ours
            us = statistics.median(each) / shape[1] * 1e6
            row = {"question": question, "step": name, "batch": shape[0], "time": shape[1], "hidden": shape[2]}
            row |= {"pass": way, "rival": rival} | quartiles(each)
            rows.append(row | {"us_per_step": round(us, 2), "of_fused": round(ratio, 3), "share": round(share, 3)})
            shown.append(f"{rival} {us:.1f} us (x{ratio:.2f})")
        print(f"{name} {shape} {way}: {', '.join(shown)}{f', {share:.0%} of peak' if share else ''}", flush=True)
    return rows


def layers():
    rows = []
    for kind, (cell_kind, layer_kind, gates) in KINDS.items():
        for batch, steps, hidden in SHAPES:
            cell, layer = cell_kind(hidden, hidden), layer_kind(hidden, hidden)
            xs, gradient = torch.randn(steps, batch, hidden, requires_grad=True), torch.randn(steps, batch, hidden)
            state = cell.initial_state(batch)
            runs = {
                "fused": lambda cell=cell, xs=xs, state=state: unrolled.scan(cell, xs, state, engine="fused")[0],
                "torch.nn": lambda layer=layer, xs=xs: layer(xs)[0],
                "python loop": lambda cell=cell, xs=xs, state=state: python_loop(cell, xs, state),
            }
            ways = both_ways(runs, [xs, *cell.parameters(), *layer.parameters()], gradient)
            if kind in ("LSTM", "GRU") and jax_peers.is_there():
                for way, run in jax_peers.recurrences(kind, batch, steps, hidden).items():
                    ways[way]["jax.jit(lax.scan)"] = run
            rounds = 15 if hidden <= 128 else 9 if hidden <= 512 else 5
            flops = 2 * 2 * gates * hidden * hidden * batch * steps
            rows += measured("layers", kind, (batch, steps, hidden), ways, rounds, flops=flops)
    return rows


def folder():
    rows = []
    for name in sorted(cells.BY_NAME.keys() - {"lstm", "gru", "elman"}):
        for batch, steps, hidden in SHAPES[:3]:
            needed = inspect.signature(cells.BY_NAME[name]).parameters.values()
            cell = cells.BY_NAME[name](*(hidden for each in needed if each.default is each.empty))
            xs, gradient = torch.randn(steps, batch, hidden, requires_grad=True), torch.randn(steps, batch, hidden)
            state = cell.initial_state(batch)
            runs = {
                "fused": lambda cell=cell, xs=xs, state=state: unrolled.scan(cell, xs, state, engine="fused")[0],
                "python loop": lambda cell=cell, xs=xs, state=state: python_loop(cell, xs, state),
            }
            ways = both_ways(runs, [xs, *cell.parameters()], gradient)
            rows += measured("folder", cells.BY_NAME[name].__name__, (batch, steps, hidden), ways, 15)
    return rows


def autocast():
    rows = []

    def under(run):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return run()[0].float()

    for kind, (_, layer_kind, _) in KINDS.items():
        if kind == "LSTM" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            print("torch.nn.LSTM does not run under autocast on this processor")
            continue
        for batch, steps, hidden in SHAPES:
            ours, theirs = getattr(unrolled, kind)(hidden, hidden, engine="fused"), layer_kind(hidden, hidden)
            xs, gradient = torch.randn(steps, batch, hidden, requires_grad=True), torch.randn(steps, batch, hidden)
            runs = {
                name: lambda layer=layer, xs=xs: under(lambda: layer(xs))
                for name, layer in (("fused", ours), ("torch.nn", theirs))
            }
            ways = both_ways(runs, [xs, *ours.parameters(), *theirs.parameters()], gradient)
            rows += measured("autocast", kind, (batch, steps, hidden), ways, 15 if hidden <= 256 else 5)
    return rows


def products():
    """Of LSTM's inputs, of its gates' gradients, and the sum over time that is its weight's gradient."""
    return [row for batch, steps, hidden in SHAPES[1:] for row in products_of(batch, steps, hidden)]


def products_of(batch, steps, hidden):
    xs, gates = torch.randn(batch * steps, hidden), torch.randn(batch * steps, 4 * hidden)
    weight, bias = torch.randn(4 * hidden, hidden), torch.randn(4 * hidden)
    pairs = {
        "inputs times weight": (lambda: multiply(xs, weight.t(), bias), lambda: torch.addmm(bias, xs, weight.t())),
        "gradients times weight": (lambda: multiply(gates, weight), lambda: gates @ weight),
        "gradient of weight": (lambda: outer_sum(xs, gates, weight.t()), lambda: (gates.t() @ xs).t()),
    }
    rows = []
    for name, (ours, theirs) in pairs.items():
        ways = {"forward": both_ways({"fused": ours, "torch.mm": theirs}, [], None)["forward"]}
        flops = 2 * 4 * hidden * hidden * batch * steps
        rows += measured("products", name, (batch, steps, hidden), ways, 15, flops=flops)
    return rows


def stacks():
    """Two layers, both directions: the layers as a user has them."""
    rows = []
    for kind, ours, theirs in (("LSTM", unrolled.LSTM, nn.LSTM), ("GRU", unrolled.GRU, nn.GRU)):
        for batch, steps_, hidden in ((1, 128, 128), (16, 128, 64), (32, 128, 256)):
            peer = theirs(hidden, hidden, 2, bidirectional=True)
            layer = ours(hidden, hidden, 2, bidirectional=True, engine="fused")
            layer.load_state_dict(peer.state_dict())
            xs, gradient = (
                torch.randn(steps_, batch, hidden, requires_grad=True),
                torch.randn(steps_, batch, 2 * hidden),
            )
            runs = {
                "fused": lambda layer=layer, xs=xs: layer(xs)[0],
                "torch.nn": lambda peer=peer, xs=xs: peer(xs)[0],
            }
            ways = both_ways(runs, [xs, *layer.parameters(), *peer.parameters()], gradient)
            rows += measured("stacks", f"{kind}, 2 layers, both directions", (batch, steps_, hidden), ways, 9)
    return rows


class Multiplicative(nn.Module):
    """The multiplicative LSTM (Krause and others, 2016)."""

    def __init__(self, size):
        super().__init__()
        self.input, self.factor = nn.Linear(size, 5 * size), nn.Linear(size, size, bias=False)
        self.gates = nn.Linear(size, 4 * size, bias=False)

    def forward(self, x, state):
        h, c = state
        gates, factor = self.input(x).split((4 * c.shape[1], c.shape[1]), 1)
        i, f, o, g = (gates + self.gates(factor * self.factor(h))).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class Normalized(nn.Module):
    """A GRU with its reset before the product and layer norm on what it adds."""

    def __init__(self, size):
        super().__init__()
        self.gates, self.new, self.norm = nn.Linear(2 * size, 2 * size), nn.Linear(2 * size, size), nn.LayerNorm(size)

    def forward(self, x, h):
        z, r = torch.sigmoid(self.gates(torch.cat((x, h), 1))).chunk(2, 1)
        new = torch.tanh(self.norm(self.new(torch.cat((x, r * h), 1))))
        h = h + z * (new - h)
        return h, h


class Highway(nn.Module):
    """A recurrent highway network of depth 3 (Zilly and others, 2017)."""

    def __init__(self, size):
        super().__init__()
        self.input = nn.Linear(size, 2 * size)
        self.depths = nn.ModuleList(nn.Linear(size, 2 * size) for _ in range(3))

    def forward(self, x, s):
        for depth, linear in enumerate(self.depths):
            both = linear(s) + (self.input(x) if depth == 0 else 0)
            h, t = both.chunk(2, 1)
            t = torch.sigmoid(t)
            s = torch.tanh(h) * t + s * (1 - t)
        return s, s


class Exponential(nn.Module):
    """A cell with exponential gates and a normalizer, four heads (sLSTM; Beck and others, 2024)."""

    def __init__(self, size, heads=4):
        super().__init__()
        self.input, self.heads = nn.Linear(size, 4 * size), heads
        self.recurrent = nn.Parameter(torch.randn(heads, size // heads, 4 * size // heads) * size**-0.5)

    def forward(self, x, state):
        h, c, n, m = state
        rows = torch.einsum("bhd,hde->bhe", h.view(len(h), self.heads, -1), self.recurrent)
        gates = self.input(x) + rows.reshape(len(h), self.heads, 4, -1).transpose(1, 2).reshape(len(h), -1)
        i, f, z, o = gates.chunk(4, 1)
        new = torch.maximum(F.logsigmoid(f) + m, i)
        kept, added = torch.exp(F.logsigmoid(f) + m - new), torch.exp(i - new)
        c, n = kept * c + added * torch.tanh(z), kept * n + added
        h = torch.sigmoid(o) * c / n.clamp_min(1e-3)
        return h, (h, c, n, new)


STEPS = {Multiplicative: 2, Normalized: 1, Highway: 1, Exponential: 4}


def steps():
    rows = []
    for kind, n_states in STEPS.items():
        for batch, time_, hidden in ((4, 128, 64), (32, 128, 128)):
            cell = kind(hidden)
            xs, gradient = torch.randn(time_, batch, hidden, requires_grad=True), torch.randn(time_, batch, hidden)
            first = tuple(torch.zeros(batch, hidden) for _ in range(n_states))
            state = first if n_states > 1 else first[0]
            runs = {
                "fused": lambda cell=cell, xs=xs, state=state: unrolled.scan(cell, xs, state, engine="fused")[0],
                "python loop": lambda cell=cell, xs=xs, state=state: python_loop(cell, xs, state),
            }
            ways = both_ways(runs, [xs, *cell.parameters()], gradient)
            rows += measured("steps", kind.__name__, (batch, time_, hidden), ways, 9)
    return rows


def bandwidth():
    """Bytes a second that this machine reads from its memory, measured on the sum of a large tensor."""
    source = torch.zeros(1 << 27)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        source.sum()
        times.append(time.perf_counter() - start)
    return source.nbytes / min(times)


def diagonal():
    batch, time_, hidden = 16, 1024, 256
    a = torch.rand(time_, batch, hidden).requires_grad_()
    b, gradient = torch.randn(time_, batch, hidden, requires_grad=True), torch.randn(time_, batch, hidden)
    state = torch.zeros(batch, hidden)

    def step(x, h):
        h = x[0] * h + x[1]
        return h, h

    def loop():
        h, ys = state, []
        for pair in zip(a.unbind(0), b.unbind(0), strict=True):
            y, h = step(pair, h)
            ys.append(y)
        return torch.stack(ys)

    runs = {"fused": lambda: unrolled.scan(step, (a, b), state, engine="fused")[0], "python loop": loop}
    rows = measured("diagonal", "h = a h + b", (batch, time_, hidden), both_ways(runs, [a, b], gradient), 9)
    rate = bandwidth()
    for row in rows:
        if row["rival"] == "fused":
            # forward: a, b in, h out; backward: a, h, gradient in, gradients of a and b out
            moved = (3 if row["pass"] == "forward" else 8) * a.nbytes
            row["share"] = round(moved / row["median_s"] / rate, 3)
            print(f"  {row['pass']}: {row['share']:.0%} of the {rate / 1e9:.1f} GB/s that it reads")
    return rows


def compiled():
    batch, time_, hidden = 32, 128, 128
    cell = cells.LSTM(hidden, hidden)
    xs, gradient = torch.randn(time_, batch, hidden, requires_grad=True), torch.randn(time_, batch, hidden)
    state = cell.initial_state(batch)
    loop = torch.compile(lambda: python_loop(cell, xs, state))
    start = time.perf_counter()
    loop().backward(gradient)
    print(f"torch.compile of the loop: first call forward and backward {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    with torch.no_grad():
        loop()
    print(f"torch.compile of the loop: first call without gradient {time.perf_counter() - start:.1f} s")
    runs = {"fused": lambda: unrolled.scan(cell, xs, state, engine="fused")[0], "torch.compile": loop}
    ways = both_ways(runs, [xs, *cell.parameters()], gradient)
    return measured("compiled", "LSTM", (batch, time_, hidden), ways, 9)


FIRST_CALL = """
import time, torch, unrolled
from unrolled.engine import dispatch
cell = unrolled.cells.{cell}(8, 8)
xs, state = torch.zeros(4, 2, 8, requires_grad=True), cell.initial_state(2)
started = time.perf_counter()
unrolled.scan(cell, xs, state, engine="fused")[0].sum().backward()
first = time.perf_counter() - started
other = unrolled.cells.{cell}(8, 9)
xs, state = torch.zeros(4, 2, 8, requires_grad=True), other.initial_state(2)
started = time.perf_counter()
unrolled.scan(other, xs, state, engine="fused")[0].sum().backward()
print(first, time.perf_counter() - started)
"""


def after_a_rest():
    """The threads sleep by then."""
    rows = []
    for batch, steps, hidden in ((16, 128, 64), (32, 128, 128)):
        cell, layer, xs = cells.LSTM(hidden, hidden), nn.LSTM(hidden, hidden), torch.randn(steps, batch, hidden)
        state = cell.initial_state(batch)
        runs = {
            "fused": lambda cell=cell, xs=xs, state=state: unrolled.scan(cell, xs, state, engine="fused"),
            "torch.nn": lambda layer=layer, xs=xs: layer(xs),
        }
        ways = {"forward": both_ways(runs, [], None)["forward"]}
        rows += measured("costs", "LSTM after 0.1 s of rest", (batch, steps, hidden), ways, 15, rest=0.1)
    return rows


def waves():
    """Two layers one after the other, each on all threads, and, at the very best, at once on a thread each: of a time
    step, without what a call costs, which two lengths tell.
    """
    rows, n_threads, short, long = [], torch.get_num_threads(), 128, 640
    for kind in ("LSTM", "GRU"):
        for hidden in (64, 128, 256):
            layer = getattr(unrolled, kind)(hidden, hidden, engine="fused")
            ways = {}
            for steps in (short, long):
                xs = torch.randn(steps, 1, hidden, requires_grad=True)
                leaves, gradient = [xs, *layer.parameters()], torch.randn(steps, 1, hidden)
                for way, runs in both_ways({steps: lambda xs=xs, layer=layer: layer(xs)[0]}, leaves, gradient).items():
                    ways.setdefault(way, {}).update(runs)
            for way, runs in ways.items():
                on_threads = {
                    (steps, n): lambda run=run, n=n: (torch.set_num_threads(n), run())
                    for steps, run in runs.items()
                    for n in (1, n_threads)
                }
                least = {key: min(each) for key, each in interleaved(on_threads, rounds=60, warm_up=3).items()}
                torch.set_num_threads(n_threads)
                one, all_ = ((least[long, n] - least[short, n]) / (long - short) for n in (1, n_threads))
                shape = {"batch": 1, "time": long, "hidden": hidden, "pass": way}
                for rival, seconds in (("fused", 2 * all_), ("in waves, at best", one)):
                    row = {"question": "waves", "step": f"{kind}, a step of 2 layers"} | shape | {"rival": rival}
                    row |= dict.fromkeys(("median_s", "low_s", "high_s"), seconds)
                    us, ratio = round(seconds * 1e6, 2), round(seconds / (2 * all_), 3)
                    rows.append(row | {"us_per_step": us, "of_fused": ratio, "share": 0})
                print(f"{kind} {hidden} {way}: {2 * all_ * 1e6:.2f} us, in waves {one * 1e6:.2f} at best", flush=True)
    return rows


def beside():
    rows = []
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(torch.get_num_threads())]
    try:
        for batch, steps, hidden in ((32, 128, 128), (16, 128, 512)):
            xs, gradient = torch.randn(steps, batch, hidden, requires_grad=True), torch.randn(steps, batch, hidden)
            layers = {"fused": unrolled.LSTM(hidden, hidden, engine="fused"), "torch.nn": nn.LSTM(hidden, hidden)}
            runs = {name: lambda layer=layer, xs=xs: layer(xs)[0] for name, layer in layers.items()}
            leaves = [xs, *(each for layer in layers.values() for each in layer.parameters())]
            ways = both_ways(runs, leaves, gradient)
            rows += measured("beside", "LSTM beside busy programs", (batch, steps, hidden), ways, 25)
    finally:
        for each in busy:
            each.kill()
    return rows


def costs():
    cell, layer = cells.LSTM(64, 64), nn.LSTM(64, 64)
    xs, state = torch.randn(1, 1, 64), cell.initial_state(1)
    runs = {"fused": lambda: unrolled.scan(cell, xs, state, engine="fused"), "torch.nn": lambda: layer(xs)}
    ways = {"forward": both_ways(runs, [], None)["forward"]}
    rows = measured("costs", "a call", (1, 1, 64), ways, 2001)
    rows += measured("costs", "a call of 50 in a row", (1, 1, 64), ways, 101, burst=50)

    rows += after_a_rest()
    batch, time_, hidden = 32, 128, 256
    for kind in ("LSTM", "GRU"):
        cell = KINDS[kind][0](hidden, hidden)
        xs, gradient = torch.randn(time_, batch, hidden, requires_grad=True), torch.randn(time_, batch, hidden)
        state = cell.initial_state(batch)
        lengths = torch.linspace(0, time_, batch).round().long()
        scan = lambda cell=cell, xs=xs, state=state, **options: unrolled.scan(
            cell, xs, state, engine="fused", **options
        )[0]
        runs = {"fused": scan, "half the steps padded": lambda scan=scan, n=lengths: scan(lengths=n)}
        ways = both_ways(runs, [xs, *cell.parameters()], gradient)
        rows += measured("costs", f"{kind}, rows that end", (batch, time_, hidden), ways, 15)

    for cell_name in ("LSTM", "GRU"):
        with tempfile.TemporaryDirectory() as folder:
            for turn in ("compiling", "from the cache"):
                done = subprocess.run(
                    [sys.executable, "-c", FIRST_CALL.format(cell=cell_name)],
                    env=os.environ | {"XDG_CACHE_HOME": folder},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                first, second = map(float, done.stdout.split())
                print(f"{cell_name}: first call {turn} {first:.3f} s, of a second shape {second:.3f} s", flush=True)
                for call, seconds in (("first call of a process", first), ("second shape", second)):
                    row = {"question": "costs", "step": f"{cell_name}, {turn}", "batch": 2, "time": 4, "hidden": 8}
                    row |= {"pass": call, "rival": "fused"} | quartiles([seconds] * 2)
                    rows.append(row | {"us_per_step": "", "of_fused": "", "share": ""})
    return rows


QUESTIONS = {
    each.__name__: each
    for each in (layers, folder, products, autocast, stacks, waves, steps, diagonal, compiled, beside, costs)
}


def main(names=()) -> None:
    print(f"peak {peak():.0f} GFLOP/s on {torch.get_num_threads()} threads")
    for name in names or QUESTIONS:
        append("engine", QUESTIONS[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
