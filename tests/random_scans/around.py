"""What is around a scan when it is called: gradients of several kinds, modes, transforms.

Each function calls the scan and returns what is compared: outputs, whether each has a gradient, and gradients of all
that was asked for (None where there is none).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import unrolled
from tests.random_scans.scan import DOUBLE, Scan, arguments, moved_numbers


def mixture(outputs: list[Tensor], scan: Scan, seed: int = 7) -> Any:
    """A fixed mixture of outputs that have a gradient."""
    total: Any = 0
    for i, out in enumerate(outputs):
        if out is None:
            continue
        generator = torch.Generator().manual_seed(seed + i)
        numbers = moved_numbers(torch.randn(out.shape, generator=generator, dtype=DOUBLE), scan)
        if out.requires_grad and (out.is_floating_point() or out.is_complex()):
            out = out.real if out.is_complex() else out
            total = total + (out.double() * numbers).sum()
    return total


def run(scan: Scan, engine: str) -> list[Any]:
    """Outputs, whether each has a gradient, and gradients of all that was asked for (None where there is none)."""
    xs, state = arguments(scan)
    call = lambda xs, state: unrolled.scan(scan.step, xs, state, engine=engine, **scan.options)
    return AROUND[scan.around](call, xs, state, scan)


def _plain(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    outputs = pytree.tree_leaves(call(xs, state))
    total = mixture(outputs, scan)
    flags = [out.requires_grad for out in outputs]
    wanted = scan.wanted if isinstance(total, Tensor) else []
    found = torch.autograd.grad(total, wanted, allow_unused=True) if wanted else []
    return [*(out.detach() for out in outputs), str(flags), *found]


def _double(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    outputs = pytree.tree_leaves(call(xs, state))
    total = mixture(outputs, scan)
    if not isinstance(total, Tensor) or not scan.wanted:
        return [out.detach() for out in outputs]
    first = torch.autograd.grad(total, scan.wanted, allow_unused=True, create_graph=True)
    second_total = mixture(first, scan, 8)
    second = []
    if isinstance(second_total, Tensor):
        second = torch.autograd.grad(second_total, scan.wanted, allow_unused=True)
    first = [None if each is None else each.detach() for each in first]
    second = [torch.zeros_like(w) if g is None else g for g, w in zip(second, scan.wanted, strict=False)]
    return [*(out.detach() for out in outputs), *first, *second]


def _batched(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    outputs = pytree.tree_leaves(call(xs, state))
    total = mixture(outputs, scan)
    if not isinstance(total, Tensor) or not scan.wanted:
        return [out.detach() for out in outputs]
    directions = torch.tensor([1.0, -2.0], dtype=DOUBLE)
    return list(torch.autograd.grad(total, scan.wanted, directions, allow_unused=True, is_grads_batched=True))


def _checkpoint(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    again = lambda xs, state: torch.utils.checkpoint.checkpoint(call, xs, state, use_reentrant=False)
    return _plain(again, xs, state, scan)


def _within(context: Callable) -> Callable:
    def around(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
        def within(xs: Any, state: Any) -> Any:
            with context():
                return call(xs, state)

        return _plain(within, xs, state, scan)

    return around


def _vmap(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    double = lambda tree: pytree.tree_map(lambda leaf: torch.stack((leaf, leaf)).detach(), tree)
    return pytree.tree_leaves(torch.func.vmap(call)(double(xs), double(state)))


def _jvp(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    with torch.autograd.forward_ad.dual_level():
        dual = lambda leaf: (
            torch.autograd.forward_ad.make_dual(leaf, torch.ones_like(leaf)) if leaf.is_floating_point() else leaf
        )
        outputs = pytree.tree_leaves(call(*pytree.tree_map(dual, (xs, state))))
        return [each for out in outputs for each in torch.autograd.forward_ad.unpack_dual(out)]


def _inference_made(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    with torch.inference_mode():
        xs, state = pytree.tree_map(torch.clone, (xs, state))
    with torch.no_grad():
        first = pytree.tree_leaves(call(xs, state))
    return [*first, str([out.is_inference() for out in first])]


def _inference(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    with torch.inference_mode():
        outputs = pytree.tree_leaves(call(xs, state))
        return [out.clone() for out in outputs]


AROUND: dict[str, Callable] = {
    "plain": _plain,
    "no_grad": _within(torch.no_grad),
    "inference": _inference,
    "double": _double,
    "autocast": _within(lambda: torch.autocast("cpu", torch.bfloat16)),
    "checkpoint": _checkpoint,
    "batched grads": _batched,
    "vmap": _vmap,
    "jvp": _jvp,
    "inference made": _inference_made,
}
