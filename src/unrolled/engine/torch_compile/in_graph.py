"""A scan inside torch.compile or torch.export: the loop is one operator of the graph.

torch.compile calls a scan whose step is a cell of the library's without looking into it, and torch's
tracing sees what it calls: the operations before and after the loop, and the operator. It sets no guards there, so it
goes through the step once for them. A step of the user's may do anything: it runs between two graphs, where its own
guards hold; within one graph (`fullgraph=True`) it has to be an `nn.Module`, and torch's guards are its own.
"""

import contextlib
import dataclasses
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import nonstrict_trace
from torch._dynamo.symbolic_convert import InstructionTranslator
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols
from torch.overrides import TorchFunctionMode, _pop_mode_temporarily
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from unrolled.engine import dispatch
from unrolled.engine.backends import eager
from unrolled.engine.cache import eager_only, memory
from unrolled.engine.cache.call import Call
from unrolled.engine.cache.memory import Planned
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.ir.layout import BatchLayout
from unrolled.engine.reasons import ROWS_MATTER, NotTraceable, RunsEagerly
from unrolled.engine.run.checkpointed import run_in_chunks
from unrolled.engine.run.side_by_side import side_by_side
from unrolled.engine.step.declared import declared
from unrolled.engine.step.torch_cells import as_step
from unrolled.engine.torch_compile import operator
from unrolled.engine.trees import flatten, unflatten
from unrolled.errors import StepError

#: torch would hold such a tensor as a constant of the graph, and not see it exchanged
_NOT_OF_GRAPH = (
    "scan: within torch.compile(fullgraph=True) the step reads a tensor that is neither a parameter nor a buffer: {}. "
    "Register it (`self.register_buffer(name, tensor)`), or leave fullgraph=True out."
)
_NO_MODULE = (
    "scan: within torch.compile(fullgraph=True) the step has to be an nn.Module, as torch sees the tensors of modules "
    "alone. Make it the `forward` of a module that has them as parameters and buffers, or leave fullgraph=True out."
)
_OF_LIBRARY = "unrolled.cells."  # cells that torch.compile can go through, and that do nothing else


def run_scan(scan: CheckedScan, *, engine: str, recompute: bool) -> tuple[Any, Any]:
    """As `dispatch.run_scan`; the step of the scan is as it was given."""
    step, xs, state, active, resets, is_reversed, _, clip, _ = scan
    masks = {name: mask for name, mask in (("active", active), ("resets", resets)) if mask is not None}
    limit = math.inf if clip is None else clip  # None is no argument of what torch.compile calls as a whole
    if not torch.compiler.is_dynamo_compiling():  # torch.export, whose graphs have no backward
        return _run(step, xs, state, masks, limit, is_reversed, engine, recompute=False)
    if isinstance(step, nn.Module) and (type(step).__module__.startswith(_OF_LIBRARY) or _is_one_graph()):
        _guard(step, xs, state)
        return _whole(step, xs, state, masks, limit, is_reversed, engine, recompute)
    if _is_one_graph():
        raise StepError(_NO_MODULE)
    scan = scan._replace(step=as_step(step))
    return torch.compiler.disable(dispatch.run_scan)(scan, engine=engine, recompute=recompute)


def _guard(step: nn.Module, xs: Any, state: Any) -> None:
    """One time step for torch.compile to go through, which guards what the step reads; its result is dropped."""
    as_step(step)(pytree.tree_map(lambda x: x.new_zeros(x.shape[1:]), xs), state)


@torch._dynamo.assume_constant_result
def _is_one_graph() -> bool:
    """Whether torch.compile has to make one graph of what it compiles."""
    translator = InstructionTranslator.current_tx()
    return translator.one_graph or translator.error_on_graph_break


@torch.compiler.disable
def refuse(fault: Exception) -> None:
    """Raises where torch.compile runs a scan; raised in the graph, torch would run it without one instead."""
    raise fault


@nonstrict_trace
def call(module: nn.Module, method: str, read: tuple[Any, ...], *args: Any) -> Any:  # noqa: ARG001 - guards read it
    """Calls a module's method; the scans in it become operators of the graph. `read` is what the method reads beside
    tensors, so that the graph is guarded by it.
    """
    return getattr(module, method)(*args)


@contextlib.contextmanager
def _outside() -> Iterator[None]:
    """Ordinary Python, which the graph does not see."""
    with contextlib.ExitStack() as stack:
        for _ in range(torch._C._len_torch_function_stack()):
            stack.enter_context(_pop_mode_temporarily())
        stack.enter_context(_disable_current_modes())
        has_cache = torch.is_autocast_cache_enabled()  # which torch turns off on the way to a graph, and guards
        torch.set_autocast_cache_enabled(True)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(has_cache)


def _run(
    step: Callable,
    xs: Any,
    state: Any,
    masks: dict[str, Tensor],
    limit: float,
    is_reversed: bool,
    engine: str,
    recompute: bool,
) -> tuple[Any, Any]:
    def part(scan: CheckedScan) -> tuple[Any, Any]:
        return dispatch.by_engine(engine, lambda: _fused(scan), lambda: _eagerly(scan))

    clip = None if limit == math.inf else float(limit)  # by that a graph is guarded, where torch leaves numbers open
    scan = CheckedScan(as_step(step), xs, state, masks.get("active"), masks.get("resets"), is_reversed, clip=clip)
    if not recompute or has_free_unbacked_symbols(flatten(xs)[0][0].shape[0]):
        return part(scan)
    if engine != "eager":
        with contextlib.suppress(NotTraceable, RunsEagerly):  # which a part tells of
            _planned(scan)  # tracing does not bear the parts' hooks
    return run_in_chunks(part, scan)


