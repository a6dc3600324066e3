"""Operations on rows of the batch, [batch, features]: pointwise ones, products, and what changes no number.

Input: a node of the loop's graph and its operands. Output: its value. `HANDLERS` has the rule of each operation,
those along the features (`features.py`) too.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from unrolled.engine.ir.program import Value
from unrolled.engine.passes.lower.features import HANDLERS as ALONG_FEATURES
from unrolled.engine.passes.lower.nodes import Environment, number_of, source_shape
from unrolled.engine.passes.lower.product_operands import ArgExtreme, Columns, OverBatch, Weight
from unrolled.engine.passes.shapes import shown
from unrolled.engine.passes.trace import BATCH
from unrolled.engine.reasons import NotTraceable

aten, prims = torch.ops.aten, torch.ops.prims


def _rows(node: fx.Node) -> tuple[int, ...]:
    """The result's shape without the batch; told apart from what has no batch by `_is_per_row`."""
    shape = tuple(node.meta["val"].shape)
    if BATCH in shape[1:] or len(shape) > 2:
        raise NotTraceable(f"gives a tensor of shape {shown(shape)}; a fused loop holds [batch, features]")
    return shape[1:] if shape[:1] == (BATCH,) else shape


def _pointwise(name: str) -> Callable:
    def handler(lower: Environment, node: fx.Node, *args: Any, **_: Any) -> Any:
        return lower.builder.pointwise(name, *map(lower.value, args))

    return handler


def _add(lower: Environment, node: fx.Node, a: Any, b: Any, alpha: float = 1) -> Any:
    if isinstance(a, OverBatch) and isinstance(b, OverBatch) and alpha == 1 and (total := a.plus(b)):
        return total
    if type(b) in (int, float) and b == 0 and not _is_bool(node):  # of the step, not of a derivative: -0 + 0 is 0
        return lower.builder.pointwise("sub", lower.value(a), lower.builder.const(-float(b)))
    b = lower.value(b)
    scaled = b if alpha == 1 else lower.builder.pointwise("mul", b, lower.builder.const(alpha))
    added = lower.builder.pointwise("add", lower.value(a), scaled)
    # True + True is True
    return lower.builder.pointwise("ne", added, lower.builder.const(0)) if _is_bool(node) else added


def _is_bool(node: Any) -> bool:
    return node.meta["val"].dtype == torch.bool


def _bitwise(name: str) -> Callable:
    """Of truth values."""

    def handler(lower: Environment, node: fx.Node, *args: Any) -> Any:
        if not _is_bool(node):
            raise NotTraceable("works on the bits of whole numbers")
        return lower.builder.pointwise(name, *map(lower.value, args))

    return handler


def _mul(lower: Environment, node: fx.Node, a: Any, b: Any) -> Any:
    make = lower.builder.pointwise
    if isinstance(a, OverBatch) and isinstance(b, int | float):  # the gradient of a product with a factor
        parts = tuple((left, make("mul", right, lower.value(b))) for left, right in a.parts)
        return OverBatch(parts, a.is_transposed)
    return make("mul", lower.value(a), lower.value(b))


def _sub(lower: Environment, node: fx.Node, a: Any, b: Any, alpha: float = 1) -> Value:
    b = lower.value(b)
    scaled = b if alpha == 1 else lower.builder.pointwise("mul", b, lower.builder.const(alpha))
    return lower.builder.pointwise("sub", lower.value(a), scaled)


def _div(lower: Environment, node: fx.Node, a: Any, b: Any, rounding_mode: str | None = None) -> Value:
    make, a, b = lower.builder.pointwise, lower.value(a), lower.value(b)
    if rounding_mode == "floor":
        return make("floordiv", a, b)
    return make("div", a, b) if rounding_mode is None else make("trunc", make("div", a, b))


