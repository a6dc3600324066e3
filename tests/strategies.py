"""Hypothesis strategies and the cells that the laws run over, in one place."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from unrolled import cells

INPUT, HIDDEN = 3, 5
SIZES = {"input_size": INPUT, "hidden_size": HIDDEN, "output_size": 4}
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def _others_of(parameter: inspect.Parameter) -> dict[str, Any]:
    """The other values that an option of a cell's constructor may have, by the names that tell them apart."""
    if isinstance(parameter.default, bool):
        return {f"{'no-' if parameter.default else ''}{parameter.name}": not parameter.default}
    if typing.get_origin(parameter.annotation) is typing.Literal:
        return {str(value): value for value in typing.get_args(parameter.annotation) if value != parameter.default}
    if "activation" in parameter.name:
        name = "relu" if parameter.default is torch.tanh else "tanh"
        return {name: ACTIVATIONS[name]}
    assert parameter.name in ("device", "dtype"), f"say here which values of {parameter.name!r} the laws run over"
    return {}


def variants(file: str) -> dict[str, Callable[[], torch.nn.Module]]:
    """A cell as it is, with every value of each option that is no bool, and with the other value of all options."""
    kind = cells.BY_NAME[file]
    parameters = inspect.signature(kind).parameters.values()
    sizes = [SIZES[each.name] for each in parameters if each.default is each.empty]
    others = {each.name: _others_of(each) for each in parameters if each.default is not each.empty}
    others = {name: values for name, values in others.items() if values}
    made: dict[str, dict[str, Any]] = {file: {}}
    for name, values in others.items():
        if not any(isinstance(value, bool) for value in values.values()):
            made |= {f"{file}-{word}": {name: value} for word, value in values.items()}
    if others:
        last = {name: list(values.items())[-1] for name, values in others.items()}
        made["-".join([file, *(word for word, _ in last.values())])] = {name: each for name, (_, each) in last.items()}
    return {name: functools.partial(kind, *sizes, **options) for name, options in made.items()}


CELLS = {name: make for file in sorted(cells.BY_NAME) for name, make in variants(file).items()}

cell_names = st.sampled_from(sorted(CELLS))
seeds = st.integers(0, 2**31 - 1)
n_steps = st.sampled_from([0, 1, 2, 3, 7])
n_rows = st.sampled_from([1, 2, 5])


def make_cell(name: str, seed: int, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CELLS[name]().to(dtype)


def make_state(cell: torch.nn.Module, batch: int, seed: int, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda zero: torch.randn(zero.shape, generator=generator, dtype=torch.float64).to(dtype)
    return pytree.tree_map(draw, cell.initial_state(batch))


def make_inputs(steps: int, batch: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, INPUT, generator=generator, dtype=torch.float64).to(dtype)
