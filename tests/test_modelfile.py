"""Files that are cut, changed or made to do harm: a clear error, and nothing runs."""

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import unrolled
from unrolled.errors import ModelFileError, UnrolledError
from unrolled.files import model_file, safetensors_tree

TEXT = "to be or not to be, that is the question\n" * 40


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model = unrolled.TextModel(unrolled.TextSettings(hidden=8, layers=1, batch=2, k1=10))
    model.fit(text=TEXT, train=unrolled.TrainSettings(steps=2, precision="float32"))
    model.save(path)
    return path


def changed(path, tmp_path, **metadata):
    """The file with other metadata, or without some."""
    tensors, given = safetensors_tree.read_tensors(path)
    given = {name: value for name, value in (given | metadata).items() if value is not None}
    save_file(tensors, tmp_path / "changed.safetensors", metadata=given)
    return tmp_path / "changed.safetensors"


@given(st.data())
def test_a_file_cut_anywhere_is_refused(path, tmp_path_factory, data):
    content = path.read_bytes()
    cut = tmp_path_factory.mktemp("cut") / "cut.safetensors"
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ModelFileError, match="is damaged or no model file"):
        unrolled.TextModel.load(cut)


@given(st.data())
def test_a_file_with_changed_bytes_loads_or_is_refused(path, tmp_path_factory, data):
    content = bytearray(path.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for at in data.draw(st.lists(st.integers(0, header - 1), min_size=1, max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    damaged = tmp_path_factory.mktemp("damaged") / "damaged.safetensors"
    damaged.write_bytes(content)
    _load_or_refuse(damaged)


def _load_or_refuse(path):
    try:
        unrolled.TextModel.load(path)
    except UnrolledError as fault:
        assert str(path) in str(fault)  # noqa: PT017 - either way is right, no other error is


def test_a_pickle_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"

    class Harm:
        def __reduce__(self):
            return Path.touch, (trap,)

    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Harm()))
    torch.save({"a": Harm()}, tmp_path / "b.safetensors")
    for name in ("a", "b"):
        with pytest.raises(ModelFileError, match="is damaged or no model file"):
            unrolled.TextModel.load(tmp_path / f"{name}.safetensors")
    assert not trap.exists()


def test_foreign_and_newer_files_are_told(path, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    cases = {
        "is a safetensors file, but not one that unrolled wrote": tmp_path / "foreign.safetensors",
        "has format version '2'; this unrolled reads version 1. Install a newer unrolled": changed(
            path, tmp_path, version="2"
        ),
        "no such file": tmp_path / "absent",
        "is a folder without a model.safetensors in it; expected a model file or a run": tmp_path,
    }
    for text, file in cases.items():
        if "version" in text:
            file = changed(path, tmp_path, version="2")
        with pytest.raises(ModelFileError) as caught:
            unrolled.TextModel.load(file)
        assert str(caught.value) == f"{file}: {text}"
    with pytest.raises(ModelFileError, match=r"is a model of the task 'os'; expected one of 'text'$"):
        unrolled.TextModel.load(changed(path, tmp_path, task="os"))
    with pytest.raises(
        ModelFileError,
        match=rf"^task 'os' is not known to this version; expected one of {', '.join(unrolled.tasks.names())}$",
    ):
        unrolled.tasks.task("os")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("settings", "null"),
        ("settings", "{}"),
        ("settings", '{"model": {"hidden": 1000000000000}}'),
        ("settings", '{"model": {"hidden": "8"}}'),
        ("settings", '{"model": {"units": "__import__"}}'),
        ("settings", '{"model": {"layers": 99, "hidden": 8}}'),
        ("settings", "[" * 100_000),
        ("settings", "{"),
        ("settings", None),
        ("vocabulary", "{}"),
        ("vocabulary", '{"kind": "byte"}'),
        ("vocabulary", '{"kind": "char", "chars": "ab"}'),
        ("vocabulary", '{"kind": "subword", "tokenizer": {"model": 1}}'),
        ("baseline", "[]"),
        ("record", "{}"),
    ],
)
def test_damaged_descriptions_are_refused(path, tmp_path, part, text):
    with pytest.raises(ModelFileError):
        unrolled.TextModel.load(changed(path, tmp_path, **{part: text}))


def test_weights_that_do_not_fit_are_told_all_at_once(path, tmp_path):
    tensors, metadata = safetensors_tree.read_tensors(path)
    del tensors["model.output.bias"]
    tensors["model.embedding.weight"] = tensors["model.embedding.weight"].double()
    tensors["model.extra"] = torch.zeros(1)
    save_file(tensors, tmp_path / "odd.safetensors", metadata=metadata)
    with pytest.raises(ModelFileError) as caught:
        unrolled.TextModel.load(tmp_path / "odd.safetensors")
    size = len(json.loads(metadata["vocabulary"])["chars"]) + 1
    assert str(caught.value) == (
        f"{tmp_path / 'odd.safetensors'}: its weights do not fit its settings: embedding.weight is torch.float64 "
        f"[{size}, 8], expected torch.float32 [{size}, 8]; extra is not of this model; output.bias is missing"
    )


def test_what_was_written_is_read(tmp_path):
    model = model_file.ModelFile("text", {"a": 1}, {"b": [2]}, {"c": 0.5}, [{"d": None}], {"x": torch.ones(2)})
    model_file.write_model(tmp_path / "m", model)
    read = model_file.read_model(tmp_path / "m", task="text")
    assert (read.task, read.settings, read.vocabulary, read.baseline, read.record) == (
        "text", {"a": 1}, {"b": [2]}, {"c": 0.5}, [{"d": None}],
    )  # fmt: skip
    assert torch.equal(read.tensors["x"], torch.ones(2))


ANSWERING = """
import sys, unrolled
model = unrolled.TextModel.load(sys.argv[1])
print(repr("".join(model.generate("to be", length=10, seed=0))), "torch._dynamo" in sys.modules)
"""


def test_a_process_that_only_answers_loads_neither_torchs_tracing_nor_its_compiler(path):
    command = [sys.executable, "-c", ANSWERING, str(path)]  # the first one makes what is not in the cache yet
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first.rsplit(" ", 1)[0] == second.rsplit(" ", 1)[0]
    assert second.endswith(" False\n")


@pytest.mark.parametrize("make", [torch.nn.Linear, torch.nn.Embedding, unrolled.GRU])
def test_modules_without_numbers_have_the_same_shapes(make):
    with model_file.without_numbers():
        blank = make(3, 5)
    whole = make(3, 5)
    assert {name: value.shape for name, value in blank.state_dict().items()} == {
        name: value.shape for name, value in whole.state_dict().items()
    }
    assert all(value.is_meta for value in blank.state_dict().values())
    model_file.load_weights(blank, {f"model.{name}": value for name, value in whole.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(blank.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(path, tmp_path, bad):
    tensors, metadata = safetensors_tree.read_tensors(path)
    tensors["model.output.bias"][0] = bad
    safetensors_tree.write_tensors(tmp_path / "odd", tensors, metadata)
    with pytest.raises(ModelFileError) as caught:
        unrolled.TextModel.load(tmp_path / "odd")
    assert str(caught.value) == (
        f"{tmp_path / 'odd'}: its weights do not fit its settings: output.bias holds NaN or infinite numbers"
    )


def test_each_changed_bit_of_the_weights_is_told(path, tmp_path):
    content = path.read_bytes()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    for at in range(begin, len(content), max(1, (len(content) - begin) // 50)):
        (tmp_path / "odd").write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(ModelFileError, match="its checksum does not fit what it holds"):
            unrolled.TextModel.load(tmp_path / "odd")
