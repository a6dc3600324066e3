"""C++ source becomes a loaded function, compiled once for this compiler and processor and cached on disk.

The cache's key is the source, the flags, the compiler's version and the processor's features. What is loaded is
what was checked (cache_files.py, loading.py). Where the cache can be neither read nor written, it is compiled anew.
"""

import contextlib
import ctypes
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unrolled.engine import cache_files
from unrolled.engine.backends.cpu.compilers import Compiler, compiler, processor
from unrolled.engine.backends.cpu.compilers import NoCompiler as NoCompiler
from unrolled.engine.backends.cpu.compiling import Failed, compile_source
from unrolled.engine.backends.cpu.loading import load
from unrolled.engine.cache_files import cache_folder as cache_folder

FOLDER = Path(__file__).parent
TYPES = {
    "torch.float32": ("-DREAL=float",),
    "torch.float64": ("-DREAL=double",),
    "torch.bfloat16": ("-DREAL=float", "-DBFLOAT16"),
}
# what a compiler says where another folder may serve
_OF_DISKS = ("No space left", "Disk quota exceeded", "Read-only file system", "Input/output error")


@functools.lru_cache(maxsize=1024)
def build(source: str, dtype: str, name: str = "run", *, what: str = "a function") -> Callable[[Any], Any]:
    """Compiles and loads; returns the function of that name, which takes a pointer and returns nothing unless its
    caller sets its `restype`. A compile that takes long shows `what` is compiled.

    Raises:
        NoCompiler: there is none, or it fails; its first complaint is in the text.
    """
    used = compiler()
    flags = (*used.flags, *TYPES[dtype])
    key = hashlib.sha256("\0".join((source, headers(), *flags, used.version, processor())).encode()).hexdigest()
    file = f"{key[:32]}.so"
    content = cache_files.read(file)
    if content is not None:
        with contextlib.suppress(OSError, AttributeError):  # as where a library of the system's that it needs has gone
            return _function(load(content), name)
    content = _compiled(used, flags, source, what)
    try:
        function = _function(load(content), name)
    except (OSError, AttributeError) as fault:
        raise NoCompiler(f"the compiler {used} failed: what it wrote cannot be loaded ({fault})") from None
    cache_files.write(file, content)
    return function


def _function(library: ctypes.CDLL, name: str) -> Callable[[Any], Any]:
    function = getattr(library, name)
    function.restype = None
    return function


@functools.cache
def headers() -> str:
    """What sources may include."""
    return "\0".join(file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.h")))


def _compiled(used: Compiler, flags: tuple[str, ...], source: str, what: str) -> bytes:
    """The library's bytes, made in the first folder that takes them."""
    reason = "no folder can be written: neither the cache's nor the temporary one"
    with contextlib.closing(cache_files.workspaces()) as folders:
        for folder in folders:
            library, made = str(folder.path / "loop.so"), str(folder.path / "loop.o")
            command = [
                *used.command,
                *flags,
                f"-I{FOLDER}",
                "-x",
                "c++",
                "-",
                "-o",
                made if used.links_with else library,
            ]
            try:
                compile_source(command, source, folder.path, what)
                if used.links_with:
                    compile_source([*used.links_with, made, "-o", library], "", folder.path, what)
            except Failed as fault:
                reason = str(fault)
                if not any(words in reason for words in _OF_DISKS):
                    break
                continue
            try:
                return folder.read("loop.so")
            except OSError as fault:
                reason = f"it wrote no library ({fault.strerror or fault})"
    raise NoCompiler(f"the compiler {used} failed: {reason}")
