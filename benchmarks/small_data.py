"""Is any model worse than its baseline on small data? `python -m benchmarks.small_data [SET...] [--data FOLDER]`.

Every set is small, every setting is the default, every training lasts `--minutes`. Five sets are made on the spot from
Python's standard library and scikit-learn; the others are parts of public sets under `--data`, and are left out where
the folder is absent. A fifth of each set is held out and judged once, nothing is chosen on it. Rows are appended to
results/small_data.csv. The exit code is 1 if a model ended below its baseline by more than noise: two standard errors
of the difference of two shares, 0.02 nats, or 2 BLEU.
"""

import argparse
import ast
import csv
import io
import keyword
import math
import random
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unrolled
from benchmarks.harness import append
from unrolled import tasks
from unrolled.data.pairs import read_pairs
from unrolled.data.tagged import read_tagged
from unrolled.report.comparison import Comparison

LIBRARY = Path(sysconfig.get_path("stdlib"))


@dataclass(frozen=True)
class Small:
    """A set: a model with default settings, what it learns from, and what it is judged on."""

    model: Any
    data: Any
    test: Any
    n: int


def _cut(model: Any, rows: list[Any]) -> Small:
    """A fifth held out, by a fixed draw."""
    rows = random.Random(0).sample(rows, len(rows))
    n = len(rows) // 5
    return Small(model, rows[n:], rows[:n], n)


def _text(text: str) -> Small:
    at = len(text) * 4 // 5
    return Small(unrolled.TextModel(), text[:at], text[at:], len(text) - at)


def _modules(*names: str) -> Iterator[tuple[str, ast.AST, str]]:
    for name in names:
        whole = LIBRARY / name
        for path in sorted(whole.rglob("*.py")) if whole.is_dir() else [whole]:
            source = path.read_text(encoding="utf-8")
            yield name, ast.parse(source), source


def digits(_: Path) -> Small:
    """scikit-learn's digits, 8 rows of 8 pixels each, as windows over time."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return _cut(
        unrolled.ClassifyModel(),
        [(image, str(kind)) for image, kind in zip(found.images, found.target, strict=True)][:700],
    )


def docstrings(_: Path) -> Small:
    """First lines of docstrings, and the package that each is from."""
    rows = {
        (text.split("\n")[0], name)
        for name, tree, _ in _modules("asyncio", "email", "tkinter", "unittest")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node))
    }
    return _cut(unrolled.ClassifyModel(), sorted(rows))


def topics(_: Path) -> Small:
    """Python's reference, as `help()` shows it: 60,000 characters."""
    [(_, tree, _)] = _modules("pydoc_data/topics.py")
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return _text("\n".join(text for text in strings if len(text) > 500)[:60_000])


def _statements(*names: str) -> Iterator[tuple[list[str], list[str], str]]:
    """Lines of source as tokens, with tags of the names that are defined or imported, and the first keyword."""
    for _, _, source in _modules(*names):
        line: list[str] = []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NEWLINE:
                if line and line[0] in ("def", "class", "import", "from", "return", "raise", "for", "if"):
                    tags = ["O"] + [
                        f"B-{before}" if before in ("def", "class", "import", "from") else "O" for before in line[:-1]
                    ]
                    yield line, tags, line[0]
                line = []
            elif token.string.strip() and token.type not in (tokenize.COMMENT, tokenize.STRING):
                line.append(token.string)


def names_in_source(_: Path) -> Small:
    """Names after def, class, import and from; keywords are hidden."""
    rows = [
        (["?" if keyword.iskeyword(word) else word for word in line], tags)
        for line, tags, _ in _statements("argparse.py", "ast.py", "calendar.py")
    ]
    return _cut(unrolled.TagModel(), rows[:600])


def statements(_: Path) -> Small:
    """The kind of a statement whose first keyword is hidden, and the names that it defines or imports."""
    rows = [(["?", *line[1:]], tags, kind) for line, tags, kind in _statements("csv.py", "dis.py", "doctest.py")]
    return _cut(unrolled.UnderstandModel(), rows[:600])


def sst(folder: Path) -> Small:
    lines = (folder / "sst/stsa.binary.train").read_text(encoding="utf-8").split("\n")[:800]
    return _cut(unrolled.ClassifyModel(), [(text, label) for label, text in (line.split(" ", 1) for line in lines)])