_whole = nonstrict_trace(_run)


def _fused(scan: CheckedScan) -> tuple[Any, Any]:
    planned, tensors, call = _planned(scan)
    n_steps, n_rows = call.xs[0].shape[:2]
    layout = BatchLayout(n_steps, n_rows, scan.is_reversed, n_steps * n_rows)
    [(ys, last)] = side_by_side([planned.plan.scan(tensors, call.xs, call.states, layout)], operator.calls)
    return unflatten(ys, planned.plan.outputs_form), unflatten(list(last[: call.n_states]), call.state_form)


def _planned(scan: CheckedScan) -> tuple[Planned, list[Tensor], Call]:
    """A plan, the tensors that the step reads, and the call by leaves. Rows end as masks: how many run when is not
    known to a graph.
    """
    scan = eager.with_idle_rows(scan)
    step, call = scan.step, dispatch.call_of(scan)
    if scan.active is not None:
        states = [*call.states, *flatten(scan.idle)[0]]
        call = dataclasses.replace(call, xs=[*call.xs, scan.active], states=states, around=(*call.around, "ends"))
    eager_only.check_context()
    eager_only.check_rows(call.xs, call.states)
    own = declared(step)
    with _outside():
        if own is None:
            planned, tensors = _captured(step, call)
        else:
            planned, tensors = memory.of_declared(own, _twin_of(call)), own.tensors
    if planned.made:
        raise NotTraceable("it makes a tensor of its own, which a graph of torch would have to hold")
    _check_of_graph(step, call.xs[0], tensors)
    return planned, tensors, call


def _eagerly(scan: CheckedScan) -> tuple[Any, Any]:
    """The definition, whose step is held to what `_check_of_graph` asks for."""
    x = flatten(scan.xs)[0][0]
    # under a mode torch takes a method by its name on torch.Tensor, be it exchanged there or not
    with _OfGraph(scan.step, x) if _is_of_graph(x) else contextlib.nullcontext():
        return eager.run_scan(scan)


class _OfGraph(TorchFunctionMode):
    """Checks what each of torch's functions gets."""

    def __init__(self, step: Callable, x: Tensor) -> None:
        super().__init__()
        self._step, self._x = step, x

    def __torch_function__(self, function: Callable, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = pytree.tree_leaves((args, kwargs))
        _check_of_graph(self._step, self._x, [each for each in given if isinstance(each, Tensor)])
        return function(*args, **(kwargs or {}))


def _is_of_graph(x: Tensor) -> bool:
    """Whether an input stands for one of a graph whose tensors are told from others."""
    return isinstance(x, FunctionalTensor) and not torch.compiler.is_exporting()


def _check_of_graph(step: Callable, x: Tensor, tensors: list[Tensor]) -> None:
    """Raises StepError if one of the tensors that a step reads is not of the graph that its input is of."""
    if _is_of_graph(x):
        held = [tensor for tensor in tensors if not isinstance(tensor, FunctionalTensor)]
        if held:
            raise StepError(_NOT_OF_GRAPH.format(" and ".join(_name_in(step, tensor) for tensor in held)))


def _name_in(step: Callable, tensor: Tensor) -> str:
    """Where a step holds a tensor that is no parameter or buffer."""
    for path, module in step.named_modules() if isinstance(step, nn.Module) else ():
        for name, value in vars(module).items():
            if value is tensor:
                return f"`{path}.{name}`" if path else f"`{name}`"
    return f"one of shape {list(tensor.shape)}"


def _captured(step: Callable, call: Call) -> tuple[Planned, list[Tensor]]:
    """A plan of a twin of the step that holds ordinary tensors, as those of a graph cannot be captured a second time;
    and the tensors that the step itself reads.
    """
    twin, of_twin = _Twin(), _twin_of(call)
    try:
        copy = twin.of(step)
        with torch._guards.tracing(None), torch.compiler.set_stance("default"):
            found, planned = memory.of_captured(copy, of_twin)
    finally:
        twin.restore()
    assert not isinstance(found.graph, NotTraceable)
    if isinstance(call.xs[0].shape[1], torch.SymInt) and not found.graph.is_for_all_rows:
        raise NotTraceable(ROWS_MATTER)
    return planned, found.graph.tensors(step, *of_twin.of_step().examples(2))


def _twin_of(call: Call) -> Call:
    """The same call with ordinary tensors, of two time steps."""
    n_rows = call.xs[0].shape[1]
    rows = n_rows if isinstance(n_rows, int) else 2
    return dataclasses.replace(
        call,
        xs=[_Twin.like(x, (2, rows, *x.shape[2:])) for x in call.xs],
        states=[_Twin.like(s, (rows, *s.shape[1:])) for s in call.states],
    )


_OF_TORCH = frozenset(nn.Module().__dict__)


def _held_by(module: nn.Module) -> list[dict[str, Any]]:
    """The dictionaries of what a module holds: parameters, buffers, modules, and what its class has added."""
    own = {name: item for name, item in module.__dict__.items() if name not in _OF_TORCH}
    return [module._parameters, module._buffers, module._modules, *([module.__dict__] if own else [])]


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
            for group in _held_by(value):
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
