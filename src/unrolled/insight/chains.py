"""Scans as one passage through time each: a sequence that runs in segments is one chain.

Inputs: scans, as a probe has kept them. Outputs: chains, their inputs and states in the order of the loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree
from unrolled.insight.names import is_recurrence
from unrolled.insight.probed_scan import ProbedScan
from unrolled.insight.record import ScanRecord


@dataclass(frozen=True, eq=False)
class Chain:
    """One layer and direction over the whole sequence: one scan, or several, each from the state of the one before.

    Attributes:
        entries, scans: of each call, in the order of time.
        numbers: of each call, among all scans of the run.
    """

    entries: list[ScanRecord]
    scans: list[ProbedScan]
    numbers: list[int]

    @property
    def module(self) -> str:
        """Name of the module; empty for the model itself."""
        return self.entries[0].module

    @property
    def layer(self) -> int:
        """In its module, from 1."""
        return self.entries[0].layer

    @property
    def name(self) -> str:
        """The layer in words, such as "encoder, layer 1, forward"."""
        first = self.entries[0]
        return ", ".join([first.module or "model", f"layer {first.layer}", first.direction])

    @property
    def is_reversed(self) -> bool:
        """Whether it runs backward in time."""
        return self.scans[0].arguments.is_reversed

    @property
    def step(self) -> Callable:
        """The step that runs."""
        return self.scans[0].arguments.step

    @property
    def n_steps(self) -> int:
        """Time steps, of all calls."""
        return sum(entry.n_steps for entry in self.entries)

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return next(iter(self.entries[0].states.values())).shape[1]

    @property
    def running(self) -> Tensor | None:
        """bool [time, batch], rows as the caller has them; None where all run."""
        if all(entry.running is None for entry in self.entries):
            return None
        parts = [
            torch.ones(entry.n_steps, self.n_rows, dtype=torch.bool) if entry.running is None else entry.running.cpu()
            for entry in self.entries
        ]
        return torch.cat(parts)

    @property
    def active(self) -> Tensor | None:
        """As `running`, rows in the order of the loop's batch, steps in the order of the loop."""
        if all(scan.arguments.active is None for scan in self.scans):
            return None
        parts = [
            torch.ones(entry.n_steps, self.n_rows, dtype=torch.bool)
            if scan.arguments.active is None
            else scan.arguments.active.cpu()
            for entry, scan in zip(self.entries, self.scans, strict=True)
        ]
        return self._in_order(torch.cat(parts))

    def gradients(self) -> Tensor:
        """[time, batch]: the norm of the whole state's gradient, in the order of the loop; zero where none came."""
        parts = []
        for entry in self.entries:
            like = next(iter(entry.states.values()))
            norms = list(entry.gradients.values())
            parts.append(torch.stack(norms).double().square().sum(0).sqrt() if norms else like.double() * 0)
        return self._in_order(torch.cat(parts)).cpu()

    def inputs(self) -> Tree:
        """The inputs, [time, batch, ...], in the order of the loop."""
        trees = [scan.arguments.xs for scan in self.scans]
        return pytree.tree_map(lambda *leaves: self._in_order(torch.cat([leaf.detach() for leaf in leaves])), *trees)

    def states(self) -> list[Tensor]:
        """Each leaf of the state after each step, [time, batch, ...], in the order of the loop."""
        parts = [scan.states or [] for scan in self.scans]
        return [self._in_order(torch.cat(leaves)) for leaves in zip(*parts, strict=True)]

    def states_before(self) -> list[Tensor]:
        """The same before each step."""
        firsts = [leaf.detach() for leaf in pytree.tree_leaves(self.scans[0].arguments.state)]
        return [torch.cat((first.unsqueeze(0), leaf[:-1])) for first, leaf in zip(firsts, self.states(), strict=True)]

    @property
    def is_carried(self) -> bool:
        """Whether its first state comes from before, where no gradient goes."""
        leaves = pytree.tree_leaves(self.scans[0].arguments.state)
        return any(leaf.any() for leaf in leaves) and not any(leaf.requires_grad for leaf in leaves)

    def _in_order(self, values: Tensor) -> Tensor:
        return values.flip(0) if self.is_reversed else values


def chains_of(kept: Sequence[tuple[ScanRecord, ProbedScan]]) -> list[Chain]:
    """The chains of a run, in the order in which they began."""
    chains: list[Chain] = []
    for number, (entry, scan) in enumerate(kept):
        if not is_recurrence(scan.arguments.step):
            continue
        for chain in chains:
            if _goes_on(chain, entry, scan):
                chain.entries.append(entry)
                chain.scans.append(scan)
                chain.numbers.append(number)
                break
        else:
            chains.append(Chain([entry], [scan], [number]))
    return chains


def _goes_on(chain: Chain, entry: ScanRecord, scan: ProbedScan) -> bool:
    first, last = chain.entries[0], chain.scans[-1]
    place = (first.module, first.layer, first.direction)
    if (
        scan.arguments.is_reversed
        or last.arguments.active is not None
        or place != (entry.module, entry.layer, entry.direction)
    ):
        return False
    given, states = pytree.tree_leaves(scan.arguments.state), last.states or []
    return len(given) == len(states) and all(
        one.shape == each.shape[1:] and torch.equal(one.detach(), each[-1])
        for one, each in zip(given, states, strict=True)
    )
