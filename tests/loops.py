"""Compiled loops of the usual cache, for a cache of a test's own.

A loop's name tells all that it depends on, so a cache in which a test looks for plans may have loops of others. To compile
one takes a second and more.
"""

import contextlib
import errno
import os
import shutil

import pytest

from unrolled.engine.cache_files import cache_folder


@contextlib.contextmanager
def own_cache_with_loops(home):
    """Within, `home` is the place of the cache, whose folder this gives: with the loops of the usual one, which gets those
    that are made.
    """
    theirs = cache_folder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        own = cache_folder()
        if theirs and own:
            _give(theirs, own)
        yield own
        if theirs and own:
            _give(own, theirs)


def _give(source, target):
    """Links the compiled loops that are not there, or copies them to another disk; no file is ever written in place."""
    for name in {file.name for file in source.glob("*.so")} - {file.name for file in target.glob("*.so")}:
        with contextlib.suppress(OSError):  # another process was the sooner, or it has gone
            try:
                os.link(source / name, target / name)
            except OSError as fault:
                if fault.errno != errno.EXDEV:
                    raise
                shutil.copy2(source / name, target / name)
