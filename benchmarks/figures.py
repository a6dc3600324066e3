"""The kept results of the engine become the tables of docs/design/engine-figures.md: python -m benchmarks.figures

Comes in: benchmarks/results/engine*.csv. Goes out: the page, written anew.
"""

import csv
import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks.harness import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "design" / "engine-figures.md"
MACHINES = {
    "AMD EPYC family 25 model 1": "AMD Zen 3 (AVX2, second-level cache of 512 KiB)",
    "AMD EPYC family 25 model 17": "AMD Zen 4 (AVX-512; an earlier engine)",
    "AMD EPYC family 26 model 2": "AMD Zen 5 (AVX-512; the first engine)",
    "Intel(R) Xeon(R) Processor family 6 model 167": "Intel Xeon (AVX-512 with two units; an earlier engine)",
    "Intel(R) Xeon(R) Processor @ 2.50GHz family 6 model 85": "Intel Cascade Lake (AVX-512, L2 cache of 1 MiB)",
    "Intel(R) Xeon(R) Processor family 6 model 207": "Intel Emerald Rapids (AVX-512, two of 16 processors, torch 2.11)",
}
BOTH, FORWARD = "forward+backward", "forward"
# of a cell against a peer: mean and least, as they were set out for
WANTED = {
    ("LSTM", "torch.nn"): {BOTH: "1.3, 1.0", FORWARD: "1.15, 0.9"},
    ("GRU", "torch.nn"): {BOTH: "3.0, 1.25", FORWARD: "2.3, 1.15"},
    ("RNN", "torch.nn"): {BOTH: "2.8, 1.2", FORWARD: "2.6, 1.2"},
    ("LSTM", "python loop"): {BOTH: "3.3, 1.3", FORWARD: "3, 1.3"},
    ("GRU", "python loop"): {BOTH: "3.3, 1.3", FORWARD: "3, 1.3"},
    ("LSTM", "jax.jit(lax.scan)"): {BOTH: "2.0, 1.3", FORWARD: "2.0, 1.2"},
    ("GRU", "jax.jit(lax.scan)"): {BOTH: "2.0, 1.3", FORWARD: "2.0, 1.2"},
}
# of what the share in a question's rows is
SHARES = {"products": "peak", "diagonal": "bandwidth"}
HEAD = """# Figures of the engine
Written by `python -m benchmarks.figures` from `benchmarks/results/engine*.csv`; not to be edited by hand. They come
from `python -m benchmarks.engine`: medians of interleaved rounds, g++ 12, two cores, float32. Ratios are peer / ours:
above 1 ours is the faster. Forward + backward counts as three times the forward's operations; the peak is what a loop
in registers alone reaches, measured before and after each row. What is behind them, and why some are not what they
should be: [engine-speed.md](engine-speed.md).

The machines are virtual, shared with others and noisy: a loop takes its best time at once and twice that minutes
later, so the means move by a tenth from run to run, and single rows by a half. So beside the last run stands the range
of all, of which the first were of an older engine.
"""

Row = dict[str, str]


def results(file: Path) -> list[Row]:
    """Rows of a file; the oldest have one question, and call the step a cell."""
    with file.open(encoding="utf-8") as opened:
        return [
            {"question": "layers", "step": row.get("cell", ""), "share": ""} | row for row in csv.DictReader(opened)
        ]


def runs(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of the layers, run by run."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["question"] == "layers":
            found.setdefault(row["date"], []).append(row)
    return [found[date] for date in sorted(found)]


def _ratios(rows: Iterable[Row], cell: str, peer: str, way: str) -> list[float]:
    return [float(r["of_fused"]) for r in rows if (r["step"], r["rival"], r["pass"]) == (cell, peer, way)]


def _table(head: list[str], lines: Iterable[Iterable[str]]) -> str:
    all_lines = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in all_lines) + "\n"


