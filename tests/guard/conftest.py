"""What the tests of the guard share."""

import contextlib
import os
from pathlib import Path

import pytest
from tests.loops import own_cache_with_loops
from tests.plans import forget_plans
from torch._C import _functorch

from unrolled.engine.cache import disk
from unrolled.engine.step import guarded


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


@pytest.fixture
def by_guards_alone(monkeypatch):
    """Nothing that is made here is used by others; nor does the net below the guards catch what they miss."""
    monkeypatch.setattr(disk, "save", lambda *_: None)
    monkeypatch.setattr(guarded, "gives_the_same", lambda *_: True)
    forget_plans()
    yield
    forget_plans()


@pytest.fixture(autouse=True, scope="package")
def own_cache(tmp_path_factory):
    """One cache for these tests, so that equal loops compile once, and nothing that is wrong here stays elsewhere; also
    one for all processes of a run of pytest-xdist. Loops are taken from the usual cache and given to it, as their names
    tell all; plans are not.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "guard"
    folder.mkdir(mode=0o700, exist_ok=True)
    with own_cache_with_loops(folder):
        yield folder


@pytest.fixture(autouse=True)
def no_builds_are_counted():
    """Steps of one code, of which these tests make many, else count as one step that is built again and again."""
    guarded._changes.clear()


@pytest.fixture(autouse=True)
def no_transform_is_left():
    """A capture that is broken off within a transform of torch.func must leave it; later calls would run under it."""
    yield
    n_left = 0
    while _functorch.peek_interpreter_stack() is not None:  # cleared, so that no other test is blamed for it
        _functorch.pop_dynamic_layer_stack()
        n_left += 1
    assert n_left == 0, f"{n_left} transforms of torch.func are left"
