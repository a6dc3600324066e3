"""The library's own steps: a closed set, known by name and settings, that needs no capture.

Input: a step. Output: a `Declared` step, or None for a step of the user's. A plan of a declared step is found by its
name, its settings, the shapes of its tensors and the library's version; so a first call reads it from the disk, and
loads nothing of torch's that traces.
"""

import types
from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter, is_, itemgetter
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from unrolled.engine.step.extra_guards import NO_PART, has_global_hooks

#: what a plan may depend on of a tensor: not its numbers
kind_of = attrgetter("shape", "dtype", "device", "requires_grad", "__class__")
Plain = int | float | bool | str | None

_generation = 0  # what is known of calls is of one


class Declared:
    """A step of the library's own.

    Args:
        function: a function of this package, `(tensors, x, state, *settings) -> (y, state)`, whose result depends on
            its arguments alone.
        settings: plain values.
        tensors: what it reads beside its arguments; None for what is not there.
        by_row: which of the tensors have a row for each row of the batch.

    Attributes:
        key: equal for steps that do the same with tensors of the same kinds.
        known: what is known of calls of such a step with tensors of these kinds.
        by_row: as numbers of `tensors`, which are those that are there.
    """

    __slots__ = (
        "__weakref__",
        "_function",
        "_generation",
        "_holes",
        "_settings",
        "by_row",
        "calls",
        "key",
        "kinds",
        "tensors",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        settings: tuple[Plain, ...],
        tensors: Sequence[Tensor | None],
        *,
        by_row: Sequence[int] = (),
    ) -> None:
        assert function.__module__.split(".")[0] == "unrolled", "the set is closed"
        self._function, self._settings = function, settings
        self._holes = [tensor is None for tensor in tensors]
        self.tensors = [tensor for tensor in tensors if tensor is not None]
        there = [i for i, hole in enumerate(self._holes) if not hole]
        self.by_row = frozenset(there.index(i) for i in by_row if not self._holes[i])
        self.key: Hashable = (
            f"{function.__module__}.{function.__qualname__}",
            *((type(setting).__name__, setting) for setting in settings),
            *self._holes,
            *sorted(self.by_row),
        )
        self.kinds = list(map(kind_of, self.tensors))
        self.calls: dict[Hashable, Any] = {}
        self._generation = _generation

    def __call__(self, x: Any, state: Any) -> Any:
        return self.run(self.tensors, x, state)

    def run(self, tensors: Sequence[Tensor], x: Any, state: Any) -> Any:
        """The step with these tensors in place of its own."""
        rest = iter(tensors)
        return self._function([None if hole else next(rest) for hole in self._holes], x, state, *self._settings)

    def is_unchanged(self) -> bool:
        """Whether its tensors are of the kinds that they were of; else what is known of it is forgotten."""
        kinds = list(map(kind_of, self.tensors))
        if kinds == self.kinds and self._generation == _generation:
            return True
        self.kinds, self._generation = kinds, _generation
        self.calls.clear()
        return False


def forget() -> None:
    """Forgets all that is known of calls of declared steps."""
    global _generation
    _generation += 1


def declared(step: Callable) -> Declared | None:
    """A step as one of the library's own: itself, or a cell of the library's or of torch's that nothing was changed in.
    None of any other.
    """
    if not _may_be_declared(type(step)) or not _is_torch_as_it_was():
        return None  # a step of the user's, which is captured with what was exchanged
    if isinstance(step, Declared):
        return step
    if not isinstance(step, nn.Module):
        return None
    is_in_graph = torch.compiler.is_compiling()  # where its tensors are of the graph alone
    known = None if is_in_graph else _cells.get(step)
    if known is not None and known.is_unchanged():
        return known.step
    if not _is_of_the_set(step):
        return None
    cell = _Cell(step)
    if cell.step is not None and not is_in_graph:
        _cells[step] = cell
    return cell.step


def _may_be_declared(kind: type) -> bool:
    """Whether steps of a class may be of the library's own: most are not, which this tells in no time."""
    return kind in _FORWARDS or str(kind.__module__).startswith("unrolled.")


