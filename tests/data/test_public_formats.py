"""Files as the publishers of known data sets write them: read as they are meant, or what is odd in them is told."""

import datetime

import numpy as np
import pytest

import unrolled
from unrolled.errors import DataError

HOURS = [datetime.datetime(2004, 3, 10, 18) + datetime.timedelta(hours=i) for i in range(120)]


def written(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def air_quality(path, missing):
    """As UCI has it: decimal commas, two columns of time, empty columns and empty rows at the end."""
    values = [missing if i % 37 == 5 else f"{2 + i % 9 / 10:.1f}".replace(".", ",") for i in range(len(HOURS))]
    rows = [f"{at:%d/%m/%Y;%H.%M.%S};{value};48,9;;" for at, value in zip(HOURS, values, strict=True)]
    written(path, ["Date;Time;CO(GT);RH;;", *rows, *[";;;;;"] * 3])
    return [float(each.replace(",", ".")) for each in values]


@pytest.mark.parametrize("missing", ["-200", "9999", "-999,0"])
def test_what_stands_for_no_value_is_told_and_empty_rows_are_left_out(missing, tmp_path):
    values = air_quality(tmp_path / "a.csv", missing)
    found = unrolled.ForecastModel(target="CO(GT)", horizon=2).read([tmp_path / "a.csv"])
    assert found.values[0].tolist() == values
    assert found.stamps(0, 0, 1) == ["10/03/2004 18:00:00"]
    number = missing.partition(",")[0]
    assert [note for note in found.notes if "rows" in note or "stands" in note] == [
        "3 empty rows are left out",
        f"column 'CO(GT)': {number} stands 4 times, far from all other values (2 to 2.8); if it means that nothing was "
        f"measured, pass --missing {number}",
    ]


@pytest.mark.parametrize("missing", ["-200", "9999", "-999,0"])
def test_what_the_note_offers_makes_it_missing(missing, tmp_path):
    values = air_quality(tmp_path / "a.csv", missing)
    code = missing.partition(",")[0]
    found = unrolled.ForecastModel(target="CO(GT)", horizon=2, missing=code).read([tmp_path / "a.csv"])
    is_there = [value != float(code) for value in values]
    assert (found.known[0].tolist(), found.values[0].max() < 3, found.values[0].min() > 1) == (is_there, True, True)
    assert f"column 'CO(GT)': 4 values are {code}, and missing" in found.notes
    assert not any("stands" in note for note in found.notes)


@pytest.mark.parametrize(
    "values",
    [
        [0.0, *range(100, 130), 0.0],  # closed on Sundays
        [*range(30), 500.0],  # once
        [*range(-40, 60), -40.0, 59.0],
        [1.0, 200.0] * 20,  # of two kinds
        [*np.linspace(0, 1, 30), 5.5, 5.5],  # no whole number
        [1.0, 2.0, -200.0, -200.0],  # too few to tell
    ],
)
def test_other_values_are_not_called_missing(values, tmp_path):
    days = np.arange("2020-01-01", len(values), dtype="datetime64[D]")
    written(tmp_path / "a.csv", ["day,sales", *(f"{day},{value}" for day, value in zip(days, values, strict=True))])
    found = unrolled.ForecastModel(horizon=2).read([tmp_path / "a.csv"])
    assert not any("stands" in note for note in found.notes)


SOURCES = [f"Go to number {i}." for i in range(40)]
TARGETS = [f"Geh zu Nummer {i}." for i in range(40)]
LICENSE = "CC-BY 2.0 (France) #{}"
#: by name: the columns of a file of pairs, and how they are told to be chosen
PAIRS = {
    "deu.txt of ManyThings": ([SOURCES, TARGETS, [LICENSE.format(i) for i in range(40)]], "columns after the second"),
    "pairs of Tatoeba": ([range(40), SOURCES, range(900, 940), TARGETS], "columns 2 and 4"),
    "numbered pairs": ([range(40), SOURCES, TARGETS], "columns 2 and 3"),
    "with languages": ([["eng"] * 40, SOURCES, ["deu"] * 40, TARGETS], "columns 2 and 4"),
    "scored pairs": ([[f"{i % 7 / 8}" for i in range(40)], SOURCES, TARGETS], "columns 2 and 3"),
    "shares": (
        [[f"{i},5 %".replace(" ", "") for i in range(40)], SOURCES, ["1.5e-3"] * 40, TARGETS],
        "columns 2 and 4",
    ),
    "crawled pairs": (
        [[f"https://a.org/{i}" for i in range(40)], ["http://b.org/?q=1"] * 40, SOURCES, TARGETS],
        "columns 3 and 4",
    ),
    "with a license": ([SOURCES, ["CC0"] * 40, TARGETS], "columns 1 and 3"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_numbers_of_lines_and_languages_are_no_sentences(name, tmp_path):
    columns, told = PAIRS[name]
    rows = ["\t".join(map(str, row)) for row in zip(*columns, strict=True)]
    found = unrolled.TranslateModel().read([written(tmp_path / "p.tsv", rows)])
    assert (found.sources, found.targets) == (SOURCES, TARGETS)
    assert any(told in note for note in found.notes)


@pytest.mark.parametrize("at", [3, 17, 39])
@pytest.mark.parametrize("name", [each for each in PAIRS if "columns after" not in PAIRS[each][1]])
def test_a_line_with_fewer_columns_is_told_and_changes_none(name, at, tmp_path):
    """One such line let numbers and languages be the sentences of all."""
    columns, told = PAIRS[name]
    rows = ["\t".join(map(str, row)) for row in zip(*columns, strict=True)]
    rows[at] = "a\tb"
    path = written(tmp_path / "p.tsv", rows)
    target = told.rsplit(" ", 1)[1]
    with pytest.raises(DataError) as found:
        unrolled.TranslateModel().read([path])
    told = f"line {at + 1}: {rows[at]!r} has 2 columns; the translations are in column {target}"
    assert str(found.value) == f"{path}, {told}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x" * 300 + ".wav", "no such file"),
        ("a\0b.wav", "no such file"),
        (".", "is a folder or a device; expected a file of sound"),
        ("/dev/zero", "is a folder or a device; expected a file of sound"),
    ],
)
def test_the_path_of_a_sound_may_be_anything(name, told, tmp_path):
    """One that is too long was an error of the system, without the place."""
    pytest.importorskip("soundfile")
    path = written(tmp_path / "m.csv", ["path,text", f"{name},hello"])
    with pytest.raises(DataError) as found:
        unrolled.TranscribeModel().read([path])
    assert str(found.value) == f"{path}, line 2: {tmp_path / name}: {told}"


