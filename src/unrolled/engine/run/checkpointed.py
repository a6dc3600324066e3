"""Training in memory that grows with the square root of time.

A scan becomes √time scans, one after the other. Each keeps its inputs and first state alone, and is run again when its
backward comes (Griewank and Walther, Revolve, 2000; Chen and others, 2016).
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.traceback import preserve_node_meta
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from unrolled.engine.backends import eager
from unrolled.engine.checked_scan import CheckedScan

Run = Callable[[CheckedScan], tuple[Any, Any]]

_numbers = itertools.count(1)  # of parts of graphs


def chunk_of(n_steps: int) -> int:
    """Time steps of one part."""
    return max(1, math.isqrt(max(0, n_steps - 1)) + 1)


def run_in_chunks(run: Run, scan: CheckedScan, *, checks_first: bool = False) -> tuple[Any, Any]:
    """Runs a scan as scans over parts of its time, which have its state as their `first`. With `checks_first` the part
    that runs first keeps all that it saves: torch's backward then raises of what a step has changed in place after it
    was saved, which it does not see of what is computed again.
    """
    scan = eager.with_idle_rows(scan)  # of the whole: a part knows nothing of the steps of a row that it does not run
    _, xs, state, active, resets, is_reversed, *_ = scan
    n_steps, first = pytree.tree_leaves(xs)[0].shape[0], state
    known = n_steps if isinstance(n_steps, int) else n_steps.node.hint  # a graph is for any time, its parts are not
    n_parts = max(1, -(-known // chunk_of(known)))
    keep = _as_in_graph if torch.compiler.is_compiling() else _as_it_runs
    parts: list[Any] = []
    for i in reversed(range(n_parts)) if is_reversed else range(n_parts):
        here = slice(n_steps * i // n_parts, n_steps * (i + 1) // n_parts)
        inputs = pytree.tree_map(lambda leaf: leaf[here], xs)  # noqa: B023 - called at once
        runs, goes_back = (None if mask is None else mask[here] for mask in (active, resets))
        part = scan._replace(xs=inputs, state=state, active=runs, resets=goes_back, first=first)
        ys, state = run(part) if checks_first and not parts else keep(run, part)
        parts.append(ys)
    if is_reversed:
        parts.reverse()
    return pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts), state


def _as_it_runs(run: Run, part: CheckedScan) -> tuple[Any, Any]:
    return checkpoint(run, part, use_reentrant=False)


def _as_in_graph(run: Run, part: CheckedScan) -> tuple[Any, Any]:
    """What a part runs is marked in the graph, as torch.compile marks its own checkpoints: what cuts the graph in a
    forward and a backward computes it in both.
    """

    def marked(part: CheckedScan) -> tuple[Any, Any]:
        ys, state = run(part)
        return ys, pytree.tree_map(between_parts, state)

    def contexts() -> Any:
        forward, again = create_selective_checkpoint_contexts(_policy)
        forward.ac_graph_id = next(_numbers)
        return forward, again

    with preserve_node_meta():
        return checkpoint(marked, part, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


def _policy(_context: Any, operation: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    is_random = torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())
    return CheckpointPolicy.MUST_SAVE if is_random else CheckpointPolicy.MUST_RECOMPUTE


@torch.library.custom_op("unrolled::between_parts", mutates_args=())
def between_parts(state: Tensor) -> Tensor:
    """What one part of a graph gives the next: torch keeps what two parts share only if it is an operation's one
    result, which the loop's state is not, and takes a `clone` away.
    """
    return state.clone()


between_parts.register_fake(torch.empty_like)
between_parts.register_autograd(lambda _context, gradient: gradient)
