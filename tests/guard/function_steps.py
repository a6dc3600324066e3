# ruff: noqa: B006
"""Steps that call what people call, functions of Python and of torch, and compute with numbers: refused with the exact
reason, or fused (`FUSED`, of python_steps.py).
"""

import bisect
import decimal
import fractions
import functools
import json
import math
import sys
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tests.guard.checks import HIDDEN, INPUT
from tests.guard.python_steps import CANNOT, FAKE, SCRIPT, fused, fused_object
from tests.guard.refused_steps import BRANCHES, FUNCTION, NUMPY, READS, SHAPES, WRITES, new
from tests.guard.refused_steps import refused as _refused
from tests.guard.refused_steps import refused_object as _refused_object
from torch import Tensor, nn

refused = functools.partial(_refused, file=__file__)
refused_object = functools.partial(_refused_object, file=__file__)


# ---- numbers, functions of Python


@refused(f"it calls Decimal{CANNOT}", 'return h, new(x, h) * float(Decimal("0.5"))')
def decimal_made(x, h):
    return h, new(x, h) * float(Decimal("0.5"))


EXACT, HALF = decimal.Decimal("0.5"), fractions.Fraction(1, 2)


@refused(f"it calls float of a decimal.Decimal{CANNOT}", "return h, new(x, h) * float(EXACT)")
def decimal_held(x, h):
    return h, new(x, h) * float(EXACT)


@refused(f"it computes with a decimal.Decimal{CANNOT}", "rate = EXACT + 1")
def decimal_sum(x, h):
    rate = EXACT + 1
    return h, new(x, h) * rate


@fused
def fraction(x, h):
    return h, new(x, h) * float(HALF * 3) * math.sqrt(2) * abs(3 + 4j) * (5).bit_length()


@refused(f"it calls bisect.bisect{CANNOT}", "return h, new(x, h) * bisect.bisect([1, 2, 3], 2)")
def bisected(x, h):
    return h, new(x, h) * bisect.bisect([1, 2, 3], 2)


@refused(f"it calls json.loads{CANNOT}", 'return h, new(x, h) * json.loads(\'{"rate": 0.5}\')["rate"]')
def reads_json(x, h):
    return h, new(x, h) * json.loads('{"rate": 0.5}')["rate"]


@refused(f"it calls pow{CANNOT}", "return h, pow(new(x, h), 2)")
def power_by_a_function(x, h):
    return h, pow(new(x, h), 2)


@refused(f"it calls globals{CANNOT}", 'return h, new(x, h) * globals()["EXACT"]')
def asks_for_globals(x, h):
    return h, new(x, h) * globals()["EXACT"]


@refused(f"it calls sys.getsizeof{CANNOT}", "return h, new(x, h) * sys.getsizeof(1)")
def size_of_an_object(x, h):
    return h, new(x, h) * sys.getsizeof(1)


class Partial(nn.Module):
    """A method of a method."""

    def act(self, y, rate):
        return torch.tanh(y) * rate

    half = functools.partialmethod(act, rate=0.5)

    def forward(self, x, h):
        return h, self.half(h)


refused_object(f"it reads .half of a Partial{CANNOT}", "return h, self.half(h)")(Partial)


class Cached(nn.Module):
    """An attribute that is found once."""

    @functools.cached_property
    def rate(self):
        return 0.5

    def forward(self, x, h):
        return h, new(x, h) * self.rate


if sys.version_info < (3, 12):  # where it takes a lock
    refused_object(f"it reads .rate of a Cached{CANNOT}", "return h, new(x, h) * self.rate")(Cached)


class Described(nn.Module):
    """Its text is asked for."""

    def extra_repr(self):
        return "rate=0.5"

    def forward(self, x, h):
        return h, new(x, h) * len(self.extra_repr())


fused_object(Described)


# ---- what torch made, functions of torch


