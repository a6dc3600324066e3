"""How fast a run was, and which way its layers run on this machine.

Inputs: a record, and the calls of layers while a model predicts. Outputs: facts, and a row for each layer.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unrolled.errors import UnrolledError
from unrolled.explain import explain
from unrolled.json_values import Json
from unrolled.training.job import clock

Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Call:
    """A call of a layer.

    Attributes:
        layer: it.
        arguments: by position: input, and perhaps a state.
        named: by name.
    """

    layer: nn.Module
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


@contextlib.contextmanager
def calls_of(net: nn.Module | None) -> Iterator[dict[str, Call]]:
    """The last call of each layer that `explain` knows, by its name, while the block runs."""
    found: dict[str, Call] = {}
    handles = []
    for name, module in net.named_modules() if net is not None else ():
        if callable(getattr(module, "explain", None)):

            def note(module: nn.Module, given: tuple[Any, ...], named: Any, name: str = name) -> None:
                found[name] = Call(module, given, named)

            handles.append(module.register_forward_pre_hook(note, with_kwargs=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def facts(record: Sequence[Mapping[str, float | str]], training: Mapping[str, Json]) -> dict[str, str]:
    """How long the training took, and how much it did a second."""
    if not record or not isinstance(record[-1].get("seconds"), int | float):
        return {}
    last = record[-1]
    step, seconds = float(last["step"]), float(last["seconds"])
    found = {"trained": f"{step:,.0f} updates in {clock(seconds)}"}
    if seconds > 0:
        found["updates a second"] = f"{step / seconds:,.1f}, evaluations included"
        n_items, item = training.get("items_per_step"), training.get("item")
        if isinstance(n_items, int) and isinstance(item, str):
            found[f"{item}s a second"] = f"{step * n_items / seconds:,.0f}"
    return found


def layers(calls: Mapping[str, Call]) -> list[Row]:
    """For each layer: name, kind, which way it runs, microseconds a step, and why not fused where it is not."""
    rows: list[Row] = []
    for name, call in calls.items():
        kind = type(call.layer).__name__
        try:
            given = call.arguments[:2]
            lengths = call.named.get("lengths")
            with torch.inference_mode():
                found = explain(call.layer, *given, lengths=lengths, timed=True)
        except (UnrolledError, TypeError, ValueError, RuntimeError) as fault:
            rows.append((name, kind, "not known", "", str(fault).split("\n")[0]))
            continue
        spent = found.us_per_step if found.us_per_step is not None else _sum(found.parts.values())
        rows.append((name, kind, found.path, "" if spent is None else f"{spent:.1f}", found.reason))
    return rows


def _sum(parts: Any) -> float | None:
    """What the parts of a layer take together; None where one does not say."""
    spent = [each.us_per_step for each in parts]
    return sum(spent) if spent and None not in spent else None
