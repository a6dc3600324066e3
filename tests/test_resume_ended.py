"""A run that had ended says so when it is resumed; one that was cut off goes on, and does not."""

import pytest

import unrolled
from tests.assertions import assert_equal
from unrolled.files import safetensors_tree
from unrolled.training.display import Display
from unrolled.training.run_folder import Run

TEXTS = [f"the soup number {i} is {'good' if i % 2 else 'bad'}" for i in range(40)]


class Notes(Display):
    """Keeps what a user is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def files(folder, task):
    content = {
        "classify": ["text,label", *(f"{text},{text[-3:]}" for text in TEXTS)],
        "regress": ["text,target", *(f"{text},{i}" for i, text in enumerate(TEXTS))],
        "tag": [f"{word} {'O' if word != 'soup' else 'B-food'}\n" * (word != "") for text in TEXTS for word in (*text.split(), "")],
        "translate": [f"{text}\t{text.upper()}" for text in TEXTS],
        "text": TEXTS * 20,
    }[task]  # fmt: skip
    path = folder / ("t.csv" if "," in content[0] else "t.txt")
    path.write_text("\n".join(content) + "\n")
    return [path]


SETTINGS = {
    "classify": {"hidden": 8},
    "regress": {"hidden": 8},
    "tag": {"hidden": 8},
    "translate": {"hidden": 8, "words": 8, "subwords": 40},
    "text": {"hidden": 8, "layers": 1, "batch": 2, "k1": 16, "size": "given"},
}


def model_of(task):
    return getattr(unrolled, f"{task.capitalize()}Model")(**SETTINGS[task])


def resumed(folder):
    display = Notes()
    type_of = model_of(str(Run.open(folder).config["task"]))
    _, result = type(type_of).resume(Run.open(folder), display=display)
    return [note for note in display.notes if "had ended" in note], result


@pytest.mark.parametrize("task", SETTINGS)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_that_had_ended_says_so_each_time(task, steps, tmp_path):
    training = unrolled.TrainSettings(steps=steps, precision="float32")
    model_of(task).fit(files(tmp_path, task), train=training, run=tmp_path / "run")
    weights, _ = safetensors_tree.read_tensors(tmp_path / "run/model.safetensors")
    for _ in range(2):
        notes, result = resumed(tmp_path / "run")
        assert notes == [
            f"the run had ended before, {steps} step{'s' if steps > 1 else ''} done: nothing is left to "
            f"train. To train its model further: unrolled train {task} FILE --from {tmp_path / 'run'}"
        ]
        assert result.steps == steps
    again, _ = safetensors_tree.read_tensors(tmp_path / "run/model.safetensors")
    assert_equal(again, weights)


@pytest.mark.parametrize("task", ["classify", "text"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_run_that_was_cut_off_goes_on_and_does_not(task, at, tmp_path, interrupted):
    training = unrolled.TrainSettings(steps=5, precision="float32")
    with interrupted(at):
        model_of(task).fit(files(tmp_path, task), train=training, run=tmp_path / "run")
    notes, result = resumed(tmp_path / "run")
    assert (notes, result.steps) == ([], 5)
    assert len(resumed(tmp_path / "run")[0]) == 1


def test_the_command_line_tells_it(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [path] = files(tmp_path, "classify")
    assert call("train", "classify", path, "--hidden", "8", "--steps", "2", "--folder", "run")[0] == 0
    code, _, err = call("train", "--resume", "run")
    assert code == 0
    assert (
        "the run had ended before, 2 steps done: nothing is left to train. To train its model further: "
        "unrolled train classify FILE --from run\n"
    ) in err
