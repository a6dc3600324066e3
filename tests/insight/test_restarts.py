"""Windows that each begin from zero: ill where the past before them counts, healthy where it does not."""

import pytest
import torch
from benchmarks.checkup_nets import LAYERS
from torch import nn

import unrolled
from unrolled.insight.restarts import restarts_of
from unrolled.insight.subject import Subject

WINDOW = 10


class Windowed(nn.Module):
    """A layer that forgets all at the begin of each window."""

    def __init__(self, layer, *, is_carried=False):
        super().__init__()
        self.layer, self.out, self.is_carried = LAYERS[layer](1, 16), nn.Linear(16, 1), is_carried

    def forward(self, xs):
        found, state = [], None
        for part in xs.split(WINDOW):
            ys, last = self.layer(part, state)
            found.append(self.out(ys))
            state = last if self.is_carried else None
        return torch.cat(found)


def fading(n_steps, *, reset):
    """A sum of the inputs that fades by a twentieth at each step; with `reset` of the window's own alone."""
    xs = torch.randn(n_steps, 32, 1)
    sums, now = [], torch.zeros(32, 1)
    for t, x in enumerate(xs):
        now = now * 0 if reset and t % WINDOW == 0 else now
        now = 0.95 * now + 0.3 * x
        sums.append(now)
    return xs, torch.stack(sums)


def trained(model, *, reset, updates=150):
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(updates):
        xs, sums = fading(4 * WINDOW, reset=reset)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(xs), sums).backward()
        optimizer.step()
    xs, sums = fading(4 * WINDOW, reset=reset)
    return xs, lambda found: nn.functional.mse_loss(found, sums)


def of_restarts(found):
    return [each for each in found.verdict if "windows of" in each.evidence]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layer", LAYERS)
def test_windows_that_lose_what_they_need_are_found(layer, seed):
    torch.manual_seed(seed)
    model = Windowed(layer)
    xs, loss = trained(model, reset=False)
    found = unrolled.checkup(model, xs, loss=loss)
    [finding] = of_restarts(found)
    assert finding.kind == "truncation too short"
    assert finding.layer == "layer, layer 1, forward"
    # what is said is so: the same weights with the state carried have that loss
    model.is_carried = True
    with torch.no_grad():
        carried = loss(model(xs)).item()
    assert finding.evidence == (
        f"4 windows of 10 steps begin from the same state. With the state carried from one to the next the loss is "
        f"{carried:.4g} in place of {found.loss:.4g}."
    )
    assert carried < 0.9 * found.loss


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layer", LAYERS)
def test_windows_that_have_nothing_to_do_with_each_other_are_let_be(layer, seed):
    torch.manual_seed(seed)
    model = Windowed(layer)
    xs, loss = trained(model, reset=True)
    assert of_restarts(unrolled.checkup(model, xs, loss=loss)) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_carried_windows_and_untrained_nets_are_no_restarts(layer):
    torch.manual_seed(0)
    xs, sums = fading(4 * WINDOW, reset=False)
    loss = lambda found: nn.functional.mse_loss(found, sums)
    assert of_restarts(unrolled.checkup(Windowed(layer), xs, loss=loss)) == []
    subject = Subject(Windowed(layer, is_carried=True), xs, loss)
    assert restarts_of(subject, subject.run().chains, 1.0) is None
    subject = Subject(Windowed(layer), xs, None)
    assert restarts_of(subject, subject.run().chains, 1.0) is None
