"""Sums over time and batch, which are gradients of weights: the generated calls of a loop (`call_source.py`) make
them here.
"""

from collections.abc import Sequence

from torch import Tensor

from unrolled.engine.backends.base import Left
from unrolled.engine.backends.cpu.large_products import SumLeft, outer_sum, read_in, run_sums
from unrolled.engine.backends.cpu.memory import new_tensor
from unrolled.engine.ir.layout import BatchLayout


def sums_of_products(
    right: Tensor, m: int, lefts: Sequence[Left | None], sums: Tensor | None, layout: BatchLayout
) -> list[Tensor | None]:
    """Σ left^T · right over time and batch for each left, [k, m], or its transpose; None where a left is None. The sum
    of right's rows is added to `sums` [m], if there is a left. Rows are contiguous.
    """
    dtype, total = right.dtype, layout.total
    found: list[Tensor | None] = []
    calls: list[SumLeft] = []
    for left in lefts:
        if left is None:
            found.append(None)
            continue
        rows, k, first, like, is_flipped = left
        if read_in(dtype, k * m * total) is not None or (first is not None and layout.counts is not None):
            rows = rows.view(total, k)
            if first is not None:
                rows = layout.before(first.view(layout.n_rows, k), rows)
            result = outer_sum(rows, right.view(total, m), like.t() if is_flipped else like, sums)
            found.append(result.t() if is_flipped else result)
            sums = None
            continue
        row, column = like.stride()
        is_as_made = is_flipped == (row == 1 != column)  # else the transpose lies in memory row by row
        result = new_tensor(right, *((k, m) if is_as_made else (m, k)))
        found.append(result if is_flipped != is_as_made else result.t())
        strides, at, n = (m, 1) if is_as_made else (1, k), rows.data_ptr(), layout.n_rows
        if first is None:
            calls.append((at, 0, total, k, result.data_ptr(), strides))
        elif layout.is_reversed:
            calls.append((at + n * k * dtype.itemsize, first.data_ptr(), total - n, k, result.data_ptr(), strides))
        else:
            calls.append((first.data_ptr(), at, n, k, result.data_ptr(), strides))
    for i in range(0, len(calls), 2):
        run_sums(dtype, right.data_ptr(), m, total, calls[i : i + 2], 0 if sums is None else sums.data_ptr())
        sums = None
    return found
