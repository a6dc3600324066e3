"""Manifests: tables that name sounds, and say what is said in them; with names of columns, or as LJSpeech has them.

Inputs: a table. Outputs: rows with paths and transcripts. A file of its own, as sounds to learn from and sounds to
transcribe are named by the same tables.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.data.counted import counted
from unrolled.data.files import Faults, read_texts
from unrolled.data.pair_sides import LEAST, are_marks
from unrolled.data.rows import rows_of
from unrolled.data.sound import SUFFIXES
from unrolled.data.table import check_learnt, choose_column
from unrolled.errors import DataError

PATH_NAMES = ("path", "file", "filename", "file_name", "audio", "audio_path", "audio_filepath", "wav", "sound")
_TEXT_NAMES = ("transcript", "transcription", "text", "sentence", "normalized_text", "label", "words")
_FOLDERS = ("", "clips", "wavs")  # beside a manifest: of Common Voice, of LJSpeech
_MARKS = "|\t,;"
_ALIKE = 0.5  # share of words that two transcripts of a sound have in common

Row = tuple[str, Path, str]  # place, sound, transcript


@dataclass(frozen=True)
class Headless:
    """Rows of a table whose first line names a sound, and no columns.

    Attributes:
        rows: with their lines.
        width: columns of the first.
        path: the place of the column with the sounds.
    """

    rows: list[tuple[int, list[str]]]
    width: int
    path: int


def rows_of_manifest(
    manifest: Path,
    asked: Mapping[str, tuple[str | None, str | None]],
    encoding: str,
    faults: Faults,
    notes: list[str],
    read_as: dict[str, Any],
) -> list[Row]:
    """Rows of a manifest; `asked` has for each column its name as the user gave it, and as a model learnt it."""
    texts, _ = read_texts([manifest], encoding=encoding)
    [(name, content)] = texts.items()
    named = [own for own, _ in asked.values() if own is not None]
    if (headless := headless_rows(manifest, content, faults, named)) is not None:
        return _without_names(
            manifest, headless, {role: own for role, (own, _) in asked.items()}, faults, notes, read_as
        )
    head, rows = rows_of(name, content, faults, notes, has_option=False)
    if not head:  # what is wrong is told
        return []
    for option, usual in (("path", PATH_NAMES), ("text", _TEXT_NAMES)):
        own, learnt = asked[option]
        check_learnt(name, head, [learnt] if learnt and own is None else [], option=option)
        read_as[option] = choose_column(name, head, own or learnt, usual, option)
    places = head.index(read_as["path"]), head.index(read_as["text"])
    found = []
    for line, row in rows:
        of_path, transcript = (row[place] for place in places)
        if of_path.strip():
            found.append((f"{name}, line {line}", sound_of(manifest, of_path.strip()), transcript))
        else:
            faults.add(f"{name}, line {line}: the path is empty")
    return found


def headless_rows(manifest: Path, content: str, faults: Faults, named: Sequence[str] = ()) -> Headless | None:
    """The rows of a table without names: its first line names a sound that is there; or, with bars as LJSpeech has
    them, has no usual name of a column and begins with a name that has a number. None of other tables, and where the
    first line has a `named` column.
    """
    first = next((line for line in content.split("\n") if line.strip()), "")
    mark = next((mark for mark in _MARKS if mark in first), "")
    cells = [each.strip() for each in first.split(mark)] if mark else []
    if not cells or any(name in cells and not name.isdecimal() for name in named):
        return None
    has_bars = mark == "|" and not {cell.lower() for cell in cells} & {*PATH_NAMES, *_TEXT_NAMES, "id"}
    sounds = [i for i, cell in enumerate(cells) if _names_sound(manifest, cell.strip('"'), has_bars=has_bars)]
    if not sounds and not (has_bars and re.search(r"\d", cells[0])):  # a name of a sound numbers it
        return None
    if mark in "|\t":  # fields are not quoted: sentences may begin with a quotation mark
        rows = [(i, line.split(mark)) for i, line in enumerate(content.split("\n"), 1) if line.strip()]
    else:
        _, some = rows_of(str(manifest), content, faults, [], header=False, has_option=False)
        rows = list(some)
    return Headless(rows, len(rows[0][1]) if rows else 0, sounds[0] if sounds else 0)


def sound_of(manifest: Path, name: str) -> Path:
    """The sound that a manifest names, with its suffix or without: in its folder, or in one of sounds in that."""
    places = [os.path.join(manifest.parent, folder, name) for folder in _FOLDERS]
    suffixes = ("",) if os.path.splitext(name)[1].lower() in SUFFIXES or not name else ("", *SUFFIXES)
    for place, suffix in itertools.product(places, suffixes):
        if os.path.isfile(place + suffix):  # a method of Path raises where a name is too long, and takes longer
            return Path(place + suffix)
    return Path(places[0])


def _names_sound(manifest: Path, cell: str, *, has_bars: bool) -> bool:
    """Whether a cell of a first line names a sound that is there; between bars alone it may do so without a suffix, as
    the name of a column beside other marks may be that of a sound.
    """
    if not cell or not (has_bars or Path(cell).suffix.lower() in SUFFIXES):
        return False
    path = sound_of(manifest, cell)
    return path.suffix.lower() in SUFFIXES and os.path.isfile(path)


def _without_names(
    manifest: Path,
    found: Headless,
    asked: Mapping[str, str | None],
    faults: Faults,
    notes: list[str],
    read_as: dict[str, Any],
) -> list[Row]:
    """Rows whose columns are known by their numbers."""
    rows = []
    for line, row in found.rows:
        if len(row) == found.width:
            rows.append((line, row))
        else:
            faults.add(f"{manifest}, line {line}: has {counted(len(row), 'column')}, the first line {found.width:,}")
    path = _number(manifest, "path", asked["path"], found.width)
    text = _number(manifest, "text", asked["text"], found.width)
    width, *learnt = read_as.get("layout", ("0",))
    if width == str(found.width):
        path, text = (own if own is not None else int(each) for own, each in zip((path, text), learnt, strict=True))
    path = found.path if path is None else path
    if text is None:
        text = _column_of_texts(manifest, [row for _, row in rows], path)
    read_as["layout"] = [str(found.width), str(path), str(text)]
    notes.append(
        f"{manifest}: its first line names a sound and no columns; sounds from column {path + 1}, transcripts from "
        f"column {text + 1}; else pass --path and --text with the number of a column"
    )
    return [(f"{manifest}, line {line}", sound_of(manifest, row[path].strip()), row[text]) for line, row in rows]


def _number(manifest: Path, role: str, column: str | None, width: int) -> int | None:
    """The number of a column, from 0."""
    if column is None:
        return None
    if not column.isdecimal() or not 0 < int(column) <= width:
        raise DataError(
            f"{manifest}: its first line names a sound and no columns; pass --{role} with the number of a column, from "
            f"1 to {width}"
        )
    return int(column) - 1


def _column_of_texts(manifest: Path, rows: Sequence[Sequence[str]], path: int) -> int:
    """The column with the transcripts: the last of those with texts, where they are the same in other words.

    Raises:
        DataError: it cannot be told.
    """
    places = [i for i in range(len(rows[0]) if rows else 0) if i != path and not _are_marks([row[i] for row in rows])]
    if len(places) == 1 or (len(places) > 1 and _are_alike([(row[places[0]], row[places[-1]]) for row in rows])):
        return places[-1]
    numbers = [str(i + 1) for i in (places or range(len(rows[0]) if rows else 0)) if i != path]
    raise DataError(
        f"{manifest}: which column has the transcripts? Pass --text with "
        + (f"one of {', '.join(numbers)}" if numbers else "its number")
    )


def _are_marks(cells: Sequence[str]) -> bool:
    cells = [cell.strip() for cell in cells]
    return not any(cells) or (len(cells) >= LEAST and are_marks(cells))


def _are_alike(pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether two columns have the same sentences, one with numbers in words, say."""
    words = [[set(re.findall(r"\w+", text.lower())) for text in pair] for pair in pairs[:1000]]
    n_alike = sum(len(a & b) >= _ALIKE * len(a | b) for a, b in words)
    return 10 * n_alike >= 8 * len(words)