def _composed(formula: Callable) -> Callable:
    """An operation in terms of others: formula(pointwise by name, const, values...)."""

    def handler(lower: Environment, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
        return formula(lower.builder.pointwise, lower.builder.const, *map(lower.value, args), **kwargs)

    return handler


def _fmax(make: Callable, const: Callable, a: Value, b: Value) -> Value:
    """The larger one, or the one that is no NaN; of two zeros the first."""
    return make("where", make("ne", a, a), b, make("where", make("ne", b, b), a, make("max2", b, a)))


def _fmin(make: Callable, const: Callable, a: Value, b: Value) -> Value:
    return make("where", make("ne", a, a), b, make("where", make("ne", b, b), a, make("min", b, a)))


def _pow(lower: Environment, node: fx.Node, base: Any, exponent: Any) -> Value:
    make, a, b = lower.builder.pointwise, lower.value(base), lower.value(exponent)
    if b.op == "const":
        match b.attribute:
            case 1.0:
                return a
            case 2.0:
                return make("mul", a, a)
            case 3.0:
                return make("mul", make("mul", a, a), a)
            case 0.5:
                return make("sqrt", a)
            case -0.5:
                return make("div", lower.builder.const(1), make("sqrt", a))
            case -1.0:
                return make("div", lower.builder.const(1), a)
            case -2.0:  # as torch, whose square may overflow
                return make("div", lower.builder.const(1), make("mul", a, a))
    return make("pow", a, b)


def _clamp(lower: Environment, node: fx.Node, a: Any, least: Any = None, most: Any = None) -> Value:
    make, a = lower.builder.pointwise, lower.value(a)
    if least is not None:
        a = make("max2", lower.value(least), a)  # of two zeros the second one
    return a if most is None else make("min", lower.value(most), a)


def _same(lower: Environment, node: fx.Node, a: Any, *_: Any, **__: Any) -> Any:
    return a


def _to(lower: Environment, node: fx.Node, a: Any, *args: Any, dtype: torch.dtype | None = None, **_: Any) -> Any:
    dtype = dtype or next((arg for arg in args if isinstance(arg, torch.dtype)), None)
    if dtype is not None and not dtype.is_floating_point and dtype != torch.bool:
        raise NotTraceable(f"turns it into {dtype}")
    if dtype == torch.bool and not _is_bool(node.args[0]):
        return lower.builder.pointwise("ne", lower.value(a), lower.builder.const(0))
    return a


def _reshaped(lower: Environment, node: fx.Node, a: Any, *_: Any, **__: Any) -> Any:
    """View, squeeze, unsqueeze and the like: nothing moves while the batch stays first."""
    if isinstance(a, OverBatch | ArgExtreme):
        return a
    shape = tuple(node.meta["val"].shape)
    source = source_shape(node)
    if isinstance(a, Weight):
        assert shape == source, "a matrix is reshaped outside the loop"
        return a
    features = math.prod(_rows(node))
    if (shape[:1] == (BATCH,)) != (source[:1] == (BATCH,)) or features != a.width:
        raise NotTraceable(f"turns {shown(source)} into {shown(shape)}")
    return a


def _expand(lower: Environment, node: fx.Node, a: Any, *_: Any, **__: Any) -> Value:
    shape, source = tuple(node.meta["val"].shape), source_shape(node)
    features = _rows(node)
    width = features[-1] if features else 1
    a = lower.value(a)
    assert source[:1] != (BATCH,) or shape[:1] == (BATCH,), "the batch is nowhere but first"
    return lower.builder.widened(a, width) if a.width == 1 else a


def _permute(lower: Environment, node: fx.Node, a: Any, dims: Any = (1, 0), *_: Any) -> Any:
    n_axes = node.meta["val"].dim()
    if n_axes < 2 or [dim % n_axes for dim in dims] == [0, 1]:
        return a
    if isinstance(a, Weight):
        return Weight(a.index, a.shape, not a.is_transposed)
    if isinstance(a, OverBatch):
        return a.transposed()
    if isinstance(a, Columns):
        return a.value
    value = lower.value(a)
    if value.per_row:
        return Columns(value)
    raise NotTraceable("transposes a tensor that is the same for all rows of the batch")


def _transpose(lower: Environment, node: fx.Node, a: Any, first: int = 0, second: int = 1) -> Any:
    return _permute(lower, node, a, [1, 0] if first % 2 != second % 2 else [0, 1])


def _mm(lower: Environment, node: fx.Node, a: Any, b: Any) -> Any:
    if isinstance(a, Columns) and isinstance(b, Value):
        return OverBatch(() if b.is_zero else ((a.value, b),))
    if isinstance(a, Value) and a.is_zero:
        return lower.builder.fill(0.0, int(node.meta["val"].shape[1]))
    if isinstance(a, Value) and isinstance(b, Weight) and a.per_row:
        width = int(node.meta["val"].shape[1])
        return lower.builder.matmul(a, b.number(), width)
    if isinstance(a, Weight) and isinstance(b, Columns):
        width = int(node.meta["val"].shape[0])
        return Columns(lower.builder.matmul(b.value, a.number(transposed=True), width))
    raise NotTraceable("multiplies two matrices that both change from step to step")


def _addmm(lower: Environment, node: fx.Node, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    make, const = lower.builder.pointwise, lower.builder.const
    product = lower.value(_mm(lower, node, a, b))
    if alpha != 1:
        product = make("mul", product, const(alpha))
    if beta == 0:  # what the bias is does not matter then, not even NaN
        return product
    bias = lower.value(bias)
    return make("add", product, bias if beta == 1 else make("mul", bias, const(beta)))


def _full(number: float | None) -> Callable:
    def handler(lower: Environment, node: fx.Node, *args: Any, **_: Any) -> Value:
        features = _rows(node)
        fill = number if number is not None else args[1]
        if isinstance(fill, Value):
            return fill
        fill = number_of(node, fill)
        return lower.builder.fill(fill, features[-1]) if features and features[-1] > 1 else lower.builder.const(fill)

    return handler


def _scalar_tensor(lower: Environment, node: fx.Node, number: Any, **_: Any) -> Value:
    return lower.value(number if isinstance(number, Value) else number_of(node, number))


def _getitem(lower: Environment, node: fx.Node, parts: Any, index: int) -> Any:
    return parts[index]


HANDLERS: dict[Any, Callable] = {
    aten.add.Tensor: _add, aten.add.Scalar: _add, aten.sub.Tensor: _sub, aten.sub.Scalar: _sub,
    aten.rsub.Scalar: _composed(lambda f, k, a, b: f("sub", b, a)),
    aten.rsub.Tensor: _composed(lambda f, k, a, b: f("sub", b, a)),
    aten.mul.Tensor: _mul, aten.mul.Scalar: _mul,
    aten.div.Tensor: _div, aten.div.Scalar: _div, prims.div.default: _div,
    aten.neg.default: _pointwise("neg"), aten.abs.default: _pointwise("abs"), aten.sign.default: _pointwise("sign"),
    aten.sgn.default: _pointwise("sign"),
    aten.exp.default: _pointwise("exp"), aten.log.default: _pointwise("log"), aten.erf.default: _pointwise("erf"),
    aten.log1p.default: _pointwise("log1p"), aten.expm1.default: _pointwise("expm1"),
    aten.tanh.default: _pointwise("tanh"), aten.sigmoid.default: _pointwise("sigmoid"),
    aten.sqrt.default: _pointwise("sqrt"), aten.sin.default: _pointwise("sin"), aten.cos.default: _pointwise("cos"),
    aten.div.Tensor_mode: _div, aten.div.Scalar_mode: _div,
    aten.atan2.default: _pointwise("atan2"), aten.fmod.Tensor: _pointwise("fmod"), aten.fmod.Scalar: _pointwise("fmod"),
    aten.hypot.default: _pointwise("hypot"), aten.fmax.default: _composed(_fmax), aten.fmin.default: _composed(_fmin),
    aten.copysign.Tensor: _pointwise("copysign"), aten.copysign.Scalar: _pointwise("copysign"),
    **dict.fromkeys(
        (aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor), _pointwise("remainder")
    ),
    aten.isnan.default: _composed(lambda f, k, a: f("ne", a, a)),
    aten.isinf.default: _composed(lambda f, k, a: f("eq", f("abs", a), k(math.inf))),
    aten.logical_xor.default: _composed(lambda f, k, a, b: f("ne", f("ne", a, k(0)), f("ne", b, k(0)))),
    aten.bitwise_xor.Tensor: _bitwise("ne"),
    aten.rsqrt.default: _composed(lambda f, k, a: f("div", k(1), f("sqrt", a))),
    aten.reciprocal.default: _composed(lambda f, k, a: f("div", k(1), a)),
    aten.relu.default: _composed(lambda f, k, a: f("max2", k(0), a)),
    aten.square.default: _composed(lambda f, k, a: f("mul", a, a)),
    aten.pow.Tensor_Scalar: _pow, aten.pow.Tensor_Tensor: _pow, aten.pow.Scalar: _pow,
    aten.maximum.default: _pointwise("max2"), aten.minimum.default: _pointwise("min"),
    aten.clamp.default: _clamp, aten.clamp.Tensor: _clamp, aten.clamp_min.default: _clamp,
    aten.clamp_max.default: _composed(lambda f, k, a, b: f("min", b, a)),
    aten.where.self: _pointwise("where"), aten.where.ScalarOther: _pointwise("where"),
    aten.where.ScalarSelf: _pointwise("where"), aten.where.Scalar: _pointwise("where"),
    aten.logical_and.default: _pointwise("and"), aten.bitwise_and.Tensor: _bitwise("and"),
    aten.logical_or.default: _pointwise("or"), aten.bitwise_or.Tensor: _bitwise("or"),
    aten.logical_not.default: _pointwise("not"), aten.bitwise_not.default: _bitwise("not"),
    aten.sigmoid_backward.default: _composed(lambda f, k, g, y: f("mul", g, f("mul", y, f("sub", k(1), y)))),
    aten.tanh_backward.default: _composed(lambda f, k, g, y: f("mul", g, f("sub", k(1), f("mul", y, y)))),
    aten.threshold_backward.default: _composed(lambda f, k, g, x, t: f("where", f("gt", x, t), g, k(0))),
    **dict.fromkeys(
        (aten.softshrink_backward.default, aten.hardshrink_backward.default),
        _composed(lambda f, k, g, x, t: f("where", f("gt", f("abs", x), t), g, k(0))),  # 0 of a NaN, as torch
    ),
    aten.mm.default: _mm, aten.addmm.default: _addmm,
    aten.permute.default: _permute, aten.t.default: _permute, aten.transpose.int: _transpose,
    aten.view.default: _reshaped, aten.reshape.default: _reshaped, aten._unsafe_view.default: _reshaped,
    aten.unsqueeze.default: _reshaped, aten.squeeze.dims: _reshaped, aten.squeeze.dim: _reshaped,
    aten.expand.default: _expand, prims.broadcast_in_dim.default: _expand,
    aten.clone.default: _same, aten.detach.default: _same, aten.alias.default: _same,
    aten.lift_fresh_copy.default: _same,
    aten._to_copy.default: _to, prims.convert_element_type.default: _to,
    aten.full.default: _full(None), aten.full_like.default: _full(None), aten.zeros.default: _full(0.0),
    aten.ones.default: _full(1.0), aten.zeros_like.default: _full(0.0), aten.ones_like.default: _full(1.0),
    aten._efficientzerotensor.default: _full(0.0),
    # written to before they are read, as torch's own derivatives have them: any number will do
    **dict.fromkeys((aten.empty.memory_format, aten.empty_like.default, aten.empty_permuted.default), _full(0.0)),
    aten.scalar_tensor.default: _scalar_tensor,
    operator.getitem: _getitem,
    **ALONG_FEATURES,
}  # fmt: skip
for _name in ("gt", "lt", "ge", "le", "eq", "ne"):
    for _overload in ("Tensor", "Scalar"):
        HANDLERS[getattr(getattr(aten, _name), _overload)] = _pointwise(_name)
for _name in (
    "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "log2", "log10", "exp2", "erfc",
    "floor", "ceil", "trunc", "round",
):  # fmt: skip
    HANDLERS[getattr(aten, _name).default] = _pointwise(_name)
