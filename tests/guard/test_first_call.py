"""The first call is right: what a step computes from sizes, strides, flags and numbers of its own, for every batch.

Each step runs on several batches, one after the other in several orders, as a plan made for one is used for the next.
"""

import enum
import fractions
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.guard.checks import (
    HIDDEN,
    INPUT,
    Case,
    assert_as_eager,
    assert_reason,
    at_most,
    outcome,
    scan_quietly,
    slow_but_for,
)
from torch import Tensor, nn
from torch.nn import functional as F

import unrolled
from unrolled.engine.passes.batch_sizes import BATCH, OTHER_BATCH
from unrolled.engine.step.found import ROWS

BATCHES = [1, 2, 3, 5, 17, 64]
ORDERS = {"up": BATCHES, "down": BATCHES[::-1], "mixed": [3, 1, 64, 2, 17, 5], "one_last": [2, 3, 2, 1]}


def _w() -> Tensor:
    return torch.randn(INPUT, HIDDEN, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


W = _w()
TABLES = {rows: torch.linspace(-1, 1, rows * HIDDEN, dtype=torch.float64).view(rows, HIDDEN) for rows in (64, 10007)}
PARAMETER = nn.Parameter(torch.full((HIDDEN,), 0.5, dtype=torch.float64))
ROW = torch.full((1, HIDDEN), 0.5, dtype=torch.float64)

# a size as a number: y is [batch, HIDDEN], x [batch, INPUT], h [batch, HIDDEN]
SIZES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "divided": lambda y, x, h: y / x.shape[0],
    "multiplied": lambda y, x, h: y * x.shape[0],
    "times_a_number": lambda y, x, h: y * (x.shape[0] * 1e-3),
    "size": lambda y, x, h: y / x.size(0),
    "size_of_all": lambda y, x, h: y / x.size()[0],
    "len": lambda y, x, h: y / len(h),
    "numel": lambda y, x, h: y + h.numel() * 1e-3,
    "nelement": lambda y, x, h: y / h.nelement(),
    "nbytes": lambda y, x, h: y / h.nbytes,
    "prod_of_shape": lambda y, x, h: y / math.prod(h.shape),
    "numel_of_shape": lambda y, x, h: y / h.shape.numel(),
    "sum_of_shape": lambda y, x, h: y / sum(h.shape),
    "max_of_shape": lambda y, x, h: y / max(h.shape),
    "min_of_shape": lambda y, x, h: y / min(x.shape),
    "unpacked": lambda y, x, h: (lambda rows, width: y * rows / width)(*h.shape),
    "root": lambda y, x, h: y / x.shape[0] ** 0.5,
    "math_sqrt": lambda y, x, h: y / math.sqrt(x.shape[0]),
    "math_log": lambda y, x, h: y * math.log(1 + x.shape[0]),
    "square": lambda y, x, h: y / x.shape[0] ** 2,
    "remainder": lambda y, x, h: y * (x.shape[0] % 2 + 1),
    "last_bit": lambda y, x, h: y * ((x.shape[0] & 1) + 1),
    "remainder_of_numel": lambda y, x, h: y * (h.numel() % 8 + 1),
    "floor_division": lambda y, x, h: y / (x.shape[0] // 2 + 1),
    "negated": lambda y, x, h: y * -x.shape[0],
    "float": lambda y, x, h: y / float(x.shape[0]),
    "int": lambda y, x, h: y / int(x.shape[0] / 2 + 1),
    "round": lambda y, x, h: y / (1 + round(x.shape[0] * 0.3)),
    "bit_length": lambda y, x, h: y / int(x.shape[0]).bit_length(),
    "shifted": lambda y, x, h: y / (x.shape[0] << 1),
    "bool": lambda y, x, h: y * (1 + bool(x.shape[0] - 1)),
    "text": lambda y, x, h: y / len(str(x.shape[0])),
    "formatted": lambda y, x, h: y / len(f"{x.shape[0]:b}"),
    "key_of_a_dict": lambda y, x, h: y * {1: 0.5, 2: 0.25}.get(x.shape[0], 2.0),
    "in_a_set": lambda y, x, h: y * (0.5 if x.shape[0] in {1, 5, 64} else 2.0),
    "index_of_a_list": lambda y, x, h: y * [0.5, 0.25, 2.0][x.shape[0] % 3],
    "times_a_list": lambda y, x, h: y / len([0] * x.shape[0]),
    "as_a_tensor": lambda y, x, h: y / torch.tensor(x.shape[0], dtype=y.dtype),
    "as_a_tensor_of_integers": lambda y, x, h: y / torch.tensor([x.shape[0]]),
    "shape_as_a_tensor": lambda y, x, h: y / torch.tensor(h.shape).sum(),
    "is_one": lambda y, x, h: torch.tanh(y) if x.shape[0] == 1 else torch.sigmoid(y),
    "is_not_one": lambda y, x, h: torch.tanh(y) if x.shape[0] != 1 else torch.sigmoid(y),
    "larger": lambda y, x, h: torch.tanh(y) if x.shape[0] > 16 else torch.sigmoid(y),
    "larger_than_thousands": lambda y, x, h: torch.tanh(y) if x.shape[0] > 5000 else torch.sigmoid(y),
    "smaller": lambda y, x, h: torch.tanh(y) if x.shape[0] < 3 else torch.sigmoid(y),
    "between": lambda y, x, h: torch.tanh(y) if 2 <= x.shape[0] < 17 else torch.sigmoid(y),
    "odd": lambda y, x, h: torch.tanh(y) if x.shape[0] % 2 else torch.sigmoid(y),
    "equals_the_width": lambda y, x, h: torch.tanh(y) if x.shape[0] == x.shape[1] else torch.sigmoid(y),
    "shapes_compared": lambda y, x, h: torch.tanh(y) if h.shape == (17, HIDDEN) else torch.sigmoid(y),
    "truth": lambda y, x, h: torch.tanh(y) if x.shape[0] - 1 else torch.sigmoid(y),
    "two_conditions": lambda y, x, h: y * (0.5 if x.shape[0] > 2 and len(h) < 20 else 2.0),
    "clamped": lambda y, x, h: y / min(x.shape[0], 4),
    "time_by_range": lambda y, x, h: y + sum(0.1 * i for i in range(min(x.shape[0], 3))),
}


class Rows(enum.IntEnum):
    """Numbers of rows that a step may ask for."""

    FEW = 7
    MANY = 1024


class Equal:
    """An object that equals a number."""

    def __eq__(self, other: object) -> bool:
        return other == 7

    __hash__ = None  # type: ignore[assignment]


class Own(int):
    """A number of a class of its own."""


SEVEN, EQUAL, OWN = 7, Equal(), Own(7)
FRACTION, COMPLEX = fractions.Fraction(7), complex(7)
# conditions of a number of rows n, of input x; each is true of some of `OF_CONDITIONS` and false of others
CONDITIONS: dict[str, Callable[[int, Tensor], Any]] = {
    "equal": lambda n, x: n == 7,
    "unequal": lambda n, x: n != 7,
    "smaller": lambda n, x: n < 8,
    "larger": lambda n, x: n > 1000,
    "larger_than_millions": lambda n, x: n > 10**6,
    "square": lambda n, x: n**2 > 10**9,
    "between": lambda n, x: 3 < n <= 1024,
    "both": lambda n, x: (n > 3) & (n < 9),
    "either": lambda n, x: (n == 7) | (n == 2),
    "not": lambda n, x: torch.sym_not(n == 7),
    "among": lambda n, x: n in (2, 7, 1024),
    "not_among": lambda n, x: n not in [2, 7, 1024],
    "of_a_quotient": lambda n, x: n / 2 == 3.5,
    "of_a_remainder": lambda n, x: n % 1000 == 24,
    "of_a_shape": lambda n, x: x.shape == (7, 1),
    "in_a_shape": lambda n, x: 7 in x.shape,
    "in_a_list": lambda n, x: 7 in [n, 3],
    "in_values": lambda n, x: 7 in {"rows": n}.values(),
    "in_a_shape_by_a_function": lambda n, x: operator.contains(x.shape, 7),
    "pair_in_a_list": lambda n, x: (7, 1) in [x.shape],
    "quotient_in_a_list": lambda n, x: 3.5 in [n / 2],
    "true_in_a_list": lambda n, x: True in [n == 7],
    "is": lambda n, x: n is SEVEN,
    "is_not": lambda n, x: n is not SEVEN,
    "is_true": lambda n, x: (n == 7) is True,
    "member": lambda n, x: n == Rows.FEW,
    "member_first": lambda n, x: Rows.FEW == n,  # noqa: SIM300 - the order is what it is about
    "not_a_member": lambda n, x: n != Rows.FEW,
    "smaller_than_a_member": lambda n, x: n < Rows.MANY,
    "among_members": lambda n, x: n in (Rows.FEW, Rows.MANY),
    "pair_of_a_member": lambda n, x: (n, 1) == (Rows.FEW, 1),
    "object": lambda n, x: n == EQUAL,
    "object_first": lambda n, x: EQUAL == n,  # noqa: SIM300
    "not_an_object": lambda n, x: n != EQUAL,
    "among_objects": lambda n, x: n in [EQUAL],
    "number_of_a_class": lambda n, x: n == OWN,
    "fraction": lambda n, x: n == FRACTION,
    "complex": lambda n, x: n == COMPLEX,
}
OF_CONDITIONS = [13, 7, 2, 1, 3, 64, 1024, 2_000_000]
# what a step does with a condition
USES: dict[str, Callable[[Any, Tensor], Any]] = {
    "added": lambda condition, x: x + condition,
    "multiplied": lambda condition, x: x * (1.0 + condition),
    "branch": lambda condition, x: x + 1 if condition else x,
    "filled": lambda condition, x: x + torch.full_like(x, condition),
    "float": lambda condition, x: x + torch.sym_float(condition),
}
# numbers of a number of rows
NUMBERS: dict[str, Callable[[int], Any]] = {
    "millions": lambda n: n // 10**6,
    "blocks": lambda n: -(-n // 4096),
    "bits": lambda n: n.bit_length(),
    "isqrt": math.isqrt,
    "one_of_two": lambda n: torch.sym_ite(n == 7, 1, 2),
}
# a size as a size
SHAPES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "full": lambda y, x, h: y + torch.full((x.shape[0], 1), 1 / x.shape[0], dtype=y.dtype),
    "full_of_a_number": lambda y, x, h: y + torch.full((x.shape[0], 1), 0.5, dtype=y.dtype),
    "zeros": lambda y, x, h: y + torch.zeros(x.shape[0], HIDDEN, dtype=y.dtype),
    "ones": lambda y, x, h: y * torch.ones(len(h), 1, dtype=y.dtype),
    "new_zeros": lambda y, x, h: torch.cat((y[:, 1:], h.new_zeros(h.shape[0], 1)), 1),
    "new_full": lambda y, x, h: y + h.new_full((h.size(0), 1), 0.5),
    "ones_like": lambda y, x, h: y * 0.5 * torch.ones_like(h),
    "empty_filled": lambda y, x, h: y + torch.empty(x.shape[0], 1, dtype=y.dtype).fill_(0.5),
    "arange": lambda y, x, h: y + torch.arange(x.shape[0], dtype=y.dtype).unsqueeze(1),
    "arange_from": lambda y, x, h: y + torch.arange(1, x.shape[0] + 1).unsqueeze(1),
    "linspace": lambda y, x, h: y + torch.linspace(0, 1, x.shape[0], dtype=y.dtype).unsqueeze(1),
    "eye": lambda y, x, h: torch.eye(x.shape[0], dtype=y.dtype) @ y,
    "expand": lambda y, x, h: y + ROW.expand(x.shape[0], HIDDEN),
    "expand_all": lambda y, x, h: y + ROW.expand(x.shape[0], -1) * h,
    "expand_as": lambda y, x, h: y * ROW.expand_as(h),
    "repeat": lambda y, x, h: y + ROW.repeat(x.shape[0], 1),
    "broadcast_to": lambda y, x, h: y + torch.broadcast_to(ROW, h.shape),
    "tile": lambda y, x, h: y + ROW.tile(len(h), 1),
    "view_flat": lambda y, x, h: y.view(-1).tanh().view(y.shape),
    "view_by_batch": lambda y, x, h: y.view(x.shape[0], 2, -1).softmax(2).view(x.shape[0], -1),
    "view_by_width": lambda y, x, h: y.view(-1, 2, 2).sum(2).repeat(1, 2),
    "reshape": lambda y, x, h: y.reshape(-1, HIDDEN).tanh().reshape(x.shape[0], HIDDEN),
    "flatten": lambda y, x, h: y.flatten().tanh().unflatten(0, (-1, HIDDEN)),
    "flatten_features": lambda y, x, h: y.view(len(y), 2, 2).flatten(1),
    "squeeze": lambda y, x, h: (y.squeeze() * 0.5).view(x.shape[0], HIDDEN),
    "squeeze_of_the_batch": lambda y, x, h: (y.squeeze(0) * 0.5).reshape(x.shape[0], HIDDEN),
    "mean_of_the_batch": lambda y, x, h: y - h.mean(0),
    "mean_of_the_batch_kept": lambda y, x, h: y - y.mean(0, keepdim=True),
    "mean_of_all": lambda y, x, h: y - y.mean(),
    "sum_of_all": lambda y, x, h: y / (1 + h.square().sum()),
    "std_of_the_batch": lambda y, x, h: y / (1 + y.std(0, correction=0)),
    "largest_of_the_batch": lambda y, x, h: y - y.amax(0),
    "norm_of_all": lambda y, x, h: y / (1 + torch.linalg.vector_norm(y)),
    "softmax_of_the_batch": lambda y, x, h: torch.softmax(y, 0),
    "cumsum_of_the_batch": lambda y, x, h: 0.1 * y.cumsum(0),
    "flip_of_the_batch": lambda y, x, h: y.flip(0),
    "roll_of_the_batch": lambda y, x, h: y.roll(1, 0),
    "sort_of_the_batch": lambda y, x, h: y.sort(0)[0],
    "batch_norm": lambda y, x, h: F.batch_norm(torch.cat((y, -y)), None, None, training=True)[: len(y)],
    "layer_norm_of_all": lambda y, x, h: F.layer_norm(y, y.shape),
    "transposed": lambda y, x, h: (h.t() * 0.5).t() + y,
    "transposed_product": lambda y, x, h: y @ (h.t() @ h / 10),
    "product_of_rows": lambda y, x, h: torch.softmax(y @ h.t(), 1) @ h,
    "T": lambda y, x, h: y.T.tanh().T,
    "first_row": lambda y, x, h: y + h[0],
    "last_row": lambda y, x, h: y + h[-1],
    "first_row_kept": lambda y, x, h: y + x[:1].sum(1, keepdim=True),
    "first_rows": lambda y, x, h: y + h[: x.shape[0] // 2].sum(0),
    "every_other_row": lambda y, x, h: y + h[::2].sum(0),
    "all_rows_but_one": lambda y, x, h: torch.cat((h[-1:], y[:-1])),
    "selected": lambda y, x, h: y + h.select(0, 0),
    "narrowed": lambda y, x, h: y + h.narrow(0, x.shape[0] - 1, 1),
    "stacked_list": lambda y, x, h: torch.stack(list(y)) * 0.5,
    "stacked_rows": lambda y, x, h: torch.stack([row.tanh() for row in y]),
    "unbound": lambda y, x, h: torch.stack(y.unbind(0)[::-1]),
    "chunks_of_the_batch": lambda y, x, h: torch.cat(y.chunk(2, 0)[::-1]),
    "split_of_the_batch": lambda y, x, h: torch.cat(y.split(1)[::-1]),
    "doubled_batch": lambda y, x, h: torch.cat((y, h)).tanh()[: len(y)],
    "diagonal": lambda y, x, h: y + torch.diag(y @ y.t()).unsqueeze(1) * 0.1,
    "tril": lambda y, x, h: torch.tril(torch.ones(len(y), len(y), dtype=y.dtype)) @ y / 10,
    "one_hot": lambda y, x, h: y + F.one_hot(torch.arange(x.shape[0]) % HIDDEN, HIDDEN),
    "outer": lambda y, x, h: (y.unsqueeze(2) * h.unsqueeze(1)).mean(2),
    "embedding_of_the_place": lambda y, x, h: y + TABLES[64][torch.arange(x.shape[0])],
    "rows_of_a_table": lambda y, x, h: y + TABLES[64][: x.shape[0]],
    "einsum": lambda y, x, h: torch.einsum("bi,bj->bij", y, h).mean(2),
    "bmm": lambda y, x, h: torch.bmm(y.unsqueeze(1), h.unsqueeze(2)).squeeze(2) * 0.1 + y,
    "batch_first_swapped": lambda y, x, h: y.unsqueeze(0).transpose(0, 1).tanh().squeeze(1),
}


def _rows(y: Tensor, x: Tensor, h: Tensor) -> Tensor:
    rows = []
    for row in y:
        rows.append(torch.tanh(row))  # noqa: PERF401 - it is about the loop
    return torch.stack(rows)


def _range(y: Tensor, x: Tensor, h: Tensor) -> Tensor:
    for i in range(x.shape[0]):
        y = y + 0.01 * i
    return y


def _while(y: Tensor, x: Tensor, h: Tensor) -> Tensor:
    n = x.shape[0]
    while n > 1:
        y, n = torch.tanh(y) + 0.1, n // 2
    return y


def _by_rows(y: Tensor, x: Tensor, h: Tensor) -> Tensor:
    return torch.stack([y[i] * (i + 1) for i in range(len(y))])


def _enumerate(y: Tensor, x: Tensor, h: Tensor) -> Tensor:
    total = torch.zeros(HIDDEN, dtype=y.dtype)
    for i, row in enumerate(y):
        total = total + row / (i + 1)
    return y + total


def _in_place_rows(y: Tensor, x: Tensor, h: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    for i in range(y.size(0)):
        out[i] = y[i].tanh()
    return out


SHAPES |= {f.__name__: f for f in (_rows, _range, _while, _by_rows, _enumerate, _in_place_rows)}

# numbers of the user's own, which a tracer's batch may equal
CONSTANTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    **{
        f"number_{n}": (lambda y, x, h, n=n: y / n)
        for n in (2, 3, 4, 5, 7, 10007, 10009, 1000003, 8191, 65537, 2**31 - 1)
    },
    **{f"remainder_of_{n}": (lambda y, x, h, n=n: y * ((12345 * n) % 10007 % 7)) for n in (3, 10007)},
    **{f"sum_of_a_table_of_{n}": (lambda y, x, h, n=n: y + TABLES[n].sum(0) / n) for n in TABLES},
    **{f"length_of_a_table_of_{n}": (lambda y, x, h, n=n: y / len(TABLES[n])) for n in TABLES},
    "embedding_of_10007_rows": lambda y, x, h: y + F.embedding((x[:, 0].abs() * 1000).long() % 10007, TABLES[10007]),
    "arange_of_10007": lambda y, x, h: y + torch.arange(10007, dtype=y.dtype).sum() / 10007**2,
    "zeros_of_10007": lambda y, x, h: y + torch.full((10007,), 1e-4, dtype=y.dtype).sum(),
    "batch_plus_10007": lambda y, x, h: y / (x.shape[0] + 10007),
    "batch_is_10007": lambda y, x, h: y / 2 if x.shape[0] == 10007 else y,
    "attention_over_a_table": lambda y, x, h: y + torch.softmax(y @ TABLES[64].t(), 1) @ TABLES[64],
    "attention_over_a_long_table": lambda y, x, h: y + torch.softmax(y @ TABLES[10007].t(), 1) @ TABLES[10007],
}
# what the tensors are, beside their shapes
TRAITS: dict[str, Callable[[Tensor, Tensor, Tensor], bool]] = {
    "state_requires_grad": lambda y, x, h: h.requires_grad,
    "input_requires_grad": lambda y, x, h: x.requires_grad,
    "result_requires_grad": lambda y, x, h: y.requires_grad,
    "is_leaf": lambda y, x, h: h.is_leaf,
    "input_is_leaf": lambda y, x, h: x.is_leaf,
    "grad_fn": lambda y, x, h: h.grad_fn is None,
    "grad": lambda y, x, h: h.grad is None,
    "grad_enabled": lambda y, x, h: torch.is_grad_enabled(),
    "input_is_contiguous": lambda y, x, h: x.is_contiguous(),
    "state_is_contiguous": lambda y, x, h: h.is_contiguous(),
    "stride": lambda y, x, h: x.stride(0) == INPUT,
    "stride_of_features": lambda y, x, h: x.stride()[1] == 1,
    "stride_of_the_state": lambda y, x, h: h.stride() == (HIDDEN, 1),
    "storage_offset": lambda y, x, h: x.storage_offset() == 0,
    "offset_of_the_state": lambda y, x, h: h.storage_offset() == 0,
    "data_ptr": lambda y, x, h: x.data_ptr() == h.data_ptr(),
    "alignment": lambda y, x, h: x.data_ptr() % 64 == 0,
    "storage": lambda y, x, h: x.untyped_storage().nbytes() == x.nbytes,
    "base": lambda y, x, h: x._base is None,
    "is_view": lambda y, x, h: x._is_view(),
    "version": lambda y, x, h: h._version == 0,
    "device": lambda y, x, h: x.device.type == "cpu",
    "is_cpu": lambda y, x, h: x.is_cpu,
    "dtype": lambda y, x, h: x.dtype == torch.float64,
    "is_floating_point": lambda y, x, h: x.is_floating_point(),
    "layout": lambda y, x, h: x.layout == torch.strided,
    "number_of_axes": lambda y, x, h: x.dim() == 2,
    "same_object": lambda y, x, h: h is x,
    "type_is_parameter": lambda y, x, h: isinstance(h, nn.Parameter),
    "type_is_tensor": lambda y, x, h: type(h) is Tensor,
    "is_inference": lambda y, x, h: x.is_inference(),
    "tracing": lambda y, x, h: torch.jit.is_tracing(),
    "compiling": lambda y, x, h: torch.compiler.is_compiling(),
    "dynamo_compiling": lambda y, x, h: torch.compiler.is_dynamo_compiling(),
    "exporting": lambda y, x, h: torch.compiler.is_exporting(),
    "scripting": lambda y, x, h: torch.jit.is_scripting(),
    "has_an_attribute": lambda y, x, h: hasattr(x, "an_attribute_of_a_test"),
    "equal_shapes": lambda y, x, h: x.shape == h.shape,
    "is_same_size": lambda y, x, h: x.is_same_size(h),
    "parameter_requires_grad": lambda y, x, h: PARAMETER.requires_grad,
    "is_complex": lambda y, x, h: h.is_complex(),
    "is_conj": lambda y, x, h: h.is_conj(),
    "id": lambda y, x, h: id(x) == id(h),
}


def step_of(what: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    def step(x, h):
        y = what(x @ W + 0.3 * h, x, h)
        return 0.5 * y, torch.tanh(y)

    return step


def assert_for_batches(step: Callable, batches: list[int]) -> None:
    with at_most(20):
        for batch in batches:
            assert_as_eager(Case(step, inputs=(3, batch, INPUT), state=(batch, HIDDEN)))


@pytest.mark.parametrize(
    "name",
    slow_but_for(
        [
            "divided",
            "len",
            "prod_of_shape",
            "remainder",
            "last_bit",
            "clamped",
            "math_sqrt",
            "is_one",
            "larger",
            "text",
        ],
        SIZES,
    ),
)
def test_a_size_as_a_number(name):
    assert_for_batches(step_of(SIZES[name]), ORDERS["mixed"])


def assert_for_rows(of: Callable[[int, Tensor], Any]) -> None:
    """A step of width 1 that adds what is found of its rows, for many numbers of them."""

    def step(x, h):
        y = h / 2 + of(x.shape[0], x)
        return y, y

    for rows in OF_CONDITIONS:
        xs, state = torch.ones(2, rows, 1), torch.ones(rows, 1)
        ours, theirs = scan_quietly(step, xs, state), unrolled.scan(step, xs, state, engine="eager")
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, msg=lambda text, rows=rows: f"{rows} rows: {text}")


@pytest.mark.parametrize(
    "name",
    slow_but_for(["equal", "among", "in_a_shape", "is", "member", "object_first", "larger_than_millions"], CONDITIONS),
)
@pytest.mark.parametrize("use", slow_but_for(["added", "branch"], USES))
def test_a_condition_of_the_rows(name, use):
    assert_for_rows(lambda n, x: USES[use](CONDITIONS[name](n, x), x))


@pytest.mark.parametrize("name", slow_but_for(["blocks", "one_of_two"], NUMBERS))
def test_a_number_of_the_rows(name):
    assert_for_rows(lambda n, x: x + NUMBERS[name](n))


def test_sizes_that_a_capture_tries_differ_in_each_remainder_and_bit():
    """Else a step that computes with it would have one graph for all of them."""
    tried = (BATCH, OTHER_BATCH, ROWS)
    assert all(len({size % divisor for size in tried}) > 1 for divisor in range(2, 1000))
    assert all(len({size >> place & 1 for size in tried}) > 1 for place in range(10))


@pytest.mark.parametrize(
    "name", slow_but_for(["full", "squeeze", "mean_of_the_batch", "first_row", "stacked_list"], SHAPES)
)
def test_a_size_as_a_size(name):
    assert_for_batches(step_of(SHAPES[name]), ORDERS["mixed"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "order"), list(itertools.product(SIZES | SHAPES, ["up", "down", "one_last"])))
def test_sizes_in_other_orders(name, order):
    assert_for_batches(step_of((SIZES | SHAPES)[name]), ORDERS[order])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["is_one", "larger", "divided", "squeeze", "full", "mean_of_the_batch", "larger_than_thousands"]
)
@pytest.mark.parametrize("order", ["up", "down", "one_last"])
def test_a_few_sizes_in_other_orders(name, order):
    assert_for_batches(step_of((SIZES | SHAPES)[name]), ORDERS[order])


@pytest.mark.parametrize("name", slow_but_for(["number_10007", "batch_plus_10007", "batch_is_10007"], CONSTANTS))
def test_a_constant_of_the_steps_own(name):
    assert_for_batches(step_of(CONSTANTS[name]), [3, 1, 17])


@pytest.mark.parametrize("batch", slow_but_for([4], [10007, 4, 7]))
def test_a_batch_that_equals_something_else(batch):
    """The batch may equal the width, a constant or the tracer's own size."""
    w = torch.full((batch, HIDDEN), 0.5, dtype=torch.float64)

    def step(x, h):
        h = torch.tanh(x @ W + h * w.mean() + w[:1] / 7)
        return h / 10007, h

    assert_for_batches(step, [batch, 3, batch])


@pytest.mark.parametrize(
    "name", slow_but_for(["state_requires_grad", "is_leaf", "input_is_contiguous", "stride"], TRAITS)
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # one step reads it
@pytest.mark.parametrize("is_trained", slow_but_for([True], [True, False]))
def test_a_branch_on_what_a_tensor_is(name, is_trained):
    """Kinds of inputs take turns: leaves or not, with gradients or not, contiguous or not."""
    trait = TRAITS[name]
    step = step_of(lambda y, x, h: torch.tanh(y) if trait(y, x, h) else torch.sigmoid(y))
    xs = torch.randn(3, 2, INPUT, dtype=torch.float64)
    kinds = {
        "plain": lambda: (xs, torch.zeros(2, HIDDEN, dtype=torch.float64)),
        "trained": lambda: (xs.clone().requires_grad_(), torch.zeros(2, HIDDEN, dtype=torch.float64).requires_grad_()),
        "no_leaf": lambda: (xs.clone().requires_grad_() * 1, torch.zeros(2, HIDDEN, dtype=torch.float64) + 0),
        "batch_first": lambda: (
            xs.transpose(0, 1).contiguous().transpose(0, 1),
            torch.zeros(2, HIDDEN, dtype=torch.float64),
        ),
        "features_first": lambda: (xs.mT.contiguous().mT, torch.zeros(HIDDEN, 2, dtype=torch.float64).t()),
        "a_part": lambda: (torch.cat((xs, xs))[3:], torch.zeros(3, HIDDEN, dtype=torch.float64)[1:]),
        "parameter": lambda: (xs, nn.Parameter(torch.zeros(2, HIDDEN, dtype=torch.float64))),
        "expanded": lambda: (
            xs[:, :1].expand(3, 2, INPUT),
            torch.zeros(1, HIDDEN, dtype=torch.float64).expand(2, HIDDEN),
        ),
    }
    with torch.set_grad_enabled(is_trained), at_most(60):
        for kind in (*kinds, *reversed(kinds)):
            inputs, state = kinds[kind]()
            ours = scan_quietly(step, inputs, state)
            found = unrolled.scan(step, inputs, state, engine="eager")
            for a, b in zip(ours, found, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda text, kind=kind: f"{kind}: {text}")
                assert a.requires_grad == b.requires_grad, kind
            assert_reason(unrolled.explain(step, inputs, state))


def test_gradient_mode_at_the_first_call():
    """First without gradients, then with, then without: as gradients are, so is the branch."""
    step = step_of(lambda y, x, h: torch.tanh(y) if torch.is_grad_enabled() else torch.sigmoid(y))
    case = Case(step)
    xs, state = case.arguments()
    for is_on in (False, True, False, True):
        with torch.set_grad_enabled(is_on):
            ours, theirs = scan_quietly(step, xs, state), unrolled.scan(step, xs, state, engine="eager")
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batches", slow_but_for([[1, 2, 1]], [[1], [2], [1, 2, 1], [5, 1, 5]]))
@pytest.mark.parametrize("steps", slow_but_for([2], [1, 2, 7]))
def test_time_of_one_and_batch_of_one(batches, steps):
    """The first call has one row or one step, the next has more, or the other way round."""
    step = step_of(lambda y, x, h: y / x.shape[0] + h.mean(0))
    for batch in batches:
        assert_as_eager(Case(step, inputs=(steps, batch, INPUT), state=(batch, HIDDEN)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_dtype_after_another(dtype):
    """A branch on the dtype, and a constant in it."""

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True) * (0.5 if x.dtype is torch.float32 else 0.25))
        return h + torch.tensor(0.1, dtype=h.dtype), h

    for each in (dtype, torch.float64, torch.float32, dtype):
        assert_as_eager(Case(step, dtype=each))


@pytest.mark.slow
def test_other_widths_after_one_another():
    """A step without weights takes any width."""

    def step(x, h):
        h = torch.tanh(h / h.shape[1] + x.sum(1, keepdim=True) * x.shape[-1])
        return h, h

    for width, hidden in ((3, 4), (5, 4), (3, 7), (1, 1), (3, 4)):
        assert_as_eager(Case(step, inputs=(3, 2, width), state=(2, hidden)))


@pytest.mark.slow
def test_other_structures_after_one_another():
    """The state is a tensor, then a pair, then a dict: what is known of one says nothing of the others."""

    def step(x, state):
        if isinstance(state, dict):
            state = {name: torch.tanh(value + x.sum(1, keepdim=True)) for name, value in state.items()}
            return sum(state.values()), state
        if isinstance(state, tuple):
            state = tuple(torch.sigmoid(value + x.sum(1, keepdim=True)) for value in state)
            return state[0] - state[1], state
        state = torch.tanh(state + x.sum(1, keepdim=True))
        return state, state

    one = (2, HIDDEN)
    for state in (one, (one, one), {"a": one}, {"b": one, "a": one}, one, {"a": one, "b": one}):
        assert_as_eager(Case(step, state=state))


@pytest.mark.slow
def test_a_batch_that_is_empty():
    step = step_of(lambda y, x, h: torch.tanh(y) if x.shape[0] else y)
    for batch in (2, 0, 1, 0):
        xs, state = torch.randn(3, batch, INPUT, dtype=torch.float64), torch.zeros(batch, HIDDEN, dtype=torch.float64)
        ours, theirs = (outcome(step, xs, state, engine=engine) for engine in ("auto", "eager"))
        assert [a.shape for a in ours] == [b.shape for b in theirs]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["lengths", "resets", "reverse", "recompute"])
@pytest.mark.parametrize("name", ["divided", "is_one", "full", "mean_of_the_batch", "first_row", "product_of_rows"])
def test_sizes_with_options(name, option):
    """Rows that have ended still count: a step sees the whole batch."""
    step = step_of((SIZES | SHAPES)[name])
    for batch in (3, 1, 5):
        xs, state = torch.randn(4, batch, INPUT, dtype=torch.float64), torch.zeros(batch, HIDDEN, dtype=torch.float64)
        values = {
            "lengths": torch.arange(batch) % 4 + 1,
            "resets": torch.rand(4, batch, generator=torch.Generator().manual_seed(1)) < 0.4,
        }
        options = {option: values.get(option, True)}
        ours = scan_quietly(step, xs, state, **options)
        theirs = unrolled.scan(step, xs, state, engine="eager", **options)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


ONE_ROW: dict[str, Callable] = {
    "squeezed": lambda x, h: torch.tanh(x[:, :1] + h.squeeze()),
    "branch": lambda x, h: torch.tanh(h) if x.shape[0] > 1 else torch.tanh(h * float(h.detach().sum())),
    "branch on the state": lambda x, h: torch.tanh(h) if len(h) != 1 else h * float(h.detach().numpy().sum()),
}


@pytest.mark.parametrize("batches", [(1, 3, 1, 3), (3, 1, 3, 1)])
@pytest.mark.parametrize("name", ONE_ROW)
def test_what_prevents_a_loop_for_one_row_prevents_it_for_no_other_number(name, batches):
    """A refusal is guarded by what the capture read, and the number of rows may not be among it."""
    step = lambda x, h: (h, ONE_ROW[name](x, h))
    for n_rows in batches:
        case = Case(step, inputs=(3, n_rows, INPUT), state=(n_rows, HIDDEN))
        assert_as_eager(case)
        assert unrolled.explain(step, *case.arguments()).path == ("eager" if n_rows == 1 else "fused")
