"""The recurrent transducer.

Inputs: scores of a lattice. Outputs: the likelihood of labels; and the labels of a network's scores. A. Graves,
arXiv:1211.3711. At each time step the network emits any number of labels, then a blank moves to the next step. The
likelihood sums over all paths through the lattice of time steps and labels. Along its diagonals that is a recurrence of
elementwise operations and a shift, which `scan` runs as a compiled loop (on a GPU in torch's loop, a step at a time).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from unrolled.engine.step.declared import Declared
from unrolled.engine.trees import Tree
from unrolled.scan import scan

BLANK = 0
_FORBIDDEN = -1e6
_WIDTH = 16  # the lattice's label axis is rounded up to a multiple: each width is compiled once


def transducer_loss(scores: Tensor, labels: Tensor, n_steps: Tensor, n_labels: Tensor) -> Tensor:
    """-log P(labels), [batch].

    Args:
        scores: [batch, time, labels + 1, classes], before the softmax; class 0 is the blank.
        labels: int64 [batch, labels], anything beyond a row's end.
        n_steps: int64 [batch], at least 1.
        n_labels: int64 [batch], 0 or more.
    """
    with torch.autocast(scores.device.type, enabled=False):  # sums of exponentials need their digits
        exact = scores if scores.dtype == torch.float64 else scores.float()
        return _transducer_loss(exact, labels, n_steps, n_labels)


def _transducer_loss(scores: Tensor, labels: Tensor, n_steps: Tensor, n_labels: Tensor) -> Tensor:
    n_rows, n_time, n_places, _ = scores.shape
    log_p = scores.log_softmax(3)
    blank = log_p[..., BLANK]
    following = torch.nn.functional.pad(labels, (0, 1))[:, :n_places]
    is_there = torch.arange(n_places, device=labels.device) < n_labels.to(labels.device).unsqueeze(1)
    following = following.where(is_there, BLANK)
    emit = log_p.gather(3, following[:, None, :, None].expand(-1, n_time, -1, 1)).squeeze(3)
    emit = emit.masked_fill(~is_there.unsqueeze(1), _FORBIDDEN)
    width = _WIDTH * math.ceil((n_places + 1) / _WIDTH)  # at least one column that nothing leaves
    blank, emit = (_diagonals(each, width) for each in (blank, emit))

    first = blank.new_full((n_rows, width), _FORBIDDEN)
    first[:, 0] = 0.0
    at = (n_steps - 1 + n_labels).to(blank.device)  # the diagonal of each row's last cell
    state = first
    if len(blank) > 1:
        step = Declared(_step, (), ())
        _, state = scan(
            step, (blank[:-1], emit[:-1]), first, lengths=at.cpu(), engine="auto" if blank.is_cpu else "eager"
        )
    rows, last = torch.arange(n_rows, device=blank.device), n_labels.to(blank.device)
    return -(state[rows, last] + blank[at, rows, last])


def _step(_: Sequence[Tensor], now: tuple[Tensor, Tensor], before: Tensor) -> tuple[Tensor, Tensor]:
    """From one diagonal of cells to the next."""
    stay, go = before + now[0], before + now[1]
    go = torch.cat((go[:, -1:], go[:, :-1]), 1)  # the last column is forbidden
    largest = torch.maximum(stay, go)
    after = largest + ((stay - largest).exp() + (go - largest).exp()).log()
    return after.new_zeros(after.shape[0], 1), after


def _diagonals(cells: Tensor, width: int) -> Tensor:
    """[batch, time, places] → [time + width - 1, batch, width]: cell (t, u) at (t + u, u), what is forbidden around."""
    n_rows, n_time, n_places = cells.shape
    cells = torch.nn.functional.pad(cells.transpose(1, 2), (0, width, 0, width - n_places), value=_FORBIDDEN)
    length = n_time + width - 1
    # rows of one more than they are read with: each begins one further to the right
    return cells.flatten(1)[:, : width * length].view(n_rows, width, length).permute(2, 0, 1)


@dataclass
class Hypothesis:
    """Labels of a search so far.

    Attributes:
        ids: the labels.
        frames: the time step that each was written at.
        log_p: of each label, where it was written.
        total: log-probability of all, over all ways that lead to them as far as they were followed.
        state: of the prediction network after the last label.
    """

    ids: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    log_p: tuple[float, ...] = ()
    total: float = 0.0
    state: Tree = field(default=None, repr=False)


Join = Callable[[Tensor, Tree], Tensor]  # features of a time step [rows, size] and a state → log-probabilities
Predict = Callable[[Tree, list[int]], Tree]  # states of rows and a label each → states


def greedy(
    features: Tensor, before: Hypothesis, first: int, join: Join, predict: Predict, *, most: int = 10
) -> Hypothesis:
    """The likeliest label or blank at each time step, up to `most` labels a step; goes on from what was written before.

    Args:
        features: [time, size].
        before: what was written so far.
        first: the number of the first time step.
        join: see `Join`.
        predict: see `Predict`.
        most: labels of a time step at most.
    """
    ids, frames, sure, total, state = (
        list(before.ids),
        list(before.frames),
        list(before.log_p),
        before.total,
        before.state,
    )
    for t, feature in enumerate(features, first):
        for n in range(most + 1):
            log_p = join(feature.unsqueeze(0), state)[0]
            label = int(log_p.argmax()) if n < most else BLANK
            total += float(log_p[label])
            if label == BLANK:
                break
            ids.append(label)
            frames.append(t)
            sure.append(float(log_p[label]))
            state = predict(state, [label])
    return Hypothesis(tuple(ids), tuple(frames), tuple(sure), total, state)


def beam(
    features: Tensor,
    state: object,
    join: Join,
    predict: Predict,
    *,
    width: int = 5,
    most: int = 4,
    bonus: Callable[[tuple[int, ...], int], float] | None = None,
) -> list[Hypothesis]:
    """The likeliest labels, the best first: time step by time step, ways to the same labels added up.

    After the breadth-first search of A. Graves, arXiv:1211.3711, with up to `most` labels a time step.

    Args:
        features: [time, size].
        state: of the prediction network before any label.
        join: see `Join`.
        predict: see `Predict`.
        width: how many are kept at each step.
        most: labels of a time step at most.
        bonus: what a label after others adds to the score, such as a language model's log-probability; class 0 asks for
            the end.
    """
    extra: dict[tuple[int, ...], float] = {(): 0.0}
    kept = [Hypothesis(state=state)]

    def score(one: Hypothesis) -> float:
        return one.total + extra[one.ids]

    for t, feature in enumerate(features):
        ended: dict[tuple[int, ...], Hypothesis] = {}
        going = kept
        for n in range(most + 1):
            further: list[tuple[float, Hypothesis, int, float, float]] = []
            for one in going:
                log_p = join(feature.unsqueeze(0), one.state)[0].tolist()
                total = one.total + log_p[BLANK]
                same = ended.get(one.ids)
                likelier = one if same is None or total > same.total else same
                whole = total if same is None else float(np.logaddexp(total, same.total))
                ended[one.ids] = replace(likelier, total=whole)
                for label in range(1, len(log_p) if n < most else 1):
                    gain = bonus(one.ids, label) if bonus else 0.0
                    further.append((score(one) + log_p[label] + gain, one, label, log_p[label], gain))
            going = []
            for _, one, label, sure, gain in sorted(further, key=lambda each: -each[0])[:width]:
                ids = (*one.ids, label)
                extra[ids] = extra[one.ids] + gain
                after = predict(one.state, [label])
                going.append(Hypothesis(ids, (*one.frames, t), (*one.log_p, sure), one.total + sure, after))
        kept = sorted(ended.values(), key=lambda one: -score(one))[:width]
    if bonus:
        for one in kept:
            extra[one.ids] += bonus(one.ids, BLANK)
    return sorted(kept, key=lambda one: -score(one))
