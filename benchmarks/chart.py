"""Draws and sums up the kept results of the engine against its peers: python -m benchmarks.chart

Comes in: benchmarks/results/engine.csv. Goes out: docs/images/engine.svg. Needs matplotlib, from
`pip install 'unrolled[bench]'`.
"""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.harness import RESULTS

TARGET = Path(__file__).parents[1] / "docs" / "images" / "engine.svg"
PEERS = {"torch.nn": "#1f77b4", "jax.jit(lax.scan)": "#ff7f0e", "python loop": "#7f7f7f"}
WAYS = ("forward", "forward+backward")


def latest() -> dict[tuple, dict[str, str]]:
    """The last row of each cell, shape, way and peer."""
    with (RESULTS / "engine.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["question"] == "layers"]
    return {(row["step"], row["batch"], row["time"], row["hidden"], row["pass"], row["rival"]): row for row in rows}


def summary(rows: dict[tuple, dict[str, str]]) -> str:
    """Mean and least of the ratios over the shapes, for each cell and peer, as a table of Markdown."""
    lines = ["| cell | against | forward + backward: mean, least | forward: mean, least |", "|---|---|---|---|"]
    for cell in dict.fromkeys(key[0] for key in rows):
        for peer in PEERS:
            shown = []
            for way in reversed(WAYS):
                ratios = [
                    float(row["of_fused"]) for key, row in rows.items() if key[0] == cell and key[4:] == (way, peer)
                ]
                shown.append(f"{sum(ratios) / len(ratios):.2f}, {min(ratios):.2f}" if ratios else "")
            if any(shown):
                lines.append(f"| {cell} | {peer} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    rows = latest()
    print(summary(rows))
    cells = list(dict.fromkeys(key[0] for key in rows))
    shapes = list(dict.fromkeys(key[1:4] for key in rows))
    plt.rcParams.update({"svg.hashsalt": "engine", "font.size": 9, "svg.fonttype": "none"})
    figure, grid = plt.subplots(
        len(cells), len(WAYS), figsize=(10, 2.5 * len(cells)), sharex=True, layout="constrained"
    )
    for line, cell in zip(grid, cells, strict=True):
        for axes, way in zip(line, WAYS, strict=True):
            for place, (peer, color) in enumerate(PEERS.items()):
                found = [(i, rows.get((cell, *shape, way, peer))) for i, shape in enumerate(shapes)]
                bars = [(i + 0.27 * (place - 1), float(row["of_fused"])) for i, row in found if row]
                if bars:
                    axes.bar(*zip(*bars, strict=True), width=0.25, color=color, label=peer)
            axes.axhline(1, color="black", linewidth=0.8)
            axes.set_yscale("log", base=2)
            axes.set_yticks([0.5, 1, 2, 4, 8, 16], ["½", "1", "2", "4", "8", "16"])
            axes.set_ylim(0.5, 24)
            axes.set_title(f"{cell}, {way.replace('+', ' + ')}")
            axes.set_xticks(range(len(shapes)), [f"{b}, {t}, {h}" for b, t, h in shapes], rotation=20)
    grid[0][0].legend(fontsize=8)
    figure.supxlabel("batch, time, hidden")
    figure.supylabel("times slower than the compiled loop")
    TARGET.parent.mkdir(exist_ok=True)
    figure.savefig(TARGET, metadata={"Date": None})
    print(TARGET)


if __name__ == "__main__":
    main()
