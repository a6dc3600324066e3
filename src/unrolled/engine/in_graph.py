"""A scan inside torch.compile or torch.export: the loop is one operator of the graph.

torch.compile calls a scan whose step is an `nn.Module` without looking into it, and torch's tracing sees what it calls:
the operations before and after the loop, and the operator. A step that is another callable may hold tensors that torch
would take for constants; it runs between two graphs, and so does every step where torch is older than 2.13.
"""

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import nonstrict_trace
from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols
from torch.overrides import _pop_mode_temporarily
from torch.utils._python_dispatch import _disable_current_modes

from unrolled.engine import choose, operator, plans
from unrolled.engine.backends import eager
from unrolled.engine.identity import Walk, held_by
from unrolled.engine.plans import Planned
from unrolled.engine.reasons import NotTraceable, RunsEagerly
from unrolled.engine.recompute import run_in_chunks
from unrolled.engine.side_by_side import side_by_side
from unrolled.engine.span import Span
from unrolled.engine.trees import flatten, unflatten
from unrolled.errors import NotFusedError

#: whether torch.compile calls a function without looking into it that is given a module
TAKES_MODULES = torch.__version__ >= "2.13"


def run(
    step: Callable,
    xs: Any,
    state: Any,
    *,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
    engine: str,
    recompute: bool,
) -> tuple[Any, Any]:
    """As `choose.run`."""
    masks = {name: mask for name, mask in (("active", active), ("resets", resets)) if mask is not None}
    if not torch.compiler.is_dynamo_compiling():  # torch.export, whose graphs have no backward
        return _run(step, xs, state, masks, is_reversed, engine, recompute=False)
    if TAKES_MODULES and isinstance(step, nn.Module):
        return _whole(step, xs, state, masks, is_reversed, engine, recompute)
    outside = torch.compiler.disable(choose.run)
    return outside(
        step, xs, state, active=active, resets=resets, is_reversed=is_reversed, engine=engine, recompute=recompute
    )


@nonstrict_trace
def call(module: nn.Module, method: str, *args: Any) -> Any:
    """Calls a module's method; the scans in it become operators of the graph."""
    return getattr(module, method)(*args)


@contextlib.contextmanager
def _outside() -> Iterator[None]:
    """Ordinary Python, which the graph does not see."""
    with contextlib.ExitStack() as stack:
        for _ in range(torch._C._len_torch_function_stack()):
            stack.enter_context(_pop_mode_temporarily())
        stack.enter_context(_disable_current_modes())
        yield


def _run(
    step: Callable,
    xs: Any,
    state: Any,
    masks: dict[str, Tensor],
    is_reversed: bool,
    engine: str,
    recompute: bool,
) -> tuple[Any, Any]:
    active, resets = masks.get("active"), masks.get("resets")

    def part(xs: Any, state: Any, active: Tensor | None, resets: Tensor | None, first: Any = None) -> tuple[Any, Any]:
        if engine != "eager":
            try:
                return _fused(step, xs, state, first, active, resets, is_reversed)
            except (NotTraceable, RunsEagerly) as reason:
                if engine == "fused":
                    raise NotFusedError(f"scan: the step cannot run fused: {reason}.") from None
                choose.warn_once(str(reason))
        return eager.run(step, xs, state, active=active, resets=resets, is_reversed=is_reversed, first=first)

    if not recompute or has_free_unbacked_symbols(flatten(xs)[0][0].shape[0]):
        return part(xs, state, active, resets)
    if engine != "eager":
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which a part tells of
            _call(step, xs, state, None, active, resets)  # tracing does not bear the parts' hooks
    return run_in_chunks(part, xs, state, active=active, resets=resets, is_reversed=is_reversed)


_whole = nonstrict_trace(_run)


def _fused(
    step: Callable,
    xs: Any,
    state: Any,
    first: Any,
    active: Tensor | None,
    resets: Tensor | None,
    is_reversed: bool,
) -> tuple[Any, Any]:
    planned, tensors, x_leaves, states, state_form = _call(step, xs, state, first, active, resets)
    captured = planned.captured(tensors)
    places = set(map(id, tensors))
    if any(id(tensor) not in places for tensor in captured):
        raise NotTraceable("it makes a tensor of its own, which a graph of torch would have to hold")
    n_steps, n_rows = x_leaves[0].shape[:2]
    span = Span(n_steps, n_rows, is_reversed, n_steps * n_rows)
    [(ys, last)] = side_by_side([planned.plan.scan(captured, x_leaves, states, span)], operator.calls)
    last = unflatten(list(last), state_form)
    for is_wrapped in (active is not None, resets is not None):
        last = last[0] if is_wrapped else last
    return unflatten(ys, planned.plan.outputs_form), last


