"""A copy of a user's model with its batch, run as often as a check-up needs.

Inputs: a model, a batch, a loss. Outputs: what ran in it, output and loss, under a probe or with the past cut off. The
model itself, its weights, gradients, mode, hooks and torch's random state stay as they are.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree
from unrolled.errors import ArgumentError, ShapeError
from unrolled.insight.chains import Chain, chains_of
from unrolled.insight.probe import probe_keeping
from unrolled.insight.probed_scan import ProbedScan
from unrolled.insight.record import Record, ScanRecord
from unrolled.insight.scan_hook import ScanHook
from unrolled.nn.swap import swap
from unrolled.randomness import set_aside

Loss = Callable[[Tree], Tensor]


@dataclass(frozen=True)
class Layout:
    """Where time and rows are in the model's output.

    Attributes:
        time, rows: the axes; None where the output has no such axis.
        lengths: int64 [rows], where rows have an end of their own.
    """

    time: int | None
    rows: int | None
    lengths: Tensor | None = None

    def at(self, output: Tensor, *, is_first: bool = False) -> Tensor:
        """The output at the last step of each row, or at the first one; all of it where it has no time axis."""
        if self.time is None:
            return output
        if self.lengths is None or is_first or self.rows is None:
            return output.select(self.time, 0 if is_first else -1)
        moved = output.movedim((self.time, self.rows), (0, 1))
        return moved[(self.lengths - 1).clamp(min=0), torch.arange(moved.shape[1], device=moved.device)]

    def mask(self, output: Tensor, *, is_first: bool) -> Tensor | None:
        """bool, broadcast to the output: true at the last step of each row, or at the first; None without time."""
        if self.time is None:
            return None
        if is_first:
            shape = [-1 if axis == self.time else 1 for axis in range(output.dim())]
            return (torch.arange(output.shape[self.time], device=output.device) == 0).view(shape)
        return self._left(output) == 0

    def every(self, output: Tensor, n: int) -> Tensor:
        """The same: true at each n-th step, counted from the last step of each row."""
        left = self._left(output)
        return (left >= 0) & (left % n == 0)

    def _left(self, output: Tensor) -> Tensor:
        """int64, broadcast to the output: how many steps each row has after each."""
        assert self.time is not None, "the output has steps"
        shape = [-1 if axis == self.time else 1 for axis in range(output.dim())]
        steps = torch.arange(output.shape[self.time], device=output.device)
        if self.lengths is None or self.rows is None:
            return (len(steps) - 1 - steps).view(shape)
        shape[self.rows] = len(self.lengths)
        left = self.lengths.to(steps.device) - 1 - steps.unsqueeze(1)
        return (left if self.time < self.rows else left.T).reshape(shape)


@dataclass(frozen=True)
class Run:
    """One run of the model.

    Attributes:
        chains: what ran in it.
        record: of the probe.
        loss: its value.
        output: the output's main tensor; None where the loss alone can read it.
    """

    chains: list[Chain]
    record: Record
    loss: float
    output: Tensor | None


class Subject:
    """A copy of a model, in evaluation mode, torch's layers exchanged for ours.

    Args:
        model, batch, loss: as `checkup` takes them.

    Attributes:
        kept: names of recurrent modules that no probe sees, with the reason.
        layout: of the output, once it has run.
        returns_loss: whether the output is one number, so that nobody can tell its steps apart.
    """

    def __init__(self, model: nn.Module, batch: Tree, loss: Loss | None) -> None:
        self.model, self.kept = _copied(model)
        self.loss = loss
        given = tuple(batch) if isinstance(batch, tuple | list) and not isinstance(batch, PackedSequence) else (batch,)
        self._batch = given
        self.device = next((each.device for each in self.model.parameters()), torch.device("cpu"))
        self.layout = Layout(None, None)
        self.returns_loss = False
        self._deepest: dict[str, int] = {}

    def run(self, *, reads: str = "all") -> Run:
        """Runs model, loss and backward under a probe.

        Args:
            reads: the gradient that flows into the output: at "all" steps, at the "last" or the "first" one alone.
                Where the output has no steps: into layers' outputs, at the end of each loop; see `_only_ends`.

        Raises:
            ArgumentError: the loss is no number.
        """
        self.model.zero_grad()
        change = self._only_ends if self.layout.time is None and reads != "all" else None
        with self._seeded(), torch.enable_grad(), probe_keeping(self.model, change) as (record, kept):
            out = self.model(*self._arguments(asks_gradient=True))
            chains = chains_of(kept)
            if not chains:
                return Run([], record, float("nan"), None)
            main = main_of(out)
            if main is not None:
                self.layout, self.returns_loss = _layout(main, chains, self.model), main.dim() == 0
            for chain in chains:
                self._deepest[chain.module] = max(self._deepest.get(chain.module, 1), chain.layer)
            mask = None if reads == "all" or main is None else self.layout.mask(main, is_first=reads == "first")
            if mask is not None and main is not None:
                out = with_main(out, torch.where(mask, main, main.detach()))
            loss = self._loss_of(out, is_first=reads == "first")
            if loss.requires_grad:
                loss.backward()
        return Run(chains, record, loss.item(), None if main is None else main.detach())

    def _only_ends(self, entry: ScanRecord, scan: ProbedScan, ys: Tree) -> Tree:
        """Outputs of a layer whose gradient flows at the last step of its loop alone: of a last layer where the model
        returns its loss; else of one that runs backward, as one does not know which of its steps the output reads.
        """
        is_meant = self._deepest.get(entry.module) == entry.layer if self.returns_loss else scan.arguments.is_reversed
        if not is_meant:
            return ys
        n_steps, n_rows = entry.n_steps, next(iter(entry.states.values())).shape[1]
        ends = (
            torch.full((n_rows,), n_steps - 1)
            if scan.arguments.active is None
            else scan.arguments.active.sum(0).cpu() - 1
        )
        ends = torch.zeros_like(ends) if scan.arguments.is_reversed else ends
        is_end = torch.arange(n_steps).unsqueeze(1) == ends

        def cut(leaf: Tensor) -> Tensor:
            if not leaf.is_floating_point():
                return leaf
            mask = is_end.to(leaf.device) if leaf.dim() > 1 else is_end.all(1).to(leaf.device)
            return torch.where(mask.view(*mask.shape, *[1] * (leaf.dim() - mask.dim())), leaf, leaf.detach())

        return pytree.tree_map(cut, ys)

    def output(
        self, hook: ScanHook | None = None, *, is_training: bool = False, draw: int = 0
    ) -> tuple[float, Tensor | None, Tree]:
        """Loss, main output and whole output of a run without gradients; scans go by way of the hook, `draw` chooses
        the random numbers.
        """
        self.model.train(is_training)
        try:
            with self._seeded(draw), torch.no_grad(), contextlib.nullcontext() if hook is None else hook.on():
                out = self.model(*self._arguments())
                return self._loss_of(out).item(), main_of(out), out
        finally:
            self.model.eval()

    def loss_with(self, out: Tree, main: Tensor) -> float:
        """The loss of an output whose main tensor is another one."""
        with torch.no_grad():
            return self._loss_of(with_main(out, main)).item()

    def _arguments(self, *, asks_gradient: bool = False) -> tuple[Tree, ...]:
        """The batch; its first tensor of numbers has a gradient where one is asked for, as a model may have no weights.
        A first state has none, which tells that it is carried on from a segment before.
        """
        waiting = asks_gradient

        def own(leaf: object) -> object:
            nonlocal waiting
            if not isinstance(leaf, Tensor):
                return leaf
            leaf = leaf.detach().clone()
            if waiting and leaf.is_floating_point():
                waiting = False
                leaf.requires_grad_(True)
            return leaf

        return pytree.tree_map(own, self._batch)

    def _loss_of(self, out: Tree, *, is_first: bool = False) -> Tensor:
        if self.loss is None:
            main = main_of(out)
            if main is None:
                raise ArgumentError(
                    f"checkup: the model returned {_kind(out)}, in which there is no tensor of numbers. "
                    "Pass loss=, a function of what it returns."
                )
            return self.layout.at(main, is_first=is_first).square().mean()
        loss = self.loss(out)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            given = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else _kind(loss)
            raise ArgumentError(f"checkup: loss returned {given}. Expected a tensor of one number.")
        return loss.sum()

    @contextlib.contextmanager
    def _seeded(self, seed: int = 0) -> Iterator[None]:
        """Seeds every run alike, and puts the user's random state back."""
        with set_aside(self.device, seed):
            yield


