"""The compiled loop against the eager one in float64: values and all gradients, by the one tolerance rule."""

import copy

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests import strategies
from tests.assertions import assert_as_exact_as, to_dtype, values_and_gradients
from tests.engine import odd_steps
from torch.utils import _pytree as pytree

import unrolled


def assert_fused_is_eager(step, xs, state, **options):
    """By the one rule: eager in float64 is the oracle, eager in the same dtype the yardstick."""
    oracle = copy.deepcopy(step).double()

    def run(module, engine):
        return lambda args: unrolled.scan(module, args[0], args[1], engine=engine, **options)

    inputs = (xs, state)
    results = [
        values_and_gradients(run(step, "fused"), inputs, list(step.parameters())),
        values_and_gradients(run(step, "eager"), inputs, list(step.parameters())),
        values_and_gradients(run(oracle, "eager"), to_dtype(inputs, torch.float64), list(oracle.parameters())),
    ]
    assert_as_exact_as(*results)
    with torch.no_grad():
        forward = [pytree.tree_leaves(run(module, engine)(args)) for module, engine, args in (
            (step, "fused", inputs), (step, "eager", inputs), (oracle, "eager", to_dtype(inputs, torch.float64))
        )]  # fmt: skip
    assert_as_exact_as(*forward)


@given(
    strategies.cell_names,
    st.sampled_from([1, 2, 7, 20]),
    st.sampled_from([1, 2, 5, 33]),
    strategies.seeds,
    st.booleans(),
)
@settings(max_examples=120)
def test_cells(name, steps, batch, seed, reverse):
    cell = strategies.make_cell(name, seed, torch.float32)
    xs = strategies.make_inputs(steps, batch, seed, torch.float32)
    assert_fused_is_eager(cell, xs, strategies.make_state(cell, batch, seed, torch.float32), reverse=reverse)


@given(strategies.cell_names, st.integers(1, 4), strategies.seeds, st.booleans(), st.booleans(), st.data())
@settings(max_examples=60)
def test_cells_with_rows_that_end_and_rows_that_start_anew(name, batch, seed, reverse, with_resets, data):
    cell = strategies.make_cell(name, seed, torch.float32)
    xs = strategies.make_inputs(6, batch, seed, torch.float32)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=batch, max_size=batch)))
    options = {"lengths": lengths, "reverse": reverse}
    if with_resets:
        draws = data.draw(st.lists(st.booleans(), min_size=6 * batch, max_size=6 * batch))
        options["resets"] = torch.tensor(draws).view(6, batch)
    assert_fused_is_eager(cell, xs, strategies.make_state(cell, batch, seed, torch.float32), **options)


@given(odd_steps.odd_steps, st.sampled_from([1, 4]), st.sampled_from([1, 3]), strategies.seeds)
# each step is compiled, so a failing one is shown as it is; the same steps at every run, so that the cache serves
@settings(max_examples=30, derandomize=True, phases=[Phase.generate])
def test_odd_steps(step, steps, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(steps, batch, odd_steps.INPUT, generator=generator)
    state = tuple(torch.randn(batch, odd_steps.HIDDEN, generator=generator) for _ in range(2))
    assert_fused_is_eager(step, xs, state)


@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_float64(name):
    cell = strategies.make_cell(name, 3)
    inputs = (strategies.make_inputs(9, 3, 4), strategies.make_state(cell, 3, 5))
    fused, eager = (
        values_and_gradients(
            lambda args, engine=engine: unrolled.scan(cell, *args, engine=engine), inputs, list(cell.parameters())
        )
        for engine in ("fused", "eager")
    )
    for a, b in zip(fused, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