@refused_object(SCRIPT, "return h, scripted(x, h)")
def function_of_torchscript():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        scripted = torch.jit.script(_scripted)

    def step(x, h):
        return h, scripted(x, h)

    return step


def _scripted(x, h):
    return torch.tanh(h + x.sum(1, keepdim=True))


@fused_object
def function_of_torch_compile():
    compiled = torch.compile(new, backend="eager")

    def step(x, h):
        return h, compiled(x, h)

    return step


@fused_object
def step_of_torch_compile():
    return torch.compile(lambda x, h: (h, new(x, h)), backend="eager")


@fused_object
def module_of_torch_compile():
    module = torch.compile(nn.Linear(INPUT, HIDDEN).double(), backend="eager")

    def step(x, h):
        return h, torch.tanh(module(x) + h)

    return step


@torch.compiler.disable
def disabled(y):
    """Itself."""
    return y


@refused(
    f"it calls a function that torch.compile leaves out, such as unrolled.scan{CANNOT}", "return h, disabled(new(x, h))"
)
def left_out(x, h):
    return h, disabled(new(x, h))


@refused(
    "it branches by torch.cond, and a fused loop has no branches; torch.where(condition, a, b) does not branch",
    "y = torch.cond(h.sum() > 0, torch.sin, torch.cos, (new(x, h),))",
)
def conditional(x, h):
    y = torch.cond(h.sum() > 0, torch.sin, torch.cos, (new(x, h),))
    return h, y


@refused(
    "it loops by while_loop, and a fused loop has no inner loops; loop in Python a fixed number of times",
    "_, y = torch._higher_order_ops.while_loop(_goes_on, _halves, (torch.tensor(0), new(x, h)))",
)
def loop_of_torch(x, h):
    _, y = torch._higher_order_ops.while_loop(_goes_on, _halves, (torch.tensor(0), new(x, h)))
    return h, y


def _goes_on(i, y):
    return i < 3


def _halves(i, y):
    return i + 1, y * 0.5


@refused(
    "it calls torch.utils.checkpoint; scan(..., recompute=True) recomputes too",
    "return h, torch.utils.checkpoint.checkpoint(new, x, h, use_reentrant=False)",
)
def recomputed(x, h):
    return h, torch.utils.checkpoint.checkpoint(new, x, h, use_reentrant=False)


class Squared(torch.autograd.Function):
    """With a context of its own."""

    @staticmethod
    def forward(y):
        return y * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


@refused(FUNCTION, "return h, Squared.apply(new(x, h))")
def function_with_a_context(x, h):
    return h, Squared.apply(new(x, h))


LIBRARY = torch.library.Library("a_test_of_steps", "DEF")
LIBRARY.define("twice(Tensor y) -> Tensor")
LIBRARY.impl("twice", lambda y: y * 2, "CompositeImplicitAutograd")
LIBRARY.define("thrice(Tensor y) -> Tensor")
LIBRARY.impl("thrice", lambda y: y * 3, "CPU")


@fused
def operation_of_operations(x, h):
    return h, torch.ops.a_test_of_steps.twice(new(x, h))


@refused(FAKE, "return h, torch.ops.a_test_of_steps.thrice(new(x, h))")
def operation_of_a_library(x, h):
    return h, torch.ops.a_test_of_steps.thrice(new(x, h))


@torch.library.custom_op("a_test_of_steps::four_times", mutates_args=())
def four_times(y: Tensor) -> Tensor:
    """Four times."""
    return y * 4


four_times.register_fake(torch.empty_like)
four_times.register_autograd(lambda ctx, gradient: gradient * 4)


@refused("torch cannot trace it as a graph of its own operations", "return h, four_times(new(x, h))")
def operation_with_a_derivative(x, h):
    return h, four_times(new(x, h))


@refused("it uses quantized tensors", "y = torch.quantize_per_tensor(h.float(), 0.1, 0, torch.quint8).dequantize()")
def quantized(x, h):
    y = torch.quantize_per_tensor(h.float(), 0.1, 0, torch.quint8).dequantize()
    return h, new(x, h) + y.double()


