"""Calls like one before, which go straight to their loop: the same bits, and none where only the eager loop serves."""

import pytest
import torch
from tests.assertions import assert_equal
from tests.plans import forget_plans
from torch import nn
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

import unrolled
from unrolled.engine import dispatch
from unrolled.engine.step.found import Found
from unrolled.errors import NotFusedError


@pytest.fixture(autouse=True)
def none_is_due(monkeypatch):
    """A call that is compared with its step first (tests/guard/test_compared.py) takes the longer way."""
    monkeypatch.setattr(Found, "is_due", lambda self: False)


def lstm():
    return unrolled.cells.LSTM(3, 4), (torch.randn(2, 4), torch.randn(2, 4))


def gru():
    return unrolled.cells.GRU(3, 4), torch.randn(2, 4)


def with_outputs_of_its_own():
    cell, out = unrolled.cells.Elman(3, 4), nn.Linear(4, 2)

    def step(x, h):
        h = cell(x, h)[1]
        return {"all": out(h), "square": h * h}, h

    return step, torch.randn(2, 4)


def with_masks():
    rate = torch.tensor(0.5)

    def step(x, h):
        h = torch.where(x[..., :1] > 0, h * rate, h + 1)
        return h, h

    return step, torch.randn(2, 4)


STEPS = [lstm, gru, with_outputs_of_its_own, with_masks]


@pytest.mark.parametrize("make", STEPS)
@pytest.mark.parametrize("has_gradient", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_it_gives_the_bits_of_a_first_call(make, has_gradient, reverse):
    torch.manual_seed(0)
    forget_plans()
    step, state = make()
    inputs = [torch.randn(5, 2, 3), torch.randn(5, 3, 2).transpose(1, 2), torch.randn(7, 2, 3)]
    if make is with_masks:
        inputs.append(torch.randint(2, (5, 2, 3)))
    with torch.set_grad_enabled(has_gradient):
        for xs in inputs:
            first = unrolled.scan(step, xs, state, reverse=reverse, engine="fused")
            unrolled.scan(step, xs, state, reverse=reverse, engine="fused")  # whose walk is remembered
            found = dispatch.again(step, xs, state, is_reversed=reverse)
            assert found is not None, "its like has run"
            assert_equal(found, first)
            needs = [leaf.requires_grad for leaf in pytree.tree_leaves(first)]
            assert [leaf.requires_grad for leaf in pytree.tree_leaves(found)] == needs
            assert any(needs) == (has_gradient and make is not with_masks)


def test_a_result_shares_no_memory_with_another_or_with_what_was_given():
    cell, state = lstm()
    xs = torch.randn(5, 2, 3)
    with torch.no_grad():
        results = [unrolled.scan(cell, xs, state, engine="fused") for _ in range(4)]
    places = [leaf.data_ptr() for leaf in pytree.tree_leaves((xs, state, results))]
    assert len(places) == len(set(places))


def autocast(cell, xs, state):
    with torch.autocast("cpu"):
        found(cell, xs, state)


def other_form(cell, xs, state):
    found(cell, (xs, xs), state)


def no_tensors(cell, xs, state):
    found(cell, [0.5], state)
    found(cell, xs, [None, object()])


def of_other_width(cell, xs, state):
    found(cell, xs[..., :2], state)


def of_no_steps(cell, xs, state):
    found(cell, xs[:0], state)


def other_step(_, xs, state):
    found(lstm()[0], xs, state)


def after_a_change(cell, xs, state):
    cell.weight_hh = nn.Parameter(torch.zeros_like(cell.weight_hh))
    found(cell, xs, state)


def found(step, xs, state):
    assert dispatch.again(step, xs, state, is_reversed=False) is None
    return torch.zeros(1)


NONE = [autocast, other_form, no_tensors, of_other_width, of_no_steps, other_step, after_a_change]


@pytest.mark.parametrize("call", NONE)
def test_there_is_none_of_another_call(call):
    cell, state = lstm()
    xs = torch.randn(5, 2, 3)
    for _ in range(2):
        unrolled.scan(cell, xs, state, engine="fused")
    assert dispatch.again(cell, xs, state, is_reversed=False) is not None
    call(cell, xs, state)


def transformed(cell, xs, state):
    torch.func.vmap(lambda x: unrolled.scan(cell, x, state))(xs.expand(2, *xs.shape))


def forward_mode(cell, xs, state):
    with forward_ad.dual_level():
        unrolled.scan(cell, xs, state)


@pytest.mark.parametrize("call", [transformed, forward_mode])
def test_it_is_not_asked_where_the_definition_serves(call, monkeypatch):
    cell, state = lstm()
    xs = torch.randn(5, 2, 3)
    asked = []
    monkeypatch.setattr(dispatch, "again", lambda *_, **__: asked.append(1))
    unrolled.scan(cell, xs, state)
    assert asked == [1], "what the test watches is what scan asks"
    call(cell, xs, state)
    assert asked == [1]


def adds():
    """A step whose backward reads nothing, so that the plain loop takes tensors made for inference."""
    weight = torch.randn(4, requires_grad=True)
    return lambda x, h: ((h := h + x.sum(1, keepdim=True) + weight), h), torch.randn(2, 4), [weight]


def cell_alone():
    cell = unrolled.cells.GRU(3, 4).requires_grad_(False)
    return cell, torch.randn(2, 4), []


@pytest.mark.parametrize("make", [adds, cell_alone])
@pytest.mark.parametrize("which", [(True, True), (True, False), (False, True)])
def test_tensors_made_for_inference_run_eagerly_after_others_too(make, which):
    step, state, wanted = make()
    given = torch.randn(5, 2, 3), state
    unrolled.scan(step, *given, engine="fused")
    with torch.inference_mode():
        given = [each.clone() if is_made else each for each, is_made in zip(given, which, strict=True)]
    results = []
    for engine in ("auto", "eager"):
        ys, last = unrolled.scan(step, *given, engine=engine)
        results.append([ys.detach(), last.detach(), *(torch.autograd.grad(ys.sum(), wanted) if wanted else ())])
    torch.testing.assert_close(*results)
    words = "its inputs or state were made in torch.inference_mode, and gradients are enabled"
    with pytest.raises(NotFusedError, match=words):
        unrolled.scan(step, *given, engine="fused")