def test_words_for_numbers_are_pairs(tmp_path):
    rows = [f"{i}\tnumber {i}" for i in range(40)]
    found = unrolled.TranslateModel().read([written(tmp_path / "p.tsv", rows)])
    assert found.sources == list(map(str, range(40)))


@pytest.mark.parametrize("columns", [[range(40), ["deu", "eng"] * 20, SOURCES], [SOURCES, ["eng"] * 40, range(40)]])
def test_a_file_without_translations_is_refused(columns, tmp_path):
    rows = ["\t".join(map(str, row)) for row in zip(*columns, strict=True)]
    with pytest.raises(DataError, match="hold numbers or names and no sentences; expected a source, a tab, its transl"):
        unrolled.TranslateModel().read([written(tmp_path / "sentences.csv", rows)])


def sound(path, pitch):
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("soundfile").write(path, np.sin(np.arange(1600) * pitch) / 2, 16_000)


def test_the_folders_of_librispeech(tmp_path):
    said = {}
    for chapter in ("84/1", "84/2", "174/1"):
        folder = tmp_path / "LibriSpeech" / "dev-clean" / chapter
        names = [f"{chapter.replace('/', '-')}-{i:04}" for i in range(3)]
        for i, name in enumerate(names):
            sound(folder / f"{name}.flac", 0.05 + 0.02 * i)
            said[name] = f"WORD {chapter} {i}"
        written(folder / f"{chapter.replace('/', '-')}.trans.txt", [f"{name} {said[name]}" for name in names])
    found = unrolled.TranscribeModel().read([tmp_path / "LibriSpeech"])
    assert {each.stem: text for each, text in zip(found.sounds, found.transcripts, strict=True)} == said


def test_the_sounds_of_common_voice_stand_in_a_folder_beside(tmp_path):
    for i in range(4):
        sound(tmp_path / "clips" / f"common_voice_{i}.wav", 0.05 + 0.02 * i)
    sentences = ['"Nein", sagte er', "Guten Tag", "Ja", "Nein"]
    rows = [f"abc\tcommon_voice_{i}.wav\tid{i}\t{text}\t2" for i, text in enumerate(sentences)]
    path = written(tmp_path / "train.tsv", ["client_id\tpath\tsentence_id\tsentence\tup_votes", *rows])
    found = unrolled.TranscribeModel().read([path])
    assert found.transcripts == sentences
    assert found.sounds[0] == tmp_path / "clips" / "common_voice_0.wav"