def against_peers(of_runs: list[list[Row]]) -> str:
    """Mean and least over the shapes, of the last run and over all."""
    lines = []
    for cell, peer in dict.fromkeys((row["step"], row["rival"]) for row in of_runs[-1] if row["rival"] != "fused"):
        line = [cell, peer]
        for way in (BOTH, FORWARD):
            found = [each for rows in of_runs if (each := _ratios(rows, cell, peer, way))]
            means, least = list(map(statistics.fmean, found)), [min(each) for each in found]
            line += [
                f"{means[-1]:.2f}, {least[-1]:.2f}",
                WANTED.get((cell, peer), {}).get(way, ""),
                f"{min(means):.2f} to {max(means):.2f}, {min(least):.2f} to {max(least):.2f}",
            ]
        lines.append(line)
    each = ["last", "wanted", "all runs"]
    return _table(
        ["cell", "against", *(f"forward + backward: {name}" for name in each), *(f"forward: {name}" for name in each)],
        lines,
    )


def by_shape(rows: list[Row]) -> str:
    """Each cell and shape of one run."""
    peers = [peer for peer in dict.fromkeys(row["rival"] for row in rows) if peer != "fused"]
    found = {(row["step"], _shape(row), row["pass"], row["rival"]): row for row in rows}
    lines = []
    for step, shape in dict.fromkeys(key[:2] for key in found):
        line = [f"{step} {shape}"]
        for way in (FORWARD, BOTH):
            own = found[step, shape, way, "fused"]
            share = f"{float(own['share']):.0%}" if own["share"] else ""
            others = [found.get((step, shape, way, peer)) for peer in peers]
            line += [own["us_per_step"], share, *(f"{float(row['of_fused']):.2f}" if row else "" for row in others)]
        lines.append(line)
    each = ["us a step", "of the peak", *peers]
    head = ["cell (batch, time, hidden)", *each, "forward + backward: us a step", *each[1:]]
    return _table(head, lines)


def others(rows: list[Row]) -> str:
    """What else was asked, the last answer each."""
    asked = [row for row in rows if row["question"] != "layers"]
    last = {(r["question"], r["step"], _shape(r), r["rival"], r["pass"]): r for r in asked}
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    seconds = []
    for (question, step, shape, rival, way), row in last.items():
        what = f"{step}{' under autocast' if question == 'autocast' else ''} {shape}"
        if not row["of_fused"]:
            seconds.append([step, way, f"{float(row['median_s']):.2g} s", row["date"][:10]])
        elif rival != "fused":
            own = last[question, step, shape, "fused", way]
            ratio = f"{float(row['of_fused']):.2f}"
            if question in SHARES:
                ratio += f"; {float(own['share']):.0%} of the {SHARES[question]}"
            elif step.startswith("a call"):
                ratio += f"; {float(own['median_s']) * 1e6:.0f} us"
            lines.setdefault((what, rival, row["date"][:10]), {})[way] = ratio
    text = _table(
        ["question", "against", "forward + backward", "forward", "asked"],
        ([what, rival, ways.get(BOTH, ""), ways.get(FORWARD, ""), date] for (what, rival, date), ways in lines.items()),
    )
    return text + ("\n" + _table(["cell", "took until its result", "", "asked"], seconds) if seconds else "")


def _shape(row: Row) -> str:
    return f"({row['batch']}, {row['time']}, {row['hidden']})"


def page() -> str:
    """The page's text: a section for each machine, the one asked last first."""
    machines: dict[str, list[Row]] = {}
    for file in sorted(RESULTS.glob("engine*.csv")):
        for row in results(file):
            machines.setdefault(row["processor"], []).append(row)
    parts = [HEAD]
    for name, rows in sorted(
        machines.items(), key=lambda machine: max(row["date"] for row in machine[1]), reverse=True
    ):
        parts.append(f"## {MACHINES.get(name, name)}")
        if of_runs := runs(rows):
            n, date = len(of_runs), of_runs[-1][0]["date"]
            parts.append(
                f"{n} run{'s' if n > 1 else ''}, the last of {date} UTC. Means over the shapes, and the least:\n"
            )
            parts += [against_peers(of_runs), "The last run:\n", by_shape(of_runs[-1])]
        if any(row["question"] != "layers" for row in rows):
            parts.append(others(rows))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