def main_of(out: Tree) -> Tensor | None:
    """The main tensor of a model's output: the first of numbers in it; packed rows padded, [time, batch, ...]."""
    leaves = pytree.tree_leaves(out, is_leaf=_is_packed)
    if len(leaves) == 1 and not isinstance(leaves[0], Tensor | PackedSequence) and hasattr(leaves[0], "__dict__"):
        leaves = pytree.tree_leaves(list(vars(leaves[0]).values()))
    place = _place_of_main(leaves)
    if place is None:
        return None
    main = leaves[place]
    return pad_packed_sequence(main)[0] if isinstance(main, PackedSequence) else main


def with_main(out: Tree, main: Tensor) -> Tree:
    """The output with another main tensor; an object of a class of the user's as it is."""
    leaves, form = pytree.tree_flatten(out, is_leaf=_is_packed)
    place = _place_of_main(leaves)
    if place is None:
        return out
    old = leaves[place]
    is_packed = isinstance(old, PackedSequence)
    leaves[place] = pack_padded_sequence(main, pad_packed_sequence(old)[1], enforce_sorted=False) if is_packed else main
    return pytree.tree_unflatten(leaves, form)


def _place_of_main(leaves: Sequence[object]) -> int | None:
    for i, leaf in enumerate(leaves):
        data = leaf.data if isinstance(leaf, PackedSequence) else leaf
        if isinstance(data, Tensor) and data.is_floating_point():
            return i
    return None


