"""Is this code faster than that of another checkout? The same calls in two processes that take turns.

python -m benchmarks.versions OTHER_CHECKOUT [KIND,BATCH,TIME,HIDDEN,PASS ...]

KIND is LSTM, GRU or RNN, with "-both" for two layers in both directions; PASS is forward or backward. A ratio above 1
says that this code is the faster. Calls come in bursts, so caches are warm and threads awake. Kept in
benchmarks/results/versions.csv.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
SHAPES = ("1,128,128", "32,128,128", "64,128,512")
CASES = [f"{kind},{shape},{way}" for kind in ("LSTM", "RNN") for shape in SHAPES for way in ("forward", "backward")]
CASES += ["LSTM-both,16,128,64,forward", "LSTM-both,16,128,64,backward"]


def call_of(case):
    import torch

    import unrolled

    kind, *numbers, way = case.split(",")
    batch, steps, hidden = map(int, numbers)
    options = {"num_layers": 2, "bidirectional": True} if kind.endswith("-both") else {}
    layer = getattr(unrolled, kind.removesuffix("-both"))(hidden, hidden, engine="fused", **options)
    xs = torch.randn(steps, batch, hidden, requires_grad=True)
    gradient = torch.randn(steps, batch, hidden * (2 if options else 1))

    def forward():
        with torch.no_grad():
            layer(xs)

    def backward():
        for leaf in (xs, *layer.parameters()):
            leaf.grad = None
        layer(xs)[0].backward(gradient)

    return forward if way == "forward" else backward


def serve():
    calls = {}
    for line in sys.stdin:
        case, n = line.split()
        if case not in calls:
            calls[case] = call_of(case)
        seconds = []
        for _ in range(int(n) + 1):
            start = time.perf_counter()
            calls[case]()
            seconds.append(time.perf_counter() - start)
        print(statistics.median(seconds[1:]), flush=True)


def main(other, cases):
    command = [sys.executable, __file__, "--serve"]
    trees = {"other": Path(other).resolve(), "this": HERE}
    serving = {
        name: subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(tree / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, tree in trees.items()
    }
    describe = ["git", "-C", str(trees["other"]), "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    rows = []
    for case in cases or CASES:
        numbers = list(map(int, case.split(",")[1:-1]))
        n = max(2, min(40, 10**9 // (numbers[0] * numbers[1] * numbers[2] ** 2)))
        found = {name: [] for name in serving}
        for turn in range(12):
            for name in list(serving)[:: 1 if turn % 2 else -1]:
                process = serving[name]
                process.stdin.write(f"{case} {n}\n")
                process.stdin.flush()
                found[name].append(float(process.stdout.readline()))
        ratio = statistics.median(a / b for a, b in zip(found["other"][1:], found["this"][1:], strict=True))
        us = {name: statistics.median(each[1:]) / numbers[1] * 1e6 for name, each in found.items()}
        rows.append({"other": commit, "case": case, "other_us": us["other"], "this_us": us["this"], "ratio": ratio})
        print(f"{case}: other {us['other']:.1f}, this {us['this']:.1f} us a step, x{ratio:.2f}", flush=True)
    from benchmarks.harness import append

    append("versions", rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    elif len(sys.argv) < 2:
        sys.exit(__doc__)
    else:
        main(sys.argv[1], sys.argv[2:])
