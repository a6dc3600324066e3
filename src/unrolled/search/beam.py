"""Beam search.

Inputs: a decoder's step. Outputs: the sequences with the best scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree

Step = Callable[[Tensor, Tree], tuple[Tensor, Tensor, Tree]]


@dataclass(frozen=True)
class Hypothesis:
    """A finished sequence of the search.

    Attributes:
        ids: its numbers, without begin and end.
        score: its log-probability over the length penalty, and the coverage penalty.
        log_p: its log-probability, with the end's.
        attention: [length + 1, places], the last row the end's.
    """

    ids: list[int]
    score: float
    log_p: float
    attention: Tensor


def beam_search(
    step: Step,
    state: object,
    *,
    n_rows: int,
    beam: int,
    longest: int,
    begin: int,
    end: int,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """The best sequences of each row, the best first, up to `beam` of them.

    A sequence's score is log P / ((5 + length) / 6)^length_penalty + coverage_penalty · Σ over places of
    log min(attention, 1), of Y. Wu et al., arXiv:1609.08144; the length counts the end. A beam of 1 is greedy: it
    takes the likeliest number at each step, and penalties do not matter.

    Args:
        step: numbers [rows] and a state → log-probabilities [rows, numbers], attention [rows, places], the state after;
            every leaf of a state is [rows, ...]. It is called with beam · n_rows rows.
        state: the first one, of n_rows rows.
        n_rows: how many sequences are looked for.
        beam: how many candidates are kept for each.
        longest: numbers of a sequence at most, without its end.
        begin: the number that stands before a sequence.
        end: the number that ends it.
        length_penalty: 0 prefers short sequences, 1 is nearly the mean per number.
        coverage_penalty: 0 does not mind places that were never read.
    """
    search = _Search(beam, 0.0 if beam == 1 else length_penalty, 0.0 if beam == 1 else coverage_penalty)
    found: list[list[Hypothesis]] = [[] for _ in range(n_rows)]
    rows = list(range(n_rows))  # those that are looked for still
    state = _rows_of(state, torch.arange(n_rows).repeat_interleave(beam))
    log_p = torch.full((n_rows, beam), -torch.inf)
    log_p[:, 0] = 0.0  # all candidates of a row are the same at first
    ids = torch.full((n_rows, beam, 1), begin)
    attention: Tensor | None = None
    for length in range(longest + 1):
        steps, read, state = step(ids[:, :, -1].flatten(), state)
        steps, read = (each.float().cpu().view(len(rows), beam, -1) for each in (steps, read))
        attention = read.unsqueeze(2) if attention is None else torch.cat((attention, read.unsqueeze(2)), 2)
        if length == longest:  # nothing but the end may come
            totals = log_p + steps[:, :, end]
            for i, row in enumerate(rows):
                for k in range(beam):
                    if torch.isfinite(totals[i, k]):
                        found[row].append(search.ended(ids[i, k, 1:], totals[i, k], attention[i, k]))
            break
        totals = (log_p.unsqueeze(2) + steps).flatten(1)
        best, places = totals.topk(min(2 * beam, totals.shape[1]))
        origin, number = places // steps.shape[2], places % steps.shape[2]
        kept: list[list[int]] = []
        for i, row in enumerate(rows):
            going = []
            for k, (total, is_end) in enumerate(zip(best[i].tolist(), (number[i] == end).tolist(), strict=True)):
                if not is_end:
                    going.append(k)
                elif k < beam and total > -torch.inf:
                    at = origin[i, k]
                    found[row].append(search.ended(ids[i, at, 1:], best[i, k], attention[i, at]))
            kept.append((going + going[:1] * beam)[:beam])
        chosen = torch.tensor(kept)
        log_p, origin, number = best.gather(1, chosen), origin.gather(1, chosen), number.gather(1, chosen)
        n_going = torch.tensor([len(set(each)) for each in kept])
        log_p = log_p.masked_fill(torch.arange(beam) >= n_going.unsqueeze(1), -torch.inf)
        on = [i for i, row in enumerate(rows) if not search.is_done(found[row], float(log_p[i].max()), longest)]
        if not on:
            break
        at = torch.tensor(on)
        flat = (at.unsqueeze(1) * beam + origin[at]).flatten()
        ids = torch.cat((ids.flatten(0, 1)[flat], number[at].view(-1, 1)), 1).view(len(on), beam, -1)
        attention = attention.flatten(0, 1)[flat].view(len(on), beam, length + 1, -1)
        state, log_p = _rows_of(state, flat), log_p[at]
        rows = [rows[i] for i in on]
    return [sorted(each, key=lambda one: -one.score)[:beam] for each in found]


@dataclass(frozen=True)
class _Search:
    """How sequences are scored, and when a row has all that it needs."""

    beam: int
    length_penalty: float
    coverage_penalty: float

    def ended(self, ids: Tensor, log_p: Tensor, attention: Tensor) -> Hypothesis:
        score = float(log_p) / self.divisor(len(ids) + 1)
        if self.coverage_penalty:
            score += self.coverage_penalty * float(attention.sum(0).clamp(1e-9, 1).log().sum())
        # a copy: a view keeps what all candidates of all rows read, 2 GB over the sentences of a book
        return Hypothesis(ids.tolist(), score, float(log_p), attention.clone())

    def divisor(self, length: int) -> float:
        return ((5 + length) / 6) ** self.length_penalty

    def is_done(self, found: list[Hypothesis], best_log_p: float, longest: int) -> bool:
        """Whether no candidate can come before those that are found: at best it ends as the longest, at no cost."""
        if len(found) < self.beam:
            return best_log_p == -torch.inf
        worst = sorted((each.score for each in found), reverse=True)[self.beam - 1]
        return best_log_p / self.divisor(longest + 1) <= worst


def _rows_of(state: Tree, places: Tensor) -> Tree:
    return pytree.tree_map(lambda leaf: leaf.index_select(0, places.to(leaf.device)), state)
