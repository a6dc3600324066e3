"""Sentences with an intent and slots.

Inputs: a folder with seq.in (tokens, a sentence a line), seq.out (their tags) and label (intents); or JSON lines:
{"text": "...", "intent": "...", "spans": [...]} or {"tokens": [...], "tags": [...], "intent": "..."}. Outputs: lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.data.counted import counted
from unrolled.data.files import Faults, in_place, json_lines, read_texts
from unrolled.data.items import Items
from unrolled.data.table import NOTHING, Learnt
from unrolled.data.tagged import Tagged, json_sentence, sentences_of, settled
from unrolled.errors import DataError

PARTS = ("seq.in", "seq.out", "label")


@dataclass(frozen=True)
class Intents:
    """Tagged sentences with intents.

    Attributes:
        tagged: the sentences with their slots.
        intents: of each sentence.
        sha256: of the files.
    """

    tagged: Tagged
    intents: list[str]
    sha256: str = ""

    @property
    def read_as(self) -> Learnt:
        """What reading found out by itself: the "scheme"."""
        return self.tagged.read_as

    def __len__(self) -> int:
        return len(self.intents)

    @property
    def notes(self) -> list[str]:
        """What was noticed on reading, for the user."""
        return [*self.tagged.notes, counted(len(set(self.intents)), "intent")]

    def part(self, places: Sequence[int]) -> "Intents":
        """The sentences at some places."""
        return Intents(self.tagged.part(places), [self.intents[i] for i in places])


def sub_folder(folder: Path | str, *names: str) -> Path | None:
    """The first of some sub-folders that is there."""
    return next((Path(folder) / name for name in names if (Path(folder) / name).is_dir()), None)


def read_intents(
    files: Sequence[Path | str], *, scheme: str = "auto", encoding: str = "utf-8", learnt: Learnt = NOTHING
) -> Intents:
    """Reads a folder of seq.in, seq.out and label, or files of JSON lines.

    Args:
        files: folders, or files.
        scheme: of the tags; "auto" recognizes it.
        encoding: of the files.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: files or lines cannot be used; all of them are told at once.
    """
    faults = Faults()
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    intents: list[str] = []
    where: list[str] = []
    digest = ""
    for file in map(Path, files):
        reader = _folder if file.is_dir() else _json_lines
        found, sha256 = reader(file, encoding, faults)
        digest += sha256
        for tokens, of_tokens, intent, place in found:
            sentences.append(tokens)
            tags.append(of_tokens)
            intents.append(intent)
            where.append(place)
    faults.stop()
    if not sentences:
        raise DataError(f"{', '.join(map(str, files))}: holds no sentences")
    scheme, notes = settled(sentences, tags, scheme, lambda i, j: f"{where[i]}, token {j + 1}", learnt)
    return Intents(Tagged(sentences, tags, scheme, notes, read_as={"scheme": scheme}), intents, digest)


def sentences_in(path: Path, encoding: str, tags: Sequence[str]) -> Items | None:
    """The sentences of a folder's seq.in, or of JSON lines, as texts; None of anything else."""
    file = path / PARTS[0] if path.is_dir() else path
    if file.name != PARTS[0] or not file.is_file():
        found = None if path.is_dir() else sentences_of(path, encoding, tags)
        return found and Items([(" ".join(item), beside) for item, beside in found.pairs], found.note)
    texts, _ = read_texts([file], encoding=encoding)
    lines = texts[str(file)].removesuffix("\n").split("\n")
    return Items([(line, {}) for line in lines], f"{file}: {counted(len(lines), 'sentence')}")


_Row = tuple[list[str], list[str], str, str]


def _folder(folder: Path, encoding: str, faults: Faults) -> tuple[list[_Row], str]:
    missing = [part for part in PARTS if not (folder / part).is_file()]
    if missing:
        there = sub_folder(folder, "train")
        hint = f" Name {there} to learn from it alone." if there else ""
        raise DataError(f"{folder}: has no {', '.join(missing)}; expected the files {', '.join(PARTS)}.{hint}")
    texts, sha256 = read_texts([folder / part for part in PARTS], encoding=encoding)
    columns = [text.removesuffix("\n").split("\n") for text in texts.values()]
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{part} {len(column):,}" for part, column in zip(PARTS, columns, strict=True))
        raise DataError(
            f"{folder}: its files have different numbers of lines ({counts}); line i of each must be one sentence"
        )
    rows: list[_Row] = []
    for number, (words, of_words, intent) in enumerate(zip(*columns, strict=True), 1):
        tokens, tags = words.split(), of_words.split()
        place = f"{folder}, line {number}"
        if not tokens:
            faults.add(f"{place}: seq.in is empty")
        elif len(tokens) != len(tags):
            faults.add(f"{place}: {counted(len(tokens), 'token')} in seq.in and {counted(len(tags), 'tag')} in seq.out")
        elif not intent.strip():
            faults.add(f"{place}: label is empty")
        else:
            rows.append((tokens, tags, intent.strip(), place))
    return rows, sha256


def _json_lines(file: Path, encoding: str, faults: Faults) -> tuple[list[_Row], str]:
    texts, sha256 = read_texts([file], encoding=encoding)
    rows: list[_Row] = []
    if not texts[str(file)].lstrip().startswith("{"):
        faults.add(
            f"{file}: is neither a folder of {', '.join(PARTS)} nor JSON lines, such as "
            '{"tokens": ["to", "rome"], "tags": ["O", "B-city"], "intent": "flight"}'
        )
        return rows, sha256
    for _, place, item in json_lines(str(file), texts[str(file)], faults):
        intent = item.get("intent") if isinstance(item, dict) else None
        if not isinstance(intent, str) or not intent.strip():
            found = "" if isinstance(item, dict) and "intent" in item else f"; {in_place(item)}"
            faults.add(f'{place}: has no "intent", a text{found}')
            continue
        pair = json_sentence(item, place, faults)
        if pair is not None and pair[0]:
            rows.append((*pair, intent.strip(), place))
    return rows, sha256
