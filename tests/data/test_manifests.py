"""Manifests without names of columns, as LJSpeech has them; and sounds with classes in place of transcripts."""

import numpy as np
import pytest

from unrolled.data.items import ItemForm
from unrolled.data.labeled import read_labeled
from unrolled.data.transcripts import read_transcribed, sounds_of
from unrolled.errors import DataError

soundfile = pytest.importorskip("soundfile")
SAID = [
    '"So," he said, in 1912',
    "it was 5 o'clock",
    'the "Recorder", No. 7',
    "proceeded to",
    *(f"word {i}" for i in range(20)),
]
NORMAL = [
    text.replace("1912", "nineteen twelve").replace("5", "five").replace("No. 7", "number seven") for text in SAID
]
IDS = [f"LJ001-{i:04}" for i in range(len(SAID))]


def with_sounds(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.arange(800) * (i + 1) / 9), 8000)
    return folder


def written(path, rows, mark="|"):
    path.write_text("".join(mark.join(row) + "\n" for row in rows), encoding="utf-8")
    return path


#: by name: the columns of a manifest, its mark, where its sounds are, and the number of the column with transcripts
MANIFESTS = {
    "LJSpeech": ([IDS, SAID, NORMAL], "|", "wavs/{}.wav", 3),
    "of two columns": ([IDS, NORMAL], "|", "wavs/{}.wav", 2),
    "paths": ([[f"wavs/{each}.wav" for each in IDS], SAID], "|", "wavs/{}.wav", 2),
    "beside": ([[f"{each}.flac" for each in IDS], SAID], "\t", "{}.flac", 2),
    "with speakers": ([IDS, SAID, ["p225"] * 12 + ["p226"] * 12], "|", "wavs/{}.wav", 2),
    "speakers first": ([["p1", "p2"] * 12, IDS, SAID], "|", "wavs/{}.wav", 3),
    "numbered": ([[str(i) for i in range(24)], [f"{each}.wav" for each in IDS], SAID], "\t", "clips/{}.wav", 3),
    "with commas": ([[f"{each}.wav" for each in IDS], [text.replace(",", "").replace('"', "") for text in SAID]], ",", "{}.wav", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_manifest_without_names_is_read_by_its_sounds(name, is_folder, tmp_path):
    columns, mark, place, column = MANIFESTS[name]
    with_sounds(tmp_path, [place.format(each) for each in IDS])
    path = written(tmp_path / "metadata.csv", zip(*columns, strict=True), mark)
    found = read_transcribed([tmp_path if is_folder else path])
    assert [each.stem for each in found.sounds] == IDS
    assert found.transcripts == columns[column - 1]
    of_sounds = 1 + next(i for i, each in enumerate(columns) if each[0].startswith(("LJ", "wavs")))
    assert found.notes[0] == (
        f"{path}: its first line names a sound and no columns; sounds from column {of_sounds}, transcripts from column "
        f"{column}; else pass --path and --text with the number of a column"
    )
    assert found.read_as == {"layout": [str(len(columns)), str(of_sounds - 1), str(column - 1)]}
    again = read_transcribed([path], learnt=found.read_as)
    assert again.transcripts == found.transcripts
    items = sounds_of(path, ItemForm())
    assert [text for text, _ in items.pairs] == list(map(str, found.sounds))
    assert items.note == f"{path}: a table of 24 rows without names, sounds in column {of_sounds}"


def test_a_column_that_is_asked_for_is_read(tmp_path):
    with_sounds(tmp_path, [f"wavs/{each}.wav" for each in IDS])
    path = written(tmp_path / "metadata.csv", zip(IDS, SAID, NORMAL, strict=True))
    assert read_transcribed([path], text="2").transcripts == SAID
    for wrong in ("4", "0", "words"):
        with pytest.raises(DataError) as caught:
            read_transcribed([path], text=wrong)
        assert str(caught.value) == (
            f"{path}: its first line names a sound and no columns; pass --text with the number of a column, from 1 to 3"
        )


def test_two_columns_of_other_words_are_asked_and_odd_lines_told(tmp_path):
    with_sounds(tmp_path, [f"wavs/{each}.wav" for each in IDS])
    path = written(tmp_path / "metadata.csv", zip(IDS, SAID, [f"ein Satz {i} davon" for i in range(24)], strict=True))
    with pytest.raises(DataError) as caught:
        read_transcribed([path])
    assert str(caught.value) == f"{path}: which column has the transcripts? Pass --text with one of 2, 3"
    path.write_text(path.read_text().replace(f"{IDS[4]}|{SAID[4]}|", f"{IDS[4]}|"))
    with pytest.raises(DataError, match=r"metadata.csv, line 5: has 2 columns, the first line 3$"):
        read_transcribed([path], text="2")
    with pytest.raises(DataError, match=r"metadata.csv, line 5: has 2 columns, the first line 3$"):
        sounds_of(path, ItemForm())


def test_sounds_of_such_a_manifest_that_are_missing_are_told(tmp_path):
    path = written(tmp_path / "metadata.csv", zip(IDS[:2], SAID, NORMAL, strict=False))
    with pytest.raises(DataError) as caught:
        read_transcribed([path])
    assert str(caught.value).startswith(f"{path}, line 1: {tmp_path / IDS[0]}: no such file")


@pytest.mark.parametrize("mark", ["|", ",", "\t", ";"])
@pytest.mark.parametrize("head", [("path", "text"), ("file", "sentence"), ("audio_path", "transcription")])
def test_names_of_columns_stay_names(mark, head, tmp_path):
    with_sounds(tmp_path, [f"wavs/{each}.wav" for each in IDS])
    texts = [text.replace(",", "").replace('"', "") for text in SAID]
    rows = [head, *zip([f"wavs/{each}.wav" for each in IDS], texts, strict=True)]
    found = read_transcribed([written(tmp_path / "m.csv", rows, mark)])
    assert (found.transcripts, found.read_as) == (texts, {"path": head[0], "text": head[1]})


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
def test_a_column_may_have_the_name_of_a_sound(mark, tmp_path):
    with_sounds(tmp_path, ["file.wav", "b.wav", "clips/text.wav"])
    rows = [("file", "text"), ("file.wav", "one"), ("b.wav", "two")]
    found = read_transcribed([written(tmp_path / "m.csv", rows, mark)])
    assert (found.transcripts, found.read_as) == (["one", "two"], {"path": "file", "text": "text"})


@pytest.mark.parametrize("head", [("clip name", "spoken words"), ("recording", "said"), ("sprecher", "satz", "klang")])
def test_names_that_are_not_usual_are_asked(head, tmp_path):
    """Bars between names made the names a sound that was not there."""
    with_sounds(tmp_path, [f"{each}.wav" for each in IDS])
    path = written(tmp_path / "m.csv", [head, *([f"{each}.wav", *["so it is"] * (len(head) - 1)] for each in IDS)])
    with pytest.raises(DataError, match=r"m.csv: which column is the path\? Pass --path with one of"):
        read_transcribed([path])
    if len(head) == 2:
        assert read_transcribed([path], path=head[0], text=head[1]).transcripts == ["so it is"] * len(IDS)


def test_sounds_in_folders_of_classes_are_told_as_such(tmp_path):
    with_sounds(tmp_path, [f"{kind}/{i}.wav" for kind in ("cat", "dog", "rain") for i in range(3)])
    way = (
        "no task learns classes of sounds. Write the loudness of each sound's bands over time, say, as rows of a table, and "
        "learn from that: unrolled train classify TABLE --values COLUMNS --series COLUMN --label COLUMN"
    )
    manifests = "manifest.csv, metadata.csv, manifest.tsv, metadata.jsonl, manifest.jsonl"
    with pytest.raises(DataError) as caught:
        read_transcribed([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path}: holds 9 sounds and no transcripts; expected a text file beside each, such as 0.txt, or one of "
        f"{manifests}. If its folders are classes ('cat', 'dog', 'rain'): {way}"
    )
    with pytest.raises(DataError) as caught:
        read_labeled([tmp_path])
    assert str(caught.value) == f"{tmp_path / 'cat' / '0.wav'}: is a sound, and no text; {way}"
    with pytest.raises(DataError) as caught:
        read_transcribed([tmp_path / "cat"])
    assert str(caught.value) == (
        f"{tmp_path / 'cat'}: holds 3 sounds and no transcripts; expected a text file beside each, such as 0.txt, or one "
        f"of {manifests}"
    )
