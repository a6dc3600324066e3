"""The suite notices a wrong rule: each test makes one rule of the engine wrong and demands a failure."""

import pytest
import torch
from tests import strategies
from tests.engine.odd_steps import Node, Odd
from tests.engine.test_fused import Branching, assert_fused_is_eager, assert_fused_is_eager_over
from tests.plans import forget_plans

from unrolled.engine.backends.cpu import run
from unrolled.engine.cache import disk
from unrolled.engine.ir.program import Builder
from unrolled.engine.passes.lower import rows

aten = torch.ops.aten


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    monkeypatch.setattr(disk, "load", lambda _: None)
    monkeypatch.setattr(disk, "save", lambda *_: None)  # wrong as they are
    forget_plans()
    yield
    forget_plans()


def check(name="lstm"):
    cell = strategies.make_cell(name, 1, torch.float32)
    xs = strategies.make_inputs(5, 3, 2, torch.float32)
    assert_fused_is_eager(cell, xs, strategies.make_state(cell, 3, 3, torch.float32))


def change_source(monkeypatch, words):
    """Replaces words of the C++ that is emitted."""
    right = run.emit

    def wrong(program, *, is_narrow):
        source = right(program, is_narrow=is_narrow)
        for old, new in words.items():
            source = source.replace(old, new)
        return source

    monkeypatch.setattr(run, "emit", wrong)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-before", "elman", "simple_rnn-tanh"])
def test_the_rules_as_they_are_pass(name):
    check(name)


WRONG = {
    aten.tanh_backward.default: rows._composed(lambda f, k, g, y: f("mul", g, f("add", k(1), f("mul", y, y)))),
    aten.sigmoid_backward.default: rows._composed(lambda f, k, g, y: f("mul", g, f("mul", y, f("sub", y, k(1))))),
    aten.sigmoid.default: rows._pointwise("tanh"),
    aten.mul.Tensor: rows._pointwise("add"),
    aten.add.Tensor: lambda self, node, a, b: self.builder.pointwise("sub", self.value(a), self.value(b)),
}


@pytest.mark.parametrize("rule", WRONG, ids=str)
def test_a_wrong_rule_of_lowering_is_noticed(monkeypatch, rule):
    monkeypatch.setitem(rows.HANDLERS, rule, WRONG[rule])
    with pytest.raises(AssertionError, match="yardstick"):
        check()


def test_a_wrong_order_of_subtraction_is_noticed(monkeypatch):
    right = Builder.pointwise
    monkeypatch.setattr(
        Builder, "pointwise", lambda self, op, *args: right(self, op, *(args[::-1] if op == "sub" else args))
    )
    with pytest.raises(AssertionError, match="yardstick"):
        check("gru")


def test_a_transposed_weight_is_noticed(monkeypatch):
    right = Builder.matmul
    monkeypatch.setattr(Builder, "matmul", lambda self, a, weight, *rest: right(self, a, weight ^ 1, *rest))
    with pytest.raises(AssertionError):
        check("elman")


def test_a_wrong_emission_is_noticed(monkeypatch):
    change_source(monkeypatch, {"= vsub(": "= vadd("})
    with pytest.raises(AssertionError, match="yardstick"):
        check("gru")


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "l2_norm", "less_max"])
def test_a_wrong_reduction_is_noticed(monkeypatch, name):
    step = Odd((Node(name, 0, 0),), 1, returns_more=False)
    draws = [(torch.randn(4, 3, 3), (torch.randn(3, 6), torch.randn(3, 6))) for _ in range(20)]
    assert_fused_is_eager_over(step, draws)
    forget_plans()
    change_source(monkeypatch, {"hsum(total)": "-hsum(total)", "hmax(total)": "hsum(total)"})
    with pytest.raises(AssertionError, match="yardstick"):
        assert_fused_is_eager_over(step, draws)


@pytest.mark.parametrize("steps", [2, 4])  # few rows, by weights as they lie; more, by packed ones
def test_a_product_that_is_not_added_is_noticed(monkeypatch, steps):
    change_source(monkeypatch, {"share.to, true);": "share.to, false);"})
    with pytest.raises(AssertionError, match="yardstick"):
        assert_fused_is_eager(Branching(again=False), torch.randn(steps, 3, 5), (torch.randn(3, 6), torch.randn(3, 6)))
