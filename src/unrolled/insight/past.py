"""What a model uses of the past: what becomes of its output where the past is cut off.

Inputs: a model's copy. Outputs: the loss, or the change of the output, by the steps of the past that are left.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine import dispatch
from unrolled.insight.chains import Chain
from unrolled.insight.subject import Subject
from unrolled.insight.watching import Watching

FELT = 0.05  # a share below this of what there is to know is not felt
LEARNED = 2 / 3  # of the loss that a stranger's output has: as much as half of the variance explained


@dataclass(frozen=True, eq=False)
class Past:
    """What the past is worth.

    Attributes:
        contexts: steps that the state knows of, rising.
        shares: of what is lost where it knows no more: 0 nothing, 1 as much as with another row's output.
        losses: the loss then.
        horizon: steps before the last one that count: with these alone, less than 5 % is lost.
        of_loss: whether `shares` are of the loss; else of the output at the last step.
        gain: the share of the loss that knowing the row saves, from 0 to 1; NaN where it is not known.
    """

    contexts: list[int]
    shares: list[float]
    losses: list[float]
    horizon: int
    of_loss: bool
    gain: float

    @property
    def has_learned(self) -> bool:
        """Whether the model does much better on its rows than with another row's output."""
        return self.gain >= LEARNED


class _Cut(Watching):
    """Cuts the past off: after every `context` steps, counted from the end, a row goes on from the state of the row
    before it in the batch; a single row from the first state.
    """

    def __init__(self, context: int, after: dict[int, int], begins: set[int]) -> None:
        super().__init__("checkup")
        self._context, self._after, self._begins, self._number = context, after, begins, 0

    def run(
        self,
        step: Callable,
        xs: Any,
        state: Any,
        *,
        active: Tensor | None,
        resets: Tensor | None,
        is_reversed: bool,
        engine: str,
        clip: float | None = None,
    ) -> tuple[Any, Any]:
        number, self._number = self._number, self._number + 1
        n_steps = pytree.tree_leaves(xs)[0].shape[0]
        after = self._after.get(number, 0)
        first = 1 if number in self._begins else 0
        cuts = [at for at in range(first, n_steps) if (after + n_steps - at) % self._context == 0]
        edges = sorted({0, *cuts, n_steps})
        parts, now = [], state
        for begin, end in itertools.pairwise(edges):
            if begin in cuts:
                now = pytree.tree_map(_row_before, now, state)
            t = slice(n_steps - end, n_steps - begin) if is_reversed else slice(begin, end)
            ys, now = dispatch.run_scan(
                step,
                pytree.tree_map(lambda leaf, t=t: leaf[t], xs),
                now,
                active=None if active is None else active[t],
                resets=None if resets is None else resets[t],
                is_reversed=is_reversed,
                engine="eager" if end - begin < 4 else engine,
                first=state,
                clip=clip,
            )
            parts.append(ys)
        if len(parts) == 1:
            return parts[0], now
        parts = parts[::-1] if is_reversed else parts
        return pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts), now


def _row_before(leaf: Tensor, first: Tensor) -> Tensor:
    return leaf.roll(1, 0) if leaf.dim() and leaf.shape[0] > 1 else first


def past_of(subject: Subject, chains: Sequence[Chain]) -> Past | None:
    """How much of the past a model uses; None where its output tells nothing apart."""
    n_steps = max(chain.n_steps for chain in chains)
    judge = _Judge(subject, chains)
    if not judge.whole > 0:
        return None
    found = {n_steps: (judge.loss, 0.0)}
    at = 1
    while at < n_steps:
        found[at] = judge.cut(at)
        at *= 2
    low = max((at for at, (_, share) in found.items() if share > FELT), default=0)
    high = min(at for at in found if at > low)
    while high - low > 1:
        middle = (low + high) // 2
        found[middle] = judge.cut(middle)
        low, high = (middle, high) if found[middle][1] > FELT else (low, middle)
    contexts = sorted(found)
    losses, shares = ([found[at][i] for at in contexts] for i in (0, 1))
    return Past(contexts, shares, losses, high - 1, judge.of_loss, judge.gain)


class _Judge:
    """Says how much is lost where the past is cut off, as a share of what there is to lose: what the output of another
    row is worth.
    """

    def __init__(self, subject: Subject, chains: Sequence[Chain]) -> None:
        self._subject = subject
        self._begins = {chain.numbers[0] for chain in chains}
        self._after: dict[int, int] = {}
        for chain in chains:
            rest = chain.n_steps
            for entry, number in zip(chain.entries, chain.numbers, strict=True):
                rest -= entry.n_steps
                self._after[number] = rest
        self.loss, self._output, self._out = subject.output()
        self._stranger = self._of_another_row()
        self.gain, self.of_loss = math.nan, False
        if subject.loss is not None:
            of_others = math.nan if self._stranger is None else subject.loss_with(self._out, self._stranger)
            self.gain = (of_others - self.loss) / abs(of_others) if of_others else math.nan
            self.of_loss = self._output is None or self.gain > FELT
        self.whole = self._lost(self._stranger, 1)[1]

    def cut(self, context: int) -> tuple[float, float]:
        """The loss of a run in which each state knows `context` steps at most, and the share of what is lost at those
        steps that know so many.
        """
        loss, output, _ = self._subject.output(_Cut(context, self._after, self._begins))
        if self.of_loss and self._stranger is None:  # no other row to compare with
            share = (loss - self.loss) / self.whole
            return loss, share if math.isfinite(share) else 1.0
        lost, whole = self._lost(output, context)[1], self._lost(self._stranger, context)[1]
        share = lost / whole if whole else 0.0
        return loss, share if math.isfinite(share) else 1.0

    def _lost(self, output: Tensor | None, context: int) -> tuple[float, float]:
        """The loss with another output at each step that is `context` steps from the next, and by how much it rose; of
        an output without a loss the root mean square of its change at the last step.
        """
        layout, own = self._subject.layout, self._output
        if self.of_loss:
            if output is None or own is None:
                return self.loss, abs(self.loss)
            if layout.time is not None:
                steps = torch.arange(own.shape[layout.time], device=own.device)
                chosen = (len(steps) - 1 - steps) % context == 0
                output = torch.where(
                    chosen.view([-1 if i == layout.time else 1 for i in range(own.dim())]), output, own
                )
            loss = self._subject.loss_with(self._out, output)
            return loss, loss - self.loss
        if output is None or own is None:
            return self.loss, 0.0
        change = (layout.at(output) - layout.at(own)).double().square().mean().sqrt().item()
        return self.loss, change

    def _of_another_row(self) -> Tensor | None:
        """The output of the row before; of a single row the mean over time."""
        layout, output = self._subject.layout, self._output
        if output is None:
            return None
        if layout.rows is not None and output.shape[layout.rows] > 1:
            return output.roll(1, layout.rows)
        return output.mean(layout.time, keepdim=True).expand_as(output) if layout.time is not None else None
