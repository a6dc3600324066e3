"""Pointwise functions of torch at special numbers: the functions, and the numbers.

`FUNCTIONS` has each by name, as a function of one or two tensors: every pointwise operation that the engine lowers, made
from its schema, and torch's own functions that are composed of such. `numbers` and `pairs` are what they are tried at.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unrolled.engine.passes.lower import features, rows

aten, prims = torch.ops.aten, torch.ops.prims
inf, nan = math.inf, math.nan

#: products, shapes, dtypes and what is filled with one number: no functions of numbers
STRUCTURAL = frozenset({
    aten.mm.default, aten.addmm.default, aten.permute.default, aten.t.default, aten.transpose.int, aten.view.default,
    aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dims, aten.squeeze.dim,
    aten.expand.default, prims.broadcast_in_dim.default, aten.clone.default, aten.detach.default, aten.alias.default,
    aten.lift_fresh_copy.default, aten._to_copy.default, prims.convert_element_type.default, aten.full.default,
    aten.full_like.default, aten.zeros.default, aten.ones.default, aten.zeros_like.default, aten.ones_like.default,
    aten._efficientzerotensor.default, aten.empty.memory_format, aten.empty_like.default, aten.empty_permuted.default,
    aten.scalar_tensor.default,
})  # fmt: skip
#: what no step can call by itself: no derivative in torch, or torch's default dtype, or a part of other functions' gradients
WITHIN_OTHERS = frozenset({
    prims.div.default, aten.remainder.Scalar_Tensor, aten.where.Scalar, aten.softshrink_backward.default,
    aten.hardshrink_backward.default,
})  # fmt: skip
_OF_A_NEGATIVE_NUMBER_TOO = (aten.div, aten.fmod, aten.remainder, aten.copysign, aten.pow, aten.clamp_min)


def numbers(dtype: torch.dtype) -> Tensor:
    """[n]: zeros, denormals, tiny ones, halves, thresholds, the ends of ranges, infinities, of both signs, and NaN."""
    info = torch.finfo(dtype)
    denormal = info.smallest_normal * info.eps
    sizes = [0, denormal, 3 * denormal, info.smallest_normal / 2, info.smallest_normal, 1e-30, 1e-20, info.eps / 2]
    sizes += [info.eps, 1e-7, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 1 - info.eps / 2, 1, 1 + info.eps, 1.5, 2, 2.5, 3]
    sizes += [math.nextafter(3, 4), 3.5, 5, 6, 7, 9, 10, 15.9, 18, 20, 20.1, 30, 44, 80, 87, 88, 88.5, 88.73, 89, 89.5]
    sizes += [
        103,
        104,
        126,
        127,
        128,
        149.5,
        150,
        151,
        709,
        709.7,
        710,
        710.4,
        745,
        746,
        1022,
        1023.5,
        1024,
        1074,
        1076,
    ]
    sizes += [1e4, 1e10, 1.9e19, 1e30, 1e38, 1e150, 1.4e154, 1e300, info.max / 4, info.max / 2, info.max, inf]
    sizes = [size for size in sizes if size <= info.max or size == inf]
    return torch.tensor([*sizes, *(-size for size in sizes), nan], dtype=torch.float64).to(dtype)


def pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Twice [n]: every pair of some of these numbers."""
    info = torch.finfo(dtype)
    sizes = [0, info.smallest_normal * info.eps, 1e-30, 0.5, 1, 2, 3, 3.5, 20, 89, 710, 1e30, 1e38, info.max, inf]
    every = torch.tensor([*sizes, *(-size for size in sizes), info.smallest_normal, nan], dtype=torch.float64).to(dtype)
    first, second = torch.cartesian_prod(every, every).unbind(1)
    return first.contiguous(), second.contiguous()


def pointwise_operations() -> list[Any]:
    """Every pointwise operation of ATen that has a rule."""
    known = [op for op in rows.HANDLERS if isinstance(op, torch._ops.OpOverload)]
    return [op for op in known if op not in features.HANDLERS and op not in STRUCTURAL | WITHIN_OTHERS]


def _of_schema(op: Any, number: float | None, mode: str | None) -> Callable:
    """The operation as a function of at most two tensors; truth is 1 or 0."""
    is_of_truth = op.overloadpacket in (aten.bitwise_and, aten.bitwise_or, aten.bitwise_xor, aten.bitwise_not)
    options = {"rounding_mode": mode} if mode else {}
    kinds = [_kind(argument) for argument in op._schema.arguments]

    def function(*tensors: Tensor) -> Tensor:
        operands = [tensor > 0 if is_of_truth else tensor for tensor in tensors]
        given = {"tensor": [*operands, tensors[0]], "number": [number, 2.0], "condition": [tensors[0] > 0.5]}
        found = op(*[given[kind].pop(0) for kind in kinds if kind], **options)
        return found.to(tensors[0].dtype) if found.dtype == torch.bool else found

    return function


def _kind(argument: Any) -> str | None:
    """What stands there; None: its default."""
    if argument.name == "condition":
        return "condition"
    if "Tensor" in str(argument.type):
        return "tensor"
    return "number" if "number" in str(argument.type) and argument.name != "alpha" else None