# functions that the library's steps call by name, which a user might exchange
_CALLED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (vars(torch), ("sigmoid", "tanh", "relu", "cat", "where", "maximum")),
    (vars(nn.functional), ("linear", "log_softmax")),
    (vars(nn.Module), ("__call__", "_call_impl", "__getattr__")),
)
_called = [(itemgetter(*names), space, itemgetter(*names)(space)) for space, names in _CALLED]


# the attributes of torch's two classes of tensors at the start, and those that were last found to differ in nothing
_tensors: dict[type, dict[str, Any]] = {kind: dict(vars(kind)) for kind in (torch.Tensor, nn.Parameter)}
_last: dict[type, list[Any]] = {kind: list(then.values()) for kind, then in _tensors.items()}
_MOST_TRACES = 8  # one within another
_size_of_vf = len(vars(torch._VF))  # of names that lie over torch's own functions of cells


def _is_torch_as_it_was() -> bool:
    is_same = [all(map(is_, get(space), then)) for get, space, then in _called]
    is_known = (all(is_same) or _is_traced(is_same)) and len(vars(torch._VF)) == _size_of_vf
    return is_known and all(map(_has_its_methods, _tensors))


def _has_its_methods(kind: type) -> bool:
    """Whether a class of tensors has the methods that it had: none was exchanged, nor laid over what it inherits."""
    now, then, last = vars(kind), _tensors[kind], _last[kind]
    if len(now) == len(last) and all(map(is_, now.values(), last)):
        return True
    other = {name for name in now.keys() | then.keys() if now.get(name) is not then.get(name)} - NO_PART
    if any(name in then or hasattr(kind.__base__, name) for name in other):
        return False
    _last[kind] = list(now.values())
    return True


def _is_traced(is_same: list[bool]) -> bool:
    """Whether nothing differs but what torch's tracing lays over `nn.Module` for as long as it lasts, as torch.compile
    does on the way to a graph: its functions do what those beneath them do.
    """
    *others, _ = is_same
    if not all(others):
        return False
    now = {name: vars(nn.Module)[name] for name in _CALLED[-1][1]}
    for _ in range(_MOST_TRACES):
        if all(map(is_, now.values(), _called[-1][2])):
            return True
        call = now["__call__"]
        if getattr(call, "__globals__", None) is not vars(torch.fx._symbolic_trace):
            return False
        held = dict(zip(call.__code__.co_freevars, call.__closure__ or (), strict=True))
        if "patcher" not in held:  # torch's tracing is another one
            return False
        for patch in held["patcher"].cell_contents.patches_made:
            if patch.frame_dict is nn.Module and now[patch.fn_name] is patch.new_fn:
                now[patch.fn_name] = patch.orig_fn
    return False


# ---- cells: modules of a closed set of classes

_LSTM_CELL = nn.LSTMCell  # torch's own, whatever the name is exchanged for later
_OF_TORCH = (nn.RNNCell, _LSTM_CELL, nn.GRUCell, nn.Linear, nn.LogSoftmax)
_CELLS_OF_TORCH = _OF_TORCH[:3]
_FORWARDS = {kind: kind.forward for kind in _OF_TORCH}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PRIVATE = frozenset(vars(nn.Module()))


def _is_of_the_set(module: nn.Module) -> bool:
    kind: Any = type(module)
    if kind.__call__ is not nn.Module.__call__:  # which `_is_torch_as_it_was` has looked at
        return False
    if kind in _FORWARDS:
        return kind.forward is _FORWARDS[kind]
    forward = vars(kind).get("forward")
    return (
        kind.__module__.startswith("unrolled.cells.")
        and isinstance(forward, types.FunctionType)
        and forward.__module__ == kind.__module__
        and all(map(_is_of_the_set, module._modules.values()))  # type: ignore[arg-type]
    )


