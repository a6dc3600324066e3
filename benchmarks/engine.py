"""How fast is the compiled loop? Against torch.nn's layers and a careful Python loop, forward and forward + backward.

python -m benchmarks.engine            # about four minutes
"""

import statistics

import torch
from torch import nn

import unrolled
from benchmarks.harness import append, interleaved, quartiles
from unrolled import cells

SHAPES = ((1, 128, 128), (16, 128, 64), (32, 128, 128), (32, 128, 256), (64, 128, 512), (128, 64, 1024))
KINDS = {"LSTM": (cells.LSTM, nn.LSTM), "GRU": (cells.GRU, nn.GRU), "RNN": (cells.Elman, nn.RNN)}


def python_loop(cell, xs, state):
    """As a careful user writes it: unbind, no indexing of the input, whose backward is O(time²)."""
    ys = []
    for x in xs.unbind(0):
        y, state = cell(x, state)
        ys.append(y)
    return torch.stack(ys)


def rivals(kind: str, batch: int, steps: int, hidden: int):
    cell_kind, layer_kind = KINDS[kind]
    cell, layer = cell_kind(hidden, hidden), layer_kind(hidden, hidden)
    xs, gradient = torch.randn(steps, batch, hidden, requires_grad=True), torch.randn(steps, batch, hidden)
    state = cell.initial_state(batch)
    forward = {
        "fused": lambda: unrolled.scan(cell, xs, state, engine="fused")[0],
        "torch.nn": lambda: layer(xs)[0],
        "python loop": lambda: python_loop(cell, xs, state),
    }

    def without_graph(run):
        with torch.no_grad():
            return run()

    def with_backward(run):
        xs.grad = None
        for parameter in (*cell.parameters(), *layer.parameters()):
            parameter.grad = None
        run().backward(gradient)

    return {
        "forward": {name: lambda run=run: without_graph(run) for name, run in forward.items()},
        "forward+backward": {name: lambda run=run: with_backward(run) for name, run in forward.items()},
    }


def main() -> None:
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        for batch, steps, hidden in SHAPES:
            rounds = 9 if hidden <= 128 else 5 if hidden <= 512 else 3
            for way, runs in rivals(kind, batch, steps, hidden).items():
                seconds = interleaved(runs, rounds=rounds)
                ours = statistics.median(seconds["fused"])
                shown = []
                for name, each in seconds.items():
                    ratio = statistics.median(each) / ours
                    us = statistics.median(each) / steps * 1e6
                    row = {"cell": kind, "batch": batch, "time": steps, "hidden": hidden, "pass": way, "rival": name}
                    rows.append(row | quartiles(each) | {"us_per_step": round(us, 2), "of_fused": round(ratio, 3)})
                    shown.append(f"{name} {us:.1f} us (x{ratio:.2f})")
                print(f"{kind} ({batch}, {steps}, {hidden}) {way}: {', '.join(shown)}", flush=True)
    append("engine", rows)


if __name__ == "__main__":
    main()
