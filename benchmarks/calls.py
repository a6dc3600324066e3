"""What does a call cost that is known, and a first one? `python -m benchmarks.calls [OTHER_CHECKOUT]`

Known calls at (1, 1, 64), in inference and in training, beside torch's, interleaved in one run; then whole layers and
steps at (time, batch, features) (100, 32, 256) on one thread. First calls in processes of their own: with an empty
cache, and again with what the first process left. With another checkout its code is measured too, in turns of
processes, for what has been changed since. Kept in benchmarks/results/calls.csv.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
FIRST = ("layer", "cell", "user's step", "user's module")
ROUNDS = 100
TURNS = 3  # of each checkout; what is kept is the median of their quartiles


def rivals():
    import torch
    from torch import nn

    import unrolled

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(64, 64)

        def forward(self, x, hidden):
            hidden = self.cell(x, hidden)
            return hidden, hidden

    bound = 64**-0.5
    weight_ih, weight_hh = (torch.empty(192, 64).uniform_(-bound, bound).requires_grad_() for _ in range(2))

    def step(x, hidden):
        x_r, x_z, x_n = nn.functional.linear(x, weight_ih).chunk(3, 1)
        h_r, h_z, h_n = nn.functional.linear(hidden, weight_hh).chunk(3, 1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        new = torch.tanh(x_n + r * h_n)
        hidden = new + z * (hidden - new)
        return hidden, hidden

    torch_cell, torch_layer = nn.GRUCell(64, 64), nn.GRU(64, 64)
    cell, layer, module = unrolled.cells.GRU(64, 64), unrolled.GRU(64, 64), Step()
    xs, hidden = torch.randn(1, 1, 64), torch.randn(1, 64)
    return {
        "torch.nn.GRUCell": lambda: torch_cell(xs[0], hidden),
        "torch.nn.GRU": lambda: torch_layer(xs),
        "layer": lambda: layer(xs),
        "cell": lambda: unrolled.scan(cell, xs, hidden),
        "user's step": lambda: unrolled.scan(step, xs, hidden),
        "user's module": lambda: unrolled.scan(module, xs, hidden),
    }


def wholes():
    """Layers and steps that take long enough for their arithmetic to count."""
    import torch
    from torch import nn

    import unrolled

    xs, hidden = torch.randn(100, 32, 256), torch.zeros(32, 256)
    learned = torch.randn(100, 32, 256, requires_grad=True)
    layers = {name: getattr(unrolled, name)(256, 256) for name in ("RNN", "GRU", "LSTM")}
    weight = nn.Parameter(torch.empty(256, 256).uniform_(-(256**-0.5), 256**-0.5))
    norm = nn.LayerNorm(256)

    def norms(x, hidden):  # whose means and variances are made so that no digits are lost
        hidden = torch.tanh(norm(nn.functional.linear(hidden, weight)) + x)
        return hidden, hidden

    def sums_of_products(x, hidden):  # which are rounded before they are added, as torch's
        hidden = x * hidden + 0.5 * hidden
        return hidden, hidden

    return {
        **{name: lambda layer=layer: layer(xs)[0] for name, layer in layers.items()},
        "step with a layer norm": lambda: unrolled.scan(norms, xs, hidden)[0],
        "step of sums of products": lambda: unrolled.scan(sums_of_products, learned, hidden)[0],
    }


def result_of(returned):
    """The tensor that a call of `rivals` gives first."""
    return returned[0] if isinstance(returned, tuple) else returned


def known():
    """Prints seconds of known calls, by quartiles."""
    import torch

    from benchmarks.harness import interleaved, quartiles

    torch.set_num_threads(1)

    def training(call):
        return lambda: result_of(call()).sum().backward()

    for shape, calls, rounds, burst in (("", rivals(), ROUNDS, 50), (", (100, 32, 256)", wholes(), 15, 1)):
        with torch.no_grad():
            inference = interleaved(calls, rounds=rounds, warm_up=20, burst=burst)
        learns = {name: training(call) for name, call in calls.items() if result_of(call()).requires_grad}
        trained = interleaved(learns, rounds=rounds, warm_up=20, burst=burst)
        for way, found in (("inference", inference), ("training", trained)):
            for name, seconds in found.items():
                print(f"{way}{shape}, {name}", *quartiles(seconds).values(), sep="\t")


def first(name):
    """Prints seconds of one first call; torch and the library are loaded before."""
    import torch

    torch.set_num_threads(1)
    with torch.no_grad():
        call = rivals()[name]
        start = time.perf_counter()
        call()
        print(time.perf_counter() - start)


def child(checkout, cache, *arguments):
    environment = os.environ | {"PYTHONPATH": f"{checkout}/src{os.pathsep}{HERE}", "XDG_CACHE_HOME": cache}
    command = [sys.executable, "-m", "benchmarks.calls", *arguments]
    return subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, check=True).stdout


def main():
    from benchmarks.harness import append

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", nargs="?", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("--only", choices=("known", "first"))
    options = parser.parse_args()
    checkouts = {"this": HERE} | ({"other": options.other.resolve()} if options.other else {})
    rows = []

    def add(code, question, median, low, high):
        rows.append({"code": code, "question": question, "median_s": median, "low_s": low, "high_s": high})
        print(f"{code:6} {question:56} {median * 1e6:12.1f} us", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for name in FIRST if options.only != "known" else ():
            for code, checkout in checkouts.items():
                cache = f"{folder}/{code}-{name}"
                cold = float(child(checkout, cache, "--first", name))
                warm = sorted(float(child(checkout, cache, "--first", name)) for _ in range(5))
                add(code, f"first call, cold cache, {name}", cold, cold, cold)
                add(code, f"first call, warm cache, {name}", warm[2], warm[1], warm[3])
        turns = []
        for _ in range(TURNS if options.only != "first" else 0):
            for code, checkout in checkouts.items():
                lines = child(checkout, f"{folder}/{code}", "--known").splitlines()
                turns += [(code, *line.split("\t")) for line in lines]
        for code, name in dict.fromkeys(each[:2] for each in turns):
            of_turns = [map(float, each[2:]) for each in turns if each[:2] == (code, name)]
            add(code, f"known call, {name}", *map(statistics.median, zip(*of_turns, strict=True)))
    append("calls", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--known"]:
        known()
    elif sys.argv[1:2] == ["--first"]:
        first(sys.argv[2])
    else:
        main()
