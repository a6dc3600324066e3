"""The same checks as with_flags.py, the generated code as programs of their own: python -m tests.engine.as_programs WAY

WAY is "arm", on an emulated ARM processor, or "races", in threads that the thread sanitizer watches, or a sabotage, so
with threads that never meet where they should within a step, or where rows that end are shared out anew. A call of
generated code becomes a file with its arguments and all that they point to, and a run of a program.
"""

import functools
import hashlib
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tests.engine.with_flags import checks
from torch.utils import _pytree as pytree

from unrolled.engine.backends.cpu import build, compilers, emit, large_products, library, run
from unrolled.engine.ir.layout import BatchLayout

HERE = Path(__file__).parent
PRODUCTS = 6  # the argument of a loop that tells where the products are
OF_LIBRARIES = ("-march=native", "-shared", "-fPIC", "-fvisibility=hidden")
FLAGS = tuple(flag for flag in (*compilers.FLAGS, *compilers.OF_GCC) if flag not in OF_LIBRARIES)
# compiler, its flags and further files, and what runs the program
WAYS = {
    "arm": (["aarch64-linux-gnu-g++", *FLAGS, "-static", str(HERE / "as_program.cpp")], ["qemu-aarch64"]),
    "races": (
        ["g++", *FLAGS, "-march=native", "-O1", "-g", "-fsanitize=thread"]
        + [str(HERE / name) for name in ("as_program.cpp", "threads.cpp")],
        [],
    ),
}
WAYS["sabotage within steps"] = WAYS["sabotage between steps"] = WAYS["races"]
ANEW = " || call.count(call.time(k + 1)) != n)"  # the rows, among threads that share them
FOLDER = Path(tempfile.mkdtemp())
in_call: dict = {}  # tensors that the call may point to, by their address; and "packed", its arguments


def flat(tensor):
    """All that lies from its first number to its last."""
    return tensor.as_strided(
        (1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)),), (1,)
    )


def bytes_of(tensor):
    return bytearray(tensor.detach().view(torch.uint8).numpy().tobytes())


def packing(pack):
    """Packs a call's arguments, and remembers the tensors that those who call have at hand."""

    def remember(*arguments):
        frame = sys._getframe(1)
        for _ in range(4):
            leaves = pytree.tree_leaves(list(frame.f_locals.values()))
            layouts = [each for each in leaves if isinstance(each, BatchLayout)]
            for tensor in (*leaves, *(numbers for layout in layouts for numbers in (layout.counts, layout.offsets))):
                if isinstance(tensor, torch.Tensor) and tensor.numel():
                    known = in_call.get(tensor.data_ptr())
                    if known is None or flat(known).nbytes < flat(tensor).nbytes:
                        in_call[tensor.data_ptr()] = tensor.detach()
            frame = frame.f_back
        in_call["packed"] = pack(*arguments)
        return in_call["packed"]

    return remember


class ProgramKernel(run.Kernel):
    def names(self):
        names = super().names()
        return names | {"pack": packing(names["pack"])}


def at(number):
    """What lies at an address, to the end of the tensor that reaches farthest; None where it is no address."""
    found = None
    for start, tensor in in_call.items():
        whole = flat(tensor)
        if start <= number < start + whole.nbytes:
            rest = whole[(number - start) // whole.itemsize :]
            found = rest if found is None or rest.nbytes > found.nbytes else found
    return found


@functools.cache
def as_program(way, source, dtype, name="run", what=""):
    """In place of `build.build`."""
    if name == "products":
        return lambda: 0  # the program knows them
    if way == "sabotage between steps":
        source = source.replace(ANEW, ")")
    compiler, runner = WAYS[way]
    program = FOLDER / hashlib.sha256(source.encode() + dtype.encode()).hexdigest()
    program.with_suffix(".cpp").write_text(source)
    files = {str(library.SOURCE)} | ({str(program.with_suffix(".cpp"))} if name == "run" else set())
    names = ["-DRUN=run", f"-DPRODUCTS={PRODUCTS}"] if name == "run" else [f"-DRUN={name}"]
    options = [*names, *build.TYPES[dtype], f"-I{build.FOLDER}", "-o", str(program)]
    subprocess.run([*compiler, *files, *options], check=True)

    def call(arguments):
        packed = in_call.pop("packed")
        file = FOLDER / "call"
        numbers = struct.unpack(f"{len(packed) // 8}q", packed)
        tensors = list(map(at, numbers))
        in_call.clear()
        assert all(number < 1 << 32 for number, tensor in zip(numbers, tensors, strict=True) if tensor is None), numbers
        with file.open("wb") as out:
            out.write(struct.pack("q", len(numbers)))
            for number, tensor in zip(numbers, tensors, strict=True):
                out.write(struct.pack("qq", 0, number) if tensor is None else struct.pack("q", tensor.nbytes))
                if tensor is not None:
                    out.write(bytes_of(tensor))
        subprocess.run([*runner, str(program), str(file)], check=True)
        back = file.read_bytes()[8:]
        for tensor in tensors:
            if tensor is None:
                back = back[16:]
                continue
            # an argument that was read alone may stand twice: what it holds has not changed
            new = torch.frombuffer(bytearray(back[8 : 8 + tensor.nbytes]), dtype=torch.uint8).view(tensor.dtype)
            if not torch.equal(new.view(torch.uint8), torch.frombuffer(bytes_of(tensor), dtype=torch.uint8)):
                tensor.copy_(new)
            back = back[8 + tensor.nbytes :]

    return call


def main(way):
    if way == "sabotage within steps":
        emit.barriers = lambda *_: set()
    run.build = library.build = functools.partial(as_program, way)
    large_products._pack = packing(large_products._pack)
    run.Kernel = ProgramKernel
    checks()


if __name__ == "__main__":
    main(*sys.argv[1:])
