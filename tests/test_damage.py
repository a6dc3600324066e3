"""Damaged runs, models and workbooks: one clear line or the right result, never another error, and nothing is lost."""

import random
import shutil
from pathlib import Path

import pytest

import unrolled
from tests.data.test_tables import sheet
from tests.tasks.test_tokens import SMALL
from unrolled.data.table import read_table
from unrolled.errors import DataError, ModelFileError, RunError
from unrolled.files import safetensors_tree
from unrolled.training.run_folder import Run

BRIEF = unrolled.TrainSettings(steps=4, precision="float32")


def damaged(content, draw):
    """The bytes with one fault in them: others than they were, as zeroes over zeroes are not."""
    changed = content
    while changed == content:
        at = draw.randrange(len(content))
        n = min(len(content) - at, draw.choice((1, 8, 512, 4096)))
        kind = draw.choice(("bit", "zeroes", "cut", "noise", "doubled", "shifted"))
        changed = {
            "bit": content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :],
            "zeroes": content[:at] + bytes(n) + content[at + n :],
            "cut": content[:at],
            "noise": content[:at] + draw.randbytes(n) + content[at + n :],
            "doubled": content + content[at:],
            "shifted": content[:at] + content[at + n :],
        }[kind]
    return changed


FOREIGN = {"empty": b"", "text": b"a tale\n" * 100, "zip": b"PK\x03\x04" + bytes(300), "zeroes": bytes(5000),
           "json": b'{"version": 1}', "long header": b"\xff" * 7 + b"\x7f{}", "pickle": b"\x80\x04K\x01."}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rows = [f"a {word} soup number {i},{label}" for i in range(30) for word, label in (("good", "+"), ("bad", "-"))]
    (folder / "t.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    unrolled.ClassifyModel(**SMALL).fit([folder / "t.csv"], train=BRIEF, run=folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def one_line(fault, path):
    text = str(fault.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert len(text) < 600 + len(str(path))


def others(run, path):
    return {each.name: each.read_bytes() for each in run.iterdir() if each != path}


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_checkpoint_is_told_and_left_as_it_is(run, seed):
    path = run / "checkpoint.safetensors"
    whole, before = path.read_bytes(), others(run, path)
    changed = list(FOREIGN.values())[seed] if seed < len(FOREIGN) else damaged(whole, random.Random(seed))
    assert changed != whole
    path.write_bytes(changed)
    with pytest.raises(RunError) as told:
        unrolled.ClassifyModel.resume(Run.open(run))
    one_line(told, path)
    assert path.read_bytes() == changed
    assert others(run, path) == before


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_model_is_told_by_load_and_from(run, trained, seed):
    path = run / "model.safetensors"
    whole = path.read_bytes()
    changed = list(FOREIGN.values())[seed] if seed < len(FOREIGN) else damaged(whole, random.Random(seed))
    assert changed != whole
    path.write_bytes(changed)
    for start in (path, run):
        with pytest.raises(ModelFileError) as told:
            unrolled.ClassifyModel(**SMALL).fit([trained.parent / "t.csv"], train=BRIEF, start=start)
        one_line(told, path)
    with pytest.raises(ModelFileError) as told:
        unrolled.load(run)
    one_line(told, path)
    assert path.read_bytes() == changed


@pytest.mark.parametrize(
    "change",
    [
        {"config": {}}, {"config": []}, {"config": {"task": "classify"}}, {"state": 3}, {"state": {}}, {"state": []},
        {"state": {"position": {}}}, {"version": 2}, {"version": "1"}, {"config": {"task": "none", "settings": 3}},
    ],
)  # fmt: skip
def test_what_is_whole_and_no_checkpoint_of_ours_is_told(run, change):
    path = run / "checkpoint.safetensors"
    safetensors_tree.write_tree(path, safetensors_tree.read_tree(path) | change)
    with pytest.raises(RunError) as told:
        unrolled.ClassifyModel.resume(Run.open(run))
    one_line(told, path)


def read_or_told(path):
    """A table, or what is told."""
    try:
        return read_table([path])
    except DataError as fault:
        return str(fault)


@pytest.mark.parametrize("seed", range(120))
def test_a_damaged_workbook_is_told_or_read(tmp_path, seed):
    pytest.importorskip("python_calamine")
    content = sheet(["text", "n"], *([f"good food number {i}", i] for i in range(40)))
    path = tmp_path / "t.xlsx"
    path.write_bytes(damaged(content, random.Random(seed)))
    found = read_or_told(path)
    assert found.startswith(str(path)) if isinstance(found, str) else len(found.places) <= 40
