"""What a model uses of the past: what becomes of its output where the past is cut off.

Inputs: a model's copy. Outputs: the loss, or the change of the output, by the steps of the past that are left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.insight.ablations import PermutedRows, TruncatedContext
from unrolled.insight.chains import Chain
from unrolled.insight.subject import Subject

NEGLIGIBLE = 0.05  # a smaller share of what there is to know does not count
LEARNED = 2 / 3  # of the loss with another row's output: as much as half of the variance explained


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


def past_of(subject: Subject, chains: Sequence[Chain]) -> Past | None:
    """How much of the past a model uses; None where its output tells nothing apart."""
    n_steps = max(chain.n_steps for chain in chains)
    ablation = _ContextAblation(subject, chains)
    if not ablation.whole > 0:
        return None
    found = {n_steps: (ablation.loss, 0.0)}
    at = 1
    while at < n_steps:
        found[at] = ablation.cut(at)
        at *= 2
    low = max((at for at, (_, share) in found.items() if share > NEGLIGIBLE), default=0)
    high = min(at for at in found if at > low)
    while high - low > 1:
        middle = (low + high) // 2
        found[middle] = ablation.cut(middle)
        low, high = (middle, high) if found[middle][1] > NEGLIGIBLE else (low, middle)
    contexts = sorted(found)
    losses, shares = ([found[at][i] for at in contexts] for i in (0, 1))
    return Past(contexts, shares, losses, high - 1, ablation.of_loss, ablation.gain)


class _ContextAblation:
    """Measures how much is lost with a truncated past, as a share of what is lost with another row's output."""

    def __init__(self, subject: Subject, chains: Sequence[Chain]) -> None:
        self._subject = subject
        self._begins = {chain.numbers[0] for chain in chains}
        self._after: dict[int, Tensor] = {}
        for chain in chains:
            rest = torch.zeros(chain.n_rows, dtype=torch.int64)
            for entry, number in zip(reversed(chain.entries), reversed(chain.numbers), strict=True):
                self._after[number] = rest
                rest = rest + (entry.n_steps if entry.running is None else entry.running.sum(0).cpu())
        self.loss, self._output, self._out = subject.output()
        self._other_rows = self._of_another_row()
        self.gain, self.of_loss, of_others = math.nan, False, math.nan
        if subject.loss is not None:
            of_others = self._loss_of_permuted_rows(chains)
            self.gain = (of_others - self.loss) / abs(of_others) if of_others else math.nan
            self.of_loss = self.gain > NEGLIGIBLE
        self.whole = of_others - self.loss if self.of_loss and not self._has_rows else self._lost(self._other_rows, 1)

    @property
    def _has_rows(self) -> bool:
        """Whether the output has rows, that can be another row's; a model may also return its loss alone."""
        return self._output is not None and self._subject.layout.rows is not None

    def _loss_of_permuted_rows(self, chains: Sequence[Chain]) -> float:
        """The loss where each row has the output of another one."""
        if self._has_rows and self._other_rows is not None:
            return self._subject.loss_with(self._out, self._other_rows)
        if max(chain.n_rows for chain in chains) < 2:
            return math.nan
        deepest = {
            chain.module: max(other.layer for other in chains if other.module == chain.module) for chain in chains
        }
        lasts = {number for chain in chains if chain.layer == deepest[chain.module] for number in chain.numbers}
        return self._subject.output(PermutedRows(lasts))[0]

    def cut(self, context: int) -> tuple[float, float]:
        """The loss of a run in which each state knows `context` steps at most, and the share of what is lost at those
        steps that know so many.
        """
        loss, output, _ = self._subject.output(TruncatedContext(context, self._after, self._begins))
        if self.of_loss and not self._has_rows:
            share = (loss - self.loss) / self.whole
            return loss, share if math.isfinite(share) else 1.0
        lost, whole = self._lost(output, context), self._lost(self._other_rows, context)
        share = lost / whole if whole else 0.0
        return loss, share if math.isfinite(share) else 1.0

    def _lost(self, output: Tensor | None, context: int) -> float:
        """By how much the loss rises with another output at each step that is `context` steps from the next; without a
        loss the mean square of the output's change at the last step.
        """
        layout, own = self._subject.layout, self._output
        if output is None or own is None:
            return 0.0
        if not self.of_loss:
            return (layout.at(output) - layout.at(own)).double().square().mean().item()
        if layout.time is not None:
            output = torch.where(layout.every(own, context), output, own)
        return self._subject.loss_with(self._out, output) - self.loss

    def _of_another_row(self) -> Tensor | None:
        """The output of the row before; of a single row the mean over time."""
        layout, output = self._subject.layout, self._output
        if output is None:
            return None
        if layout.rows is not None and output.shape[layout.rows] > 1:
            return output.roll(1, layout.rows)
        return output.mean(layout.time, keepdim=True).expand_as(output) if layout.time is not None else None