class _Cell:
    """A cell as a declared step, and what it was made of.

    Attributes:
        step: None where the cell holds something that no name tells.
    """

    def __init__(self, module: nn.Module) -> None:
        self._spaces = [vars(each) for each in module.modules()]
        self._values = list(map(_values_of, self._spaces))
        self._parts = list(map(ref, module.modules()))
        self._kinds: list[Any] = list(map(type, module.modules()))
        self._forwards = [(kind.forward, kind.__call__) for kind in self._kinds]
        self._hooks = [space[name] for space in self._spaces for name in _HOOKS]
        self.step: Declared | None = None
        settings = _settings_of(module)
        if settings is not None and self._is_clean():
            # a second object with all that the cell has: the cache must not keep the cell itself
            twin = object.__new__(type(module))
            object.__setattr__(twin, "__dict__", vars(module))
            names = list(dict.fromkeys(name for name, _ in (*twin.named_parameters(), *twin.named_buffers())))
            self.step = _CellStep(twin, settings, names)

    def _is_clean(self) -> bool:
        return not any(self._hooks) and not has_global_hooks() and not any("forward" in space for space in self._spaces)

    def is_unchanged(self) -> bool:
        """Whether nothing was exchanged in it: classes, attributes, parameters, hooks."""
        return (
            all(all(map(is_, _values_of(s), v)) for s, v in zip(self._spaces, self._values, strict=True))
            and not any(self._hooks)
            and not has_global_hooks()
            and all(type(part()) is kind for part, kind in zip(self._parts, self._kinds, strict=True))
            and all(
                kind.forward is forward and kind.__call__ is call
                for kind, (forward, call) in zip(self._kinds, self._forwards, strict=True)
            )
        )


def _values_of(space: dict[str, Any]) -> list[Any]:
    parts = (space["_parameters"], space["_buffers"], space["_modules"])
    return [len(space), *space.values(), *(value for part in parts for value in (len(part), *part.values()))]


def _settings_of(module: nn.Module) -> tuple[Plain, ...] | None:
    """What a cell and its parts hold beside tensors, as plain values."""
    settings: list[Plain] = []
    for name, each in module.named_modules():
        settings += [name, type(each).__module__, type(each).__qualname__]
        for attribute, value in vars(each).items():
            if attribute in _PRIVATE:
                continue
            name_in_torch = value.__name__ if isinstance(value, types.BuiltinFunctionType) else ""
            if name_in_torch and vars(torch).get(name_in_torch) is value:
                value = f"torch.{name_in_torch}"
            if not (value is None or type(value) in (int, float, bool, str)):
                return None
            settings += [attribute, type(value).__name__, value]
        settings += [f"{n} {p is None}" for n, p in (*each._parameters.items(), *each._buffers.items())]
    return tuple(settings)


class _CellStep(Declared):
    """A cell; of torch's, whose state is their output, too."""

    __slots__ = ("_cell", "_names")

    def __init__(self, cell: nn.Module, settings: tuple[Plain, ...], names: list[str]) -> None:
        held = {**dict(cell.named_parameters()), **dict(cell.named_buffers())}
        super().__init__(_run_cell, (), [held[name] for name in names])
        self.key = (self.key, settings, tuple(names))
        self._cell, self._names = cell, names

    def __call__(self, x: Any, state: Any) -> Any:
        return _result(self._cell, self._cell(x, _tupled(self._cell, state)), state)

    def run(self, tensors: Sequence[Tensor], x: Any, state: Any) -> Any:
        """The cell with these tensors in place of its own."""
        given = dict(zip(self._names, tensors, strict=True))
        result = torch.func.functional_call(self._cell, given, (x, _tupled(self._cell, state)))
        return _result(self._cell, result, state)


def _run_cell(*_: Any) -> Any:
    raise AssertionError("a cell runs itself")


def _tupled(cell: nn.Module, state: Any) -> Any:
    return tuple(state) if type(cell) is _LSTM_CELL else state


def _result(cell: nn.Module, result: Any, state: Any) -> Any:
    if type(cell) is _LSTM_CELL:
        return result[0], list(result) if isinstance(state, list) else result
    return (result, result) if type(cell) in _CELLS_OF_TORCH else result


_cells: "WeakKeyDictionary[nn.Module, _Cell]" = WeakKeyDictionary()