def _generated() -> Iterator[tuple[str, int, Callable]]:
    """(name, number of tensors, function)."""
    for op in pointwise_operations():
        kinds = [_kind(argument) for argument in op._schema.arguments]
        n_tensors = min(max(kinds.count("tensor"), 1), 2)
        for mode in ("floor", "trunc") if op._overloadname.endswith("_mode") else (None,):
            name = op.name().removeprefix("aten::") + (f" {mode}" if mode else "")
            if "number" not in kinds:
                yield name, n_tensors, _of_schema(op, None, mode)
                continue
            for number in (0.7, -3.0) if op.overloadpacket in _OF_A_NEGATIVE_NUMBER_TOO else (0.7,):
                yield f"{name} of {number}", n_tensors, _of_schema(op, number, mode)


def _where(condition: Callable) -> Callable:
    return lambda *tensors: torch.where(condition(*tensors), tensors[0], 0.5 * tensors[-1])


def _named(module: Any, names: str) -> dict[str, Callable]:
    return {name: getattr(module, name) for name in names.split()}


UNARY: dict[str, Callable] = {
    **_named(torch, "frac positive deg2rad rad2deg nan_to_num logit sinc"),
    **_named(
        F, "softplus mish gelu silu elu celu selu relu6 hardtanh hardsigmoid hardswish leaky_relu logsigmoid softsign"
    ),
    **_named(F, "tanhshrink softshrink hardshrink"),
    **_named(torch.special, "ndtr entr"),
    "gelu by tanh": lambda a: F.gelu(a, approximate="tanh"),
    "softplus of 2": lambda a: F.softplus(a, 2.0, 5.0),
    "elu of 2": lambda a: F.elu(a, 2.0),
    "celu of a half": lambda a: F.celu(a, 0.5),
    "hardtanh to 3": lambda a: F.hardtanh(a, -0.5, 3.0),
    "leaky_relu of -0.1": lambda a: F.leaky_relu(a, -0.1),
    "threshold": lambda a: F.threshold(a, 0.5, -2.0),
    "softshrink of 3": lambda a: F.softshrink(a, 3.0),
    "hardshrink of 0": lambda a: F.hardshrink(a, 0.0),
    "clamp both": lambda a: a.clamp(-1, 1),
    "clamp reversed": lambda a: a.clamp(3.0, -3.0),
    **{
        f"power {p}": functools.partial(lambda p, a: a**p, p)
        for p in (0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 1.5, 1 / 3, inf, nan)
    },
    **{f"{b} to it": functools.partial(lambda b, a: b**a, b) for b in (0, 1, -2, inf)},
    "add 0": lambda a: a + 0,
    "subtract 0": lambda a: a - 0.0,
    "0 less it": lambda a: 0 - a,
    "times 0": lambda a: a * 0,
    "times infinity": lambda a: a * inf,
    "by 0": lambda a: a / 0.0,
    "3 by it": lambda a: 3 / a,
    "isfinite": _where(torch.isfinite),
    "as truth": _where(lambda a: a.bool()),
    "as number": lambda a: (a > 1).to(a.dtype) * a,
    "masked_fill": lambda a: a.masked_fill(a > 6, -inf),
    "lerp 0.3": lambda a: torch.lerp(a, a * 2, 0.3),
    "swish of 2": lambda a: a * torch.sigmoid(2 * a),
    "log of 1 + exp": lambda a: torch.log1p(torch.exp(a)),
    "a by 1 + |a|": lambda a: a / (1 + a.abs()),
    "exp of -a²": lambda a: torch.exp(-a * a),
    "less itself": lambda a: a - a,
    "by itself": lambda a: a / a,
    "times itself": lambda a: a * a,
    "detached": lambda a: a * torch.sigmoid(a).detach(),
}
BINARY: dict[str, Callable] = {
    **_named(torch, "logaddexp logaddexp2 xlogy"),
    "xlog1py": torch.special.xlog1py,
    "add, alpha 2": lambda a, b: torch.add(a, b, alpha=2),
    "sub, alpha 2": lambda a, b: torch.sub(a, b, alpha=2),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "lerp 0.7": lambda a, b: torch.lerp(a, b, 0.7),
    "prelu": lambda a, b: torch.where(a > 0, a, a * b),
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "addcdiv": lambda a, b: torch.addcdiv(a, a, b),
    "addcdiv, value 0.5": lambda a, b: torch.addcdiv(a, a, b, value=0.5),
    "clamp min": lambda a, b: torch.clamp(a, min=b),
    "clamp max": lambda a, b: torch.clamp(a, max=b),
    "glu": lambda a, b: F.glu(torch.cat((a, b), 1)),
    "gate": lambda a, b: torch.sigmoid(a) * b,
    "product and sum": lambda a, b: a * b + a,
    "less a product": lambda a, b: a - a * b,
    "products apart": lambda a, b: a * b - b * a,
    "distance": lambda a, b: (a - b).abs(),
    "square of a difference": lambda a, b: (a - b) ** 2,
    "both and": _where(lambda a, b: (a > 0) & (b > 0)),
}
FUNCTIONS: dict[str, tuple[int, Callable]] = (
    {name: (n_tensors, function) for name, n_tensors, function in _generated()}
    | {name: (1, function) for name, function in UNARY.items()}
    | {name: (2, function) for name, function in BINARY.items()}
)
