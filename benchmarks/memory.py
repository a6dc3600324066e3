"""How much memory does `predict` take for a large file? `python -m benchmarks.memory [classify | translate]`.

A classifier and a translator with default sizes learn for a few seconds from sentences that are made on the spot. Then
`predict` reads files of 10 lines and of many, each in a process of its own. The peak is that of the whole process:
Python and torch, the model, the batch that is computed, and the memory that the compiled loop keeps for the next call.
Rows are appended to results/memory.csv.
"""

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

import unrolled
from benchmarks.harness import append, origin

WORDS = [a + b for a in ("ka", "lo", "mi", "ne", "pu", "ra") for b in ("ban", "dor", "fil", "gut", "hem", "jas", "kol")]
MEGABYTES = {"classify": 2.9, "translate": 1.35}
# VmHWM: `getrusage` would count the process that started this one too
PEAK = """
import re, sys
from pathlib import Path
from unrolled.cli.main import main
try:
    main()
finally:
    kilobytes = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    print(int(kilobytes) / 1024, file=sys.stderr)
"""


def sentences(seed: int) -> Iterator[str]:
    """Without end, 4 to 24 words each."""
    draw = random.Random(seed)
    while True:
        yield " ".join(draw.choices(WORDS, k=draw.randint(4, 24)))


def learn(task: str, path: Path) -> None:
    """A model file of a training of 20 steps."""
    made = sentences(0)
    texts = [next(made) for _ in range(400)]
    brief = unrolled.TrainSettings(steps=20)
    if task == "classify":
        unrolled.ClassifyModel().fit(texts, ["a" if "kaban" in text else "b" for text in texts], train=brief).save(path)
    else:
        model = unrolled.TranslateModel(answer="model")
        model.fit([(text, text.upper()) for text in texts], train=brief).save(path)


def peak(model: Path, file: Path) -> float:
    """MB of a process that predicts a file."""
    command = [sys.executable, "-c", PEAK, "predict", str(model), "--file", str(file), "--out", str(file) + ".out"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stderr.split()[-1])


def main() -> None:
    """Measures the tasks that are named, or both; prints and keeps a row for each file."""
    for task in sys.argv[1:] or MEGABYTES:
        with tempfile.TemporaryDirectory() as folder:
            append("memory", list(rows_of(task, Path(folder))))


def rows_of(task: str, folder: Path) -> Iterator[dict[str, object]]:
    """The peak of a file of 10 lines, and of a large one."""
    model, file = folder / f"{task}.safetensors", folder / "lines.txt"
    learn(task, model)
    made, many = sentences(1), list[str]()
    while file_size(many) < MEGABYTES[task] * 1e6:
        many += [next(made) for _ in range(100)]
    file.write_text("\n".join(many[:10]) + "\n")
    peak(model, file)  # which fills the cache of compiled loops
    for lines in (many[:10], many):
        file.write_text("\n".join(lines) + "\n")
        found = round(peak(model, file))
        print(f"{task}: {len(lines):,} lines, {file_size(lines) / 1e6:.2f} MB: {found} MB", flush=True)
        yield {
            **origin(),
            "task": task,
            "lines": len(lines),
            "file_mb": round(file_size(lines) / 1e6, 3),
            "peak_mb": found,
        }


def file_size(lines: list[str]) -> int:
    """Bytes of a file of these lines."""
    return sum(len(line) + 1 for line in lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
