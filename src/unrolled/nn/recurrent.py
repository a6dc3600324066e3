"""Recurrent layers over any cell: stacked, in one or both directions, with dropout between them.

Input: a sequence [time, batch, ...] and first states. Output: the outputs of the last layer, and the last states.
`run_layers` runs layers and directions also for torch's drop-ins.
"""

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils import _pytree as pytree

from unrolled import probing
from unrolled.engine.explain import Explanation, of_parts
from unrolled.engine.trees import Step, Tree
from unrolled.errors import SettingsError, ShapeError, StepError
from unrolled.explain import Layer, explain
from unrolled.nn.further_cells import further, listed
from unrolled.nn.packed import run_packed
from unrolled.scan import ENGINES, Engine, checked_clip, scan, scan_both_ways

# torch's own, whatever the names of torch.nn are exchanged for later
_TORCHS_CELL, _TORCHS_LSTM_CELL = nn.RNNCellBase, nn.LSTMCell


class Recurrent(Layer):
    """Layers of any cell.

    The state is the tree that the cell takes, each leaf [layers · directions, batch, ...], in torch's order: layer by
    layer, forward before backward. For `unrolled.cells.LSTM` it is the pair of `torch.nn.LSTM`.

    Args:
        cell: a module `(x_t, state) -> (y_t, state)`: of `unrolled.cells`, of your own, or `torch.nn.RNNCell`,
            `GRUCell` or `LSTMCell`. It is the first layer, forward in time. Further layers and directions are new cells
            of its class with its settings and their own initial weights. For that, the class keeps the arguments of its
            constructor as attributes of the same names, one of which is `input_size`, and y_t [batch, features] has
            `output_size` or else `hidden_size` features. Or a sequence of cells, in the order of the state.
        layers: how many, at least 1; with a sequence of cells it may be left out.
        bidirectional: each layer runs forward and backward in time; the outputs of both are concatenated.
        dropout: share of the features dropped between layers in training, 0 to 1.
        batch_first: input and output are [batch, time, ...]. The state is not.
        engine: "auto", "fused" or "eager", as in `unrolled.scan`.
        clip_state_grad: clamps the state's gradient at each step, as in `unrolled.scan`.

    Under `torch.autocast` the layers run in their weights' dtype, and so are output and state.

    Attributes:
        cells: the cells, in the order of the state.

    Raises:
        ArgumentError: `cell` is no module, or `clip_state_grad` no number.
        SettingsError: a number is out of its range, the number of cells does not fit, or no further cell can be made.

    Example:
        >>> import torch, unrolled
        >>> layer = unrolled.Recurrent(unrolled.cells.GRU(3, 5, reset="before"), layers=2, bidirectional=True)
        >>> output, state = layer(torch.randn(7, 4, 3))
        >>> output.shape, state.shape
        (torch.Size([7, 4, 10]), torch.Size([4, 4, 5]))
    """

    def __init__(
        self,
        cell: nn.Module | Sequence[nn.Module],
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        engine: Engine = "auto",
        clip_state_grad: float | None = None,
    ) -> None:
        super().__init__()
        if engine not in ENGINES:
            raise SettingsError(f"Recurrent: engine={engine!r} is not known. Expected one of {ENGINES}.")
        if layers < 1:
            raise SettingsError(f"Recurrent: layers={layers}. Expected at least 1.")
        if not 0 <= dropout <= 1:
            raise SettingsError(f"Recurrent: dropout={dropout}. Expected a number from 0 to 1.")
        n_directions = 2 if bidirectional else 1
        if isinstance(cell, nn.Module) and not isinstance(cell, nn.ModuleList):
            cells = [cell, *further(cell, layers, n_directions)]
        else:
            cells = listed(cell, layers, n_directions)
        self.cells = nn.ModuleList(cells)
        self.layers = len(cells) // n_directions
        self.clip_state_grad = checked_clip(clip_state_grad, "Recurrent")
        self.bidirectional, self.dropout, self.batch_first, self.engine = bidirectional, dropout, batch_first, engine

    @overload
    def forward(self, input: Tensor, state: Tree = None, *, lengths: Tensor | None = None) -> tuple[Tensor, Tree]: ...

    @overload
    def forward(self, input: PackedSequence, state: Tree = None) -> tuple[PackedSequence, Tree]: ...

    def forward(
        self, input: Tensor | PackedSequence, state: Tree = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tree]:
        """Runs the layers over a sequence.

        Args:
            input: [time, batch, ...], or as `batch_first` says; or a `PackedSequence`.
            state: the first state, see above; if not given, of what the cells' `initial_state(batch_size)` returns,
                or zeros for torch's cells.
            lengths: int64 [batch], the steps of each row; outputs are zero beyond.

        Returns:
            `(output, state)`: the last layer's outputs [time, batch, features · directions], or as the input is, and
            the last state.

        Raises:
            ShapeError: an argument does not fit.
            StepError: a cell returned something that does not fit what it was given.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ShapeError("Recurrent: lengths beside a PackedSequence, which has its own. Leave them out.")
            return run_packed(self._run, input, state)
        output, last = self._run(self._time_first(input), state, lengths)
        return (output.transpose(0, 1) if self.batch_first else output), last

    def initial_state(self, batch_size: int) -> Tree:
        """The first state of a batch: the cells' own, stacked; each leaf [layers · directions, batch, ...].

        Raises:
            ShapeError: a cell has none, or the cells' states are not of one form.
        """
        return _stacked(self._initial_states(batch_size))

    def explain(
        self,
        input: Tensor | PackedSequence,
        state: Tree = None,
        *,
        lengths: Tensor | None = None,
        verbose: bool = False,
        timed: bool = False,
    ) -> Explanation:
        """How the cells run on such an input, as `unrolled.explain`; of several, `parts` has each."""
        if self.engine == "eager":
            return Explanation("eager", "engine='eager' was asked for", clip_state_grad=self.clip_state_grad)
        if isinstance(input, PackedSequence):
            xs, lengths = pad_packed_sequence(input)
        else:
            xs = self._time_first(input)
        if _is_autocast(xs):
            xs, state = self._in_dtype_of_weights((xs, state))
            with torch.autocast(xs.device.type, enabled=False):
                return self._explained(xs, state, lengths, verbose=verbose, timed=timed)
        return self._explained(xs, state, lengths, verbose=verbose, timed=timed)

    def _explained(self, xs: Tensor, state: Tree, lengths: Tensor | None, *, verbose: bool, timed: bool) -> Explanation:
        n_directions, parts = 2 if self.bidirectional else 1, {}
        widths: list[int] = []
        for i, (cell, first) in enumerate(zip(self.cells, self._first_states(xs, state), strict=True)):
            layer, is_backward = divmod(i, n_directions)
            if layer and not is_backward:
                xs, widths = xs.new_zeros(*xs.shape[:2], sum(widths)), []
            name = f"layer {layer + 1}" + (", backward" if is_backward else ", forward" if n_directions == 2 else "")
            clip = self.clip_state_grad
            parts[name] = explain(cell, xs, first, lengths=lengths, clip_state_grad=clip, verbose=verbose, timed=timed)
            if layer + 1 < self.layers:
                widths.append(_width_of_output(cell, xs, first))
        return next(iter(parts.values())) if len(parts) == 1 else of_parts(parts)

    def extra_repr(self) -> str:
        plain: dict[str, object] = {"dropout": 0.0, "bidirectional": False, "batch_first": False, "engine": "auto"}
        plain |= {"clip_state_grad": None}
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in plain if getattr(self, name) != plain[name])

    def _time_first(self, input: object) -> Tensor:
        axes = "[batch, time, ...]" if self.batch_first else "[time, batch, ...]"
        if not isinstance(input, Tensor):
            raise ShapeError(f"Recurrent: an input of type {type(input).__name__}. Expected a tensor {axes}.")
        if input.dim() < 2:
            raise ShapeError(f"Recurrent: an input of shape {list(input.shape)}. Expected {axes}.")
        return input.transpose(0, 1) if self.batch_first else input

    def _run(self, xs: Tensor, state: Tree, lengths: Tensor | None) -> tuple[Tensor, Tree]:
        """Over xs [time, batch, ...]; under autocast as without, since a state keeps its dtype from step to step."""
        if _is_autocast(xs):
            if torch.compiler.is_compiling():  # torch.compile's guards do not bear a capture under another autocast
                return torch.compiler.disable(self._run)(xs, state, lengths)
            xs, state = self._in_dtype_of_weights((xs, state))
            with torch.autocast(xs.device.type, enabled=False):
                return self._run(xs, state, lengths)
        cells, n_directions = list(self.cells), 2 if self.bidirectional else 1
        steps = [cells[i : i + n_directions] for i in range(0, len(cells), n_directions)]
        dropout = self.dropout if self.training else 0.0
        firsts = self._first_states(xs, state)
        engine, clip = self.engine, self.clip_state_grad
        output, lasts = run_layers(steps, xs, firsts, lengths=lengths, dropout=dropout, engine=engine, clip=clip)
        return output, _stacked(lasts)

    def _in_dtype_of_weights(self, tree: Tree) -> Tree:
        dtype = next((each.dtype for each in self.parameters() if each.is_floating_point()), None)
        if dtype is None:
            return tree
        return pytree.tree_map(
            lambda leaf: leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, tree
        )

    def _first_states(self, xs: Tensor, state: Tree) -> list[Tree]:
        """Of each layer and direction."""
        n_cells, n_rows = len(self.cells), xs.shape[1]
        if state is None:
            return self._initial_states(n_rows)
        leaves = pytree.tree_leaves(state)
        for leaf in leaves:
            given = list(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
            if not isinstance(leaf, Tensor) or leaf.shape[:2] != (n_cells, n_rows):
                raise ShapeError(
                    f"Recurrent: the state has a leaf {given}. Expected [{n_cells}, {n_rows}, ...], "
                    "[layers · directions, batch, ...]."
                )
        if _has_initial_state(self.cells[0]):
            expected = [list(leaf.shape) for leaf in pytree.tree_leaves(_initial_state(self.cells[0], n_rows))]
            found = [list(leaf.shape[1:]) for leaf in leaves]
            if found != expected:
                raise ShapeError(
                    f"Recurrent: the state has for each layer and direction tensors of shape {found}. Expected "
                    f"{expected}, as {type(self.cells[0]).__name__} has them."
                )
        return [pytree.tree_map(lambda leaf, i=i: leaf[i], state) for i in range(n_cells)]

    def _initial_states(self, n_rows: int) -> list[Tree]:
        for cell in self.cells:
            if not _has_initial_state(cell):
                raise ShapeError(
                    f"Recurrent: {type(cell).__name__} has no method initial_state(batch_size). "
                    "Give it one, or pass the first state."
                )
        states = [_initial_state(cell, n_rows) for cell in self.cells]
        if len({_form_of(state) for state in states}) > 1:
            raise ShapeError(
                "Recurrent: the cells' states are not of one form and shape, so they cannot be stacked. "
                "Take a Recurrent for each of the cells."
            )
        return states


def run_layers(
    steps: Sequence[Sequence[Step]],
    xs: Tensor,
    states: Sequence[Tree],
    *,
    lengths: Tensor | None,
    dropout: float,
    engine: Engine,
    clip: float | None = None,
) -> tuple[Tensor, list[Tree]]:
    """Runs steps over a sequence, layer by layer.

    Args:
        steps: of each layer one step, or two, forward and backward in time.
        xs: [time, batch, ...].
        states: the first state of each layer and direction.
        lengths: int64 [batch]; None for whole rows.
        dropout: share of the features dropped between layers.
        engine: as in `scan`.
        clip: `clip_state_grad` of `scan`.

    Returns:
        `(ys, states)`: the last layer's outputs [time, batch, features · directions], and the last states.

    Raises:
        ShapeError, StepError, NotFusedError: as `scan`.
    """
    last: list[Tree] = []
    hook = None if torch.compiler.is_compiling() else probing.hook()
    for layer, of_layer in enumerate(steps):
        if hook is not None:
            hook.layer = layer + 1
        if layer and dropout:
            xs = nn.functional.dropout(xs, dropout)
        if len(of_layer) == 2:
            firsts = states[2 * layer : 2 * layer + 2]
            both = scan_both_ways(of_layer, xs, firsts, lengths=lengths, engine=engine, clip=clip)
            (ys, state), (ys_back, state_back) = both
            last += (state, state_back)
            xs = torch.cat((_tensor(ys), _tensor(ys_back)), -1)
        else:
            ys, state = scan(of_layer[0], xs, states[layer], lengths=lengths, engine=engine, clip_state_grad=clip)
            last.append(state)
            xs = _tensor(ys)
    if hook is not None:
        hook.layer = 1
    return xs, last


def _tensor(ys: object) -> Tensor:
    if isinstance(ys, Tensor):
        return ys
    raise StepError(
        f"Recurrent: a cell returned an output of type {type(ys).__name__}. Expected a tensor [batch, features]."
    )


def _width_of_output(cell: nn.Module, xs: Tensor, state: Tree) -> int:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return _tensor(cell(xs[0], state)[0]).shape[-1]


def _is_autocast(xs: Tensor) -> bool:
    return torch.is_autocast_enabled(xs.device.type)


def _stacked(states: list[Tree]) -> Tree:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *states)


def _form_of(state: Tree) -> tuple[str, tuple[torch.Size, ...]]:
    leaves, form = pytree.tree_flatten(state)
    return str(form), tuple(leaf.shape for leaf in leaves)


def _has_initial_state(cell: nn.Module) -> bool:
    return isinstance(cell, _TORCHS_CELL) or callable(getattr(cell, "initial_state", None))


def _initial_state(cell: Any, n_rows: int) -> Tree:
    if hasattr(cell, "initial_state"):
        return cell.initial_state(n_rows)
    zeros = cell.weight_hh.new_zeros(n_rows, cell.hidden_size)
    return (zeros, zeros) if isinstance(cell, _TORCHS_LSTM_CELL) else zeros
