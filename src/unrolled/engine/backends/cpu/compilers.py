"""The C++ compilers: which one is used, its version and its flags.

The system's come first, then the one that PyPI's `ziglang` brings, which is Clang. Generated code needs no part of a
C++ library when it is linked, so Zig's need not be built first: that took a minute.
"""

import functools
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unrolled.engine.reasons import NotTraceable

FLAGS = (
    "-std=c++17", "-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-shared", "-fPIC", "-pthread",
)  # fmt: skip
OF_GCC = ("-march=native", "-fopenmp", "-fno-gnu-unique")
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
# Clang's OpenMP is another one than that of torch's threads (threads.h); it has long had no -march=native for ARM; and
# without being told it halves the longest vectors
OF_CLANG = (
    "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native",
    *(("-mprefer-vector-width=512",) if _IS_X86 else ()),
)
# Linux's loader finds what is missing in the libraries that Python has loaded
_OF_ZIG = ("-shared", "-s", *(("-nostdlib",) if sys.platform == "linux" else ()))
_NAMES = ("g++", "c++", "clang++")
_INSTALL = (
    'Install one: pip install "unrolled[compiler]"; or the system\'s (Debian, Ubuntu: apt install g++; Fedora: dnf '
    "install gcc-c++; macOS: xcode-select --install); or set CXX to its path"
)
_MOST_ANSWER_S = 30.0  # for its version


class NoCompiler(NotTraceable):
    """There is no compiler on this machine, or it does not work."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler.

    Attributes:
        command: its path, and arguments that always come first.
        version: what it says of itself.
        links_with: the command that links what it compiled, where that is another one.
    """

    command: tuple[str, ...]
    version: str
    links_with: tuple[str, ...] = ()

    def __str__(self) -> str:
        return shlex.join(self.command)

    @property
    def flags(self) -> tuple[str, ...]:
        """For a library, or for an object file where another command links."""
        own = OF_CLANG if "clang" in self.version else OF_GCC
        return (*FLAGS, *own) if not self.links_with else (*(flag for flag in FLAGS if flag != "-shared"), "-c", *own)


@functools.cache
def compiler() -> Compiler:
    """The C++ compiler: `CXX`, the system's, or that of the package ziglang.

    Raises:
        NoCompiler: none is found, or none works.
    """
    broken: list[str] = []
    for command in _of_the_system():
        try:
            return Compiler(command, _answer(*command, "--version"))
        except NoCompiler as fault:
            broken.append(str(fault))
    zig = _zig()
    if zig is not None:
        try:
            # of its Clang no version is asked: it looks for a cache folder first, without end where there is none
            version = f"clang of ziglang {_answer(zig, 'version')}"
            return Compiler((zig, "c++"), version, (zig, "cc", *_OF_ZIG))
        except NoCompiler as fault:
            broken.append(str(fault))
    if broken:
        raise NoCompiler(f"there is no C++ compiler on this machine that works: {broken[0]}. {_INSTALL}")
    raise NoCompiler(f"there is no C++ compiler on this machine. {_INSTALL}")


def _of_the_system() -> Iterator[tuple[str, ...]]:
    """Commands that exist, best first."""
    try:
        given = shlex.split(os.environ.get("CXX", ""))  # such as "ccache g++"
    except ValueError:  # a quote without end
        given = []
    for name, *arguments in filter(None, (given, *([name] for name in _NAMES))):
        path = shutil.which(name)
        if path is not None:
            yield (path, *arguments)


def _zig() -> str | None:
    """The compiler of the package ziglang, which is not imported."""
    package = importlib.util.find_spec("ziglang")
    folders = package.submodule_search_locations if package else None
    return next(filter(None, (shutil.which("zig", path=folder) for folder in folders or ())), None)


def _answer(*command: str) -> str:
    """What a command says of its version."""
    path = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_MOST_ANSWER_S,
            check=False,
        )
    except OSError as fault:
        raise NoCompiler(f"{path} cannot be run ({fault.strerror})") from None
    except subprocess.TimeoutExpired:
        raise NoCompiler(f"{path} does not tell its version in {_MOST_ANSWER_S:g} seconds") from None
    if done.returncode:
        raise NoCompiler(f"{path} does not tell its version")
    return done.stdout


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
