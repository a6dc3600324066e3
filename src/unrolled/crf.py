"""A conditional random field over tags: scores of tokens come in, the likelihood of tags and the best tags go out.

J. Lafferty, A. McCallum and F. Pereira, ICML 2001; on recurrent features, Z. Huang, W. Xu and K. Yu, arXiv:1508.01991.
Both of its recurrences are scans. The forward algorithm adds up exponentials through a product with exp(transitions),
which is the same at every step, and so runs in the compiled loop; on a GPU in torch's, a step at a time.
"""

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.scan import scan

_FORBIDDEN = -1e4
_LEAST = 1e-30


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
        """Transition [tags, tags], start [tags] and end [tags], with what is forbidden far below all else."""
        allowed = self.allowed
        return (
            self.transition.masked_fill(~allowed[:-1, :-1], _FORBIDDEN),
            self.start.masked_fill(~allowed[-1, :-1], _FORBIDDEN),
            self.end.masked_fill(~allowed[:-1, -1], _FORBIDDEN),
        )

    def log_likelihood(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """log P(tags | scores), [batch].

        Args:
            scores: [time, batch, tags].
            tags: int64 [time, batch]; anything beyond a row's end.
            lengths: int64 [batch], at least 1.
        """
        with torch.autocast(scores.device.type, enabled=False):  # sums of exponentials need their digits
            return self._log_likelihood(scores.to(self.transition.dtype), tags, lengths.to(scores.device))

    def _log_likelihood(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        transition, start, end = self.potentials()
        is_there = torch.arange(len(scores), device=scores.device).unsqueeze(1) < lengths
        tags = tags.where(is_there, 0)
        of_tags = (scores.gather(2, tags.unsqueeze(2)).squeeze(2) * is_there).sum(0)
        of_tags = of_tags + (transition[tags[:-1], tags[1:]] * is_there[1:]).sum(0)
        last = tags.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)
        of_tags = of_tags + start[tags[0]] + end[last]
        odds = transition.exp()

        def step(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
            largest = before.amax(1, keepdim=True)
            total = (before - largest).exp() @ odds
            after = now + largest + total.clamp_min(_LEAST).log()
            return after.new_zeros(after.shape[0], 1), after

        state = scores[0] + start
        if len(scores) > 1:
            _, state = scan(step, scores[1:], state, lengths=lengths - 1, engine="auto" if scores.is_cpu else "eager")
        return of_tags - torch.logsumexp(state + end, 1)

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
