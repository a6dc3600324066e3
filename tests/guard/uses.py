"""What a step may do with a value that it reads: `USES`, name → (first value, second value, use).

`use(y, value)` is a step's arithmetic on y, [batch, HIDDEN] of float64.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Squash(enum.Enum):
    TANH = "tanh"
    SIGMOID = "sigmoid"


@dataclasses.dataclass(frozen=True)
class Affine:
    scale: float
    shift: float = 0.1


class Bounds(NamedTuple):
    low: float
    high: float


class One:
    rate = 0.5


class Two:
    rate = 0.25


def _as_tensor(number: float, **options: Any) -> Tensor:
    return torch.tensor(number, dtype=torch.float64, **options)


def _by_type(y: Tensor, value: Any) -> Tensor:
    if value is True:
        return torch.relu(y)
    return torch.tanh(y) if isinstance(value, float) else torch.sigmoid(y)


def _repeated(y: Tensor, value: Any) -> Tensor:
    for i in value:
        y = torch.tanh(y + 0.1 * i)
    return y


def _matched(y: Tensor, value: Any) -> Tensor:
    match value:
        case {"kind": "scale", "by": by}:
            return y * by
        case [low, high]:
            return y.clamp(low, high)
        case _:
            return torch.tanh(y)


def _tried(y: Tensor, value: Any) -> Tensor:
    try:
        return y * value["rate"]
    except KeyError:
        return torch.tanh(y)


def _half(y: Tensor) -> Tensor:
    return y * 0.5


def _quarter(y: Tensor) -> Tensor:
    return y * 0.25


def _signed(y: Tensor, value: float) -> Tensor:
    return y * math.copysign(0.5, value)


#: equal values that are told apart, in each kind of thing that a guard compares by `==`; what tells them apart
EQUALS: dict[str, tuple[Any, Any, Callable[[Tensor, Any], Tensor]]] = {
    "zeros": (0.0, -0.0, _signed),
    "one_and_true": (1, True, lambda y, v: y * (0.5 if isinstance(v, bool) else 0.25)),
    "one_and_a_float": (1, 1.0, lambda y, v: y * (0.5 if isinstance(v, int) else 0.25)),
}
HOLDERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "set": (lambda v: {v}, lambda held: list(held)[0]),  # noqa: RUF015
    "frozen_set": (lambda v: frozenset({v}), lambda held: list(held)[0]),  # noqa: RUF015
    "set_of_tuples": (lambda v: {(v,)}, lambda held: list(held)[0][0]),  # noqa: RUF015
    "key": (lambda v: {v: 2}, lambda held: list(held)[0]),  # noqa: RUF015
    "key_in_a_tuple": (lambda v: {(v,): 2}, lambda held: list(held)[0][0]),  # noqa: RUF015
    "key_in_a_set": (lambda v: {frozenset({v}): 2}, lambda held: list(list(held)[0])[0]),  # noqa: RUF015
    "tuple": (lambda v: (v,), lambda held: held[0]),
    "slice": (slice, lambda held: held.stop),
}


class Rate(float):
    """A float of a class of its own."""


class Code(bytes):
    """Bytes of a class of its own."""


_EQUAL_USES = {
    f"{name}_in_a_{holder}": (hold(first), hold(second), lambda y, v, read=read, use=use: use(y, read(v)))
    for name, (first, second, use) in EQUALS.items()
    for holder, (hold, read) in HOLDERS.items()
}
_HELD = [bytearray, memoryview, Code]  # of bytes
_COMPARED_USES = {
    f"{kind.__name__}_{how}": (kind(b"a"), kind(b"b"), lambda y, v, is_a=is_a: y * (0.5 if is_a(v) else 0.25))
    for kind in _HELD
    for how, is_a in {
        "compared": lambda v: v == b"a",
        "compared_within": lambda v: (v, 1) == (b"a", 1),
        "found": lambda v: v in (b"a",),
    }.items()
}

USES: dict[str, tuple[Any, Any, Callable[[Tensor, Any], Tensor]]] = {
    "number": (0.5, 0.25, lambda y, v: y * v),
    "close_number": (0.1, 0.1 + 1e-8, lambda y, v: y * v),
    "integer": (2, 3, lambda y, v: y / v),
    "small_integer": (0, 1, lambda y, v: y + v),
    "exponent": (2, 3, lambda y, v: y**v),
    "number_in_a_condition": (0.5, 0.25, lambda y, v: torch.tanh(y) if v > 0.4 else torch.sigmoid(y)),
    "number_by_math": (0.5, 0.25, lambda y, v: y * math.exp(v)),
    "number_in_a_list": (0.5, 0.25, lambda y, v: y * sum([v, 1.0])),
    "number_as_tensor": (0.5, 0.25, lambda y, v: y * torch.tensor(v, dtype=y.dtype)),
    "number_in_full": (0.5, 0.25, lambda y, v: y + torch.full_like(y, v)),
    "int_to_float": (1, 1.0, _by_type),
    "int_to_bool": (1, True, _by_type),
    "float_to_bool": (1.0, True, _by_type),
    "zero_to_minus_zero": (0.0, -0.0, lambda y, v: y * math.copysign(0.5, v)),
    "to_nan": (0.5, math.nan, lambda y, v: y * v),
    "from_nan": (math.nan, 0.5, lambda y, v: y * v),
    "to_infinity": (0.1, math.inf, lambda y, v: y.clamp(max=v)),
    "large_integer": (2**53, 2**53 + 1, lambda y, v: y * (v % 4 + 1)),
    "very_large_integer": (2**70, 2**70 + 1, lambda y, v: y * (v % 4 + 1)),
    "fraction": (Fraction(1, 2), Fraction(1, 4), lambda y, v: y * float(v)),
    "complex": (3 + 4j, 3 - 5j, lambda y, v: y * (abs(v) + v.imag)),
    "tensor": (_as_tensor([0.5] * 4), _as_tensor([0.25] * 4), lambda y, v: y * v),
    "parameter": (nn.Parameter(_as_tensor([0.5] * 4)), nn.Parameter(_as_tensor([0.25] * 4)), lambda y, v: y * v),
    "constant_to_parameter": (_as_tensor(0.5), nn.Parameter(_as_tensor(0.5)), lambda y, v: y * v),
    "tensor_to_number": (_as_tensor(0.5), 0.25, lambda y, v: y * v),
    "tensor_of_another_dtype": (torch.tensor(0.1).double(), torch.tensor([0.3]), lambda y, v: y * v),
    "tensor_of_another_shape": (_as_tensor([0.5] * 4), _as_tensor([0.25]), lambda y, v: y * v),
    "shape_of_a_tensor": (torch.ones(4), torch.ones(5), lambda y, v: y / v.shape[0]),
    "length_of_a_list": ([1, 2, 3, 4], [1, 2], lambda y, v: y / len(v)),
    "number_in_a_tensor": (_as_tensor(0.5), _as_tensor(0.25), lambda y, v: y * v.item()),
    "list_of_a_tensor": (_as_tensor([0.5, 2]), _as_tensor([0.25, 2]), lambda y, v: y * v.tolist()[0]),
    "numpy_of_a_tensor": (_as_tensor([0.5, 2]), _as_tensor([0.25, 2]), lambda y, v: y * float(v.numpy()[0])),
    "flag_in_a_tensor": (
        torch.tensor(True),
        torch.tensor(False),
        lambda y, v: torch.tanh(y) if v else torch.sigmoid(y),
    ),
    "index_in_a_tensor": (torch.tensor(1), torch.tensor(2), lambda y, v: y.roll(int(v), 1)),
    "mask": (_as_tensor([1.0, 0, 1, 0]).bool(), _as_tensor([0.0, 1, 1, 0]).bool(), lambda y, v: y.masked_fill(v, 0.3)),
    "indices": (torch.tensor([0, 1, 2, 3]), torch.tensor([3, 1, 2, 0]), lambda y, v: y[:, v]),
    "function_of_torch": (torch.tanh, torch.sigmoid, lambda y, v: v(y)),
    "functional": (F.gelu, F.silu, lambda y, v: v(y)),
    "function": (_half, _quarter, lambda y, v: v(y)),
    "method_of_tensor": (Tensor.tanh, Tensor.sigmoid, lambda y, v: v(y)),
    "name_of_a_method": ("tanh", "sigmoid", lambda y, v: getattr(y, v)()),
    "activation_module": (nn.Tanh(), nn.Sigmoid(), lambda y, v: v(y)),
    "setting_of_a_module": (nn.LeakyReLU(0.5), nn.LeakyReLU(0.25), lambda y, v: v(y)),
    "partial": (
        functools.partial(F.leaky_relu, negative_slope=0.5),
        functools.partial(F.elu, alpha=0.5),
        lambda y, v: v(y),
    ),
    "functions_in_a_list": ([torch.tanh, _half], [torch.tanh, _quarter], lambda y, v: v[1](v[0](y))),
    "flag": (True, False, lambda y, v: torch.tanh(y) if v else torch.sigmoid(y)),
    "flag_as_number": (True, False, lambda y, v: y * (1 + v)),
    "string": ("tanh", "sigmoid", lambda y, v: {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[v](y)),
    "string_in_a_condition": ("tanh", "none", lambda y, v: torch.tanh(y) if v.startswith("t") else y),
    "bytes": (b"ab", b"abc", lambda y, v: y / len(v)),
    "none": (None, 0.25, lambda y, v: y if v is None else y * v),
    "dtype": (torch.float64, torch.float32, lambda y, v: torch.tanh(y).to(v).to(y.dtype)),
    "dtype_of_a_constant": (torch.float64, torch.float32, lambda y, v: y * torch.tensor(0.1, dtype=v)),
    "enum": (Squash.TANH, Squash.SIGMOID, lambda y, v: torch.tanh(y) if v is Squash.TANH else torch.sigmoid(y)),
    "value_of_an_enum": (Squash.TANH, Squash.SIGMOID, lambda y, v: torch.tanh(y) if v.value == "tanh" else y),
    "dataclass": (Affine(0.5), Affine(0.25), lambda y, v: y * v.scale + v.shift),
    "named_tuple": (Bounds(-0.5, 0.5), Bounds(-0.25, 0.25), lambda y, v: y.clamp(v.low, v.high)),
    "tuple": ((0.5, 0.1), (0.25, 0.1), lambda y, v: y * v[0] + v[1]),
    "longer_tuple": ((0.5, 0.1), (0.5, 0.1, 0.2), lambda y, v: y * sum(v)),
    "nested_list": ([[0.5], [1.0]], [[0.25], [1.0]], lambda y, v: y * v[0][0]),
    "dict": ({"rate": 0.5}, {"rate": 0.25}, lambda y, v: y * v["rate"]),
    "order_of_a_dict": ({"a": 2, "b": 3}, {"b": 3, "a": 2}, lambda y, v: y / (2 * list(v.values())[0] + 1)),  # noqa: RUF015
    "missing_key": ({"rate": 0.5}, {}, _tried),
    "matched": ({"kind": "scale", "by": 0.5}, [-0.25, 0.25], _matched),
    "member_of_a_set": ({"tanh"}, {"relu"}, lambda y, v: torch.tanh(y) if "tanh" in v else torch.relu(y)),
    "frozen_set": (frozenset({1, 2}), frozenset({1}), lambda y, v: y / len(v)),
    "slice": (slice(0, 2), slice(2, 4), lambda y, v: torch.cat((y[:, v], y[:, :2]), 1)),
    "range": (range(2), range(3), _repeated),
    "size": (torch.Size([2, 2]), torch.Size([4, 1]), lambda y, v: y.unflatten(1, v).sum(2).repeat(1, 4 // v[0])),
    "class": (One, Two, lambda y, v: y * v.rate),
    "object": (One(), Two(), lambda y, v: y * v.rate),
    "numpy_number": (np.float64(0.5), np.float64(0.25), lambda y, v: y * float(v)),
    "numpy_array": (np.array([0.5, 2.0]), np.array([0.25, 2.0]), lambda y, v: y * float(v[0])),
    "numpy_as_tensor": (np.array([0.5] * 4), np.array([0.25] * 4), lambda y, v: y * torch.from_numpy(v)),
    "memory_format": (0, 1, lambda y, v: y.flip(1) if v else y),
    "zero_of_a_subclass": (Rate(0.0), Rate(-0.0), _signed),
    "nan_of_a_subclass": (Rate("nan"), Rate(0.5), lambda y, v: y * float(v)),
    "zero_of_a_complex_number": (complex(0.0, 1.0), complex(-0.0, 1.0), lambda y, v: _signed(y, v.real)),
    "zero_of_an_imaginary_number": (complex(1.0, 0.0), complex(1.0, -0.0), lambda y, v: _signed(y, v.imag)),
    "order_of_a_set": ({8, 0}, {0, 8}, lambda y, v: y / (list(v)[0] + 1)),  # noqa: RUF015
    "decimal_compared": (Decimal(1), Decimal(2), lambda y, v: y * (0.5 if v == 1 else 0.25)),
    **_EQUAL_USES,
    **_COMPARED_USES,
}
PLAIN = {
    "number",
    "close_number",
    "integer",
    "exponent",
    "tensor",
    "parameter",
    "function_of_torch",
    "function",
    "flag",
}
PLAIN |= {
    "string",
    "none",
    "enum",
    "dataclass",
    "named_tuple",
    "tuple",
    "dict",
    "number_in_a_condition",
    "activation_module",
}
INVISIBLE: set[str] = set()
