"""Each cell against torch's, or against a NumPy transcript of its paper."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import strategies
from tests.cells import table
from torch.utils import _pytree as pytree

import unrolled
from unrolled import cells
from unrolled.engine.step.declared import declared


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def arrays(cell):
    return {name: value.detach().numpy() for name, value in cell.named_parameters()}


def inputs():
    return strategies.make_inputs(1, 4, 8)[0]


def test_every_file_of_the_folder_is_a_cell():
    files = {path.stem for path in Path(cells.__file__).parent.glob("[!_]*.py")}
    assert set(cells.BY_NAME) == files
    assert all(getattr(cells, cell.__name__) is cell for cell in cells.BY_NAME.values())
    assert cells.BY_NAME["gru"] is cells.GRU


def test_the_laws_run_over_every_option():
    made = {file: list(strategies.variants(file)) for file in ("elman", "gru", "lstm", "simple_rnn")}
    assert made == {
        "elman": ["elman", "elman-relu", "elman-relu-no-bias"],
        "gru": ["gru", "gru-before", "gru-before-no-bias"],
        "lstm": ["lstm", "lstm-no-bias"],
        "simple_rnn": ["simple_rnn", "simple_rnn-tanh"],
    }
    assert {name.split("-")[0] for name in strategies.CELLS} == set(cells.BY_NAME)


def test_the_page_lists_the_folder():
    assert table.page() == table.PAGE.read_text(encoding="utf-8"), "run python -m tests.cells.table"


@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_a_cell_keeps_its_arguments_and_needs_no_capture(name):
    make = strategies.CELLS[name]
    cell = make()
    given = inspect.signature(make.func).bind(*make.args, **make.keywords)
    given.apply_defaults()
    kept = {argument: value for argument, value in given.arguments.items() if argument not in ("device", "dtype")}
    assert {argument: getattr(cell, argument) for argument in kept} == kept
    assert declared(cell) is not None
    for leaf in pytree.tree_leaves(cell.initial_state(2)):
        assert leaf.shape[0] == 2


@pytest.mark.parametrize(
    ("text", "found"), [("class A(nn.Module): ...\nclass B(nn.Module): ...", "['A', 'B']"), ("class A: ...", "['A']")]
)
def test_a_file_with_another_number_of_cells_is_told(text, found, tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text(f"from torch import nn\n{text}\n")
    monkeypatch.setattr(cells, "__path__", [str(tmp_path)])
    monkeypatch.setattr(cells, "odd", None, raising=False)  # an import sets it
    message = f"unrolled.cells.odd: expected one public class, a module; found {found}"
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        cells._cell_of("odd")
    sys.modules.pop("unrolled.cells.odd")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (cells.Elman(3, 5), torch.nn.RNNCell(3, 5)),
        (cells.Elman(3, 5, activation=torch.relu), torch.nn.RNNCell(3, 5, nonlinearity="relu")),
        (cells.Elman(3, 5, bias=False), torch.nn.RNNCell(3, 5, bias=False)),
        (cells.LSTM(3, 5), torch.nn.LSTMCell(3, 5)),
        (cells.LSTM(3, 5, bias=False), torch.nn.LSTMCell(3, 5, bias=False)),
        (cells.GRU(3, 5), torch.nn.GRUCell(3, 5)),
        (cells.GRU(3, 5, bias=False), torch.nn.GRUCell(3, 5, bias=False)),
    ],
)
def test_torch_weights_load_and_give_torch_results(ours, theirs):
    ours.double().load_state_dict(theirs.double().state_dict())
    x, state = inputs(), strategies.make_state(ours, 4, 9)
    output, new = ours(x, state)
    expected = theirs(x, state)
    torch.testing.assert_close(new, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output, expected[0] if isinstance(expected, tuple) else expected, rtol=1e-12, atol=1e-12)


def test_initialization_is_torchs():
    for ours, theirs in (
        (cells.LSTM, torch.nn.LSTMCell),
        (cells.GRU, torch.nn.GRUCell),
        (cells.Elman, torch.nn.RNNCell),
    ):
        torch.manual_seed(0)
        a = ours(3, 5).state_dict()
        torch.manual_seed(0)
        b = theirs(3, 5).state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_elman_takes_any_activation():
    cell = cells.Elman(3, 5, activation=torch.sin).double()
    w, x, h = arrays(cell), inputs().numpy(), strategies.make_state(cell, 4, 1).numpy()
    expected = np.sin(x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"])
    np.testing.assert_allclose(cell(inputs(), torch.from_numpy(h))[0].detach().numpy(), expected, rtol=1e-12)


def test_gru_with_reset_before_is_the_papers():
    cell = cells.GRU(3, 5, reset="before").double()
    w, x, h = arrays(cell), inputs().numpy(), strategies.make_state(cell, 4, 1).numpy()
    (w_r, w_z, w_n), (u_r, u_z, u_n) = np.split(w["weight_ih"], 3), np.split(w["weight_hh"], 3)
    (b_r, b_z, b_n), (d_r, d_z, d_n) = np.split(w["bias_ih"], 3), np.split(w["bias_hh"], 3)
    r, z = sigmoid(x @ w_r.T + b_r + h @ u_r.T + d_r), sigmoid(x @ w_z.T + b_z + h @ u_z.T + d_z)
    n = np.tanh(x @ w_n.T + b_n + (r * h) @ u_n.T + d_n)
    expected = (1 - z) * n + z * h
    np.testing.assert_allclose(cell(inputs(), torch.from_numpy(h))[0].detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", [None, torch.tanh])
def test_simple_rnn_is_the_listing(activation):
    rnn = cells.SimpleRNN(3, 5, 4, activation=activation).double()
    x, hidden = inputs(), strategies.make_state(rnn, 4, 2)
    output, new = rnn(x, hidden)
    combined = torch.cat((x, hidden), 1)
    linear = rnn.i2h(combined)
    assert torch.equal(new, linear if activation is None else torch.tanh(linear))
    assert torch.equal(output, rnn.softmax(rnn.i2o(combined)))
    assert isinstance(rnn.softmax, torch.nn.LogSoftmax)
    assert rnn.initHidden().shape == (1, 5)
    assert not rnn.initHidden().any()


def test_the_listings_state_is_linear_unless_told_otherwise():
    rnn = cells.SimpleRNN(3, 5, 4).double()
    x, a, b = inputs(), strategies.make_state(rnn, 4, 2), strategies.make_state(rnn, 4, 3)
    middle = rnn(x, (a + b) / 2)[1]
    torch.testing.assert_close(middle, (rnn(x, a)[1] + rnn(x, b)[1]) / 2, rtol=1e-12, atol=1e-12)


def test_an_unknown_reset_is_told():
    with pytest.raises(unrolled.errors.SettingsError, match=r"^GRU: reset='never' is not known. Expected 'after' or"):
        cells.GRU(3, 5, reset="never")
