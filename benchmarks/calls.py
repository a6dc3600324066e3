"""What does a call cost that is known, and a first one? `python -m benchmarks.calls [OTHER_CHECKOUT]`

Known calls at (1, 1, 64) in inference, beside torch's, interleaved in one run. First calls in processes of their own:
with an empty cache, and again with what the first process left. With another checkout its code is measured too, in
turns of processes. Kept in benchmarks/results/calls.csv.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
FIRST = ("layer", "cell", "user's step", "user's module")
ROUNDS = 200


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
    weight_ih, weight_hh = (torch.empty(192, 64).uniform_(-bound, bound) for _ in range(2))

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


def known():
    """Prints seconds of known calls, by quartiles."""
    import torch

    from benchmarks.harness import interleaved, quartiles

    torch.set_num_threads(1)
    with torch.no_grad():
        for name, seconds in interleaved(rivals(), rounds=ROUNDS, warm_up=20, burst=50).items():
            print(name, *quartiles(seconds).values(), sep="\t")


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


def main(other=None):
    from benchmarks.harness import append

    checkouts = {"this": HERE} | ({"other": Path(other).resolve()} if other else {})
    rows = []

    def add(code, question, median, low, high):
        rows.append({"code": code, "question": question, "median_s": median, "low_s": low, "high_s": high})
        print(f"{code:6} {question:32} {median * 1e6:12.1f} us")

    with tempfile.TemporaryDirectory() as folder:
        for name in FIRST:
            for code, checkout in checkouts.items():
                cache = f"{folder}/{code}-{name}"
                cold = float(child(checkout, cache, "--first", name))
                warm = sorted(float(child(checkout, cache, "--first", name)) for _ in range(5))
                add(code, f"first call, cold cache, {name}", cold, cold, cold)
                add(code, f"first call, warm cache, {name}", warm[2], warm[1], warm[3])
        for code, checkout in checkouts.items():
            for line in child(checkout, f"{folder}/{code}", "--known").splitlines():
                name, *figures = line.split("\t")
                add(code, f"known call, {name}", *map(float, figures))
    append("calls", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--known"]:
        known()
    elif sys.argv[1:2] == ["--first"]:
        first(sys.argv[2])
    else:
        main(*sys.argv[1:])
