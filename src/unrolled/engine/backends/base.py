"""The protocol of a back-end: what the engine asks of a module that runs loop programs on one kind of device.

A back-end is a module, a folder or a file, with the functions of `Backend`. `registry.py` finds it by the device of a
scan's tensors. It compiles a `Program` (ir/program.py), the same for every device, and makes the large products around
the loop. `call_source.py` writes the Python that calls its kernels, for all back-ends alike.

`eager.py`, the definition, stands beside them. It runs any step on any device, so it takes no program, compiles nothing
and needs nothing of this protocol: its `run` is a whole scan, and what it gives is what every back-end must give.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor

from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.ir.program import Program


class Kernel(Protocol):
    """A compiled loop program."""

    @property
    def program(self) -> Program:
        """What was compiled."""

    @property
    def source(self) -> str:
        """What it was compiled from, for reading."""

    @property
    def language(self) -> str:
        """Of the source, as "C++"."""

    @property
    def run(self) -> Callable[[Any], object]:
        """Runs the loop, given what the expression of `arguments` makes."""

    def names(self) -> dict[str, Any]:
        """The names that lines and expression of `arguments` read beside the tensors, with what they stand for."""

    def arguments(
        self,
        steps: Sequence[str],
        firsts: Sequence[str],
        states: Sequence[str],
        first_states: Sequence[str],
        last_states: Sequence[str],
        rows: Sequence[str],
        weights: Sequence[tuple[str, bool]],
        outputs: Sequence[str],
        held: Sequence[str],
        totals: Sequence[str] = (),
        *,
        is_reversed: str,
    ) -> tuple[list[str], str]:
        """Lines of Python and an expression, of what `run` is given. The variables `layout` and `n_threads` are there,
        and the tensors, by name, all but the weights contiguous. A tensor that is not there has an empty name.

        Args:
            steps: [rows of all steps, width].
            firsts: for each step input [batch, width] where it is a shifted one: what is read at the edge.
            states: [rows of all steps, width], to be written with the state after each step.
            first_states: [batch, width].
            last_states: [batch, width], to be written; a row that runs at no step has its last state already.
            rows: [width].
            weights: [in, out] with any strides, or, where true stands beside it, [out, in]; the program has each
                twice, as it is and transposed.
            outputs: [rows of all steps, width], to be written.
            held: [batch, width].
            totals: [batch, width], of what is computed in, to be added to.
            is_reversed: the expression of whether time runs backward.
        """


KernelCall = tuple[Kernel, Any]  # with its arguments

# rows and their width k; what is read in place of the rows one step before, at the edge, or None where they are read at
# the same step; what the sum is the gradient of, as which it lies in memory: else autograd would copy it; whether it is
# transposed
Left = tuple[Tensor, int, Tensor | None, Tensor, bool]


class Backend(Protocol):
    """The functions of a back-end's module.

    A plan binds a back-end once (`Plan.bind`), and generated calls name its functions directly. So none of them is
    looked up in a short call.
    """

    # ---- loops

    @staticmethod
    def kernels(programs: Sequence[Program], dtype: torch.dtype) -> Sequence[Kernel]:
        """Compiles loop programs, all at once where it can.

        Raises:
            NotTraceable: the compiler is missing or fails, or a program is too large.
        """

    @staticmethod
    def begin(dtype: torch.dtype) -> None:
        """Starts to build, in the background, what all loops of a dtype share: a step is being traced meanwhile."""

    @staticmethod
    def stop(dtype: torch.dtype) -> None:
        """Stops what `begin` has begun."""

    @staticmethod
    def way_of(layouts: Sequence[BatchLayout]) -> tuple[int, Callable[[Sequence[KernelCall]], Sequence[None]]]:
        """How many threads each of several calls takes, and the function that runs them all."""

    @staticmethod
    def least_rows_inside() -> int:
        """Rows of a thread from which on products of the inputs are faster within the loop than before it."""

    # ---- memory

    @staticmethod
    def new_tensor(like: Tensor, *shape: int) -> Tensor:
        """An empty tensor of another's dtype and device, contiguous."""

    # ---- products outside the loop, without a graph; `products.py` makes them differentiable

    @staticmethod
    def rows_times(rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, is_transposed: bool = False) -> Tensor:
        """Rows [..., k], contiguous, times a weight [k, n], or [n, k] where it is given transposed, plus a bias [n]:
        [m, n], m rows in all. Factors are read as `reading` says.
        """

    @staticmethod
    def outer_sum(left: Tensor, right: Tensor, like: Tensor | None = None, sums: Tensor | None = None) -> Tensor:
        """The gradient of a weight: left^T · right, [n, k] and [n, m] → [k, m]; it lies in memory as `like` does. The
        sum of right's rows is added to `sums` [m].
        """

    @staticmethod
    def sums_of_products(
        right: Tensor, m: int, lefts: Sequence[Left | None], sums: Tensor | None, layout: BatchLayout
    ) -> list[Tensor | None]:
        """The gradients of a loop's weights: Σ left^T · right over time and batch for each left, [k, m], or its
        transpose; None where a left is None. The sum of right's rows is added to `sums` [m], if there is a left. Rows
        are contiguous.
        """

    # ---- rows of different lengths

    @staticmethod
    def rows_at(places: Tensor, rows: Tensor) -> Tensor:
        """Rows [n, ...] of any dtype → [len(places), ...]: the row at each place, int64, and zeros where that is -1."""

    @staticmethod
    def arranged(active: Tensor) -> Sequence[Tensor]:
        """From bool [time, batch], true in each row up to its length: counts and offsets, int64 [time], of a
        `BatchLayout`; order, ranks, places and packed_places of a `Packed` (run/packed_rows.py).
        """

    # ---- what a user is told

    @staticmethod
    def peak(dtype: torch.dtype = torch.float32) -> float:
        """Peak of multiplications and additions, in GFLOP a second, as measured now."""

    @staticmethod
    def diagnosis() -> Iterator[str]:
        """What the machine has for this back-end, what is missing and how to get it, line by line."""


_reading: ContextVar[torch.dtype | None] = ContextVar("_reading", default=None)


@contextmanager
def reading_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Within, products of float32 read their factors in this dtype, as under torch.autocast; in their own if None."""
    token = _reading.set(dtype)
    try:
        yield
    finally:
        _reading.reset(token)


def reading() -> torch.dtype | None:
    """The dtype of `reading_in`."""
    return _reading.get()