@refused("it uses sparse tensors", "return h, new(x, h) + h.to_sparse().to_dense()")
def made_sparse(x, h):
    return h, new(x, h) + h.to_sparse().to_dense()


@refused(f"it calls nn.Parameter{CANNOT}", "weight = nn.Parameter(torch.ones(HIDDEN, dtype=h.dtype))")
def parameter_made(x, h):
    weight = nn.Parameter(torch.ones(HIDDEN, dtype=h.dtype))
    return h, new(x, h) * weight


LINEAR = nn.Linear(INPUT, HIDDEN).double()
OPTIMIZER = torch.optim.SGD(LINEAR.parameters(), 0.1)


@refused(
    "it goes through all parameters or buffers of a module; no guard sees which of them become one",
    "for weight in LINEAR.parameters():",
)
def all_parameters(x, h):
    for weight in LINEAR.parameters():
        h = h + weight.sum()
    return h, new(x, h)


@refused(f"it calls OPTIMIZER.step{CANNOT}", "OPTIMIZER.step()")
def optimizer(x, h):
    OPTIMIZER.step()
    return h, new(x, h)


@refused(f"it calls torch.get_num_threads{CANNOT}", "return h, new(x, h) * torch.get_num_threads()")
def number_of_threads(x, h):
    return h, new(x, h) * torch.get_num_threads()


@refused(f"it calls F.one_hot{CANNOT}", "return h, new(x, h) + F.one_hot((h > 0).long()).sum()")
def one_hot_of_unknown_size(x, h):
    return h, new(x, h) + F.one_hot((h > 0).long()).sum()


@refused(SHAPES, "return h, new(x, h) + torch.unique(h.detach()).sum()")
def distinct_values(x, h):
    return h, new(x, h) + torch.unique(h.detach()).sum()


@refused(READS, "for _ in range(int(h.abs().max())):")
def as_often_as_a_value(x, h):
    for _ in range(int(h.abs().max())):
        h = h * 0.5
    return h, new(x, h)


@refused(BRANCHES, "return h, new(x, h) * (0.5 if 0 in h else 2.0)")
def value_in_a_tensor(x, h):
    return h, new(x, h) * (0.5 if 0 in h else 2.0)


@refused(NUMPY, "return h, new(x, h) * float(np.sqrt(2.0))")
def number_of_numpy(x, h):
    return h, new(x, h) * float(np.sqrt(2.0))


ARRAY = np.array([0.1, 0.2, 0.3, 0.4])


@fused
def array_held(x, h):
    return h, new(x, h) * torch.from_numpy(ARRAY) + torch.as_tensor(ARRAY) + np.pi


@refused(WRITES, "NOTES.append(h.shape)")
def notes(x, h):
    NOTES.append(h.shape)
    return h, new(x, h)


NOTES: list[Any] = []


@refused(WRITES, "[NOTES.append(i) for i in range(2)]")
def comprehension_that_notes(x, h):
    [NOTES.append(i) for i in range(2)]
    return h, new(x, h)


@refused(WRITES, "COUNT += 1")
def global_counter(x, h):
    global COUNT
    COUNT += 1
    return h, new(x, h) / COUNT


COUNT = 0


@refused(WRITES, "seen.append(1)")
def default_that_grows(x, h, seen=[]):
    seen.append(1)
    return h, new(x, h) / len(seen)


@fused
def conditions_as_places(x, h):
    y = new(x, h).clone()
    y[y > 0.5] = 0.25
    y[h[:, 0] > 0] = 0
    y[y < -0.5] = torch.tensor(-0.25, dtype=h.dtype)
    return h, y


@fused
def scaled_by_a_duck(x, h):
    return h, torch.tanh(Duck(h)) + new(x, h)


class Duck:
    """It stands for a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return function(*(a.tensor if isinstance(a, Duck) else a for a in args), **(kwargs or {}))
