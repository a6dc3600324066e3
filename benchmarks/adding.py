"""Who learns the adding problem? `python -m benchmarks.adding [CELL...]`: Elman, LSTM, GRU at 50, 200 and 500 steps.

A sequence has a random number at every step and a mark at two of them, one in each half; the target is the sum of the
two marked numbers (S. Hochreiter and J. Schmidhuber, Neural Computation 9, 1997). Who always says 1 has a mean squared
error of 1/6. Networks begin as torch's do; "LSTM, open" with a forget bias of 4 more. Updates are Adam's on fresh
batches, and the gradient's norm is clipped: the same for all, chosen beforehand. Rows are appended to
results/adding.csv: the error on 1,000 sequences that no update sees, and where the gradient goes, from
`unrolled.probe`. `--picture FILE` draws the last rows.
"""

import argparse
import csv
import time

import torch
from torch import Tensor, nn

import unrolled
from benchmarks.harness import RESULTS, append

OPEN = "LSTM, open"  # its forget gates begin open
CELLS = {"Elman": unrolled.RNN, "LSTM": unrolled.LSTM, OPEN: unrolled.LSTM, "GRU": unrolled.GRU}
FORGET_BIAS = 4.0  # what `checkup` advises at most
LENGTHS = (50, 200, 500)
BASELINE = 1 / 6  # the variance of a sum of two uniform numbers
WIDTH, BATCH, RATE, CLIP, EVERY = 64, 32, 2e-3, 1.0, 200
BEFORE, AFTER = "gradient before", "gradient after"


def sequences(n: int, length: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers and marks [length, n, 2], and the sums [n]."""
    numbers, marks = torch.rand(length, n, generator=draw), torch.zeros(length, n)
    half = length // 2
    for low, high in ((0, half), (half, length)):
        places = torch.randint(low, high, (n,), generator=draw)
        marks[places, torch.arange(n)] = 1.0
    return torch.stack((numbers, marks), 2), (numbers * marks).sum(0)


class Adder(nn.Module):
    """A recurrent layer, and a number from its last step."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer, self.readout = kind(2, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, xs: Tensor) -> Tensor:
        return self.readout(self.layer(xs)[0][-1])[:, 0]


def gradient(net: Adder, xs: Tensor, sums: Tensor) -> dict[int, float]:
    """The norm of ∂loss/∂h_t by steps before the end, some fifty of them."""
    with unrolled.probe(net) as record:
        nn.functional.mse_loss(net(xs), sums).backward()
    net.zero_grad()
    [scan] = record.scans
    norms = scan.mean(scan.gradients["h"])
    return {back: float(norms[-1 - back]) for back in range(0, len(xs), max(1, len(xs) // 50))}


def trained(name: str, length: int, updates: int, seed: int) -> list[dict[str, object]]:
    """The rows of one network."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed + 1)
    net = Adder(CELLS[name])
    if name == OPEN:
        with torch.no_grad():
            net.layer.bias_ih_l0[WIDTH : 2 * WIDTH] += FORGET_BIAS
    held = sequences(1000, length, torch.Generator().manual_seed(999))
    few = held[0][:, :64], held[1][:64]
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    found = [(BEFORE, back, norm) for back, norm in gradient(net, *few).items()]
    began = time.monotonic()
    for update in range(updates + 1):
        if update % EVERY == 0:
            with torch.no_grad():
                error = float(nn.functional.mse_loss(net(held[0]), held[1]))
            found.append(("error", update, error))
            print(f"{name}, {length} steps, update {update}: error {error:.4f}", flush=True)
        xs, sums = sequences(BATCH, length, draw)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(xs), sums).backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
    found.append(("seconds", updates, time.monotonic() - began))
    found += [(AFTER, back, norm) for back, norm in gradient(net, *few).items()]
    return [
        {"cell": name, "length": length, "seed": seed, "quantity": quantity, "at": at, "value": f"{value:.6g}"}
        for quantity, at, value in found
    ]


def picture(file: str) -> None:
    """Errors by update above, gradients by steps before the end below, a column a length."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "adding", "font.size": 9, "svg.fonttype": "none"})
    with (RESULTS / "adding.csv").open(encoding="utf-8") as lines:
        curves: dict[tuple[str, int, str], dict[int, float]] = {}
        for row in csv.DictReader(lines):  # later runs replace earlier ones
            curves.setdefault((row["cell"], int(row["length"]), row["quantity"]), {})[int(row["at"])] = float(
                row["value"]
            )
    figure, grid = plt.subplots(2, len(LENGTHS), figsize=(10, 5.5), layout="constrained", sharey="row")
    for column, length in enumerate(LENGTHS):
        errors, gradients = grid[0][column], grid[1][column]
        for i, name in enumerate(CELLS):
            if (name, length, "error") not in curves:
                continue
            errors.plot(*zip(*sorted(curves[name, length, "error"].items()), strict=True), color=f"C{i}", label=name)
            for quantity, style in ((BEFORE, ":"), (AFTER, "-")):
                norms = sorted(curves[name, length, quantity].items())
                gradients.plot(*zip(*norms, strict=True), style, color=f"C{i}", label=name if style == "-" else None)
        errors.axhline(BASELINE, color="gray", linestyle="--", label="always 1")
        errors.set(title=f"{length} steps", xlabel="update", yscale="log")
        gradients.set(xlabel="steps before the end", yscale="log", ylim=(1e-12, 10))
    grid[0][0].set_ylabel("mean squared error")
    grid[1][0].set_ylabel("|∂loss/∂h|, mean over rows\n(dotted: before training)")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.endswith(".svg") else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", default=list(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", metavar="FILE")
    options = parser.parse_args()
    if options.picture:
        picture(options.picture)
        return
    for length in LENGTHS:
        for name in options.cells:
            append("adding", trained(name, length, options.updates, options.seed))


if __name__ == "__main__":
    main()
