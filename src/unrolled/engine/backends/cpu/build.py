"""C++ source becomes a loaded function, compiled once for this compiler and processor and cached on disk.

The cache's key is the source, the flags, the compiler's version and the processor's features. A library is written
aside and renamed, so that two processes may build at once and a killed one leaves nothing half-written; what another
user may have written is not loaded.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class NoCompiler(NotTraceable):
    """There is no compiler on this machine, or it does not work."""


@functools.cache
def compiler() -> tuple[str, str]:
    """The C++ compiler and its version.

    Raises:
        NoCompiler: none is found.
    """
    for name in (os.environ.get("CXX"), "g++", "c++", "clang++"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if version.returncode == 0:
            return path, version.stdout
    raise NoCompiler(
        "there is no C++ compiler on this machine. Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install "
        "gcc-c++; macOS: xcode-select --install) or set CXX to its path"
    )


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


def cache_folder() -> Path:
    """Where libraries are kept: XDG_CACHE_HOME, or ~/.cache, or a private folder for this process."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unrolled"
    try:
        root.mkdir(parents=True, mode=0o700, exist_ok=True)
        facts = root.stat()
        is_ours = not hasattr(os, "getuid") or (facts.st_uid == os.getuid() and not facts.st_mode & stat.S_IWOTH)
        if is_ours and os.access(root, os.W_OK):
            return root
    except OSError:
        pass  # a home that cannot be written is no fault: the private folder serves
    return _private_folder()


@functools.cache
def _private_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="unrolled-"))


@functools.lru_cache(maxsize=1024)
def build(source: str, dtype: str, name: str = "run") -> Callable[[Any], Any]:
    """Compiles and loads; gives the function of that name, which takes a pointer and gives nothing
    unless its caller sets its `restype`.

    Raises:
        NoCompiler: there is none, or it fails; its first complaint is in the text.
    """
    command, version = compiler()
    flags = (*FLAGS, *(OF_CLANG if "clang" in version else OF_GCC), *TYPES[dtype])
    key = hashlib.sha256("\0".join((source, headers(), *flags, version, processor())).encode()).hexdigest()
    path = cache_folder() / f"{key[:32]}.so"
    if not is_whole(path):
        _compile([command, *flags], source, path)
    try:
        library = ctypes.CDLL(str(path))
    except OSError:  # damaged on the disk
        _compile([command, *flags], source, path)
        library = ctypes.CDLL(str(path))
    function = getattr(library, name)
    function.restype = None
    return function


@functools.cache
def headers() -> str:
    """What sources may include."""
    return "\0".join(file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.h")))


def is_whole(path: Path) -> bool:
    """Whether a file of the cache is there, and nobody else's."""
    try:
        facts = path.stat()
    except OSError:
        return False
    return facts.st_size > 0 and (not hasattr(os, "getuid") or facts.st_uid == os.getuid())


def _compile(command: list[str], source: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file, library = Path(folder) / "loop.cpp", Path(folder) / "loop.so"
        file.write_text(source, encoding="utf-8")
        done = subprocess.run(
            [*command, f"-I{FOLDER}", str(file), "-o", str(library)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            complaint = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise NoCompiler(f"the compiler {command[0]} failed: {complaint.strip()}")
        os.replace(library, path)
