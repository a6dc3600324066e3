"""`swap` and `unswap` there and back, and torch.nn's names exchanged for ours."""

import copy
import gc
import re
import subprocess
import sys
import weakref

import pytest
import torch

import unrolled
from tests.assertions import assert_equal

KINDS = ("RNN", "LSTM", "GRU")


class Model(torch.nn.Module):
    def __init__(self, package):
        super().__init__()
        self.encoder = package.LSTM(3, 5, 2, bidirectional=True, batch_first=True, dropout=0.5)
        self.parts = torch.nn.ModuleList([package.GRU(10, 5), package.RNN(5, 5, nonlinearity="relu")])
        self.again = self.parts[0]

    def forward(self, x):
        y, _ = self.encoder(x)
        return self.parts[1](self.parts[0](y)[0])[0] + self.again(y)[0]


def kinds(model):
    return [type(each) for each in (model.encoder, *model.parts, model.again)]


def test_unswap_is_the_way_back():
    model = Model(torch.nn).eval()
    before, twin, state = copy.deepcopy(model), model.encoder, model.state_dict()
    x = torch.randn(2, 4, 3)
    seen = []
    handle = model.parts[0].register_forward_hook(lambda module, _arguments, _result: seen.append(type(module)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    unrolled.swap(model)
    assert model.again is model.parts[0]
    model(x)
    report = unrolled.unswap(model)
    assert report.model is model
    assert report.replaced == {
        "encoder": "torch.nn.LSTM", "parts.0": "torch.nn.GRU", "parts.1": "torch.nn.RNN", "again": "torch.nn.GRU",
    }  # fmt: skip
    assert not report.kept
    assert kinds(model) == kinds(before)
    assert model.again is model.parts[0]
    assert not model.encoder.training
    assert "engine" not in vars(model.encoder)
    assert repr(model) == repr(before)
    assert_equal(dict(model.state_dict()), dict(state))
    assert_equal(model(x), before(x))
    assert seen == [unrolled.GRU, unrolled.GRU, torch.nn.GRU, torch.nn.GRU]
    handle.remove()
    model(x)
    assert len(seen) == 4
    for each in (model, before):
        each(x).square().sum().backward()
    optimizer.step()
    torch.optim.SGD(before.parameters(), 0.1).step()
    assert_equal(list(model.parameters()), list(before.parameters()))
    assert model.encoder.weight_ih_l0 is twin.weight_ih_l0
    assert not unrolled.unswap(model).replaced


@pytest.mark.parametrize("kind", KINDS)
def test_unswap_of_a_layer_itself_in_every_state(kind):
    layer = getattr(unrolled, kind)(3, 5, 2, dropout=0.5, engine="eager").double().train()
    report = unrolled.unswap(layer)
    assert str(report) == f"replaced (the model): torch.nn.{kind}"
    assert type(report.model) is getattr(torch.nn, kind)
    assert report.model.training
    gone, x = weakref.ref(layer), torch.randn(4, 2, 3, dtype=torch.float64)
    expected = getattr(torch.nn, kind)(3, 5, 2, dropout=0.5).double()
    expected.load_state_dict(report.model.state_dict())
    del layer
    gc.collect()
    assert gone() is None
    results = []
    for each in (report.model, expected):
        torch.manual_seed(0)
        results.append(each(x))
    assert_equal(*results)
    assert type(unrolled.swap(report.model).model) is getattr(unrolled, kind)


def test_what_cannot_be_another_object_is_kept_with_the_reason():
    class Odd(unrolled.LSTM):
        pass

    def model(package):
        parts = torch.nn.ModuleDict({name: package.GRU(3, 5) for name in ("normed", "wrapped", "compiled", "bound")})
        torch.nn.utils.parametrizations.weight_norm(parts["normed"], "weight_hh_l0")
        parts["wrapped"].forward = parts["wrapped"].forward
        parts["compiled"].compile()
        parts["bound"].register_load_state_dict_pre_hook(lambda *_: None)
        return parts

    ours = model(unrolled)
    ours["odd"] = Odd(3, 5)
    normed = "its parameters parametrizations.weight_hh_l0.original0, parametrizations.weight_hh_l0.original1 are parametrized; remove the parametrization, {}, and put it back"
    others = [
        "kept wrapped: its forward was exchanged on the object, and would go on calling the old layer",
        "kept compiled: it was compiled by its method compile(), which would go on calling the old layer",
        "kept bound: it has state_dict hooks that are bound to it; remove them, and put them back afterwards",
    ]
    odd = "kept odd: Odd is a subclass of Unrolled's layer and may compute something else"
    assert str(unrolled.unswap(ours)).splitlines() == ["kept normed: " + normed.format("unswap"), *others, odd]
    assert str(unrolled.swap(model(torch.nn))).splitlines() == ["kept normed: " + normed.format("swap"), *others]
    assert str(unrolled.unswap(torch.nn.GRUCell(1, 1))) == "no recurrent layer found"
    assert str(unrolled.unswap(torch.nn.GRU(1, 1))) == "no recurrent layer found"


@pytest.mark.parametrize("name", ["swap", "unswap"])
@pytest.mark.parametrize("value", ["x", None, torch.nn.LSTM, [torch.nn.LSTM(1, 1)]])
def test_what_is_no_module_is_refused(name, value):
    text = f"{name}: expected a torch.nn.Module, got {type(value).__name__}."
    with pytest.raises(unrolled.errors.ArgumentError, match=f"^{re.escape(text)}$") as caught:
        getattr(unrolled, name)(value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("place", ["torch.nn", "torch.nn.modules.rnn", "torch.nn.modules"])
def test_names_of_torch_are_exchanged_for_ours_and_put_back(place, monkeypatch):
    theirs = {kind: getattr(torch.nn, kind) for kind in KINDS}
    x = torch.randn(2, 4, 3)
    torch.manual_seed(3)
    expected = Model(torch.nn).eval()
    with monkeypatch.context() as patch:
        for kind in KINDS:
            patch.setattr(f"{place}.{kind}", getattr(unrolled, kind))
        patched = sys.modules[place]
        torch.manual_seed(3)
        model = Model(patched).eval()
        assert kinds(model) == [unrolled.LSTM, unrolled.GRU, unrolled.RNN, unrolled.GRU]
        results = []
        for each in (model, expected):
            y = each(x)
            y.square().sum().backward()
            results.append([y.detach(), *(parameter.grad for parameter in each.parameters())])
        torch.testing.assert_close(*results)
        assert isinstance(patched.LSTM(3, 5), theirs["LSTM"])
        assert type(unrolled.swap(theirs["GRU"](3, 5)).model) is unrolled.GRU
        assert type(unrolled.unswap(model).model.encoder) is theirs["LSTM"]
        assert_equal(model(x), expected(x))
        assert type(copy.deepcopy(patched.GRU(3, 5))) is unrolled.GRU
    assert type(torch.nn.LSTM(3, 5)) is theirs["LSTM"]


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_of_torch_are_known_while_their_names_are_exchanged(kind, monkeypatch):
    cell, xs = getattr(torch.nn, kind)(3, 5), torch.randn(4, 2, 3)
    state = (torch.zeros(2, 5),) * 2 if kind == "LSTMCell" else torch.zeros(2, 5)
    expected = unrolled.scan(cell, xs, state, engine="eager")
    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        monkeypatch.setattr(f"torch.nn.{name}", unrolled.cells.GRU)
    assert_equal(unrolled.scan(cell, xs, state, engine="eager"), expected)


def test_names_of_torch_exchanged_in_another_process_before_a_model_is_imported():
    program = (
        "from torch.nn import LSTM\n"
        "import torch, unrolled\n"
        "torch.nn.LSTM = unrolled.LSTM; torch.nn.GRU = unrolled.GRU; torch.nn.RNN = unrolled.RNN\n"
        "torch.nn.modules.rnn.LSTM = unrolled.LSTM\n"
        "torch.manual_seed(0); a = torch.nn.LSTM(3, 5, 2)\n"
        "torch.manual_seed(0); b = LSTM(3, 5, 2)\n"
        "x = torch.randn(4, 2, 3)\n"
        "torch.testing.assert_close(a(x), b(x))\n"
        "print(type(a).__module__, type(b).__module__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "unrolled.nn.torch_layers torch.nn.modules.rnn\n", done.stderr
