"""Files are whole or absent, and trees come back as they went."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.assertions import assert_equal
from unrolled.files import safetensors_tree, whole

numbers = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
tensors = st.builds(
    lambda shape, dtype: torch.randn(shape).mul(50).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
)
trees = st.recursive(
    numbers | tensors,
    lambda each: (
        st.lists(each, max_size=3)
        | st.tuples(each, each)
        | st.dictionaries(st.text(max_size=4) | st.integers(), each, max_size=3)
    ),
    max_leaves=8,
)


@given(trees)
def test_trees_come_back_as_they_went(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "tree.safetensors"
    safetensors_tree.write_tree(path, tree)
    _assert_same(safetensors_tree.read_tree(path), tree)


def _assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert_equal(ours, theirs)
        return
    assert type(ours) is type(theirs)
    if isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _assert_same(a, b)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            _assert_same(ours[key], theirs[key])
    else:
        assert ours == theirs


def test_shared_and_strided_tensors_are_written_whole(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    safetensors_tree.write_tensors(tmp_path / "f", {"a": base, "b": base, "c": base.T, "d": base[1:]}, {})
    read, _ = safetensors_tree.read_tensors(tmp_path / "f")
    assert_equal(read, {"a": base, "b": base, "c": base.T.contiguous(), "d": base[1:]})


def test_a_write_into_no_folder_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, kind in ((tmp_path / "no" / "out", FileNotFoundError), (tmp_path / "file" / "out", NotADirectoryError)):
        with pytest.raises(kind) as told:
            whole.write_aside(path, lambda aside: aside.write_text("x"))
        assert told.value.filename == str(path)
        with pytest.raises(kind) as told, whole.opened(path):
            pass
        assert told.value.filename == str(path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(aside):
        aside.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        whole.write_aside(path, fail)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"^a tree cannot hold a set$"):
        safetensors_tree.write_tree(tmp_path / "tree", {"a": {1}})


@pytest.mark.parametrize("text", ["{", "{}", '{"dict": 3}', '{"tensor": "9"}', '{"odd": []}', "[" * 100_000])
def test_a_damaged_tree_is_a_value_error(tmp_path, text):
    safetensors_tree.write_tensors(tmp_path / "tree", {"0": torch.zeros(1)}, {"tree": text})
    with pytest.raises(ValueError, match=r".+"):
        safetensors_tree.read_tree(tmp_path / "tree")
