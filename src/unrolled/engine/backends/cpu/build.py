"""C++ source becomes a loaded function, compiled once for this compiler and processor and cached on disk.

The cache's key is the source, the flags, the compiler's version and the processor's features. What is loaded is
what was checked (cache_files.py, loading.py). Where the cache can be neither read nor written, it is compiled anew.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unrolled.engine import cache_files
from unrolled.engine.backends.cpu.compiling import Failed, compile_source
from unrolled.engine.backends.cpu.loading import load
from unrolled.engine.cache_files import cache_folder as cache_folder
from unrolled.engine.reasons import NotTraceable

FOLDER = Path(__file__).parent
FLAGS = (
    "-std=c++17", "-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-fvisibility=hidden", "-shared", "-fPIC", "-pthread",
)  # fmt: skip
# Clang's OpenMP is another one than that of torch's threads; and it has long had no -march=native for ARM
OF_GCC = ("-march=native", "-fopenmp", "-fno-gnu-unique")
OF_CLANG = ("-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native",)
TYPES = {
    "torch.float32": ("-DREAL=float",),
    "torch.float64": ("-DREAL=double",),
    "torch.bfloat16": ("-DREAL=float", "-DBFLOAT16"),
}


_INSTALL = (
    "Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) or set "
    "CXX to its path"
)
_MOST_ANSWER_S = 30.0  # for its version
# what a compiler says where another folder may serve
_OF_DISKS = ("No space left", "Disk quota exceeded", "Read-only file system", "Input/output error")


class NoCompiler(NotTraceable):
    """There is no compiler on this machine, or it does not work."""


@functools.cache
def compiler() -> tuple[str, str]:
    """The C++ compiler and its version.

    Raises:
        NoCompiler: none is found, or none works.
    """
    broken: list[str] = []
    for name in (os.environ.get("CXX"), "g++", "c++", "clang++"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        try:
            version = subprocess.run(
                [path, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_MOST_ANSWER_S,
                check=False,
            )
        except OSError as fault:
            broken.append(f"{path} cannot be run ({fault.strerror})")
        except subprocess.TimeoutExpired:
            broken.append(f"{path} does not tell its version in {_MOST_ANSWER_S:g} seconds")
        else:
            if version.returncode == 0:
                return path, version.stdout
            broken.append(f"{path} does not tell its version")
    if broken:
        raise NoCompiler(f"there is no C++ compiler on this machine that works: {broken[0]}. {_INSTALL}")
    raise NoCompiler(f"there is no C++ compiler on this machine. {_INSTALL}")


@functools.cache
def processor() -> str:
    """The processor's features, as far as the machine tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "cpu family", "model", "flags", "Features", "CPU part")
    facts = dict.fromkeys(line for line in text.splitlines() if line.split("\t")[0].split(":")[0].strip() in wanted)
    return "\n".join(facts)


@functools.lru_cache(maxsize=1024)
def build(source: str, dtype: str, name: str = "run", *, what: str = "a function") -> Callable[[Any], Any]:
    """Compiles and loads; returns the function of that name, which takes a pointer and returns nothing unless its
    caller sets its `restype`. A compile that takes long shows `what` is compiled.

    Raises:
        NoCompiler: there is none, or it fails; its first complaint is in the text.
    """
    command, version = compiler()
    flags = (*FLAGS, *(OF_CLANG if "clang" in version else OF_GCC), *TYPES[dtype])
    key = hashlib.sha256("\0".join((source, headers(), *flags, version, processor())).encode()).hexdigest()
    file = f"{key[:32]}.so"
    content = cache_files.read(file)
    if content is not None:
        with contextlib.suppress(OSError, AttributeError):  # as where a library of the system's that it needs has gone
            return _function(load(content), name)
    content = _compiled([command, *flags], source, what)
    try:
        function = _function(load(content), name)
    except (OSError, AttributeError) as fault:
        raise NoCompiler(f"the compiler {command} failed: what it wrote cannot be loaded ({fault})") from None
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


def _compiled(command: list[str], source: str, what: str) -> bytes:
    """The library's bytes, made in the first folder that takes them."""
    reason = "no folder can be written: neither the cache's nor the temporary one"
    with contextlib.closing(cache_files.workspaces()) as folders:
        for folder in folders:
            arguments = [f"-I{FOLDER}", "-x", "c++", "-", "-o", str(folder.path / "loop.so")]
            try:
                compile_source([*command, *arguments], source, folder.path, what)
            except Failed as fault:
                reason = str(fault)
                if not any(words in reason for words in _OF_DISKS):
                    break
                continue
            try:
                return folder.read("loop.so")
            except OSError as fault:
                reason = f"it wrote no library ({fault.strerror or fault})"
    raise NoCompiler(f"the compiler {command[0]} failed: {reason}")
