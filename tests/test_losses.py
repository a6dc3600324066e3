"""Losses over all time steps or the last, with rows that end."""

import pytest
import torch
from torch.nn import functional as F

import unrolled


def test_over_all_steps_counts_each_step_once():
    ys, targets, lengths = torch.randn(5, 3, 4), torch.randint(0, 4, (5, 3)), torch.tensor([5, 2, 1])
    rows = [(t, b) for t in range(5) for b in range(3)]
    each = {(t, b): F.cross_entropy(ys[t, b : b + 1], targets[t, b : b + 1]) for t, b in rows}
    expected = torch.stack(list(each.values())).mean()
    torch.testing.assert_close(unrolled.sequence_loss(ys, targets, F.cross_entropy), expected)
    counted = torch.stack([value for (t, b), value in each.items() if t < lengths[b]]).mean()
    torch.testing.assert_close(unrolled.sequence_loss(ys, targets, F.cross_entropy, lengths=lengths), counted)


def test_over_the_last_step_takes_each_rows_last():
    ys, targets, lengths = torch.randn(5, 3, 4), torch.randn(3, 4), torch.tensor([5, 2, 1])
    last = unrolled.sequence_loss(ys, targets, F.mse_loss, over="last")
    torch.testing.assert_close(last, (ys[4] - targets).square().mean())
    own = torch.stack([ys[4, 0], ys[1, 1], ys[0, 2]])
    torch.testing.assert_close(
        unrolled.sequence_loss(ys, targets, F.mse_loss, over="last", lengths=lengths), (own - targets).square().mean()
    )


def test_another_word_is_told():
    with pytest.raises(unrolled.errors.SettingsError, match=r"^sequence_loss: over='first' is not known"):
        unrolled.sequence_loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), F.mse_loss, over="first")
