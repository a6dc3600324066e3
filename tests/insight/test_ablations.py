"""Cutting off the past in variable-length batches, compared with a plain loop over steps and rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import unrolled
from unrolled.insight.ablations import TruncatedContext
from unrolled.insight.chains import chains_of
from unrolled.insight.past import _ContextAblation, past_of
from unrolled.insight.probe import probe_keeping
from unrolled.insight.subject import Subject


class Decay(nn.Module):
    """Its state is an exponentially decaying sum of the inputs, so each step's share is known."""

    def __init__(self, *, reverse):
        super().__init__()
        self.reverse = reverse

    def forward(self, xs, lengths):
        def step(x, h):
            h = h * 0.5 + x
            return h, h

        return unrolled.scan(step, xs, torch.zeros(xs.shape[1], 1), lengths=lengths, reverse=self.reverse)[0]


def plainly(xs, lengths, context, *, reverse):
    """A row continues from the state of the row before it where the number of its remaining steps is a multiple of the context."""
    n_steps, n_rows = xs.shape[:2]
    state, ys = torch.zeros(n_rows, 1), torch.zeros(n_steps, n_rows, 1)
    for t in range(n_steps)[:: -1 if reverse else 1]:
        old = state.clone()
        for row in range(n_rows):
            if t >= lengths[row]:
                continue
            left, done = lengths[row] - t, t
            if reverse:
                left, done = t + 1, lengths[row] - 1 - t
            before = old[row]
            if done and left % context == 0:
                before = old[row - 1] if n_rows > 1 else torch.zeros(1)
            state[row] = before * 0.5 + xs[t, row]
            ys[t, row] = state[row]
    return ys


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_each_row_is_cut_as_counted_from_its_own_end(lengths, context, reverse, seed):
    xs = torch.randn(max(lengths), len(lengths), 1, generator=torch.Generator().manual_seed(seed))
    model, given_lengths = Decay(reverse=reverse), torch.tensor(lengths)
    with torch.no_grad(), TruncatedContext(context, {0: torch.zeros(len(lengths), dtype=torch.int64)}, {0}).on():
        found = model(xs, given_lengths)
    torch.testing.assert_close(found, plainly(xs, lengths, context, reverse=reverse))


def test_segments_count_the_steps_that_later_ones_have():
    torch.manual_seed(0)
    layer, xs = unrolled.GRU(2, 5), torch.randn(11, 3, 2)

    def run():
        first, state = layer(xs[:4])
        second, state = layer(xs[4:9], state)
        return torch.cat((first, second, layer(xs[9:], state)[0]))

    whole = TruncatedContext(3, {0: torch.zeros(3, dtype=torch.int64)}, {0})
    with torch.no_grad(), whole.on():
        wanted = layer(xs)[0]
    with probe_keeping(layer) as (_, kept):
        run()
    [chain] = chains_of(kept)
    after = {number: torch.full((3,), rest) for number, rest in zip(chain.numbers, (7, 2, 0), strict=True)}
    with torch.no_grad(), TruncatedContext(3, after, {0}).on():
        torch.testing.assert_close(run(), wanted)


@pytest.mark.parametrize("n_padding", [0, 5])
def test_padding_changes_nothing_of_what_the_past_is_worth(n_padding):
    """Rows that are all shorter than the padded batch have the horizon that they have without padding."""
    torch.manual_seed(0)
    xs, lengths = torch.randn(12, 6, 1), torch.full((6,), 12)
    loss = lambda ys: (ys[11] - 0.5 * xs[10] - xs[11]).square().mean()
    found = []
    for batch in (xs, torch.cat((xs, torch.zeros(n_padding, 6, 1)))):
        subject = Subject(Decay(reverse=False), (batch, lengths), loss)
        past = past_of(subject, subject.run().chains)
        assert past is not None
        found.append(past)
    assert found[1].horizon == found[0].horizon
    without, padded = (dict(zip(past.contexts, past.losses, strict=True)) for past in found)
    short = [context for context in without.keys() & padded.keys() if context < 12]
    assert len(short) >= 3
    assert [padded[context] for context in short] == pytest.approx([without[context] for context in short])


def test_steps_at_which_a_row_knows_a_context_are_its_own():
    xs, lengths = torch.randn(6, 3, 1), torch.tensor([6, 4, 1])
    subject = Subject(Decay(reverse=False), (xs, lengths), lambda ys: ys.square().mean())
    judge = _ContextAblation(subject, subject.run().chains)
    chosen = subject.layout.every(judge._output, 2)[:, :, 0]
    wanted = torch.tensor([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    assert torch.equal(chosen, wanted)
