"""What the tests of the guard share."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest
from torch._C import _functorch

from unrolled.engine.cache_files import cache_folder
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


@pytest.fixture(autouse=True, scope="package")
def own_cache(tmp_path_factory):
    """One cache for these tests, so that equal loops compile once, and nothing that is wrong here stays elsewhere; also
    one for all processes of a run of pytest-xdist. Loops are taken from the usual cache and given to it, as their names
    tell all; plans are not.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "guard"
    folder.mkdir(mode=0o700, exist_ok=True)
    theirs = cache_folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        own = cache_folder()
        if theirs and own:
            give_loops(theirs, own)
        yield folder
        if theirs and own:
            give_loops(own, theirs)


def give_loops(source, target):
    """Links the compiled loops that are not there, or copies them to another disk; no file is ever written in place."""
    for name in {file.name for file in source.glob("*.so")} - {file.name for file in target.glob("*.so")}:
        with contextlib.suppress(OSError):  # another process was the sooner, or it has gone
            try:
                os.link(source / name, target / name)
            except OSError as fault:
                if fault.errno != errno.EXDEV:
                    raise
                shutil.copy2(source / name, target / name)


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
