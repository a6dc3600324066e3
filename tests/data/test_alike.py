"""Labels that differ in case, width, blanks or the way of a number alone: told, as they may be meant as one."""

import itertools
import json

import pytest

import unrolled
from unrolled.data.alike import told_alike
from unrolled.data.labeled import labeled_frame, labeled_in_memory, read_labeled

WORDS = ["up", "so so", "Größe", "food-safety 2", "ÉTÉ"]
#: ways to write a name in another way, and names that they change
CHANGES = {
    "case": ([str.upper, str.title, str.swapcase], WORDS),
    "width": ([lambda name: name.translate({each: each + 0xFEE0 for each in range(0x21, 0x7F)})], WORDS),
    "blanks": ([lambda name: name.replace(" ", "  "), lambda name: name.replace(" ", "\u00a0")], ["so so", "a b c"]),
    "unseen": ([lambda name: f"{name}\u200b", lambda name: f"{name[0]}\ufeff{name[1:]}"], WORDS),
    "numbers": ([lambda name: f"{name}.0", lambda name: f"0{name}", lambda name: f"+{name}"], ["1", "20", "7"]),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_labels_written_in_two_ways_are_told(kind, tmp_path):
    changes, names = CHANGES[kind]
    for change, name in itertools.product(changes, names):
        both = sorted({name, change(name)})
        if len(both) == 1:
            continue
        a, b = map(repr, both)
        told = f"{a} and {b} are taken as two classes; write them alike if they are one"
        assert told_alike([*both, "other"], "here") == [f"here: {told}"]
        path = tmp_path / "a.csv"
        rows = [f'text {i},"{each}"' for i, each in enumerate([*both, "other"] * 3)]
        path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
        assert f"column 'label': {told}" in read_labeled([path]).notes
        texts, labels = [f"text {i}" for i in range(9)], [*both, "other"] * 3
        assert f"labels: {told}" in labeled_in_memory(texts, labels).notes


@pytest.mark.parametrize("change", [str.upper, str.title])
def test_labels_in_lines_and_names_of_files_are_told(change, tmp_path):
    lines = [f"__label__{name} text {i}" for i, name in enumerate(["up", change("up"), "down"] * 4)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    told = f"labels: {change('up')!r} and 'up' are taken as two classes; write them alike if they are one"
    assert told in read_labeled([tmp_path / "a.txt"]).notes
    files = [tmp_path / f"{name}.txt" for name in ("up", change("up"), "down")]
    for i, file in enumerate(files):
        file.write_text(f"text {i}\nmore {i}\n")
    assert told in read_labeled(files).notes


def test_blanks_at_the_ends_go_and_differ_in_nothing(tmp_path):
    path = tmp_path / "a.csv"
    ends = ["", " ", "\t", "\u3000", "\u00a0", "  "]
    rows = [f'text {i},"{a}up{b}"' for i, (a, b) in enumerate(itertools.product(ends, ends))]
    path.write_text("\n".join(["text,label", *rows, "so,down"]) + "\n", encoding="utf-8")
    found = read_labeled([path])
    assert {each for row in found.labels for each in row} == {"up", "down"}
    assert not any("alike" in note for note in found.notes)


@pytest.mark.parametrize("names", [["up", "down"], ["1", "10", "-1", "1.5"], ["a b", "ab"], ["é", "e"], ["a-b", "a_b"]])
def test_other_labels_are_not_called_alike(names):
    assert told_alike(names, "labels") == []


def test_frames_and_many_groups():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"text": [f"text {i}" for i in "abcdef"], "label": ["up", "Up", "down", "Down", "up ", "UP"]}
    )
    [note] = [each for each in labeled_frame(frame, text=None, label=None, separator=None).notes if "alike" in each]
    assert note == (
        "labels: 'Down' and 'down' are taken as two classes (and 1 such pair more); write them alike if they are one"
    )


def test_slots_and_intents_are_told_and_numbers_to_predict_are_not(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = itertools.product(("City", "city"), ("flight", "Flight", "fare"))
    path.write_text(
        "\n".join(json.dumps({"tokens": ["to", "rome"], "tags": ["O", f"B-{a}"], "intent": b}) for a, b in rows)
    )
    notes = unrolled.UnderstandModel().read([path]).notes
    assert [each for each in notes if "alike" in each] == [
        "tags: 'City' and 'city' are taken as two kinds; write them alike if they are one",
        "intents: 'Flight' and 'flight' are taken as two intents; write them alike if they are one",
    ]
    path = tmp_path / "a.csv"
    path.write_text("x,load\n" + "".join(f"{i},{1 + i % 2}{'.0' * (i % 3 == 0)}\n" for i in range(24)))
    loads = unrolled.RegressModel(values="x", series="row", target="load").read([path])
    assert not any("alike" in note for note in loads.notes)
    classes = unrolled.ClassifyModel(values="x", series="row", label="load").read([path])
    assert any(note.startswith("column 'load': '1' and '1.0' are taken as two classes") for note in classes.notes)
