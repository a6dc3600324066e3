"""Methods and operators of torch's tensor classes are exchanged between two calls; the net below the guards is off."""

import collections
import copy
import copyreg
import dataclasses
import functools
import math
import operator
import types
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tests.guard.checks import INPUT, Case, assert_as_eager, assert_change_is_seen, slow_but_for
from torch import Tensor, nn
from torch.nn import functional

import unrolled
from unrolled.engine.step.declared import declared
from unrolled.engine.step.extra_guards import NO_PART
from unrolled.engine.step.sources import exchanged_methods

pytestmark = pytest.mark.usefixtures("by_guards_alone")


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


class Named(NamedTuple):
    """A pair of settings."""

    act: Any


@dataclasses.dataclass
class Setting:
    """A setting."""

    act: Any


#: where a function of C may be held → how it is put there, and what calls it there
HELD = {
    "itself": (lambda f: f, lambda held, t: held(t)),
    "list": (lambda f: [f], lambda held, t: held[0](t)),
    "tuple": (lambda f: (f,), lambda held, t: held[0](t)),
    "dictionary": (lambda f: {"act": f}, lambda held, t: held["act"](t)),
    "get": (lambda f: {"act": f}, lambda held, t: held.get("act")(t)),
    "values": (lambda f: {"act": f}, lambda held, t: next(iter(held.values()))(t)),
    "items": (lambda f: {"act": f}, lambda held, t: sum([each(t) for _, each in held.items()])),
    "ordered": (lambda f: collections.OrderedDict(act=f), lambda held, t: held["act"](t)),
    "view": (lambda f: types.MappingProxyType({"act": f}), lambda held, t: held["act"](t)),
    "set": (lambda f: {f}, lambda held, t: sum([each(t) for each in held])),
    "frozenset": (lambda f: frozenset({f}), lambda held, t: sum([each(t) for each in held])),
    "deque": (lambda f: collections.deque([f]), lambda held, t: held[0](t)),
    "nested": (lambda f: {"act": [(f,)]}, lambda held, t: held["act"][0][0](t)),
    "named tuple": (Named, lambda held, t: held.act(t)),
    "dataclass": (Setting, lambda held, t: held.act(t)),
    "object": (lambda f: types.SimpleNamespace(act=f), lambda held, t: held.act(t)),
    "partial": (functools.partial, lambda held, t: held(t)),
    "list of partials": (lambda f: [functools.partial(f)], lambda held, t: held[0](t)),
    "slice": (lambda f: [f, f], lambda held, t: held[:1][0](t)),
    "sum": (lambda f: [f], lambda held, t: (held + held)[0](t)),
    "taken": (lambda f: [f], lambda held, t: list(held).pop()(t)),
    "reversed": (lambda f: [f], lambda held, t: sum([each(t) for each in reversed(held)])),
    "map": (lambda f: [f], lambda held, t: sum(map(applied, held, [t]))),
    "mapped": (lambda f: [f], lambda held, t: sum(map(held[0], [t]))),
    "filter": (lambda f: [f], lambda held, t: sum([each(t) for each in filter(callable, held)])),
    "zip": (lambda f: [f], lambda held, t: sum([each(a) for each, a in zip(held, [t], strict=True)])),
    "reduce": (lambda f: [f], lambda held, t: functools.reduce(lambda a, each: each(a), held, t)),
    "handed on": (lambda f: [f], lambda held, t: applied(held[0], t)),
    "unpacked": (lambda f: [f], lambda held, t: applied(*held, t)),
    "by keyword": (lambda f: {"function": f}, lambda held, t: applied(value=t, **held)),
    "chosen": (lambda f: [f], lambda held, t: (held[0] or None)(t)),
    "compared": (lambda f: [f], lambda held, t: t * (2.0 if held[0] is Tensor.tanh else 3.0)),
    "sought": (lambda f: [f], lambda held, t: t * (2.0 if Tensor.tanh in held else 3.0)),
}
#: two functions of C of each kind that torch has a way of its own with
METHODS = {
    "method": (Tensor.tanh, Tensor.sigmoid),
    "operator of tensors": (Tensor.__neg__, Tensor.__abs__),
    "method of the base": (torch._C.TensorBase.exp, torch._C.TensorBase.cos),
    "function": (torch.tanh, torch.sigmoid),
    "of functional": (functional.logsigmoid, functional.softplus),
    "in Python": (functional.relu, functional.silu),
    "of torch._C": (torch._C._nn.gelu, torch._C._nn.silu),
    "packet": (torch.ops.aten.tanh, torch.ops.aten.sigmoid),
    "overload": (torch.ops.aten.tanh.default, torch.ops.aten.sigmoid.default),
    "special": (torch.special.expit, torch.special.erf),
    "operator": (operator.neg, operator.abs),
    "builtin": (abs, operator.neg),
    "method of a class": (operator.methodcaller("tanh"), operator.methodcaller("sigmoid")),
}
#: the same of numbers
OF_NUMBERS = {
    "math": (math.sqrt, math.exp),
    "numpy": (np.sqrt, np.exp),
    "method of numbers": (float.__neg__, float.__abs__),
    "class": (int, float),
    "of a number": ((2.5).__mul__, (2.5).__add__),
    "of a dictionary": ({1.5: 2.5}.get, {1.5: 3.5}.get),
    "of a list": ([1.5, 2.0, 1.5].count, [1.5].count),
}
ALL_METHODS = {**METHODS, **OF_NUMBERS}
_PLACES = [(place, kind) for place in HELD for kind in ALL_METHODS]
_PLACES_SAMPLE = [
    (place, "method") for place in ("itself", "list", "values", "list of partials", "handed on", "sought")
]
_PLACES_SAMPLE += [("list", kind) for kind in ("operator of tensors", "packet", "math", "of a number", "of a list")]


