"""A conditional random field over tags.

Inputs: scores of tokens. Outputs: the log likelihood of tags, and the best tags. J. Lafferty, A. McCallum and
F. Pereira, ICML 2001; on recurrent features, Z. Huang, W. Xu and K. Yu, arXiv:1508.01991.

The forward algorithm is a scan over log weights, relative to their maximum at each step. Its sums of exponentials are a
product with exp(transition). That factor is the same at every step, so the product runs in the compiled loop (on a GPU
in torch's loop, a step at a time). Scores far apart leave the range of a float: the loop counts such sums, and their
rows are computed once more in the log domain, by torch.logsumexp's formula over each pair of tags.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.engine.step.declared import Declared
from unrolled.scan import Engine, scan

_DIGITS = 1e10  # a sum of exponentials is kept if it is so many times a float's least: what underflows is no more of it


class CRF(nn.Module):
    """A linear chain over `n_tags` tags.

    P(tags | scores) ∝ exp(start[tag_1] + Σ_t scores[t, tag_t] + Σ_t transition[tag_t, tag_t+1] + end[tag_T]).

    Args:
        allowed: bool [n_tags + 1, n_tags + 1], which tag may follow which; the last row and column stand for the
            sentence's begin and end. All may by default.
    """

    allowed: Tensor

    def __init__(self, n_tags: int, allowed: Tensor | None = None) -> None:
        super().__init__()
        self.transition = nn.Parameter(torch.zeros(n_tags, n_tags))
        self.start = nn.Parameter(torch.zeros(n_tags))
        self.end = nn.Parameter(torch.zeros(n_tags))
        whole = torch.ones(n_tags + 1, n_tags + 1, dtype=torch.bool)
        self.register_buffer("allowed", whole if allowed is None else allowed)

    def potentials(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transition [tags, tags], start [tags] and end [tags]; -inf where forbidden."""
        allowed = self.allowed
        return (
            self.transition.masked_fill(~allowed[:-1, :-1], -torch.inf),
            self.start.masked_fill(~allowed[-1, :-1], -torch.inf),
            self.end.masked_fill(~allowed[:-1, -1], -torch.inf),
        )

    def log_likelihood(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """log P(tags | scores), [batch], in the parameters' dtype; -inf, without a gradient, where tags are forbidden.

        A score of -inf forbids a tag at a time step. What is on no allowed path has a gradient of 0.

        Args:
            scores: [time, batch, tags].
            tags: int64 [time, batch]; anything beyond a row's end.
            lengths: int64 [batch], at least 1.
        """
        with torch.autocast(scores.device.type, enabled=False):  # sums of exponentials need their digits
            return self._log_likelihood(scores, tags, lengths.to(scores.device)).to(self.transition.dtype)

    def _log_likelihood(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        dtype = torch.promote_types(self.transition.dtype, torch.float32)
        potentials = _Potentials(*(each.to(dtype) for each in self.potentials()))
        scores = scores.to(dtype)
        if _without_values():
            return _of_tags(potentials, _by_pairs(potentials, scores, lengths), scores, tags, lengths)
        forward = _by_products(potentials, scores, lengths)
        found = _of_tags(potentials, forward, scores, tags, lengths)
        is_there = torch.arange(1, len(scores), device=scores.device).unsqueeze(1) < lengths
        is_lost = ((forward.n_lost != self._n_unreachable(len(scores)).unsqueeze(1)) & is_there).any(0)
        rows = is_lost.nonzero().squeeze(1)
        if not len(rows):
            return found
        scores, tags, lengths = scores[:, rows], tags[:, rows], lengths[rows]
        forward = _by_pairs(potentials, scores, lengths)
        return found.index_copy(0, rows, _of_tags(potentials, forward, scores, tags, lengths))

    def _n_unreachable(self, n_steps: int) -> Tensor:
        """How many tags no allowed tags lead to, at each time step from the second on."""
        reached, counts = self.allowed[-1, :-1], []
        for _ in range(1, n_steps):
            now = (reached.unsqueeze(1) & self.allowed[:-1, :-1]).any(0)
            counts.append((~now).sum())
            if now.equal(reached):  # as at all further steps
                counts += [counts[-1]] * (n_steps - 1 - len(counts))
                break
            reached = now
        return torch.stack(counts) if counts else self.allowed.new_zeros(0, dtype=torch.int64)

    def best(self, scores: np.ndarray, lengths: np.ndarray, potentials: tuple[np.ndarray, ...]) -> list[list[int]]:
        """The likeliest tags of each row, by Viterbi's algorithm; potentials as `potentials` gives them.

        In NumPy: a choice among integers has no gradient, and at a batch of one a step costs less than a call of torch.
        """
        transition, start, end = potentials
        n_steps, n_rows, n_tags = scores.shape
        state = scores[0] + start  # [batch, tags]
        came_from = np.zeros((n_steps, n_rows, n_tags), dtype=np.int64)
        for t in range(1, n_steps):
            through = state[:, :, None] + transition
            came_from[t] = through.argmax(1)
            after = through.max(1) + scores[t]
            state = after if n_rows == 1 else np.where((t < lengths)[:, None], after, state)
        results = []
        for row, tag in enumerate((state + end).argmax(1)):
            tags = [int(tag)]
            for t in range(int(lengths[row]) - 1, 0, -1):
                tags.append(int(came_from[t, row, tags[-1]]))
            results.append(tags[::-1])
        return results


class _Potentials(NamedTuple):
    """As `CRF.potentials` returns them."""

    transition: Tensor
    start: Tensor
    end: Tensor


class _Forward(NamedTuple):
    """What the forward algorithm returns.

    Attributes:
        last: log weights of the paths that end with each tag, less all that was subtracted, [batch, tags].
        largest: what was subtracted at each step, [time, batch], without a gradient: it cancels.
        n_lost: from the second step on, how many tags' sums underflow, [time - 1, batch].
    """

    last: Tensor
    largest: Tensor
    n_lost: Tensor


def _without_values() -> bool:
    """Whether what runs may not depend on what it finds: which rows are computed again would stay in a graph."""
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return is_traced or torch._C._are_functorch_transforms_active()


def _of_tags(potentials: _Potentials, forward: _Forward, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
    """The tags' log likelihood, [batch].

    What was subtracted at a step is taken from that step's score: the difference of two sums over time would be as
    inexact as the sums are large.
    """
    transition, start, end = potentials
    is_there = torch.arange(len(scores), device=scores.device).unsqueeze(1) < lengths
    tags = tags.where(is_there, 0)
    before = torch.cat((start[tags[:1]], transition[tags[:-1], tags[1:]]))
    steps = scores.gather(2, tags.unsqueeze(2)).squeeze(2) - forward.largest + before
    total = steps.where(is_there, 0.0).sum(0) + end[tags.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)]
    return torch.where(total == -torch.inf, -torch.inf, total - _log_sum_exp(forward.last + end))


def _by_products(potentials: _Potentials, scores: Tensor, lengths: Tensor) -> _Forward:
    """The forward algorithm, each step's sums of exponentials by one product: in the compiled loop on a CPU."""
    transition = potentials.transition
    scale = _finite(transition.amax(0).detach())  # each column's largest odds become 1: no sum overflows
    odds = (transition - scale).exp()
    least = _DIGITS * torch.finfo(odds.dtype).tiny
    step = Declared(_product_step, (least,), (odds, scale))
    engine: Engine = "auto" if scores.is_cpu else "eager"
    return _forward(step, scores, scores[0] + potentials.start, lengths, engine)


def _by_pairs(potentials: _Potentials, scores: Tensor, lengths: Tensor) -> _Forward:
    """The same with an exponential for each pair of tags, exact however far apart the scores are."""
    step = Declared(_pair_step, (), (potentials.transition,))
    # eagerly: few rows need it, and a program of [tags, tags] numbers in a row compiles for up to minutes
    return _forward(step, scores, scores[0] + potentials.start, lengths, "eager")


def _forward(
    step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    scores: Tensor,
    first: Tensor,
    lengths: Tensor,
    engine: Engine,
) -> _Forward:
    last, largest = _less_largest(first)
    if len(scores) == 1:
        return _Forward(last, largest.t(), largest.t()[1:])
    ys, last = scan(step, scores[1:], last, lengths=lengths - 1, engine=engine)
    return _Forward(last, torch.cat((largest.t(), ys[..., 0])), ys[..., 1])


def _product_step(tensors: Sequence[Tensor], now: Tensor, before: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """One step: what is subtracted and how many sums are below `least` [batch, 2]; log weights [batch, tags]."""
    odds, scale = tensors
    total = before.exp() @ odds
    lost = (total < least).to(total.dtype)
    after = torch.where(lost > 0, -torch.inf, now + (torch.where(lost > 0, 1.0, total).log() + scale))
    after, largest = _less_largest(after)
    return torch.cat((largest, lost.sum(1, keepdim=True)), 1), after


def _pair_step(tensors: Sequence[Tensor], now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """The same in the log domain, where no sum is lost."""
    [transition] = tensors
    after, largest = _less_largest(now + _log_sum_exp((before.unsqueeze(2) + transition).transpose(1, 2)))
    return torch.cat((largest, torch.zeros_like(largest)), 1), after


def _less_largest(a: Tensor) -> tuple[Tensor, Tensor]:
    """The rows less their largest numbers, and those [batch, 1], without a gradient: they are added again later."""
    largest = _finite(a.amax(1, keepdim=True).detach())
    return a - largest, largest


def _log_sum_exp(a: Tensor) -> Tensor:
    """log Σ exp over the last axis; -inf, with a gradient of 0 (torch's is NaN), where all are -inf."""
    largest = _finite(a.amax(-1).detach())
    total = (a - largest.unsqueeze(-1)).exp().sum(-1)
    return torch.where(total == 0, -torch.inf, torch.where(total == 0, 1.0, total).log() + largest)


def _finite(largest: Tensor) -> Tensor:
    """What may be subtracted: 0 instead of -inf."""
    return torch.where(largest == -torch.inf, 0.0, largest)
