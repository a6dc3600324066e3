"""Which columns of a table have sentences, and which their translations: as asked, by name, or by what the cells hold.

Inputs: names and first rows. Outputs: two columns, and what was guessed. A file of its own, as lines and tables ask it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from unrolled.data.table import choose_column, names_shown
from unrolled.errors import DataError

_SOURCES = frozenset({"source", "src", "original", "input"})
_TARGETS = frozenset({"target", "tgt", "trg", "translation", "output"})
_WORDS = (
    "ar cs da de el en es fa fi fr he hi hu id it ja ko nl no pl pt ro ru sv th tr uk vi zh "
    "arabic chinese czech danish dutch english finnish french german greek hebrew hindi hungarian indonesian italian "
    "japanese korean norwegian persian polish portuguese romanian russian spanish swedish thai turkish ukrainian "
    "vietnamese"
)
_LANGUAGES = frozenset(_WORDS.split())
_NAMES = _SOURCES | _TARGETS | _LANGUAGES | {"sentence", "text"}  # of columns, where both sides are among them
_BESIDE = frozenset({"sentence", "text", "lang", "language", "col", "column", "str", "string"})  # as in en_text
LEAST = 20  # rows that tell which columns hold sentences
_NO_SENTENCE = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?%?|https?://\S+|\{\"[^\"]*\":.*\}", re.DOTALL)
_LONGEST_MARK = 12  # characters


@dataclass(frozen=True)
class Sides:
    """The columns of sentences and of their translations, what is told of a guess, and whether names told them."""

    source: str
    target: str
    note: str = ""
    are_named: bool = False


@dataclass(frozen=True)
class AskedSides:
    """The columns that a user named, or a model learnt; None to guess."""

    source: str | None = None
    target: str | None = None


def are_names(columns: Sequence[str]) -> bool:
    """Whether the first two cells of a line are names of columns, and no sentences."""
    first, second = ([each.strip().lower() for each in columns] + ["", ""])[:2]
    return first != second and _is_name(first) and _is_name(second)


def are_marks(cells: Sequence[str]) -> bool:
    """Whether a column has numbers, addresses or objects, or names a few kinds of lines, such as languages; no
    sentences do.
    """
    kinds = {each for each in cells if each}
    return all(map(_NO_SENTENCE.fullmatch, kinds)) or (
        10 * len(kinds) <= len(cells) and all(len(each) <= _LONGEST_MARK and " " not in each for each in kinds)
    )


def named_sides(head: Sequence[str]) -> tuple[int, int] | None:
    """The places of the two columns whose names are those of languages or sides; None where there are not two."""
    places = [i for i, name in enumerate(head) if _is_name(name.strip().lower())]
    for kinds in (_LANGUAGES, _LANGUAGES - {"id"}, _SOURCES | _TARGETS, _NAMES - _LANGUAGES):  # "id" numbers rows, too
        some = [i for i in places if _parts(head[i]) & kinds]
        if len(some) == 2 and head[some[0]].strip().lower() != head[some[1]].strip().lower():
            first, second = some
            is_turned = _parts(head[first]) & _TARGETS and not _parts(head[second]) & _TARGETS
            return (second, first) if is_turned else (first, second)
    return None


def sides_of(
    name: str, head: Sequence[str], rows: Sequence[Sequence[str]], asked: AskedSides, *, are_named: bool
) -> Sides:
    """The columns of a table.

    Args:
        name: of the table, for faults.
        head: names of its columns.
        rows: its first rows.
        asked: columns that are named.
        are_named: whether the names are known to be names: else the first line may be a pair.

    Raises:
        DataError: a column is not there, or which ones are meant cannot be told.
    """
    for option, column in (("source", asked.source), ("target", asked.target)):
        if column is not None:
            choose_column(name, head, column, (), option)
    if asked.source is not None and asked.source == asked.target:
        raise DataError(f"{name}: --source and --target both name {asked.source!r}; expected two columns")
    rest = [each for each in head if each not in (asked.source, asked.target)]
    places = named_sides(rest) if asked.source is asked.target is None else None
    if places is not None:
        return replace(_told(rest[places[0]], rest[places[1]]), are_named=True)
    if asked.source is not None and asked.target is not None:
        return Sides(asked.source, asked.target, are_named=True)
    free = [each for each in rest if not _are_marks_in(rows, head.index(each))]
    fitting = rest if len(rest) + (asked.source is not None) + (asked.target is not None) == 2 else free
    if asked.source is not None or asked.target is not None:
        if len(fitting) != 1:
            option = "target" if asked.target is None else "source"
            raise DataError(f"{name}: which column is the {option}? Pass --{option} with one of {names_shown(rest)}")
        return _told(asked.source or fitting[0], asked.target or fitting[0])
    if len(fitting) != 2:
        raise DataError(
            f"{name}: which columns are the sentences and their translations? Pass --source and --target with two of "
            f"{names_shown(head)}"
        )
    if not are_named:
        raise DataError(
            f"{name}, line 1: {names_shown(fitting)} may be names of columns or a pair. Pass --header if they are "
            "names, --no-header if they are a pair"
        )
    return _told(*fitting)


def _told(source: str, target: str) -> Sides:
    note = f"column {source!r} is taken for the source and {target!r} for the target; else pass --source and --target"
    return Sides(source, target, note)


def _are_marks_in(rows: Sequence[Sequence[str]], place: int) -> bool:
    cells = [row[place].strip() for row in rows]
    return (len(cells) >= LEAST and are_marks(cells)) or all(not each or _NO_SENTENCE.fullmatch(each) for each in cells)


def _parts(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", name.strip().lower())) - {""}


def _is_name(text: str) -> bool:
    """Whether a text is the name of a language or a side, alone or beside a word such as in en_text, or a region."""
    if text in _NAMES:
        return True
    if re.fullmatch(r"([a-z]{2})[-_][a-z]{2}", text):
        return text[:2] in _LANGUAGES
    parts = re.split(r"[\W_]+", text)
    is_joined = not re.search(r"[^\w-]", text) or parts[-1:] in (["sentence"], ["text"])
    return (
        len(parts) == 2
        and is_joined
        and any(a in _NAMES and b in _BESIDE | _LANGUAGES for a, b in (parts, parts[::-1]))
    )
