"""What a step is made of, and when a walk over it is remembered."""

import gc
import types

import pytest
import torch
from tests.assertions import assert_as_exact_as, assert_equal
from torch import nn

import unrolled
from unrolled.engine import choose, watch
from unrolled.engine.identity import Walk, walk_over
from unrolled.errors import NotFusedError, NotFusedWarning


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = unrolled.cells.Elman(3, 4)
        self.rate = 0.5
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x, h):
        y, h = self.inner(x, h)
        return self.rate * self.scale * y, h


class Other(Step):
    pass


def exchange(step):
    step.inner.weight_hh = nn.Parameter(torch.zeros(4, 4))


def exchange_numbers(step):
    step.scale.data = torch.ones(4, dtype=torch.float64)


def freeze(step):
    step.inner.bias_hh.requires_grad_(False)


def change_rate(step):
    step.rate = 0.25


def rate_of_another_kind(step):
    step.rate, step.scale = 1, torch.ones(4)


def add(step):
    step.more = 1


def take_away(step):
    del step.rate


def exchange_inner(step):
    step.inner = unrolled.cells.Elman(3, 4, activation=torch.relu)


def evaluate(step):
    step.eval()


def hook(step):
    step.inner.register_forward_hook(lambda *_: None)


def another_class(step):
    step.__class__ = Other


def another_dictionary(step):
    step.__dict__ = dict(step.__dict__)
    step.rate = 0.75


CHANGES = [exchange, exchange_numbers, freeze, change_rate, rate_of_another_kind, add, take_away, exchange_inner]
CHANGES += [evaluate, hook, another_class, another_dictionary]


@pytest.mark.parametrize("change", CHANGES)
def test_a_remembered_walk_is_walked_anew_after_a_change(change):
    step = Step()
    walk = walk_over(step)
    assert walk_over(step) is walk, "it is remembered"
    change(step)
    found, anew = walk_over(step), Walk()
    assert found.key == anew.of(step)
    assert list(map(id, found.tensors)) == list(map(id, anew.tensors))
    assert found is not walk


def test_what_may_change_within_is_walked_each_time():
    step = Step()
    step.rates = [0.5]
    before = walk_over(step)
    assert walk_over(step) is not before
    step.rates.append(1.0)
    assert walk_over(step).key != before.key
    method = step.forward
    assert walk_over(method) is not walk_over(method)


RATE = 0.5
config = types.ModuleType("config")
config.rate = 0.5


def a_function(scale):
    torch.manual_seed(0)
    inner = unrolled.cells.Elman(3, 4).to(scale.dtype)

    def step(x, h):
        y, h = inner(x, h)
        return helper(RATE * y) * scale + config.rate, h

    def count_on():
        nonlocal scale
        scale = torch.ones(5)

    step.count_on = count_on
    return step


def helper(y, bias=0.0):
    return y + bias


def exchange_cell(step, _):
    step.count_on()


def exchange_global(_, monkeypatch):
    monkeypatch.setitem(globals(), "RATE", 0.25)


def exchange_helper(_, monkeypatch):
    monkeypatch.setitem(globals(), "helper", lambda y: -y)


def exchange_defaults(_, monkeypatch):
    monkeypatch.setattr(helper, "__defaults__", (1.0,))


def exchange_code(_, monkeypatch):
    monkeypatch.setattr(helper, "__code__", (lambda y, bias=0.0: y - bias).__code__)


def exchange_own_code(step, _):
    step.__code__ = a_function(torch.ones(4)).__code__.replace(co_name="other")


def exchange_setting(_, monkeypatch):
    monkeypatch.setattr(config, "rate", 0.25)


def add_setting(_, monkeypatch):
    monkeypatch.setattr(config, "helper", 0.25, raising=False)


def add_global(_, monkeypatch):
    monkeypatch.setitem(globals(), "rate", 0.25)


def empty_cell(step, _):
    del step.__closure__[0].cell_contents


OF_FUNCTIONS = [exchange_cell, exchange_global, exchange_helper, exchange_defaults, exchange_code, exchange_own_code]
OF_FUNCTIONS += [exchange_setting, add_setting, add_global, empty_cell]


@pytest.mark.parametrize("change", OF_FUNCTIONS)
def test_a_remembered_function_is_walked_anew_after_a_change(change, monkeypatch):
    step = a_function(torch.ones(4))
    walk = walk_over(step)
    assert walk_over(step) is walk, "it is remembered"
    change(step, monkeypatch)
    found, anew = walk_over(step), Walk()
    assert found.key == anew.of(step)
    assert found.key != walk.key
    assert list(map(id, found.tensors)) == list(map(id, anew.tensors))


def test_a_result_follows_what_a_function_reads(monkeypatch):
    single, double = (a_function(torch.ones(4, dtype=dtype)) for dtype in (torch.float32, torch.float64))
    xs, h = torch.randn(5, 2, 3), torch.zeros(2, 4)
    for change in (None, exchange_global, exchange_helper, exchange_setting):
        if change is not None:
            change(single, monkeypatch)
        oracle = unrolled.scan(double, xs.double(), h.double(), engine="eager")
        for _ in range(2):
            fused, eager = (unrolled.scan(single, xs, h, engine=engine) for engine in ("fused", "eager"))
            assert_as_exact_as(fused, eager, oracle)


def test_a_walk_goes_with_its_step():
    step = Step()
    walk_over(step)
    at = id(step)
    assert at in watch._remembered
    del step
    gc.collect()
    assert at not in watch._remembered


def test_no_more_walks_are_kept_than_said(monkeypatch):
    monkeypatch.setattr(watch, "_MOST", 3)
    watch._remembered.clear()
    steps = [Step() for _ in range(5)]
    for step in steps:
        walk_over(step)
    assert len(watch._remembered) == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_module_of_torchscript_runs_eagerly(monkeypatch):
    scripted = torch.jit.script(nn.Linear(3, 4))

    def step(x, h):
        h = torch.tanh(scripted(x) + h)
        return h, h

    monkeypatch.setattr(choose, "_warned", set())
    xs, h = torch.randn(5, 2, 3), torch.zeros(2, 4)
    with pytest.raises(NotFusedError) as error:
        unrolled.scan(step, xs, h, engine="fused")
    assert str(error.value) == (
        "scan: the step cannot run fused: it holds a module of TorchScript, in which no change can be seen."
    )
    with pytest.warns(NotFusedWarning, match="a module of TorchScript"):
        found = unrolled.scan(step, xs, h)
    assert_equal(found, unrolled.scan(step, xs, h, engine="eager"))
