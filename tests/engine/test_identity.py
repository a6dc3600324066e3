"""What a step is made of, and when a walk over it is remembered."""

import gc

import pytest
import torch
from torch import nn

import unrolled
from unrolled.engine import identity
from unrolled.engine.identity import Walk, walk_over


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
    closure = lambda x, h: step(x, h)  # noqa: E731
    assert walk_over(closure) is not walk_over(closure)


def test_a_walk_goes_with_its_step():
    step = Step()
    walk_over(step)
    at = id(step)
    assert at in identity._walks
    del step
    gc.collect()
    assert at not in identity._walks


def test_no_more_walks_are_kept_than_said(monkeypatch):
    monkeypatch.setattr(identity, "_MOST_WALKS", 3)
    identity._walks.clear()
    steps = [Step() for _ in range(5)]
    for step in steps:
        walk_over(step)
    assert len(identity._walks) == 3
