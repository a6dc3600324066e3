"""Layers whose weights torch's parametrizations compute learn as torch's layers do, update by update."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import unrolled


class Squared(nn.Module):
    def forward(self, weight):
        return weight * weight


FORMS = {
    "spectral norm": parametrizations.spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": lambda layer, name: parametrize.register_parametrization(layer, name, Squared()),
    "spectral norm by hook": nn.utils.spectral_norm,
    "weight norm by hook": nn.utils.weight_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("names", [["weight_hh_l0"], ["weight_ih_l1", "weight_hh_l0"]])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_with_computed_weights_learns_as_torchs(kind, form, names):
    found = []
    for layer_kind in (getattr(nn, kind), getattr(unrolled, kind)):
        torch.manual_seed(0)
        layer = layer_kind(5, 5, num_layers=2, dtype=torch.float64)
        for name in names:
            FORMS[form](layer, name)
        torch.manual_seed(1)
        xs = torch.randn(4, 2, 5, dtype=torch.float64)
        optimizer, values = torch.optim.SGD(layer.parameters(), 0.1), []
        for _ in range(3):
            optimizer.zero_grad()
            ys = layer(xs)[0]
            ys.square().sum().backward()
            optimizer.step()
            values += [ys.detach(), *(weight.grad.clone() for weight in layer.parameters())]
        layer.eval()
        found.append([*values, layer(xs)[0].detach()])
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_layer_with_computed_weights_can_be_copied():
    layer = parametrizations.spectral_norm(unrolled.GRU(3, 5), "weight_hh_l0")
    xs = torch.randn(4, 2, 3)
    layer(xs)
    assert torch.equal(copy.deepcopy(layer.eval())(xs)[0], layer(xs)[0])