def applied(function, value):
    return function(value)


@pytest.mark.parametrize("pair", slow_but_for(_PLACES_SAMPLE, _PLACES), ids="-".join)
def test_another_function_of_c_is_held(pair):
    """As the activation of a setting: `act = torch.Tensor.tanh`."""
    place, kind = pair
    hold, use = HELD[place]
    holder = types.SimpleNamespace()

    def step(x, h):
        h = torch.tanh(h + use(holder.held, 1.5 if kind in OF_NUMBERS else x) * 0.5)
        return h, h

    for method in (*ALL_METHODS[kind], ALL_METHODS[kind][0]):
        holder.held = hold(method)
        assert_as_eager(Case(step, state=(2, INPUT)))


#: where a step that is made anew, of the same code, may hold a function of C
OWN = {
    "closure": lambda act: lambda t: act(t),
    "default": lambda act: lambda t, act=act: act(t),
    "partial": functools.partial,
}


@pytest.mark.parametrize("place", OWN)
@pytest.mark.parametrize("kind", ["method", "function"])
def test_another_step_of_the_same_code_holds_another(place, kind):
    for method in (*METHODS[kind], METHODS[kind][0]):
        act = OWN[place](method)

        def step(x, h, act=act):
            h = torch.tanh(h + act(x))
            return h, h

        assert_as_eager(Case(step, state=(2, INPUT)))


@pytest.mark.parametrize("kind", [torch.Tensor, torch.nn.Parameter])
@pytest.mark.parametrize("name", sorted(NO_PART))
def test_what_no_result_comes_from_changes_nothing(kind, name, monkeypatch):
    """Such as `__slotnames__`, which copy.deepcopy leaves on the classes of tensors."""
    cell, linear = unrolled.cells.GRU(4, 4), torch.nn.Linear(4, 4)
    step = lambda x, h: (h, torch.tanh(linear(x) + h))
    xs, state = torch.zeros(3, 2, 4), torch.zeros(2, 4)
    monkeypatch.setattr(kind, name, "another", raising=False)
    assert declared(cell) is not None
    assert declared(cell) is not None  # and the next call need not look again
    assert unrolled.explain(step, xs, state).path == "fused"
    monkeypatch.undo()
    assert declared(cell) is not None


def test_copies_of_tensors_leave_a_cell_the_librarys_own():
    cell = copy.deepcopy(unrolled.cells.GRU(4, 4))
    for kind in (torch.Tensor, torch.nn.Parameter):
        copyreg._slotnames(kind)  # as copies and pickles do
    assert {"__slotnames__"} <= vars(torch.Tensor).keys() & vars(torch.nn.Parameter).keys()
    assert declared(cell) is not None
