"""What `explain` says: which way, what is where, operations, bytes, time."""

import re

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import unrolled
from unrolled.engine import explain
from unrolled.engine.backends import cpu


def test_it_says_what_became_of_a_step():
    cell = unrolled.cells.LSTM(3, 5)
    told = unrolled.explain(cell, torch.zeros(4, 2, 3), cell.initial_state(2), verbose=True)
    assert told.path == "fused"
    assert told.before == {"aten.addmm": 1}
    assert told.products == [(5, 20)]
    assert told.flops_per_step == 2 * 5 * 20 * 2
    # the input's products, two states in and out; the weight and its bias
    assert told.bytes_per_step == 4 * (2 * (20 + 2 * (5 + 5)) + 5 * 20 + 20)
    assert next(iter(told.stages)) == "traced"
    assert "fused: one compiled loop over time" in str(told)
    assert "a step: 400 floating operations of products, 800 bytes read or written" in str(told)


def test_it_says_why_a_step_runs_eagerly():
    told = unrolled.explain(lambda x, h: (h, h.sort(1)[0]), torch.zeros(4, 2, 3), torch.zeros(2, 5))
    text = str(told)
    assert text.startswith("eager: aten.sort is not among the operations that a fused loop can hold (")
    assert re.search(r'test_explain.py", line \d+: told = unrolled.explain\(lambda', text)


def test_bytes_are_of_the_loop_s_dtype_and_of_each_weight_once():
    weight, bias = torch.zeros(5, 5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)

    def step(x, h):
        h = torch.tanh(x + torch.tanh(h @ weight) @ weight + bias)
        return h * 2, h

    xs = torch.zeros(4, 3, 5, dtype=torch.float64)
    told = unrolled.explain(step, xs, xs[0])
    assert told.products == [(5, 5), (5, 5)]
    assert told.flops_per_step == 3 * 2 * 2 * 25
    assert told.bytes_per_step == 8 * (3 * (5 + 2 * 5) + 25 + 5)


@pytest.mark.parametrize("cell", [torch.nn.RNNCell(3, 5), torch.nn.GRUCell(3, 5), torch.nn.LSTMCell(3, 5)])
def test_it_takes_torch_s_cells_as_scan_does(cell):
    state = torch.zeros(2, 5)
    told = unrolled.explain(
        cell, torch.zeros(4, 2, 3), (state, state) if isinstance(cell, torch.nn.LSTMCell) else state
    )
    assert told.path == "fused"


def test_it_holds_its_arguments_to_scan_s_form():
    cell = unrolled.cells.GRU(3, 5)
    with pytest.raises(unrolled.errors.ShapeError, match="lengths holds 4 to 9; expected 0 to 4, the number of time"):
        unrolled.explain(cell, torch.zeros(4, 2, 3), cell.initial_state(2), lengths=torch.tensor([4, 9]))
    with pytest.raises(unrolled.errors.ShapeError, match="state holds a value of type NoneType; expected tensors"):
        unrolled.explain(cell, torch.zeros(4, 2, 3))


@pytest.mark.parametrize(
    ("options", "running"),
    [({}, 1.0), ({"lengths": torch.tensor([4, 2])}, 0.75), ({"resets": torch.zeros(4, 2, dtype=torch.bool)}, 1.0)],
)
def test_its_share_of_the_peak_is_of_all_products(monkeypatch, options, running):
    monkeypatch.setattr(cpu, "peak", lambda dtype: {torch.float32: 0.001}[dtype])  # 1000 operations a ms
    ran = []
    monkeypatch.setattr(explain, "_best", lambda call: (ran.append(call()), 8000.0)[1])
    cell = unrolled.cells.LSTM(3, 5)
    xs, state = torch.randn(4, 2, 3), cell.initial_state(2)
    told = unrolled.explain(cell, xs, state, timed=True, **options)
    ys, _ = unrolled.scan(cell, xs, state, **options)
    assert torch.equal(ran[0][0], ys)
    assert ran[0][0].requires_grad  # as gradients are enabled
    assert told.us_per_step == 2000.0
    of_a_step = 2 * (3 + 5) * 20 * 2  # before the loop and in it
    assert told.share_of_peak == pytest.approx(of_a_step * 4 * running / 8000)
    line = f"measured: forward, what is before and after the loop included, 2000.0 us a step, {told.share_of_peak:.0%}"
    assert line in str(told)


def test_counting_draws_no_numbers():
    def step(x, h):
        h = torch.nn.functional.dropout(torch.tanh(h @ weight + x), 0.5)
        return h, h

    weight, xs, h = torch.zeros(5, 5), torch.zeros(3, 2, 5), torch.zeros(2, 5)
    before = torch.get_rng_state()
    assert explain._products_of_a_step(step, xs, h) == 2 * 5 * 5 * 2
    assert torch.equal(torch.get_rng_state(), before)
    step(xs[0], h)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("layer", "shape", "told"),
    [
        (unrolled.GRU(3, 5), (4, 2, 3), "fused"),
        (unrolled.LSTM(3, 5, batch_first=True), (2, 4, 3), "fused"),
        (unrolled.LSTM(3, 600), (4, 8, 3), "torch: oneDNN's LSTM is the faster one in inference at this size"),
        (unrolled.RNN(3, 5, engine="eager"), (4, 3), "eager: engine='eager' was asked for"),
    ],
)
def test_it_says_which_way_a_layer_takes(layer, shape, told):
    with torch.no_grad():
        assert str(unrolled.explain(layer, torch.zeros(shape))).startswith(told)
    if told.startswith("torch"):
        assert unrolled.explain(layer, torch.zeros(shape)).path == "fused"


@pytest.mark.parametrize(
    ("input", "hx"),
    [
        (torch.zeros(4, 3), torch.zeros(1, 5)),
        (torch.zeros(2, 4, 3), torch.zeros(1, 2, 5)),
        (pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)]), torch.zeros(1, 2, 5)),
    ],
)
def test_it_takes_what_a_layer_takes(input, hx):
    layer = unrolled.GRU(3, 5, batch_first=True)
    rows = 1 if hx.dim() == 2 else 2
    assert unrolled.explain(layer, input, hx).saved_bytes == unrolled.explain(layer, input).saved_bytes
    assert unrolled.explain(layer, input, hx).flops_per_step == rows * 2 * 5 * 15
    layer(input, hx)
