"""`unrolled.checkup`: what is ill is found, what is healthy is let be, and the user's model stays as it was."""

import json

import pytest
import torch
from torch import nn

import unrolled
from tests.insight.nets_of_checkup import HEALTHY, ILL, LAYERS, Net
from unrolled.errors import ArgumentError, ProbeError, ShapeError

SEEDS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


def kinds(found):
    return [finding.kind for finding in found.verdict]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ILL)
def test_what_is_ill_is_found(kind, layer, seed):
    torch.manual_seed(seed)
    model, batch, loss = ILL[kind](layer)
    assert kind in kinds(unrolled.checkup(model, batch, loss=loss))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_net_is_not_called_ill(name, layer, seed):
    torch.manual_seed(seed)
    model, batch, loss = HEALTHY[name](layer)
    found = unrolled.checkup(model, batch, loss=loss)
    assert kinds(found) == []
    assert found.is_healthy
    assert str(found).startswith("Nothing found.\n\n")


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(8), nn.GRU(3, 4, dropout=0.5, num_layers=2))
    model[0].eval()
    model[1](torch.randn(8, 2, 3))[0].sum().backward()
    model[1].register_forward_hook(lambda *_: None)
    for weight in list(model[1].parameters())[:2]:
        weight.requires_grad_(False)
    batch = torch.randn(2, 8, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [None if weight.grad is None else weight.grad.clone() for weight in model.parameters()]
    asked = [weight.requires_grad for weight in model.parameters()]
    modes = [module.training for module in model.modules()]
    hooks = dict(model[1]._forward_hooks)
    given, draws = batch.clone(), torch.random.get_rng_state()
    unrolled.checkup(model, batch)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for gradient, weight in zip(gradients, model.parameters(), strict=True):
        assert weight.grad is None if gradient is None else torch.equal(gradient, weight.grad)
    assert asked == [weight.requires_grad for weight in model.parameters()]
    assert modes == [module.training for module in model.modules()]
    assert dict(model[1]._forward_hooks) == hooks
    assert type(model[1]) is nn.GRU
    assert torch.equal(batch, given)
    assert torch.equal(torch.random.get_rng_state(), draws)


def test_the_same_call_finds_the_same():
    model, batch, _ = ILL["vanishing"]("GRU")
    assert unrolled.checkup(model, batch).to_dict() == unrolled.checkup(model, batch).to_dict()


def test_figures_are_plain_data():
    model, batch, _ = ILL["vanishing"]("LSTM")
    found = unrolled.checkup(model, batch)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["verdict"][0]["kind"] == "vanishing"
    assert read["verdict"][0]["layer"] == "rnn, layer 1, forward"
    assert read["horizon"] == found.horizon
    assert read["layers"][0]["half_life"] == pytest.approx(found.half_life)


def test_pictures():
    pytest.importorskip("matplotlib")
    model, batch, _ = ILL["vanishing"]("LSTM")
    figure = unrolled.checkup(model, batch).plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title] == [
        "Where the gradient goes",
        "How long each unit remembers",
        "Lyapunov exponents",
        "Gates over the sequence",
    ]


def test_a_finding_is_a_sentence():
    torch.manual_seed(0)
    model, batch, _ = ILL["vanishing"]("Elman")
    finding = unrolled.checkup(model, batch).verdict[0]
    assert str(finding) == (
        "rnn, layer 1, forward: Gradients vanish: half-life 1.2 steps, your sequences are 100 long; nothing that lies "
        "more than 7 steps back is learned. Use an LSTM or GRU, or orthogonal weights; clipping does not help."
    )


@pytest.mark.parametrize(
    ("model", "batch", "loss", "kind", "text"),
    [
        (3, None, None, ArgumentError, "checkup: a model of type int. Expected a torch.nn.Module."),
        (
            nn.Linear(4, 4),
            torch.zeros(4, 2, 4),
            None,
            ShapeError,
            "checkup: no recurrent layer and no scan ran in the model. Give it a model with torch's or Unrolled's "
            "layers, or one that calls scan",
        ),
        (
            Net("GRU"),
            torch.zeros(4, 2, 4),
            lambda out: out,
            ArgumentError,
            "checkup: loss returned a tensor of shape [4, 2, 1]. Expected a tensor of one number.",
        ),
        (
            Net("GRU"),
            torch.zeros(4, 2, 4),
            lambda out: 1.0,
            ArgumentError,
            "checkup: loss returned a value of type float. Expected a tensor of one number.",
        ),
    ],
)
def test_what_it_cannot_take(model, batch, loss, kind, text):
    with pytest.raises(kind) as raised:
        unrolled.checkup(model, batch, loss=loss)
    assert str(raised.value) == text


def test_it_does_not_run_within_a_probe():
    model = Net("GRU")
    with (
        unrolled.probe(model),
        pytest.raises(ProbeError, match=r"^probe: another probe is on. Leave its `with` first.$"),
    ):
        unrolled.checkup(model, torch.zeros(4, 2, 4))
