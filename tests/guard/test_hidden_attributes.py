"""What a module comes to have by the name of a parameter, buffer or submodule of its own hides it, and is seen.

The rows are generated: where it is put (the module's own attributes, a registry that comes before, or a class of the
module's), on which module.
"""

import functools
import itertools

import pytest
import torch
from tests.guard.checks import HIDDEN, INPUT, Case, assert_change_is_seen
from torch import nn

NAMES = {"loop.weight": "_parameters", "scale": "_parameters", "passing": "_buffers", "norm.inner": "_modules"}
REGISTRIES = ("_parameters", "_buffers", "_modules")  # in the order in which a module looks


class Norm(nn.LayerNorm):
    def __init__(self) -> None:
        super().__init__(HIDDEN)
        self.inner = nn.Tanh()

    def forward(self, y):
        return super().forward(self.inner(y))


class Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of_input, self.loop, self.norm = nn.Linear(INPUT, HIDDEN), nn.Linear(HIDDEN, HIDDEN), Norm()
        self.scale = nn.Parameter(torch.rand(HIDDEN))
        self.register_buffer("passing", torch.rand(HIDDEN))
        self.double()

    def forward(self, x, h):
        h = self.norm((self.of_input(x) + self.loop(h)) * self.scale + self.passing)
        return h, h


def _hide(step: Step, name: str, where: str) -> None:
    *path, last = name.split(".")
    module = functools.reduce(getattr, path, step)
    if isinstance(getattr(module, last), nn.Module):
        other = nn.Sigmoid()
    else:
        other = torch.rand_like(getattr(module, last))
    if where == "__dict__":
        object.__setattr__(module, last, other)
    else:
        vars(module)[where][last] = nn.Parameter(other) if where == "_parameters" else other


ROWS = [
    (name, where)
    for name, where in itertools.product(NAMES, ("__dict__", *REGISTRIES))
    if where not in REGISTRIES[REGISTRIES.index(NAMES[name]) :]
    and not (where == "_parameters" and NAMES[name] == "_modules")  # no tensor, which no optimizer could hold
]


@pytest.mark.parametrize(("name", "where"), ROWS)
def test_what_hides_it_is_seen(name, where):
    step = Step()
    read = list(step.parameters())
    assert_change_is_seen(Case(step, lambda: _hide(step, name, where), lambda: read))


def classes_of(name: str) -> list[type]:
    """Of the module that has what is hidden: its own class, and those of torch that it comes from."""
    *path, _ = name.split(".")
    return list(type(functools.reduce(getattr, path, Step())).__mro__[:-1])


OF_CLASSES = [(name, kind) for name in (*NAMES, "norm.weight", "norm.bias", "loop.bias") for kind in classes_of(name)]


@pytest.mark.parametrize(("name", "kind"), OF_CLASSES)
@pytest.mark.parametrize("is_property", [False, True])
def test_what_a_class_comes_to_have_is_seen(name, kind, is_property, monkeypatch, by_guards_alone):
    step = Step()
    *path, last = name.split(".")
    module = functools.reduce(getattr, path, step)
    has_tensor = not isinstance(getattr(module, last), nn.Module)
    # each other module has a tensor or a submodule of that name too, whose width may be another
    other = torch.tensor(0.5, dtype=torch.float64).expand_as(getattr(module, last)) if has_tensor else nn.Sigmoid()
    read = list(step.parameters())

    def change():
        monkeypatch.setattr(kind, last, property(lambda _: other) if is_property else other, raising=False)

    assert_change_is_seen(Case(step, change, lambda: read, raises=True))
