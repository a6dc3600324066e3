"""Draws the last kept results of the engine against its peers: python -m benchmarks.chart

Comes in: benchmarks/results/engine.csv. Goes out: docs/images/engine.svg. Needs matplotlib, from
`pip install 'unrolled[bench]'`.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.figures import BOTH, FORWARD, results, runs
from benchmarks.harness import RESULTS

TARGET = Path(__file__).parents[1] / "docs" / "images" / "engine.svg"
PEERS = {"torch.nn": "#1f77b4", "jax.jit(lax.scan)": "#ff7f0e", "python loop": "#7f7f7f"}
WAYS = (FORWARD, BOTH)


def main() -> None:
    of_runs = runs(results(RESULTS / "engine.csv"))
    rows = {(r["step"], r["batch"], r["time"], r["hidden"], r["pass"], r["rival"]): r for r in of_runs[-1]}
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
