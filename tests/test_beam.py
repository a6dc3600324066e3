"""Beam search against the enumeration of all sequences."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.search.beam import beam_search

END, BEGIN = 0, 1


class Decoder:
    """A decoder whose scores depend on all that was written, and on its row."""

    def __init__(self, n_numbers, n_places, seed):
        generator = torch.Generator().manual_seed(seed)
        self.mixes = torch.randn(n_numbers, 5, generator=generator)
        self.scores = torch.randn(5, n_numbers, generator=generator) * 2
        self.places = torch.randn(5, n_places, generator=generator)

    def __call__(self, ids, state):
        state = torch.tanh(state * 0.7 + self.mixes[ids])
        scores = state @ self.scores
        scores[:, BEGIN] = -torch.inf
        return scores.log_softmax(1), (state @ self.places).softmax(1), state

    def score(self, ids, state, length_penalty, coverage_penalty):
        """Of one sequence, by the definition."""
        total, read = 0.0, 0.0
        before = BEGIN
        for number in (*ids, END):
            log_p, attention, state = self(torch.tensor([before]), state)
            total, read, before = total + float(log_p[0, number]), read + attention[0], number
        covered = sum(math.log(min(float(each), 1.0)) for each in read)
        return total / ((5 + len(ids) + 1) / 6) ** length_penalty + coverage_penalty * covered, total


@given(
    st.integers(3, 4),
    st.integers(0, 3),
    st.integers(0, 200),
    st.sampled_from([0.0, 0.6, 1.5]),
    st.sampled_from([0.0, 0.4]),
)
def test_a_wide_beam_finds_the_best_of_all_sequences(n_numbers, longest, seed, length_penalty, coverage_penalty):
    decoder = Decoder(n_numbers, 3, seed)
    first = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed + 1))
    options = {"length_penalty": length_penalty, "coverage_penalty": coverage_penalty}
    found = beam_search(
        decoder, first, n_rows=2, beam=n_numbers ** (longest + 1), longest=longest, begin=BEGIN, end=END, **options
    )
    for row, best in enumerate(found):
        every = [
            (*decoder.score(ids, first[row : row + 1], length_penalty, coverage_penalty), list(ids))
            for length in range(longest + 1)
            for ids in itertools.product(range(2, n_numbers), repeat=length)
        ]
        every.sort(reverse=True)
        assert best[0].ids == every[0][2]
        assert [each.score for each in best] == pytest.approx([score for score, _, _ in every], abs=1e-5)
        assert best[0].log_p == pytest.approx(every[0][1], abs=1e-5)
        assert best[0].attention.shape == (len(best[0].ids) + 1, 3)
        assert best[0].attention.sum(1) == pytest.approx(1)


@given(st.integers(3, 30), st.integers(0, 12), st.integers(0, 200))
def test_a_beam_of_one_is_greedy(n_numbers, longest, seed):
    decoder = Decoder(n_numbers, 2, seed)
    first = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed + 1))
    found = beam_search(
        decoder,
        first,
        n_rows=3,
        beam=1,
        longest=longest,
        begin=BEGIN,
        end=END,
        length_penalty=1.0,
        coverage_penalty=1.0,
    )
    for row, [best] in enumerate(found):
        ids, state, before = [], first[row : row + 1], BEGIN
        while len(ids) < longest:
            log_p, _, state = decoder(torch.tensor([before]), state)
            before = int(log_p.argmax())
            if before == END:
                break
            ids.append(before)
        assert best.ids == ids


@given(st.integers(1, 6), st.integers(0, 100))
def test_rows_are_searched_as_if_alone(beam, seed):
    decoder = Decoder(12, 4, seed)
    first = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed + 1))
    options = {"beam": beam, "longest": 8, "begin": BEGIN, "end": END, "length_penalty": 1.0}
    together = beam_search(decoder, first, n_rows=4, **options)
    for row, found in enumerate(together):
        [alone] = beam_search(decoder, first[row : row + 1], n_rows=1, **options)
        assert [each.ids for each in found] == [each.ids for each in alone]
        assert [each.score for each in found] == pytest.approx([each.score for each in alone], abs=1e-5)
        assert len(found) <= beam


def test_coverage_prefers_what_reads_all_places():
    """Two sequences, as likely; the second reads both places."""
    reads = torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])

    def step(ids, state):
        log_p = torch.full((len(ids), 4), -torch.inf)
        log_p[ids == BEGIN] = torch.tensor([-torch.inf, -torch.inf, math.log(0.51), math.log(0.49)])
        log_p[ids != BEGIN, END] = 0.0
        return log_p, torch.where((ids == 2).unsqueeze(1), reads[2], reads[3]) * (ids != BEGIN).unsqueeze(1), state

    found = [
        beam_search(step, torch.zeros(1, 1), n_rows=1, beam=2, longest=3, begin=BEGIN, end=END, coverage_penalty=each)
        for each in (0.0, 1.0)
    ]
    assert [rows[0][0].ids for rows in found] == [[2], [3]]
