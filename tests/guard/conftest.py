"""What the tests of the guard share."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from torch._C import _functorch


class Patch(pytest.MonkeyPatch):
    """A monkeypatch that also calls what is given to it, and has a folder."""

    def __init__(self, folder: Path | None = None):
        super().__init__()
        self.folder = folder
        self._stack = contextlib.ExitStack()

    def callback(self, function):
        """Calls a function at the end."""
        self._stack.callback(function)

    def undo(self):
        self._stack.close()
        super().undo()


@pytest.fixture
def patch(tmp_path):
    """Undoes what a row of the table does."""
    patch = Patch(tmp_path)
    yield patch
    patch.undo()


@pytest.fixture(autouse=True, scope="package")
def own_cache():
    """One cache for these tests, so that equal loops compile once, and nothing that is wrong here stays elsewhere."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_transform_is_left():
    """A capture that is broken off within a transform of torch.func must leave it; later calls would run under it."""
    yield
    n_left = 0
    while _functorch.peek_interpreter_stack() is not None:  # cleared, so that no other test is blamed for it
        _functorch.pop_dynamic_layer_stack()
        n_left += 1
    assert n_left == 0, f"{n_left} transforms of torch.func are left"