def waimai(folder: Path) -> Small:
    with open(folder / "zh_waimai/waimai_10k.csv", encoding="utf-8") as file:
        rows = [(row["review"], row["label"]) for row in csv.DictReader(file)]
    return _cut(unrolled.ClassifyModel(), random.Random(1).sample(rows, 800))


def atis(folder: Path) -> Small:
    parts = [(folder / f"atis/train/{name}").read_text().split("\n")[:600] for name in ("seq.in", "seq.out", "label")]
    rows = [(a.split(), b.split(), c.strip()) for a, b, c in zip(*parts, strict=True)]
    return _cut(unrolled.UnderstandModel(), rows)


def resume(folder: Path) -> Small:
    data = read_tagged([folder / "zh_resume_ner/train.char.bmes"])
    return _cut(unrolled.TagModel(), list(zip(data.sentences, data.tags, strict=True))[:400])


def shakespeare(folder: Path) -> Small:
    return _text((folder / "tinyshakespeare/input.txt").read_text(encoding="utf-8")[:60_000])


def multi30k(folder: Path) -> Small:
    pairs = read_pairs([folder / "multi30k/train.de", folder / "multi30k/train.en"])
    return _cut(unrolled.TranslateModel(), list(zip(pairs.sources, pairs.targets, strict=True))[:600])


def fsdd(folder: Path) -> Small:
    """39 spoken digits of one speaker: 31 to learn from."""
    from unrolled.data.sound import read_sound

    files = sorted((folder / "fsdd/recordings").glob("[0-2]_george_*.wav"))[:: 150 // 39][:39]
    words = ("zero", "one", "two")
    rows = [(read_sound(file), words[int(file.name[0])]) for file in files]
    return _cut(unrolled.TranscribeModel(), [((sound.samples, sound.rate), word) for sound, word in rows])


OWN: dict[str, Callable[[Path], Small]] = {
    each.__name__: each for each in (digits, docstrings, topics, names_in_source, statements)
}
PUBLIC = {each.__name__: each for each in (sst, waimai, atis, resume, shakespeare, multi30k, fsdd)}


def noise(name: str, model: float, baseline: float, n: int) -> float:
    """What a difference may be by chance."""
    if name.startswith("nats"):
        return 0.02
    if name == "BLEU":
        return 2.0
    shares = [min(1.0, abs(each)) for each in (model, baseline)]
    return 2 * math.sqrt(sum(p * (1 - p) for p in shares) / n) + 1e-9


def judged(small: Small, minutes: float, seed: int) -> tuple[Comparison, float]:
    """Trains with the defaults; model and best baseline on what was held out, and the noise."""
    training = replace(small.model.default_training, minutes=minutes, seed=seed)
    given = {"text": small.data} if isinstance(small.data, str) else {"data": small.data}
    small.model.fit(**given, train=training)
    report = tasks.task(small.model.task).Report(small.model, small.model.evaluate(small.test))
    found = report.comparison()
    return found, noise(found.metric, found.model, found.baseline, small.n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[[], *OWN, *PUBLIC], default=[])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    np.seterr(all="raise", under="ignore")
    worse = []
    for name in given.sets or [*OWN, *PUBLIC]:
        try:
            small = (OWN | PUBLIC)[name](given.data)
        except (OSError, ImportError, unrolled.errors.DataError) as fault:
            print(f"{name:<18}left out: {fault}")
            continue
        found, chance = judged(small, given.minutes, given.seed)
        figure, model, baseline = found.metric, found.model, found.baseline
        print(f"{name:<18}{figure:<18}{model:>10.4f}{baseline:>10.4f}  noise {chance:.4f}", flush=True)
        command = f"python -m benchmarks.small_data {name} --minutes {given.minutes:g} --seed {given.seed}"
        row = {"command": command, "set": name, "task": small.model.task, "figure": figure, "model": round(model, 4)}
        row |= {"baseline": round(baseline, 4), "noise": round(chance, 4), "steps": small.model.record[-1]["step"]}
        append("small_data", [row | {"n_test": small.n}])
        worse += [name] * (found.gain < -chance)
    if worse:
        raise SystemExit(f"worse than their baselines: {', '.join(worse)}")


if __name__ == "__main__":
    main()
