"""Times rivals interleaved in one run, and appends what came out to benchmarks/results.

Comes in: functions to time. Goes out: rows with median and quartiles, beside commit, versions, machine and date.
"""

import csv
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(
    rivals: dict[str, Callable[[], object]], *, rounds: int, warm_up: int = 1, rest: float = 0.0, burst: int = 1
) -> dict[str, list[float]]:
    """Seconds of every round of every rival; each round runs all, so that what disturbs the machine meets all. Each
    run is preceded by so many seconds of rest, or is the mean of a burst of so many, one after the other.
    """
    for run in rivals.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for i in range(rounds):
        # every second round in the other order: no rival is always the one after another
        for name in list(rivals)[:: 1 if i % 2 == 0 else -1]:
            if rest:
                time.sleep(rest)
            start = time.perf_counter()
            for _ in range(burst):
                rivals[name]()
            seconds[name].append((time.perf_counter() - start) / burst)
    return seconds


def quartiles(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {"median_s": middle, "low_s": low, "high_s": high}


def append(file: str, rows: list[dict[str, object]]) -> None:
    """Adds rows to benchmarks/results/FILE.csv; a file whose columns differ is left and told."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{file}.csv"
    rows = [origin() | row for row in rows]
    is_new = not path.exists()
    if not is_new:
        header = next(csv.reader(path.open(encoding="utf-8")))
        if header != list(rows[0]):
            raise SystemExit(
                f"{path}: has the columns {header}; the new rows have {list(rows[0])}. Rename the old file."
            )
    with path.open("a", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def origin() -> dict[str, object]:
    """Where and when: date, commit, versions, processor, threads."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": processor(),
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The processor's name, family and model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {line.split(":")[0].strip(): line.split(":")[1].strip() for line in lines if ":" in line}
    return f"{facts.get('model name', platform.machine())} family {facts.get('cpu family')} model {facts.get('model')}"
