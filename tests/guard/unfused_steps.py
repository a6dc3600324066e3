"""Steps that are captured and that no loop program can hold, each with the exact reason; they go into `REFUSED` too."""

import contextlib
import functools
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from tests.guard.checks import HIDDEN
from tests.guard.refused_steps import new, refused
from torch import Tensor

from unrolled.engine import reasons
from unrolled.engine.passes.lower import rows

aten = torch.ops.aten
unfused = functools.partial(refused, file=__file__)

SUM = "takes a sum over the batch, as the gradient of a weight is one; a fused loop computes each row by itself"
TRANSPOSED = "takes a transposed tensor, which a fused loop has for products alone"
ALONG = "works along another axis than the features"
SLICED = "takes a slice with a step other than 1"
WRITTEN = "writes to a slice with a step other than 1"
FLAT = "is among the operations that a fused loop has for [batch, features] alone"
MERGED = "works on a tensor whose first axis is the batch and another one together"
TWO = "multiplies two matrices that both change from step to step"
INSIDE = "; a fused loop holds [batch, ...]"
MISPLACED = "it takes a tensor of shape [{}, batch] into its loop or out of it" + INSIDE
NUMBERS = "its state, or what its output needs of the loop, is not of floating-point numbers"


def drawn(*shape: int) -> Tensor:
    """Numbers that a step holds."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


ROW, PAIR, WHOLE = drawn(1, HIDDEN), drawn(2, 2), torch.ones(HIDDEN, dtype=torch.long)
PAIRS, BIAS, OF_A_ROW = drawn(2, 2, 2), drawn(2), drawn(2, HIDDEN)
MEMORY, TABLE = drawn(2, 65, 66), drawn(9, HIDDEN)


def heads(h: Tensor) -> Tensor:
    """[batch, 4] → [batch, 2, 2]"""
    return h.unflatten(1, (2, 2))


def merged(h: Tensor) -> Tensor:
    """[batch, 4] → [2 · batch, 2]"""
    return heads(h).reshape(-1, 2)


# ---- operations, dtypes


@unfused("aten.frexp is not among the operations that a fused loop can hold", "y, _ = torch.frexp(x)")
def several_results_of_each_element(x, h):
    y, _ = torch.frexp(x)
    return y, new(x, h)


@unfused("aten.sort is not among the operations that a fused loop can hold", "return h, torch.sort(h)[0] + new(x, h)")
def sorted_features(x, h):
    return h, torch.sort(h)[0] + new(x, h)


@contextlib.contextmanager
def failing_rule() -> Any:
    """What Unrolled does with a tanh fails, where tests do not look."""

    def fail(*_: Any) -> Any:
        raise ValueError("of the engine")

    with mock.patch.dict(rows.HANDLERS, {aten.tanh.default: fail}), mock.patch.object(reasons, "is_strict", False):
        yield


@unfused("aten.tanh with these arguments cannot be fused", "return h, torch.tanh(h + 1)", around=failing_rule)
def failing(x, h):
    return h, torch.tanh(h + 1)


@unfused(
    "aten._to_copy gives torch.float32; this loop computes in torch.float64 alone",
    "return h, torch.tanh(h.float()).double() + new(x, h)",
)
def other_precision(x, h):
    return h, torch.tanh(h.float()).double() + new(x, h)


@unfused("aten._to_copy turns it into torch.int64", "return h, (h > 0).long() * 0.5 + new(x, h)")
def whole_numbers(x, h):
    return h, (h > 0).long() * 0.5 + new(x, h)


@unfused(
    "aten.bitwise_and works on the bits of whole numbers",
    "return h, torch.where(((h > 0) & WHOLE) != 0, h, -h) + new(x, h)",
)
def bits(x, h):
    return h, torch.where(((h > 0) & WHOLE) != 0, h, -h) + new(x, h)


@unfused(NUMBERS, "is_positive = h > 0")
def truth_as_output(x, h):
    is_positive = h > 0
    return is_positive, torch.where(is_positive, h, -h) + new(x, h)


@unfused(
    "it draws random numbers whose law may depend on the state",
    "return h, new(x, h) + torch.bernoulli(torch.sigmoid(h))",
)
def law_of_the_state(x, h):
    return h, new(x, h) + torch.bernoulli(torch.sigmoid(h))


@unfused(
    "it draws random numbers that all rows of the batch share",
    "return h * torch.rand(HIDDEN, dtype=h.dtype), new(x, h)",
)
def numbers_that_rows_share(x, h):
    return h * torch.rand(HIDDEN, dtype=h.dtype), new(x, h)


@unfused(
    "it scales a gradient by how often each index occurs",
    "return h, new(x, h) + F.embedding(x[:, 0].long(), TABLE, scale_grad_by_freq=True)",
)
def gradient_by_frequency(x, h):
    return h, new(x, h) + F.embedding(x[:, 0].long(), TABLE, scale_grad_by_freq=True)


@unfused(
    "it calls an operation that makes a tensor of numbers by itself",
    "grid = F.affine_grid(torch.stack((h[:, :3], h[:, 1:]), 1), (len(h), 1, 1, 1))",
)
def makes_numbers(x, h):
    grid = F.affine_grid(torch.stack((h[:, :3], h[:, 1:]), 1), (len(h), 1, 1, 1))
    return grid.flatten(1), new(x, h)


# ---- what only products take


@unfused(
    "aten.mul takes a matrix that a product takes too; a fused loop has it for products alone",
    "return h, h[:, :1] @ ROW + h * ROW + new(x, h)",
)
def matrix_of_a_product(x, h):
    return h, h[:, :1] @ ROW + h * ROW + new(x, h)


@unfused(
    "aten.mul takes matrices that a product takes too; a fused loop has them for products alone",
    "scaled = (heads(h).unsqueeze(3) * PAIRS).sum(3)",
)
def matrices_of_a_product(x, h):
    product = torch.bmm(heads(h).transpose(0, 1), PAIRS).transpose(0, 1)
    scaled = (heads(h).unsqueeze(3) * PAIRS).sum(3)
    return h, (product + scaled).flatten(1) + new(x, h)


@unfused(
    "aten.expand takes a matrix for each row of the batch; a product of rows with one matrix is a @ b",
    "return h, torch.bmm(heads(h), PAIR.expand(len(h), 2, 2)).flatten(1) + new(x, h)",
)
def matrix_for_each_row(x, h):
    return h, torch.bmm(heads(h), PAIR.expand(len(h), 2, 2)).flatten(1) + new(x, h)


@unfused(f"aten.tanh {TRANSPOSED}", "return h, torch.tanh(h.t()).t() + new(x, h)")
def transposed(x, h):
    return h, torch.tanh(h.t()).t() + new(x, h)


@unfused(f"aten.tanh {TRANSPOSED}", "y = torch.tanh(merged(h).t())")
def merged_transposed(x, h):
    y = torch.tanh(merged(h).t())
    return h, y.t().reshape(-1, HIDDEN) + new(x, h)


@unfused(f"aten.sum {TRANSPOSED}", "return h, h.t().sum(0).unsqueeze(1) + new(x, h)")
def transposed_summed(x, h):
    return h, h.t().sum(0).unsqueeze(1) + new(x, h)


@unfused(
    "aten.permute transposes a tensor that is the same for all rows of the batch",
    "ones = torch.ones_like(h).t()",
)
def constant_transposed(x, h):
    ones = torch.ones_like(h).t()
    return h, h * ones.t() + new(x, h)


@unfused(f"aten.add {SUM}", "return h, new(x, h) + h.sum(0)")
def sum_over_the_batch(x, h):
    return h, new(x, h) + h.sum(0)


@unfused(f"aten.sum {SUM}", "return h, new(x, h) + h.sum(0).sum()")
def sum_of_a_sum(x, h):
    return h, new(x, h) + h.sum(0).sum()


@unfused(f"aten.mul {SUM}", "return h, new(x, h) + (heads(h).sum(0) * heads(h)).flatten(1)")
def sum_of_heads(x, h):
    return h, new(x, h) + (heads(h).sum(0) * heads(h)).flatten(1)


@unfused(f"aten.tanh {SUM}", "return h, new(x, h) + torch.tanh(product).sum()")
def product_over_the_batch(x, h):
    product = torch.bmm(heads(h).permute(1, 2, 0), heads(h).transpose(0, 1))
    return h, new(x, h) + torch.tanh(product).sum()


@unfused("aten.add adds a product over the batch to another one transposed", "both = product + product.t()")
def product_and_its_transpose(x, h):
    product = h.t() @ h
    both = product + product.t()
    return h, new(x, h) + both.sum()


@unfused(f"aten.mm {TWO}", "return h, new(x, h) + h @ (h.t() @ h)")
def two_that_change(x, h):
    return h, new(x, h) + h @ (h.t() @ h)


@unfused(f"aten.mm {TWO}", "y = merged(h) @ (merged(h).t() @ merged(h))")
def two_merged_that_change(x, h):
    y = merged(h) @ (merged(h).t() @ merged(h))
    return h, new(x, h) + y.reshape(-1, HIDDEN)


@unfused(
    "aten.bmm multiplies two tensors that both change from step to step, other than within each row of the batch",
    "y = torch.bmm(heads(h).transpose(0, 1), product).transpose(0, 1)",
)
def two_tensors_that_change(x, h):
    product = torch.bmm(heads(h).permute(1, 2, 0), heads(h).transpose(0, 1))
    y = torch.bmm(heads(h).transpose(0, 1), product).transpose(0, 1)
    return h, new(x, h) + y.flatten(1)


@unfused(
    "aten.bmm multiplies matrices of 33 · 32 numbers within each row of the batch",
    "y = torch.bmm(one.expand(-1, 33, 32), one.expand(-1, 32, 2))",
)
def large_within_a_row(x, h):
    one = h[:, :1].unsqueeze(2)
    y = torch.bmm(one.expand(-1, 33, 32), one.expand(-1, 32, 2))
    return h, new(x, h) + y.sum((1, 2)).unsqueeze(1)


@unfused(
    "aten.addmm scales a product or its bias, which a fused loop does for [batch, features] alone",
    "y = torch.addmm(BIAS, merged(h), PAIR, alpha=2)",
)
def scaled_product(x, h):
    y = torch.addmm(BIAS, merged(h), PAIR, alpha=2)
    return h, new(x, h) + y.reshape(-1, HIDDEN)


@unfused(
    "aten.gt takes the index of a maximum or minimum, with which a fused loop cannot compute",
    "return h, torch.where(h.max(1)[1].unsqueeze(1) > 1, h, -h) + new(x, h)",
)
def index_of_a_maximum(x, h):
    return h, torch.where(h.max(1)[1].unsqueeze(1) > 1, h, -h) + new(x, h)


@unfused("aten.scatter puts numbers where an index says", "y = h.scatter(1, places, h[:, 1:2])")
def put_by_an_index(x, h):
    places = torch.zeros_like(h[:, :1], dtype=torch.long)
    y = h.scatter(1, places, h[:, 1:2])
    return h, new(x, h) + y


# ---- over the batch


@unfused("aten.sum sums over the batch", "return x + h.sum(), new(x, h)")
def output_of_all_rows(x, h):
    return x + h.sum(), new(x, h)


@unfused("aten.mean averages over the batch", "return h, new(x, h) - h.mean(0)")
def mean_over_the_batch(x, h):
    return h, new(x, h) - h.mean(0)


@unfused("aten.mean averages over the batch", "return h, new(x, h) - h.mean()")
def mean_of_all(x, h):
    return h, new(x, h) - h.mean()


@unfused("aten.mean averages over the batch", "return h, new(x, h) - heads(h).mean(0).flatten()")
def mean_of_heads(x, h):
    return h, new(x, h) - heads(h).mean(0).flatten()


@unfused("aten.mean averages over the batch", "return h, new(x, h) - heads(h).mean()")
def mean_of_all_heads(x, h):
    return h, new(x, h) - heads(h).mean()


@unfused("aten.amax takes a maximum over the batch", "return h, new(x, h) - h.amax(0)")
def maximum_over_the_batch(x, h):
    return h, new(x, h) - h.amax(0)


@unfused("aten.amax takes a maximum over the batch", "return h, new(x, h) - heads(h).amax(0).flatten()")
def maximum_of_heads(x, h):
    return h, new(x, h) - heads(h).amax(0).flatten()


@unfused("aten.amin takes a minimum over the batch", "return h, new(x, h) - h.amin()")
def minimum_over_the_batch(x, h):
    return h, new(x, h) - h.amin()


@unfused("aten.amin takes a minimum over the batch", "return h, new(x, h) - heads(h).amin(0).flatten()")
def minimum_of_heads(x, h):
    return h, new(x, h) - heads(h).amin(0).flatten()


@unfused("aten.var takes a variance over the batch, of no numbers or of complex ones", "return h, new(x, h) / h.var(0)")
def variance_over_the_batch(x, h):
    return h, new(x, h) / h.var(0)


@unfused(
    "aten.var takes a variance over the batch, of no numbers or of complex ones", "spread = heads(h.detach()).var(0)"
)
def variance_of_heads(x, h):
    spread = heads(h.detach()).var(0)
    return h, new(x, h) / spread.flatten()


@unfused("aten.any asks whether any row of the batch is true", "some = (h > 0).any(0)")
def any_row(x, h):
    some = (h > 0).any(0)
    return h, torch.where(some, h, -h) + new(x, h)


# ---- other axes than the features


@unfused("aten.repeat repeats another axis than the features", "return h, new(x, h) + h.repeat(2, 1)[: len(h)]")
def repeated_rows(x, h):
    return h, new(x, h) + h.repeat(2, 1)[: len(h)]


@unfused("aten.roll rolls over the batch", "return h, new(x, h) + h.roll(1)")
def rolled(x, h):
    return h, new(x, h) + h.roll(1)


@unfused(f"aten.roll {ALONG}", "return h, new(x, h) + h.roll(1, 0)")
def rolled_rows(x, h):
    return h, new(x, h) + h.roll(1, 0)


@unfused(f"aten.select_scatter {ALONG}", "y[0] = 0")
def written_row(x, h):
    y = h.clone()
    y[0] = 0
    return h, new(x, h) + y


@unfused("aten.cat joins along another axis than the features", "both = torch.cat((h, -h), 0)")
def joined_rows(x, h):
    both = torch.cat((h, -h), 0)
    return h, new(x, h) + both[: len(h)]


@unfused("aten.cat joins along the batch", "both = torch.cat((heads(h), -heads(h)), 0)")
def joined_rows_of_heads(x, h):
    both = torch.cat((heads(h), -heads(h)), 0)
    return h, new(x, h) + both[: len(h)].flatten(1)


@unfused("aten.constant_pad_nd pads another axis than the features", "return h, new(x, h) + F.pad(h, (0, 0, 1, -1))")
def padded_rows(x, h):
    return h, new(x, h) + F.pad(h, (0, 0, 1, -1))


@unfused("aten.slice takes some rows of the batch", "return h, new(x, h) + heads(h)[:1].flatten(1)")
def some_rows(x, h):
    return h, new(x, h) + heads(h)[:1].flatten(1)


# ---- slices


@unfused(f"aten.slice {SLICED}", "return h, new(x, h) + h[:, ::2].sum(1, keepdim=True)")
def every_second(x, h):
    return h, new(x, h) + h[:, ::2].sum(1, keepdim=True)


@unfused(f"aten.slice {SLICED}", "return h, new(x, h) + heads(h)[:, ::2].sum((1, 2)).unsqueeze(1)")
def every_second_head(x, h):
    return h, new(x, h) + heads(h)[:, ::2].sum((1, 2)).unsqueeze(1)


@unfused(f"aten.slice_scatter {WRITTEN}", "return h, new(x, h) + torch.slice_scatter(h, h[:, :2], 1, 0, 4, 2)")
def every_second_written(x, h):
    return h, new(x, h) + torch.slice_scatter(h, h[:, :2], 1, 0, 4, 2)


@unfused(f"aten.slice_scatter {WRITTEN}", "y = torch.slice_scatter(heads(h), heads(h)[:, :1], 1, 0, 2, 2)")
def every_second_head_written(x, h):
    y = torch.slice_scatter(heads(h), heads(h)[:, :1], 1, 0, 2, 2)
    return h, new(x, h) + y.flatten(1)


@unfused("aten.slice takes an empty slice of a tensor of more than two axes", "nothing = heads(h)[:, 2:].sum((1, 2))")
def empty_slice(x, h):
    nothing = heads(h)[:, 2:].sum((1, 2))
    return h, new(x, h) + nothing.unsqueeze(1)


# ---- more than two axes


@unfused(f"aten.cumsum {FLAT}", "return h, new(x, h) + heads(h).cumsum(2).flatten(1)")
def sums_within_heads(x, h):
    return h, new(x, h) + heads(h).cumsum(2).flatten(1)


@unfused(
    "aten.max finds the index of a maximum or minimum, which a fused loop does for [batch, features] alone; amax and amin "
    "find what stands there",
    "most = heads(h).max(2)[0]",
)
def maximum_within_heads(x, h):
    most = heads(h).max(2)[0]
    return h, new(x, h) + most.sum(1, keepdim=True)


@unfused(f"aten.select {MERGED}", "y = merged(h)[:, 0]")
def part_of_merged(x, h):
    y = merged(h)[:, 0]
    return h, new(x, h) + y.reshape(-1, 2).sum(1, keepdim=True)


@unfused(f"aten.permute {MERGED}", "y = heads(h).unsqueeze(3).reshape(-1, 2, 1).transpose(1, 2)")
def merged_permuted(x, h):
    y = heads(h).unsqueeze(3).reshape(-1, 2, 1).transpose(1, 2)
    return h, new(x, h) + y.reshape(-1, HIDDEN)


@unfused("aten.view turns [batch, 4] into [2 · batch, 2]", "y = torch.tanh(h.reshape(-1, 2))")
def merged_at_once(x, h):
    y = torch.tanh(h.reshape(-1, 2))
    return h, new(x, h) + y.reshape(-1, HIDDEN)


@unfused("aten.view turns [2, batch, 2] into [2 · batch, 2]", "y = heads(h).transpose(0, 1).reshape(-1, 2)")
def merged_the_other_way(x, h):
    y = heads(h).transpose(0, 1).reshape(-1, 2)
    return h, new(x, h) + y.reshape(-1, HIDDEN)


@unfused(
    "aten.view gives a tensor of shape [4, batch]; a fused loop holds [batch, features]",
    "return h, new(x, h) + h.reshape(HIDDEN, -1).t()",
)
def batch_last(x, h):
    return h, new(x, h) + h.reshape(HIDDEN, -1).t()


@unfused(f"aten.full gives a tensor of shape [2, batch, 2]{INSIDE}", "ones = torch.ones(2, len(h), 2, dtype=h.dtype)")
def batch_inside(x, h):
    ones = torch.ones(2, len(h), 2, dtype=h.dtype)
    return h, new(x, h) + (ones * heads(h).transpose(0, 1)).sum(0).repeat(1, 2)


@unfused(
    "aten.expand repeats over the batch in more than two axes",
    "y = heads(h).unsqueeze(0).expand(len(h), -1, -1, -1)",
)
def repeated_over_the_batch(x, h):
    y = heads(h).unsqueeze(0).expand(len(h), -1, -1, -1)
    return h, new(x, h) + y.sum(0).flatten(1)


@unfused(
    "aten.view holds a tensor of shape [batch, 65, 2], of more than 64 rows of numbers",
    "y = h.unflatten(1, (65, 2))",
    state=(2, 130),
)
def many_heads(x, h):
    y = h.unflatten(1, (65, 2))
    return h, new(x, h) + y.amax(1).sum(1, keepdim=True)


@unfused(
    "aten.amax holds a tensor of shape [batch, 65, 66], of more than 64 rows of numbers",
    "y = (MEMORY * h[:, :1, None]).amax(1)",
)
def many_places(x, h):
    y = (MEMORY * h[:, :1, None]).amax(1)
    return h, new(x, h) + y[:, :HIDDEN]


@unfused(
    "aten.mul gives a tensor of shape [batch, 65, 65], of more than 64 rows of numbers",
    "y = h.unsqueeze(2) * h.unsqueeze(1)",
    state=(2, 65),
)
def many_products(x, h):
    y = h.unsqueeze(2) * h.unsqueeze(1)
    return h, new(x, h) + y.amax(2)


@unfused(
    "aten.view moves each number of a tensor of shape [batch, 17, 16] by itself, which has more than 256",
    "y = h.unflatten(1, (16, 17)).transpose(1, 2).flatten(1)",
    state=(2, 272),
)
def many_moved(x, h):
    y = h.unflatten(1, (16, 17)).transpose(1, 2).flatten(1)
    return h, new(x, h) + y


@unfused(MISPLACED.format(3), "return h, new(x, h) + (h[:, :3].t() * x.t()).sum(0).unsqueeze(1)")
def input_transposed(x, h):
    return h, new(x, h) + (h[:, :3].t() * x.t()).sum(0).unsqueeze(1)


@unfused(MISPLACED.format(4), "turned = h.t()")
def output_transposed(x, h):
    turned = h.t()
    return turned.t() * 2, new(x, h) + (turned * 2).t()


@unfused(MISPLACED.format(4), "return h, new(x, h) * OF_A_ROW + (h.t() * OF_A_ROW.t()).t()")
def held_transposed(x, h):
    return h, new(x, h) * OF_A_ROW + (h.t() * OF_A_ROW.t()).t()


@unfused("what it does depends on the number of rows of the batch", "return h, new(x, h) * torch.ones_like(h).mean(0)")
def mean_of_ones(x, h):
    return h, new(x, h) * torch.ones_like(h).mean(0)
