"""Sentences with an intent and slots.

Inputs: a folder with seq.in (tokens, a sentence a line), seq.out (their tags) and label (intents); or lines as those of
ATIS, BOS to rome EOS, a tab, O O B-city flight; or JSON lines:
{"text": "...", "intent": "...", "spans": [...]} or {"tokens": [...], "tags": [...], "intent": "..."}; or a table with a
sentence or a token a row, its tags and its intent. Outputs: lists.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.data.alike import told_alike
from unrolled.data.atis import are_atis, atis_sentences
from unrolled.data.counted import counted
from unrolled.data.files import Faults, in_place, json_lines, read_texts, shortened
from unrolled.data.items import ItemForm, Items, lines_of, opened_file
from unrolled.data.table import NOTHING, Learnt, check_learnt, choose_column
from unrolled.data.tag_columns import TagColumns, keep_columns, no_table
from unrolled.data.tagged import Tagged, sentences_of, settle_scheme
from unrolled.data.tagged_lines import NO_COLUMNS, json_sentence
from unrolled.data.tagged_table import is_tagged_table, read_tagged_table
from unrolled.errors import DataError

PARTS = ("seq.in", "seq.out", "label")
_INTENT_NAMES = ("intent", "intents", "label", "class", "category")


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
        """What reading found out by itself: the "scheme"; of a table "sentence", "token", "tag", "intent" too."""
        return self.tagged.read_as

    def __len__(self) -> int:
        return len(self.intents)

    @property
    def notes(self) -> list[str]:
        """What was noticed on reading, for the user."""
        return [
            *self.tagged.notes,
            counted(len(set(self.intents)), "intent"),
            *told_alike(self.intents, "intents", "intents"),
        ]

    def part(self, places: Sequence[int]) -> "Intents":
        """The sentences at some places."""
        return Intents(self.tagged.part(places), [self.intents[i] for i in places])


def sub_folder(folder: Path | str, *names: str) -> Path | None:
    """The first of some sub-folders that is there."""
    return next((Path(folder) / name for name in names if (Path(folder) / name).is_dir()), None)


def read_intents(
    files: Sequence[Path | str],
    *,
    scheme: str = "auto",
    columns: TagColumns = NO_COLUMNS,
    intent: str | None = None,
    encoding: str = "utf-8",
    learnt: Learnt = NOTHING,
) -> Intents:
    """Reads folders of seq.in, seq.out and label, lines as those of ATIS, files of JSON lines, and tables.

    Args:
        files: folders, or files.
        scheme: of the tags; "auto" recognizes it.
        columns: of sentences, tokens and tags that a user named.
        intent: the column of intents, likewise.
        encoding: of the files.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: files or lines cannot be used; all of them are told at once.
    """
    faults, notes = Faults(), list[str]()
    rows: list[_Row] = []
    digest = ""
    of_tables: dict[str, str] = {}
    for file in map(Path, files):
        has_columns = not file.is_dir() and is_tagged_table(file, encoding, columns)
        if file.is_dir():
            found, sha256 = _folder(file, encoding, faults)
        elif _is_atis(file, encoding):
            found, sha256 = _atis(file, encoding, faults, notes)
        elif has_columns:
            found, sha256 = _table(str(file), encoding, columns, intent, learnt, of_tables, faults, notes)
        else:
            found, sha256 = _json_lines(file, encoding, faults, columns, intent or "intent")
        if columns.sentence is not None and not has_columns:
            notes.append(no_table(str(file)))
        digest += sha256
        rows += found
    faults.stop()
    if not rows:
        raise DataError(f"{', '.join(map(str, files))}: holds no sentences")
    sentences, tags, intents, where = (list(each) for each in zip(*rows, strict=True))
    scheme, more = settle_scheme(sentences, tags, scheme, lambda i, j: f"{where[i]}, token {j + 1}", learnt)
    read_as = {**learnt, **of_tables, "scheme": scheme}
    return Intents(Tagged(sentences, tags, scheme, [more[0], *notes, *more[1:]], read_as=read_as), intents, digest)


def sentences_in(
    path: Path, form: ItemForm, tags: Sequence[str], learnt: Learnt = NOTHING, columns: TagColumns = NO_COLUMNS
) -> Items | None:
    """The sentences of a folder's seq.in, of JSON lines, or of a table, as texts; None of anything else.

    Args:
        path: of the folder or file.
        form: how the file is written; texts, where the user says so.
        tags: known ones, in any scheme.
        learnt: how the data were read that a model learnt from.
        columns: that a user named.
    """
    file = path / PARTS[0] if path.is_dir() else path
    if file.name != PARTS[0] or not file.is_file():
        found = None if path.is_dir() else sentences_of(path, form, tags, learnt, columns)
        return found and Items([(_text(item), beside) for item, beside in found.pairs], found.note)
    texts, _ = read_texts([file], encoding=form.encoding)
    lines = texts[str(file)].removesuffix("\n").split("\n")
    return Items([(line, {}) for line in lines], f"{file}: {counted(len(lines), 'sentence')}")


def _text(item: str | Sequence[str]) -> str:
    return item if isinstance(item, str) else " ".join(item)


_Row = tuple[list[str], list[str], str, str]  # tokens, tags, intent, place


def _table(
    name: str,
    encoding: str,
    columns: TagColumns,
    intent: str | None,
    learnt: Learnt,
    of_tables: dict[str, str],
    faults: Faults,
    notes: list[str],
) -> tuple[list[_Row], str]:
    """Rows of a table, and its digest; `of_tables` gets its columns."""
    chosen = ""

    def apart(name: str, head: Sequence[str]) -> str:
        nonlocal chosen
        if intent is None and "intent" in learnt:
            check_learnt(name, head, [learnt["intent"]], option="intent")
        asked = {columns.of(role) or learnt.get(role) for role in ("sentence", "token", "tag")}
        free = [each for each in head if each not in asked]
        chosen = choose_column(name, free, intent or learnt.get("intent"), _INTENT_NAMES, "intent")
        return chosen

    found, table, roles = read_tagged_table(name, encoding, columns, learnt, faults, notes, apart=apart)
    keep_columns(of_tables, name, {**roles.names, "intent": chosen}, faults)
    intents = dict(zip(table.lines, map(str.strip, table.columns[chosen]), strict=True))
    places = dict(zip(table.lines, table.places, strict=True))
    rows: list[_Row] = []
    for tokens, tags, lines in found:
        of_sentence = list(dict.fromkeys(each for line in lines if (each := intents[line])))
        if len(of_sentence) == 1:
            rows.append((tokens, tags, of_sentence[0], places[lines[0]]))
        else:
            shown = f"has the intents {', '.join(map(shortened, of_sentence[:3]))}" if of_sentence else "has no intent"
            faults.add(f"{places[lines[0]]}: the sentence {shown}; expected one")
    return rows, table.sha256


def _is_atis(file: Path, encoding: str) -> bool:
    """Whether a file has lines as those of ATIS; what cannot be read has none."""
    if not file.is_file():
        return False
    with contextlib.suppress(DataError):
        return are_atis(lines_of(opened_file(file), str(file), encoding))
    return False


def _atis(file: Path, encoding: str, faults: Faults, notes: list[str]) -> tuple[list[_Row], str]:
    texts, sha256 = read_texts([file], encoding=encoding)
    found = atis_sentences(str(file), texts[str(file)], faults, needs_intents=True)
    notes.append(f"{file}: lines as those of ATIS, BOS words EOS and their tags; the last one is the intent")
    return [(tokens, tags, intent, f"{file}, line {line}") for tokens, tags, intent, line in found], sha256


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


def _json_lines(
    file: Path, encoding: str, faults: Faults, columns: TagColumns, of_intents: str
) -> tuple[list[_Row], str]:
    texts, sha256 = read_texts([file], encoding=encoding)
    rows: list[_Row] = []
    if not texts[str(file)].lstrip().startswith("{"):
        faults.add(
            f"{file}: is neither a folder of {', '.join(PARTS)}, nor a table, nor JSON lines, such as "
            '{"tokens": ["to", "rome"], "tags": ["O", "B-city"], "intent": "flight"}'
        )
        return rows, sha256
    for _, place, item in json_lines(str(file), texts[str(file)], faults):
        intent = item.get(of_intents) if isinstance(item, dict) else None
        if not isinstance(intent, str) or not intent.strip():
            found = "" if isinstance(item, dict) and of_intents in item else f"; {in_place(item)}"
            faults.add(f'{place}: has no "{of_intents}", a text{found}')
            continue
        pair = json_sentence(item, place, faults, columns)
        if pair is not None and pair[0]:
            rows.append((*pair, intent.strip(), place))
    return rows, sha256