def _is_packed(value: object) -> bool:
    return isinstance(value, PackedSequence)


def _copied(model: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    try:
        copied = copy.deepcopy(model)
    except Exception as fault:
        raise ArgumentError(
            f"checkup: the model cannot be copied ({type(fault).__name__}: {fault}). A check-up runs a copy, so that "
            "yours stays as it is: let copy.deepcopy(model) work."
        ) from fault
    report = swap(copied)
    for weight in report.model.parameters():
        weight.grad = None
        if weight.is_floating_point():
            weight.requires_grad_(True)
    return report.model.eval(), report.kept


def _layout(main: Tensor, chains: Sequence[Chain], model: nn.Module) -> Layout:
    longest = max(chains, key=lambda chain: chain.n_steps)
    n_steps, n_rows = longest.n_steps, longest.n_rows
    is_batch_first = any(getattr(module, "batch_first", False) is True for module in model.modules())
    shape, both = tuple(main.shape[:2]), ((n_steps, n_rows), (n_rows, n_steps))
    lengths = None if longest.running is None else longest.running.sum(0)
    if shape == both[0] and not (is_batch_first and n_steps == n_rows):
        return Layout(0, 1, lengths)
    if shape == both[1]:
        return Layout(1, 0, lengths)
    if n_rows == 1 and shape[:1] == (n_steps,):
        return Layout(0, None)
    if main.dim() >= 3 and n_rows in shape:  # time may have another length, as after a convolution
        return Layout(1, 0) if shape[0] == n_rows and (is_batch_first or shape[1] != n_rows) else Layout(0, 1)
    return Layout(None, 0 if shape[:1] == (n_rows,) else None)


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"


def check(model: object) -> None:
    """Holds what `checkup` was given to its type.

    Raises:
        ArgumentError: `model` is no module.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"checkup: a model of type {type(model).__name__}. Expected a torch.nn.Module.")


@contextlib.contextmanager
def batch_errors(batch: Tree) -> Iterator[None]:
    """Within the block, a model that fails on a batch without a tensor raises an error that says so.

    Raises:
        ArgumentError: there is no tensor in it, and the model failed.
    """
    try:
        yield
    except (AttributeError, TypeError) as fault:
        if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(batch)):
            raise
        raise ArgumentError(
            f"checkup: a batch of type {type(batch).__name__}, in which there is no tensor. Expected what the model "
            "takes: a tensor, or a tuple of its arguments."
        ) from fault


def nothing_ran(subject: Subject) -> ShapeError:
    """The error where no scan ran in the model."""
    kept = "; ".join(f"{name or 'the model'}: {reason}" for name, reason in subject.kept.items())
    return ShapeError(
        "checkup: no recurrent layer and no scan ran in the model"
        + (f" ({kept})" if kept else ". Give it a model with torch's or Unrolled's layers, or one that calls scan")
    )
