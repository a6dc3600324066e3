"""Methods and operators of torch's tensor classes are exchanged between two calls; the net below the guards is off."""

import functools
import operator

import pytest
import torch
from tests.guard.checks import INPUT, Case, assert_as_eager, assert_change_is_seen, slow_but_for
from tests.plans import forget_plans
from torch import Tensor, nn

import unrolled
from unrolled.engine.cache import disk
from unrolled.engine.step import guarded
from unrolled.engine.step.sources import exchanged_methods


@pytest.fixture(autouse=True)
def by_guards_alone(monkeypatch):
    monkeypatch.setattr(disk, "save", lambda *_: None)
    monkeypatch.setattr(guarded, "gives_the_same", lambda *_: True)
    forget_plans()
    yield
    forget_plans()


#: name of a method → what calls it of a matrix
USES = {
    "__mul__": lambda w: w * 2.0,
    "__rmul__": lambda w: 2.0 * w,
    "__add__": lambda w: w + 2.0,
    "__radd__": lambda w: 2.0 + w,
    "__sub__": lambda w: w - 2.0,
    "__rsub__": lambda w: 2.0 - w,
    "__truediv__": lambda w: w / 2.0,
    "__rtruediv__": lambda w: 2.0 / w,
    "__matmul__": lambda w: w @ w,
    "__pow__": lambda w: w**2,
    "__rpow__": lambda w: 2.0**w,
    "__mod__": lambda w: w % 2.0,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": abs,
    "__getitem__": lambda w: w[0],
    "__gt__": lambda w: w > 0.1,
    "__len__": len,
    "__iter__": lambda w: sum(row for row in w),
    "__reversed__": lambda w: reversed(w)[0],
    "sigmoid": lambda w: w.sigmoid(),
    "softmax": lambda w: w.softmax(1)[:, 0] * w[0],
    "sum": lambda w: w.sum(),
    "T": lambda w: w @ w.T,
    "size": lambda w: w.size(0),
    "shape": lambda w: w.shape[0],
}
_NUMBERS = {"size": 9, "__len__": 9, "shape": (9, 9)}
_PAIRS = [(kind, name) for kind in (Tensor, nn.Parameter) for name in USES]
_SAMPLE = [(nn.Parameter, "__rmul__"), (nn.Parameter, "sigmoid"), (Tensor, "__pos__"), (Tensor, "__len__")]


def exchanged(kind, name, patch):
    """A step that calls a method of a parameter; the change gives a class of tensors another one."""
    use, w = USES[name], nn.Parameter(torch.linspace(-1, 1.2, INPUT * INPUT, dtype=torch.float64).view(INPUT, INPUT))

    def step(x, h):
        found = use(w)
        found = torch.mean(found.to(torch.float64)) if isinstance(found, Tensor) else found
        h = torch.tanh(torch.add(torch.add(h, torch.sum(x, 1, keepdim=True)), found))
        return h, h

    result = _NUMBERS.get(name, torch.full((INPUT, INPUT), 0.3, dtype=torch.float64))
    right = getattr(kind, name)

    def method(self, *given):
        if self.numel() != w.numel():  # what the test itself computes with
            return right.__get__(self) if name in ("T", "shape") else right(self, *given)
        return iter([result]) if name == "__iter__" else result

    change = lambda: patch.setattr(kind, name, property(method) if name in ("T", "shape") else method, raising=False)
    return Case(step, change, lambda: [w])


@pytest.mark.parametrize("pair", slow_but_for(_SAMPLE, _PAIRS), ids=lambda pair: f"{pair[0].__name__}.{pair[1]}")
def test_another_method_is_called(pair, patch):
    assert_change_is_seen(exchanged(*pair, patch))


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (nn.Parameter, "__rmul__", "torch.nn.Parameter has an attribute __rmul__ that is not torch's"),
        (Tensor, "__len__", "torch.Tensor has an attribute __len__ that is not torch's"),
    ],
)
def test_the_reason_is_told_until_the_method_is_torchs_again(kind, name, words, patch):
    case = exchanged(kind, name, patch)
    xs, h = case.arguments()
    unrolled.scan(case.step, xs, h, engine="fused")
    case.change()
    assert unrolled.explain(case.step, xs, h).reason == words + ", which a capture does not ask"
    patch.undo()
    assert exchanged_methods() == ""
    assert_as_eager(case)
    assert unrolled.explain(case.step, xs, h).path == "fused"


class Holder:
    """Something that has a function."""


#: where a function of C may be held → how it is put there, and what a step does with it
HELD = {
    "closure": lambda box: lambda t: box(t),
    "attribute": lambda box: lambda t: HOLDER.act(t),
    "dictionary": lambda box: lambda t: TABLE["act"](t),
    "mapped": lambda box: lambda t: next(iter([f(t) for f in LIST])),
    "handed on": lambda box: lambda t: applied(box, t),
    "default": lambda box: lambda t, act=box: act(t),
    "partial": lambda box: functools.partial(box),
}
HOLDER, LIST, TABLE = Holder(), [None], {}
METHODS = [(Tensor.tanh, Tensor.sigmoid), (Tensor.neg, Tensor.abs), (torch.tanh, torch.sigmoid)]


def applied(function, value):
    return function(value)


def scan_with(place, method):
    HOLDER.act = LIST[0] = TABLE["act"] = method
    act = HELD[place](method)

    def step(x, h):
        h = torch.tanh(h + act(x).sum(1, keepdim=True))
        return h, h

    assert_as_eager(Case(step))


@pytest.mark.parametrize("place", HELD)
@pytest.mark.parametrize("pair", METHODS, ids=["tanh", "neg", "function"])
def test_another_function_of_c_is_held(place, pair):
    """As the activation of a setting: `act = torch.Tensor.tanh`."""
    for method in (*pair, pair[0]):
        scan_with(place, method)
