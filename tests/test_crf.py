"""The conditional random field against the enumeration of all its paths."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.crf import CRF


def made(n_tags, seed, *, forbidden=False):
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.ones(n_tags + 1, n_tags + 1, dtype=torch.bool)
    if forbidden:
        allowed[0, 1] = allowed[n_tags, 1] = allowed[2, n_tags] = False
    crf = CRF(n_tags, allowed).double()
    for parameter in crf.parameters():
        parameter.data.normal_(generator=generator)
    return crf, generator


@torch.no_grad()
def of_path(crf, scores, tags):
    transition, start, end = crf.potentials()
    total = start[tags[0]] + end[tags[-1]] + sum(scores[t, tag] for t, tag in enumerate(tags))
    return float(total + sum(transition[a, b] for a, b in itertools.pairwise(tags)))


@given(st.integers(2, 4), st.integers(1, 5), st.integers(0, 100), st.booleans())
def test_likelihood_and_best_path_are_those_of_all_paths(n_tags, n_steps, seed, forbidden):
    forbidden = forbidden and n_tags > 2
    crf, generator = made(n_tags, seed, forbidden=forbidden)
    scores = 2 * torch.randn(n_steps, 3, n_tags, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, n_steps + 1, (3,), generator=generator)
    tags = torch.randint(0, n_tags, (n_steps, 3), generator=generator)
    found = crf.log_likelihood(scores, tags, lengths).detach()
    best = crf.best(scores.numpy(), lengths.numpy(), tuple(each.detach().numpy() for each in crf.potentials()))
    for row, length in enumerate(lengths.tolist()):
        paths = list(itertools.product(range(n_tags), repeat=length))
        totals = np.array([of_path(crf, scores[:, row], path) for path in paths])
        own = of_path(crf, scores[:, row], tags[:length, row].tolist())
        assert float(found[row]) == pytest.approx(own - np.logaddexp.reduce(totals), rel=1e-9, abs=1e-9)
        assert of_path(crf, scores[:, row], best[row]) == pytest.approx(totals.max())
        assert len(best[row]) == length


def test_gradients():
    crf, generator = made(3, 0)
    scores = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    tags, lengths = torch.randint(0, 3, (4, 2), generator=generator), torch.tensor([4, 2])

    def likelihood(scores, *_):
        return crf.log_likelihood(scores, tags, lengths)

    assert torch.autograd.gradcheck(likelihood, (scores, *crf.parameters()))


def test_scores_far_apart_stay_finite():
    crf, _ = made(3, 0, forbidden=True)
    crf = crf.float()
    scores = torch.tensor([[[500.0, -500, 0]], [[-500.0, 500, 0]], [[0.0, 0, 300]]], requires_grad=True)
    loss = crf.log_likelihood(scores, torch.tensor([[0], [1], [0]]), torch.tensor([3]))
    loss.sum().backward()
    assert math.isfinite(loss.item())
    assert bool(scores.grad.isfinite().all())


def test_the_forward_algorithm_runs_in_the_compiled_loop(recwarn):
    crf, generator = made(5, 1)
    crf = crf.float()
    scores = torch.randn(6, 3, 5, generator=generator, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = crf.log_likelihood(scores, torch.zeros(6, 3, dtype=torch.int64), torch.tensor([6, 2, 4])).sum()
    loss.backward()
    assert not recwarn.list  # a step that ran eagerly would warn
    assert loss.dtype == torch.float32
