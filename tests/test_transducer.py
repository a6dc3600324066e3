"""The transducer and CTC against the enumeration of all ways."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.search import ctc, transducer
from unrolled.search.transducer import transducer_loss


def ways(n_steps, n_labels):
    """All orders of n_steps - 1 blanks and n_labels labels; the last blank ends them."""
    n = n_steps - 1 + n_labels
    for places in itertools.combinations(range(n), n_labels):
        yield [i in places for i in range(n)]


def likelihood(log_p, labels):
    """log P(labels) [time, labels + 1, classes] by enumeration."""
    totals = []
    for way in ways(len(log_p), len(labels)):
        t = u = 0
        total = 0.0
        for is_label in way:
            total += float(log_p[t, u, labels[u] if is_label else 0])
            t, u = (t, u + 1) if is_label else (t + 1, u)
        totals.append(total + float(log_p[-1, len(labels), 0]))
    return np.logaddexp.reduce(totals)


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 1000))
def test_the_loss_is_that_of_all_ways(n_time, n_labels, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, n_time, n_labels + 1, 4, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(1, 4, (3, n_labels), generator=generator)
    steps = torch.randint(1, n_time + 1, (3,), generator=generator)
    lengths = torch.randint(0, n_labels + 1, (3,), generator=generator)
    found = transducer_loss(scores, labels, steps, lengths)
    log_p = scores.log_softmax(3)
    for row, (t, u) in enumerate(zip(steps.tolist(), lengths.tolist(), strict=True)):
        wanted = -likelihood(log_p[row, :t, : u + 1], labels[row, :u].tolist())
        assert found[row].item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_gradients_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 2], [2, 1]])

    def loss(scores):
        return transducer_loss(scores, labels, torch.tensor([4, 2]), torch.tensor([2, 1]))

    assert torch.autograd.gradcheck(loss, (scores,))
    (gradient,) = torch.autograd.grad(loss(scores).sum(), scores)
    assert bool((gradient[1, 2:] == 0).all())
    assert bool((gradient[1, :, 2:] == 0).all())


def test_the_loss_runs_in_the_compiled_loop_and_stays_finite(recwarn):
    scores = torch.zeros(2, 300, 20, 5)
    scores[..., 0] = 60.0  # labels are next to impossible
    scores.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = transducer_loss(
            scores, torch.ones(2, 19, dtype=torch.int64), torch.tensor([300, 7]), torch.tensor([19, 19])
        )
    loss.sum().backward()
    assert not recwarn.list  # a step that ran eagerly would warn
    assert bool(loss.isfinite().all())
    assert bool(scores.grad.isfinite().all())


class Toy:
    """A transducer whose prediction state is the sum of its labels' vectors."""

    def __init__(self, n_classes, seed):
        generator = torch.Generator().manual_seed(seed)
        self.vectors = torch.randn(n_classes, 4, generator=generator)
        self.out = torch.randn(4, n_classes, generator=generator) * 1.5
        self.first = torch.zeros(1, 4)

    def predict(self, state, labels):
        return torch.tanh(0.5 * state + self.vectors[labels])

    def join(self, features, state):
        return (torch.tanh(features + state) @ self.out).log_softmax(1)

    def lattice(self, features, labels):
        states = [self.first]
        for label in labels:
            states.append(self.predict(states[-1], [label]))
        return torch.stack(
            [torch.cat([self.join(feature.unsqueeze(0), state) for state in states]) for feature in features]
        )


def labelings(n_classes, most):
    return [ids for n in range(most + 1) for ids in itertools.product(range(1, n_classes), repeat=n)]


