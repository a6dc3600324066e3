"""A random scan, and the arguments that it is called with: their layouts in memory, and what they share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tests.random_scans.step import Step

DOUBLE = torch.float64

# how a base tensor, with its gradient, becomes an argument; the last axis is never the batch
LAYOUTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "plain": lambda a, _: a,
    "turned": lambda a, axis: a.transpose(0, -1).contiguous().transpose(0, -1) if a.dim() > 1 else a,
    "each other": lambda a, axis: torch.stack((a, a), -1)[..., 0],
    "offset": lambda a, _: torch.cat((a.reshape(-1)[:1], a.reshape(-1)))[1:].view(a.shape) if a.numel() else a,
    "one row": lambda a, axis: a.narrow(axis, 0, 1).expand(a.shape) if a.shape[axis] else a,
    "one number": lambda a, axis: a.reshape(-1)[:1].view((1,) * a.dim()).expand(a.shape) if a.numel() else a,
    "one width": lambda a, _: a[..., :1].expand(a.shape) if a.dim() > 1 and a.numel() else a,
    "overlapping": lambda a, _: a.flatten().as_strided(a.shape, [1] * a.dim()) if a.numel() else a,
    "backwards": lambda a, axis: a.flip(axis).flip(axis),
    "negated": lambda a, _: torch._neg_view(a) if a.is_floating_point() else a,
    "conjugated": lambda a, _: (
        torch.view_as_complex(torch.stack((a, a), -1)).conj().imag if a.is_floating_point() else a
    ),
    "batch first": lambda a, axis: a.transpose(0, 1).contiguous().transpose(0, 1) if a.dim() > 1 else a,
}
FORMS = {
    "one": lambda leaves: leaves[0],
    "tuple": tuple,
    "list": list,
    "dict": lambda leaves: dict(zip("badc", leaves, strict=False)),
    "nested": lambda leaves: {"h": leaves[:1], "c": (leaves[1:], ())},
}


@dataclass
class Scan:
    """A scan, as drawn."""

    seed: int
    step: Step
    x_bases: list[Tensor]
    x_layouts: list[str]
    x_form: str
    state_bases: list[Tensor]
    state_layouts: list[str]
    state_form: str
    wanted: list[Tensor] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    around: str = "plain"
    aliases: str = ""
    noise: torch.Generator | None = None  # by which the mixtures of its outputs are moved too


def arguments(scan: Scan) -> tuple[Any, Any]:
    """Inputs and state, of the bases; they may share memory."""
    xs = [LAYOUTS[name](base, 1) for base, name in zip(scan.x_bases, scan.x_layouts, strict=True)]
    states = [LAYOUTS[name](base, 0) for base, name in zip(scan.state_bases, scan.state_layouts, strict=True)]
    like = lambda a, b: a.shape == b.shape and a.dtype == b.dtype
    if scan.aliases == "state of inputs" and len(xs[0]) and like(xs[0][-1], states[0]):
        states[0] = xs[0][-1]
    if scan.aliases == "one state twice":
        states = [states[0] if like(each, states[0]) else each for each in states]
    if scan.aliases == "one input twice":
        xs = [xs[0] if like(each, xs[0]) else each for each in xs]
    if scan.aliases == "state is held" and like(scan.step.held[2], states[0]):
        states[0] = scan.step.held[2]
    return FORMS[scan.x_form](xs), FORMS[scan.state_form](states)


def moved(scan: Scan, seed: int) -> Scan:
    """The same scan, in place, with its numbers and those of its mixtures moved by about two rounding units.

    The mixtures are where gradients begin: of `a - logsumexp(a)` over equal numbers all gradients cancel, whatever the
    numbers are, and only another beginning shows how they are rounded.
    """
    scan.noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in (*scan.x_bases, *scan.state_bases, *scan.step.held):
            if each.is_floating_point():
                each.copy_(moved_numbers(each, scan))
    return scan


def moved_numbers(numbers: Tensor, scan: Scan) -> Tensor:
    if scan.noise is None:
        return numbers
    noise = torch.randn(numbers.shape, generator=scan.noise, dtype=DOUBLE)
    return (numbers.double() * (1 + 2 * torch.finfo(scan.step.dtype).eps * noise)).to(numbers.dtype)
