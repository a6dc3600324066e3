"""Sounds with their transcripts.

Inputs: a table of paths, or a folder. Outputs: paths and transcripts. Only the lengths of sounds stay in memory;
samples are read again when they are needed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.counted import counted
from unrolled.data.files import Faults, read_bytes, read_texts
from unrolled.data.items import ItemForm, Items
from unrolled.data.manifests import PATH_NAMES, headless_rows, rows_of_manifest, sound_of
from unrolled.data.sound import NO_CLASSES, SUFFIXES, Sound, read_sound
from unrolled.data.table import NOTHING, Learnt, choose_column, is_table, names_shown, read_table
from unrolled.errors import DataError

_MANIFESTS = ("manifest.csv", "metadata.csv", "manifest.tsv", "metadata.jsonl", "manifest.jsonl")


@dataclass(frozen=True)
class Transcribed:
    """Sounds with what is said in them.

    Attributes:
        sounds: paths of files, or sounds in memory.
        transcripts: of each; spaces between words are single ones.
        seconds: float64 [sounds].
        rates: samples a second, of each.
        notes: what was noticed on reading, for the user.
        sha256: of each manifest or folder, with its sounds.
        read_as: the columns "path" and "text" of a manifest, where there was one; or the "layout" of one without names.
    """

    sounds: list[Path | Sound]
    transcripts: list[str]
    seconds: np.ndarray
    rates: list[int]
    notes: tuple[str, ...] = ()
    sha256: str = ""
    read_as: Learnt = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sounds)

    def part(self, places: Sequence[int]) -> "Transcribed":
        """The sounds at some places."""
        return Transcribed(
            [self.sounds[i] for i in places], [self.transcripts[i] for i in places], self.seconds[list(places)],
            [self.rates[i] for i in places],
        )  # fmt: skip

    def load(self, place: int) -> Sound:
        """A sound with its samples."""
        sound = self.sounds[place]
        return sound if isinstance(sound, Sound) else read_sound(sound)

    def loaded(self) -> Iterator[list[Sound]]:
        """All sounds, a hundred at a time: what bounds memory."""
        for start in range(0, len(self), 100):
            yield [self.load(place) for place in range(start, min(start + 100, len(self)))]


def read_transcribed(
    files: Sequence[Path | str],
    *,
    path: str | None = None,
    text: str | None = None,
    encoding: str = "utf-8",
    learnt: Learnt = NOTHING,
) -> Transcribed:
    """Reads manifests (CSV, TSV or JSON lines with a column of paths and one of transcripts, or LJSpeech's lines with
    bars), or folders: with a manifest in them, a text file of the same name beside each sound, or LibriSpeech's
    *.trans.txt.

    Args:
        files: of manifests and folders. Paths in a manifest start at the manifest's folder, or are absolute.
        path: name of the column with the paths; guessed from usual names if None.
        text: name of the column with the transcripts, likewise.
        encoding: of manifests and text files.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: a sound is missing or cannot be read, a transcript is empty; all faults are told at once.
    """
    faults = Faults()
    rows: list[tuple[int, str, Path, str]] = []
    notes: list[str] = []
    digests = [hashlib.sha256() for _ in files]
    read_as: dict[str, Any] = {"layout": learnt["layout"]} if "layout" in learnt else {}
    for number, file in enumerate(map(Path, files)):
        try:
            if file.is_dir() and not any((file / name).is_file() for name in _MANIFESTS):
                found = _of_folder(file, encoding, faults)
            else:
                manifest = (
                    next(file / name for name in _MANIFESTS if (file / name).is_file()) if file.is_dir() else file
                )
                digests[number].update(read_bytes(manifest))
                asked = {"path": (path, learnt.get("path")), "text": (text, learnt.get("text"))}
                found = rows_of_manifest(manifest, asked, encoding, faults, notes, read_as)
        except DataError as fault:
            faults.add(str(fault))
            continue
        rows += [(number, *row) for row in found]
    sounds: list[Path] = []
    transcripts, seconds, rates = [], [], []
    n_clipped = n_wide = 0
    for number, place, sound, transcript in rows:
        words = " ".join(transcript.split())
        if not words:
            faults.add(f"{place}: the transcript of {sound.name} is empty")
        try:
            read = read_sound(sound)
        except DataError as fault:
            faults.add(f"{place}: {fault}")
            continue
        digests[number].update(read.samples.tobytes())
        n_clipped += read.is_clipped
        n_wide += read.n_channels > 1
        sounds.append(sound)
        transcripts.append(words)
        seconds.append(read.seconds)
        rates.append(read.rate)
    faults.stop()
    if not sounds:
        raise DataError(f"{', '.join(map(str, files))}: holds no sounds")
    notes.append(described(np.array(seconds), transcripts, rates))
    if n_wide:
        notes.append(counted(n_wide, "sound[|s] [has|have] several channels, which are averaged"))
    if n_clipped:
        notes.append(counted(n_clipped, "sound[|s] [is|are] clipped"))
    sha256 = "".join(digest.hexdigest() for digest in digests)
    return Transcribed(list(sounds), transcripts, np.array(seconds), rates, tuple(notes), sha256, read_as)


def sounds_of(path: Path, form: ItemForm, column: str | None = None) -> Items | None:
    """The sounds that a folder holds, or that a table names, with its other columns; None for a sound.

    Args:
        path: of the folder, the table or the sound.
        form: how a table is written.
        column: with the paths, as a model learnt it; taken where it is there.
    """
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(f"{path}: is a folder without sounds")
        return Items(((str(each), {}) for each in found), f"{path}: {counted(len(found), 'sound')}")
    if (headless := _headless(path, form)) is not None:
        return headless
    if not is_table(path):
        return None
    table = read_table([path], encoding=form.encoding, header=form.header)
    known = column if column in table.columns else None
    name = choose_column(str(path), list(table.columns), known, PATH_NAMES, "path")
    rows = [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)]
    pairs = [(str(sound_of(path, row[name].strip())), row) for row in rows]
    return Items(pairs, f"{path}: a table of {counted(len(rows), 'row')}, sounds in column {name!r}")


def _headless(path: Path, form: ItemForm) -> Items | None:
    """The sounds that a table without names of columns names, with its other columns by their numbers."""
    if form.header or path.suffix.lower() in SUFFIXES or not path.is_file():
        return None
    faults = Faults()
    try:
        texts, _ = read_texts([path], encoding=form.encoding)
    except DataError:
        return None  # no text: told where it is read as what it is
    found = headless_rows(path, texts[str(path)], faults)
    if found is None:
        return None
    for line, row in found.rows:
        if len(row) != found.width:
            faults.add(f"{path}, line {line}: has {counted(len(row), 'column')}, the first line {found.width:,}")
    faults.stop()
    pairs = [
        (str(sound_of(path, row[found.path].strip())), {str(i): cell.strip() for i, cell in enumerate(row, 1)})
        for _, row in found.rows
    ]
    note = f"{path}: a table of {counted(len(pairs), 'row')} without names, sounds in column {found.path + 1}"
    return Items(pairs, note)


def described(seconds: np.ndarray, transcripts: Sequence[str], rates: Sequence[int]) -> str:
    """How much there is, in words."""
    characters = sorted(set("".join(transcripts)))
    hours = seconds.sum() / 3600
    whole = f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    shown = "".join(characters[:60]) + ("..." if len(characters) > 60 else "")
    kinds = " and ".join(f"{rate:,}" for rate in sorted(Counter(rates)))
    return (
        f"{counted(len(seconds), 'sound')}, {whole}, {seconds.min():.2f} to {seconds.max():.2f} s (median "
        f"{np.median(seconds):.2f}), {kinds} samples a second; {counted(len(characters), 'character')}: {shown!r}"
    )


def _said_in(folder: Path, encoding: str, faults: Faults) -> dict[str, tuple[str, str]]:
    """Place and transcript by the names of sounds, of LibriSpeech's files: a name and what is said in each line."""
    found: dict[str, tuple[str, str]] = {}
    for file in sorted(folder.glob("*.trans.txt")):
        try:
            texts, _ = read_texts([file], encoding=encoding)
        except DataError as fault:
            faults.add(str(fault))
            continue
        for number, line in enumerate(next(iter(texts.values())).split("\n"), 1):
            name, _, said = line.strip().partition(" ")
            if name:
                found[name] = f"{file}, line {number}", said
    return found