@given(st.integers(1, 3), st.integers(0, 300))
def test_a_wide_beam_of_the_transducer_adds_up_all_ways(n_time, seed):
    toy = Toy(3, seed)
    features = torch.randn(n_time, 4, generator=torch.Generator().manual_seed(seed + 1))
    most = 3
    found = {
        one.ids: one for one in transducer.beam(features, toy.first, toy.join, toy.predict, width=10**6, most=most)
    }
    for ids in labelings(3, most):  # with more labels some ways would need more than `most` at one step
        wanted = likelihood(toy.lattice(features, ids).numpy(), ids)
        assert found[ids].total == pytest.approx(wanted, abs=1e-4)
        assert len(found[ids].frames) == len(ids)
        assert list(found[ids].frames) == sorted(found[ids].frames)
    best = transducer.beam(features, toy.first, toy.join, toy.predict, width=10**6, most=most)[0]
    assert best.total == pytest.approx(max(one.total for one in found.values()))


def test_a_bonus_moves_the_choice_of_both_searches():
    toy = Toy(3, 1)
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))

    def bonus(ids, label):
        return {0: 0.0, 1: -50.0, 2: 5.0}[label]

    plain = transducer.beam(features, toy.first, toy.join, toy.predict, width=20, most=2)[0]
    moved = transducer.beam(features, toy.first, toy.join, toy.predict, width=20, most=2, bonus=bonus)[0]
    assert set(moved.ids) == {2}
    assert moved.ids != plain.ids
    log_p = torch.randn(4, 3, generator=torch.Generator().manual_seed(3)).log_softmax(1).numpy()
    assert set(ctc.beam(log_p, bonus=bonus)[0][0].ids) == {2}


@given(st.integers(0, 6), st.integers(0, 300))
def test_greedy_transducer_is_the_definition_and_goes_on_where_it_stopped(cut, seed):
    toy = Toy(4, seed)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed + 1))
    start = transducer.Hypothesis(state=toy.first)
    whole = transducer.greedy(features, start, 0, toy.join, toy.predict, most=3)
    part = transducer.greedy(features[:cut], start, 0, toy.join, toy.predict, most=3)
    both = transducer.greedy(features[cut:], part, cut, toy.join, toy.predict, most=3)
    assert (both.ids, both.frames, both.log_p) == (whole.ids, whole.frames, whole.log_p)
    ids, state = [], toy.first
    for feature in features:
        for _ in range(3):
            label = int(toy.join(feature.unsqueeze(0), state).argmax())
            if label == 0:
                break
            ids.append(label)
            state = toy.predict(state, [label])
    assert list(whole.ids) == ids


def collapsed(path):
    return tuple(label for label, _ in itertools.groupby(path) if label)


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 300))
def test_ctc_search_and_its_greedy_form(n_time, n_classes, seed):
    log_p = (2 * torch.randn(n_time, n_classes, generator=torch.Generator().manual_seed(seed))).log_softmax(1).numpy()
    totals = {}
    for path in itertools.product(range(n_classes), repeat=n_time):
        total = float(sum(log_p[t, label] for t, label in enumerate(path)))
        totals[collapsed(path)] = np.logaddexp(totals.get(collapsed(path), -math.inf), total)
    found = ctc.beam(log_p, width=10**6)
    assert {tuple(path.ids): score for path, score in found} == pytest.approx(totals, abs=1e-4)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for path, _ in found:
        assert path.frames == sorted(set(path.frames))
        assert len(path.frames) == len(path.ids) == len(path.log_p)
    greedy = ctc.Alignment()
    greedy.read(log_p[:2])
    greedy.read(log_p[2:])
    assert tuple(greedy.ids) == collapsed(log_p.argmax(1))
    assert greedy.log_p == pytest.approx([log_p[t, label] for t, label in zip(greedy.frames, greedy.ids, strict=True)])


def test_steps_that_labels_need():
    assert [ctc.least_steps(labels) for labels in ([], [1], [1, 1], [1, 2, 2, 2])] == [0, 1, 3, 6]
    # torch's loss agrees on what is impossible
    log_p = torch.zeros(5, 1, 3).log_softmax(2)
    for labels, is_possible in (([1, 2, 2, 1], True), ([1, 2, 2, 2], False)):
        loss = torch.nn.functional.ctc_loss(log_p, torch.tensor([labels]), torch.tensor([5]), torch.tensor([4]))
        assert bool(loss.isfinite()) == is_possible == (ctc.least_steps(labels) <= 5)
