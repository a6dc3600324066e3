"""Steps made of random parts, with a number in a random place that changes between two calls."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.guard.changes import weights
from tests.guard.checks import HIDDEN, INPUT, Case, are_equal, assert_as_eager
from tests.guard.conftest import Patch
from tests.guard.places import PLACES
from torch import Tensor
from torch.nn import functional as F

from unrolled.engine.step.capture import Captured, Unguarded, capture, checks_kind, children_of
from unrolled.engine.step.examples import examples_of

# y and z are [batch, HIDDEN], v is the number; each part returns [batch, HIDDEN]
PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda y, z: torch.tanh(y),
    "sigmoid": lambda y, z: torch.sigmoid(y),
    "relu": lambda y, z: torch.relu(y),
    "gelu": lambda y, z: F.gelu(y),
    "softplus": lambda y, z: F.softplus(y),
    "gate": lambda y, z: torch.sigmoid(y) * z,
    "add": lambda y, z: y + z,
    "mix": lambda y, z: torch.lerp(y, z, 0.3),
    "halves": lambda y, z: torch.cat((y[:, :2], z[:, 2:]), 1),
    "chunks": lambda y, z: torch.cat(y.chunk(2, 1)[::-1], 1),
    "norm": lambda y, z: F.layer_norm(y + 0.1 * z, (HIDDEN,)),
    "softmax": lambda y, z: torch.softmax(y, -1),
    "rms": lambda y, z: y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 0.1),
    "less_mean": lambda y, z: y - z.mean(1, keepdim=True),
    "by_rows": lambda y, z: y / y.shape[0] + z,
    "zeros_like": lambda y, z: y + torch.ones(len(y), 1, dtype=y.dtype),
    "where": lambda y, z: torch.where(y > z, y, 0.5 * z),
    "square": lambda y, z: 0.1 * y**2 + z,
}
NUMBERS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "times": lambda y, v: y * v,
    "plus": lambda y, v: y + v,
    "over": lambda y, v: y / (1 + v),
    "bound": lambda y, v: y.clamp(-v, 2.0),
    "exponent": lambda y, v: (1 + y.square()) ** v,
    "slope": lambda y, v: F.leaky_relu(y, v),
    "mixed": lambda y, v: torch.lerp(y, torch.tanh(y), v),
    "condition": lambda y, v: torch.tanh(y) if v > 0.5 else torch.sigmoid(y),
    "repeated": lambda y, v: [y := torch.tanh(y) + 0.1 for _ in range(int(10 * v) % 4)][-1] if int(10 * v) % 4 else y,
    "filled": lambda y, v: y + torch.full((len(y), 1), v, dtype=y.dtype),
    "alpha": lambda y, v: torch.add(y, torch.tanh(y), alpha=v),
    "eps": lambda y, v: F.layer_norm(y, (HIDDEN,), eps=v),
}


@dataclass(frozen=True)
class Made:
    """A random step: parts, each with the two earlier values that it takes, and how a number in a place is used."""

    parts: tuple[tuple[str, int, int], ...]
    place: str
    use: str
    at: int
    numbers: tuple[float, ...]
    batches: tuple[int, ...]


@st.composite
def steps(draw: st.DrawFn, most_parts: int = 5, most_numbers: int = 3) -> Made:
    n = draw(st.integers(1, most_parts))
    parts = tuple(
        (draw(st.sampled_from(sorted(PARTS))), draw(st.integers(0, i + 2)), draw(st.integers(0, i + 2)))
        for i in range(n)
    )
    numbers = draw(
        st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.9]), min_size=2, max_size=most_numbers, unique=True)
    )
    return Made(
        parts,
        draw(st.sampled_from(sorted(PLACES))),
        draw(st.sampled_from(sorted(NUMBERS))),
        draw(st.integers(0, n - 1)),
        tuple(numbers),
        tuple(draw(st.lists(st.sampled_from([1, 2, 3, 7]), min_size=2, max_size=2))),
    )


def assert_each_number_is_seen(made: Made, patch: Patch) -> None:
    get, put = PLACES[made.place](made.numbers[0], patch)
    w, u = weights()

    def step(x, h):
        values = [x @ w, h @ u, h]
        for i, (name, first, second) in enumerate(made.parts):
            y = PARTS[name](values[first], values[second])
            if i == made.at:
                y = NUMBERS[made.use](y, get())
            values.append(y)
        return values[-1], torch.tanh(values[-1] + values[0])

    for number in made.numbers:
        put(number)
        assert get() == number
        for batch in made.batches:
            assert_as_eager(Case(step, wanted=lambda: [w, u], inputs=(3, batch, 3), state=(batch, HIDDEN)))


@given(made=steps(2, 2))
@settings(max_examples=8)
def test_a_number_in_a_random_step_is_seen(made):
    with Patch.context() as patch:
        assert_each_number_is_seen(made, patch)


@pytest.mark.slow
@given(made=steps())
@settings(max_examples=500)
def test_numbers_in_many_random_steps_are_seen(made):
    with Patch.context() as patch:
        assert_each_number_is_seen(made, patch)


def test_the_places_are_as_many_as_they_must_be():
    assert len(PLACES) >= 15


@pytest.mark.parametrize("use", NUMBERS)
def test_each_use_of_a_number_changes_the_result(use):
    """Else the random steps would test nothing."""
    y = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, HIDDEN)
    assert not are_equal([NUMBERS[use](y, 0.2)], [NUMBERS[use](y, 0.7)])


def _step_that_reads(name: str, patch: Patch) -> Callable:
    """Steps of one code; what they close over is of another kind in each."""
    get, _ = PLACES[name](0.3, patch)

    def step(x, h):
        h = torch.tanh(h * get())
        return h, h

    return step


def _unchecked(node: Any) -> list[str]:
    """What guards read something off without having checked its kind: a crash where it is of another."""
    found = []
    for child in children_of(node):
        found += [child.get_source()] if child.get_accessors() and not checks_kind(child) else []
        found += _unchecked(child)
    return found


def test_guards_of_all_places_tell_steps_of_one_code_apart():
    """Guards that were set in one place are checked where something of quite another kind lies in its stead."""
    names, examples = sorted(PLACES), examples_of([torch.zeros(1, INPUT), torch.zeros(1, HIDDEN)], 1, 13)
    with contextlib.ExitStack() as stack:
        steps = [_step_that_reads(name, stack.enter_context(Patch.context())) for name in names]
        for name, step in zip(names, steps, strict=True):
            try:
                guards = capture(step, *examples)
            except Unguarded:
                continue
            assert _unchecked(guards._manager.root) == []
            for other, theirs in zip(names, steps, strict=True):
                assert other == name or not isinstance(guards, Captured) or not guards.holds(theirs, *examples)