def _without_transcripts(folder: Path, sounds: Sequence[Path]) -> str:
    """What is said of several sounds without any transcript; "" of others."""
    folders = sorted({each.parent for each in sounds})
    has_any = any(each.with_suffix(".txt").is_file() for each in sounds)
    if len(sounds) < 2 or has_any or any(any(each.glob("*.trans.txt")) for each in folders):
        return ""
    told = (
        f"{folder}: holds {counted(len(sounds), 'sound')} and no transcripts; expected a text file beside each, such "
        f"as {sounds[0].stem}.txt, or one of {', '.join(_MANIFESTS)}"
    )
    names = names_shown([each.name for each in folders])
    return told if len(folders) < 2 else f"{told}. If its folders are classes ({names}): {NO_CLASSES}"


def _of_folder(folder: Path, encoding: str, faults: Faults) -> list[tuple[str, Path, str]]:
    sounds = sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES)
    if not sounds:
        faults.add(f"{folder}: holds neither sounds nor one of {', '.join(_MANIFESTS)}")
    if told := _without_transcripts(folder, sounds):
        faults.add(told)
        return []
    found = []
    said = {each: _said_in(each, encoding, faults) for each in dict.fromkeys(sound.parent for sound in sounds)}
    for sound in sounds:
        if sound.stem in said[sound.parent]:
            place, transcript = said[sound.parent][sound.stem]
            found.append((place, sound, transcript))
            continue
        beside = sound.with_suffix(".txt")
        if not beside.is_file():
            faults.add(f"{sound}: has no transcript; expected {beside.name} beside it, or a manifest in the folder")
            continue
        try:
            texts, _ = read_texts([beside], encoding=encoding)
        except DataError as fault:
            faults.add(str(fault))
            continue
        found.append((str(beside), sound, next(iter(texts.values()))))
    return found
