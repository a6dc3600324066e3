"""The large products outside the loop: rows of all time steps times a weight, and the sums over time that are its
gradient.

They take the back-end's own product. torch's sums over many rows round worse than the eager loop's, which adds one
step's sum to the next: 9 rounding units against 1.5 for 1,600 rows; the own product, and `outer_sum`, sum in blocks.
"""

import functools
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.engine.backends.base import reading
from unrolled.engine.backends.cpu import library
from unrolled.engine.backends.cpu.compilers import processor
from unrolled.engine.backends.cpu.memory import new_tensor

# in a product of so many multiplications factors are worth rounding to another dtype
SMALL = 1 << 14
# one thread has done so many multiplications sooner than another wakes
ALONE = 1 << 18

_pack = struct.Struct("29q").pack  # as `Product` in products.cpp
_NO_LEFT = (0,) * 9


def run(
    dtype: torch.dtype,
    a: int,
    w: int,
    bias: int,
    c: int,
    size: tuple[int, int, int],
    a_strides: tuple[int, ...],
    w_strides: tuple[int, ...],
    c_strides: tuple[int, ...],
    sums: int = 0,
) -> None:
    """c [M, N] = bias [N] + a [M, K] · w [K, N], each by its address, 0 where it is not there, and its strides. The
    rows of w are added to `sums` [N].
    """
    m, n, k = size
    row, column = w_strides
    right, left = (w, 0, k, n, column, row), (a, 0, k, m, *a_strides, c, *c_strides)
    library.multiply(dtype)(_pack(*right, bias, sums, k, _n_threads(m * n * k), 1, *left, *_NO_LEFT))


# of a sum over time: the left factor's address, and where it goes on after so many rows; columns; address and strides
# of the result
SumLeft = tuple[int, int, int, int, int, tuple[int, int]]


def run_sums(dtype: torch.dtype, right: int, n: int, k: int, lefts: Sequence[SumLeft], sums: int) -> None:
    """left^T · right for one or two lefts [K, M] and one right [K, N], each by its address; rows lie together. The rows
    of the right are added to `sums` [N], where that is not 0.
    """
    all_m = sum(m for _, _, _, m, _, _ in lefts)
    numbers = [number for a, rest, split, m, c, strides in lefts for number in (a, rest, split, m, 1, m, c, *strides)]
    more = () if len(lefts) == 2 else _NO_LEFT
    n_threads = _n_threads(all_m * n * k)
    library.multiply(dtype)(_pack(right, 0, k, n, 1, n, 0, sums, k, n_threads, len(lefts), *numbers, *more))


def _n_threads(size: int) -> int:
    return 1 if size < ALONE else torch.get_num_threads()


def multiply(
    a: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    sums: Tensor | None = None,
    *,
    is_transposed: bool = False,
) -> Tensor:
    """[M, K] times [K, N], plus a bias [N]; any strides, no graph. The rows of `w` are added to `sums` [N]. The
    columns of the result, not its rows, lie together where it is transposed; it has no bias then. See `reading_in`.
    """
    assert bias is None or not is_transposed
    (m, k), n = a.shape, w.shape[1]
    dtype = read_in(a.dtype, m * n * k)
    if sums is not None and (dtype is not None or w.stride(1) != 1):
        sums.add_(w.sum(0))
        sums = None
    if dtype is not None:
        return _torchs(dtype, a, w, bias, is_transposed=is_transposed)
    result = new_tensor(a, n, m).t() if is_transposed else new_tensor(a, m, n)
    bias = None if bias is None else bias.contiguous()
    run(
        a.dtype, a.data_ptr(), w.data_ptr(), 0 if bias is None else bias.data_ptr(), result.data_ptr(),
        (m, n, k), a.stride(), w.stride(), result.stride(),
        0 if sums is None else sums.data_ptr(),
    )  # fmt: skip
    return result


def read_in(dtype: torch.dtype, size: int) -> torch.dtype | None:
    """The dtype in which torch's product reads factors of this one, for so many multiplications; None where the product
    is the own one.
    """
    if dtype == torch.float32:
        return reading() if size >= SMALL else None
    return None if dtype == torch.float64 else dtype


def _torchs(dtype: torch.dtype, a: Tensor, w: Tensor, bias: Tensor | None, *, is_transposed: bool) -> Tensor:
    """`multiply` by torch, with factors, and a result, that were rounded to another dtype."""
    if a.dtype == dtype:  # torch adds up products in bfloat16 as float
        return a @ w if bias is None else torch.addmm(bias, a, w)
    a, w = _in(dtype, a), _in(dtype, w)
    result = _in(torch.float32, (w.t() @ a.t()).t() if is_transposed else a @ w)
    return result if bias is None else result.add_(bias)


def _in(dtype: torch.dtype, matrix: Tensor) -> Tensor:
    """A copy in another dtype that lies as the matrix does."""
    if matrix.stride(0) < matrix.stride(1):
        return _in(dtype, matrix.t()).t()
    return new_tensor(matrix.new_empty(0, dtype=dtype), *matrix.shape).copy_(matrix)


def outer_sum(left: Tensor, right: Tensor, like: Tensor | None = None, sums: Tensor | None = None) -> Tensor:
    """left^T · right, [n, k] and [n, m] → [k, m], summed in blocks; it lies in memory as `like` does, whose gradient it
    is: else autograd would copy it. The sum of right's rows is added to `sums` [m] on the way.
    """
    is_transposed = like is not None and like.stride(0) == 1 != like.stride(1)
    return multiply(left.t(), right, sums=sums, is_transposed=is_transposed)


def rows_times(rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, is_transposed: bool = False) -> Tensor:
    """Rows [..., k], contiguous, times a weight [k, n], or [n, k] where it is given transposed, plus a bias: [m, n], m
    rows in all. Each row by itself: sums are over features, and round as the eager loop's, whoever adds them up.
    """
    n, k = weight.shape if is_transposed else weight.shape[::-1]
    m, dtype = rows.shape[:-1].numel(), rows.dtype
    reads = read_in(dtype, m * n * k)
    if reads is not None:
        return _torchs(reads, rows.view(m, k), weight.t() if is_transposed else weight, bias, is_transposed=False)
    result = new_tensor(rows, m, n)
    row, column = weight.stride()
    strides = (column, row) if is_transposed else (row, column)
    bias = None if bias is None else bias.contiguous()
    at = 0 if bias is None else bias.data_ptr()
    run(dtype, rows.data_ptr(), weight.data_ptr(), at, result.data_ptr(), (m, n, k), (k, 1), strides, (n, 1))
    return result


@functools.cache
def least_rows_inside() -> int:
    """Rows of a thread from which on products of the inputs are the faster within the loop: 16 with AVX-512; never with
    shorter vectors, which a large product feeds as well.
    """
    return 16 if "avx512f" in processor() else 1 << 30
