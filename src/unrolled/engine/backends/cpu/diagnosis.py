"""What this machine has for compiled loops, for `unrolled doctor`."""

from collections.abc import Iterator

from unrolled.engine.backends.cpu.build import build, cache_folder
from unrolled.engine.backends.cpu.compilers import NoCompiler, compiler

_FUNCTION = '#include "loop.h"\nextern "C" __attribute__((visibility("default"))) void run(const void*) {}'


def diagnosis() -> Iterator[str]:
    """Lines: the cache's folder; the compiler and whether it works, or what is missing and how to get it."""
    yield f"cache     {cache_folder() or 'none: no folder of yours can be written'}"
    try:
        used = compiler()
        yield f"compiler  {used}: {used.version.splitlines()[0]}"
        build(_FUNCTION, "torch.float32")
        yield "It compiles and loads: scans run as compiled loops."
    except NoCompiler as fault:
        yield f"compiler  {fault}.\nUntil then scans run eagerly, as loops in Python."