def _call(
    step: Callable, xs: Any, state: Any, first: Any, active: Tensor | None, resets: Tensor | None
) -> tuple[Planned, list[Tensor], list[Tensor], list[Tensor], Any]:
    """A plan, the tensors that the step holds, and the inputs' and states' leaves, with the states' form."""
    whole, xs, state = choose.with_resets(step, xs, state, resets, first)
    whole, xs, state = _with_ends(whole, xs, state, active)
    x_leaves, x_form = flatten(xs)
    states, state_form = flatten(state)
    plans.check_call(x_leaves, states)
    walk = Walk()
    key = _key_of(walk.of(whole), x_leaves, x_form, states, state_form)
    planned = plans.known(key)
    if planned is None:
        with _outside():
            planned = _planned(whole, key, x_leaves, x_form, states, state_form)
    return planned, walk.tensors, x_leaves, states, state_form


def _with_ends(step: Callable, xs: Any, state: Any, active: Tensor | None) -> tuple[Callable, Any, Any]:
    """The step with rows that end, as masks: how many rows run when is not known to a graph."""
    if active is None:
        return step, xs, state

    def ending(inputs: Any, states: Any) -> tuple[Any, Any]:
        x, mask = inputs
        y, new = step(x, states[0])
        old, form = flatten(states[0])
        new = [eager.choose(mask, a, b) for a, b in zip(flatten(new)[0], old, strict=True)]
        ys, of_ys = flatten(y)
        return unflatten([eager.choose(mask, leaf, torch.zeros_like(leaf)) for leaf in ys], of_ys), (
            unflatten(new, form),
        )

    leaves, form = flatten(xs)
    return ending, (unflatten([eager.choose_steps(active, leaf) for leaf in leaves], form), active), (state,)


def _key_of(*parts: Any) -> Any:
    """`plans.key_of`, where a size may be a symbol."""
    key: Any = plans.key_of(*parts)
    return tuple(torch.Size(map(int, part)) if isinstance(part, torch.Size) else part for part in key)


def _planned(step: Callable, key: Any, xs: list[Tensor], x_form: Any, states: list[Tensor], state_form: Any) -> Planned:
    """A plan of a twin of the step that holds ordinary tensors: those of a graph cannot be traced a second time."""
    twin = _Twin()
    try:
        copy = twin.of(step)
        walk = Walk()  # no other call meets these tensors
        walk.key = walk.of(copy)
        same = _key_of(walk.key, xs, x_form, states, state_form)
        if same != key:
            raise NotTraceable("it holds something that cannot be traced within a graph")
        first = unflatten([twin.like(x, (2, *x.shape[2:])) for x in xs], x_form)
        state = unflatten([twin.like(s, (2, *s.shape[1:])) for s in states], state_form)
        with torch.enable_grad():
            planned = plans.plan(copy, key, walk, first, state)
        planned.plan.prepare(training=False)
    finally:
        twin.restore()
    plans.learn(key, planned)
    return planned


class _Twin:
    """A copy of a step with tensors of its own, of the same shapes; modules are changed in place, until `restore`."""

    def __init__(self) -> None:
        self.memo: dict[int, Any] = {}
        self.changed: list[tuple[dict, str, Any]] = []

    @staticmethod
    def like(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros([int(size) for size in shape], dtype=tensor.dtype, device=tensor.device)

    def of(self, value: Any) -> Any:
        if id(value) not in self.memo:
            self.memo[id(value)] = value  # until its twin is made, for what holds itself
            self.memo[id(value)] = self._made(value)
        return self.memo[id(value)]

    def _made(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.like(value, value.shape).requires_grad_(value.requires_grad)
        if isinstance(value, nn.Module):
            for group in held_by(value):
                for name, item in list(group.items()):
                    twin = self.of(item)
                    if twin is not item:
                        self.changed.append((group, name, item))
                        group[name] = twin
            return value
        if isinstance(value, types.FunctionType) and value.__closure__:
            cells = [types.CellType(self.of(cell.cell_contents)) for cell in value.__closure__]
            if all(new.cell_contents is old.cell_contents for new, old in zip(cells, value.__closure__, strict=True)):
                return value
            twin = types.FunctionType(
                value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(cells)
            )
            twin.__kwdefaults__ = value.__kwdefaults__
            return twin
        if isinstance(value, types.MethodType):
            return types.MethodType(self.of(value.__func__), self.of(value.__self__))
        if type(value) in (list, tuple):
            items = [self.of(item) for item in value]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
        return value

    def restore(self) -> None:
        for group, name, item in reversed(self.changed):
            group[name] = item
