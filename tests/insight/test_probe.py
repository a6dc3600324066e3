"""`unrolled.probe`: what it finds is what autograd finds in a plain loop; what runs within is as it was."""

import math

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import unrolled
from tests.assertions import assert_as_exact_as, assert_equal
from tests.insight.probed_scans import (
    LENGTHS,
    OPTIONS,
    ROWS,
    TIME,
    Net,
    batch_for,
    loss_of,
    plain_loop,
    probed,
    trained,
)  # fmt: skip
from tests.strategies import CELLS, make_cell


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", CELLS)
def test_norms_are_those_of_autograd_in_a_plain_loop(name, options):
    found = {}
    for path, dtype in (
        ("fused", torch.float32),
        ("eager", torch.float32),
        ("loop", torch.float32),
        ("exact", torch.float64),
    ):
        cell = make_cell(name, 1, torch.float64).to(dtype)
        xs, state = batch_for(cell, dtype)
        if path in ("fused", "eager"):
            scan = probed(cell, xs, state, engine=path, **OPTIONS[options])
            assert scan.path == path
            found[path] = [*scan.states.values()], [*scan.gradients.values()]
        else:
            found[path] = plain_loop(cell, xs, state, **OPTIONS[options])
    for path in ("fused", "eager"):
        assert_as_exact_as(found[path], found["loop"], found["exact"])


W = torch.randn(5, 5, generator=torch.Generator().manual_seed(2)) / 2


def reads_its_state(x, h):
    h = torch.tanh(x.sum(-1, keepdim=True) + h @ W)
    return torch.sin(h) * h, h


def keeps_a_state(x, state):
    h, same = state
    h = torch.tanh(h @ W + same + x.sum(-1, keepdim=True))
    return h * same, (h, same)


def returns_one_tensor_twice(x, state):
    h = torch.tanh(state[0] @ W - state[1] + x[:, :1])
    return h, (h, h)


def is_linear(x, h):
    h = h @ W + x[:, :1] * 0.1
    return h, h


def counts(x, state):
    h, n = state
    return h * 2, (torch.tanh(h @ W + x[:, :1] + n.to(h.dtype) * 0.01), n + 1)


def splits_what_it_made(x, state):
    z = torch.tanh(torch.cat([state["a"], state["b"]], 1) @ W + x[:, :1])
    a, b = z.split([2, 3], 1)
    return z, {"a": a, "b": b}


def first_states(step, dtype):
    h = torch.linspace(-1, 1, ROWS * 5, dtype=torch.float64).view(ROWS, 5).to(dtype)
    leaf = lambda value: value.clone().requires_grad_()
    if step in (keeps_a_state, returns_one_tensor_twice):
        return leaf(h), leaf(h * 0.5)
    if step is counts:
        return leaf(h), torch.zeros(ROWS, 1, dtype=torch.int64)
    if step is splits_what_it_made:
        return {"a": leaf(h[:, :2]), "b": leaf(h[:, 2:])}
    return leaf(h)


STEPS = [reads_its_state, keeps_a_state, returns_one_tensor_twice, is_linear, counts, splits_what_it_made]


@pytest.mark.parametrize("options", ["plain", "lengths-reverse", "resets"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_norms_of_a_step_of_the_users(step, options, monkeypatch):
    found = {}
    paths = ("eager",) if step is counts else ("fused", "eager")  # a loop has no integers as its state
    for path, dtype in (*((path, torch.float32) for path in paths), ("loop", torch.float32), ("exact", torch.float64)):
        monkeypatch.setitem(globals(), "W", W.to(dtype))
        xs = torch.randn(TIME, ROWS, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
        state = first_states(step, dtype)
        if path in ("fused", "eager"):
            scan = probed(step, xs, state, engine=path, **OPTIONS[options])
            found[path] = [each.double() for each in scan.states.values()], [*scan.gradients.values()]
        else:
            norms, gradients = plain_loop(step, xs, state, **OPTIONS[options])
            found[path] = [each.double() for each in norms], gradients
    for path in paths:
        assert_as_exact_as(found[path][1], found["loop"][1], found["exact"][1])
        torch.testing.assert_close(found[path][0], found["loop"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ["fused", "eager"])
@pytest.mark.parametrize("options", ["plain", "lengths", "lengths-reverse"])
@pytest.mark.parametrize("name", [name for name in CELLS if "before" not in name])
def test_terms_are_the_gradients_of_a_weight_of_its_own_at_each_step(name, options, engine):
    cell = make_cell(name, 1)
    xs, state = batch_for(cell, torch.float64)
    scan = probed(cell, xs, state, engine=engine, **OPTIONS[options])
    own = [{n: p.detach().clone().requires_grad_() for n, p in cell.named_parameters()} for _ in range(TIME)]
    times = iter(reversed(range(TIME)) if "reverse" in options else range(TIME))

    def step(x, state):
        return torch.func.functional_call(cell, own[next(times)], (x, state))

    loss_of(*unrolled.scan(step, xs, state, engine="eager", **OPTIONS[options])).backward()
    wanted = {n: torch.stack([each[n].grad.norm() for each in own]) for n, p in cell.named_parameters() if p.dim() == 2}
    assert scan.terms.keys() == wanted.keys()
    for weight, norms in scan.terms.items():
        torch.testing.assert_close(norms, wanted[weight], rtol=1e-6, atol=1e-7)


def test_terms_are_the_same_by_gram_matrices_and_by_products():
    from unrolled.insight.measures import norms_of_terms

    generator = torch.Generator().manual_seed(1)
    for n_rows in (2, 60):  # fewer and more rows than a weight has
        g, z = (torch.randn(5, n_rows, width, generator=generator, dtype=torch.float64) for width in (7, 9))
        torch.testing.assert_close(
            *norms_of_terms(g, [z]), torch.stack([(a.T @ b).norm() for a, b in zip(g, z, strict=True)])
        )


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_results_and_gradients_are_those_without_a_probe(engine):
    torch.manual_seed(0)
    net, xs = Net(engine), torch.randn(7, 4, 3)
    _, *without = trained(net, xs, is_probed=False)
    without = [each.clone() for each in pytree.tree_leaves(without)]
    _, *within = trained(net, xs, is_probed=True)
    within = [each.clone() for each in pytree.tree_leaves(within)]
    exact = trained(net.double(), xs.double(), is_probed=False)[1:]
    assert_as_exact_as(within, without, pytree.tree_leaves(exact))


def test_fused_and_eager_runs_have_the_same_record():
    torch.manual_seed(0)
    net, xs = Net(), torch.randn(7, 4, 3)
    records = {}
    for engine in ("fused", "eager"):
        net.rnn.engine = net.top.engine = engine
        records[engine] = trained(net, xs, is_probed=True)[0].to_frame()
    places = ["module", "layer", "direction", "call", "quantity", "name", "step"]
    one, other = (each.sort_values(places).reset_index(drop=True) for each in records.values())
    assert one[places].equals(other[places])
    assert set(one["quantity"]) == {"state", "gradient", "term", "gate", "saturated", "dead"}
    torch.testing.assert_close(*(torch.tensor(each["value"].to_numpy()) for each in (one, other)), rtol=1e-5, atol=1e-7)


CELLS_OF_TORCH = {
    "LSTMCell": (nn.LSTMCell, {"f", "i", "g", "o", "tanh(c)"}),
    "GRUCell": (nn.GRUCell, {"r", "z", "n"}),
    "RNNCell": (nn.RNNCell, {"tanh"}),
}


@pytest.mark.parametrize("name", CELLS_OF_TORCH)
def test_cells_of_torch_have_gates_and_terms_either_way(name):
    kind, gates = CELLS_OF_TORCH[name]
    torch.manual_seed(0)
    cell, xs = kind(3, 5), torch.randn(TIME, ROWS, 3)
    zeros = torch.zeros(ROWS, 5)
    one, other = (probed(cell, xs, (zeros, zeros) if gates >= {"o"} else zeros, engine=e) for e in ("fused", "eager"))
    assert set(one.gates) == gates
    for each in gates:
        torch.testing.assert_close(one.gates[each].mean, other.gates[each].mean)
    assert list(one.terms) == list(other.terms) == ["weight_hh", "weight_ih"]
    for found in (one.terms, one.gradients):
        torch.testing.assert_close(found, other.terms if found is one.terms else other.gradients, rtol=1e-5, atol=1e-6)


class Matrices(nn.Module):
    """A state that is a matrix for each row, read by a product of torch's operator."""

    def __init__(self):
        super().__init__()
        self.out, self.keys = nn.Parameter(torch.randn(3, 3) / 2), nn.Linear(3, 3)

    def forward(self, x, memory):
        key = torch.sigmoid(self.keys(x))
        memory = 0.9 * memory + key.unsqueeze(2) * x.unsqueeze(1)
        return (memory @ x.unsqueeze(2)).squeeze(2) @ self.out, memory


def test_matrices_as_states_have_norms_and_terms_either_way():
    torch.manual_seed(0)
    cell, xs = Matrices(), torch.randn(TIME, ROWS, 3)
    first = torch.zeros(ROWS, 3, 3)
    one, other = (probed(cell, xs, first, engine=e, lengths=LENGTHS) for e in ("fused", "eager"))
    assert list(one.terms) == ["keys.weight", "out"]
    for quantity in ("states", "gradients", "terms"):
        torch.testing.assert_close(getattr(one, quantity), getattr(other, quantity), rtol=1e-5, atol=1e-6)


def test_a_step_that_does_not_fuse_is_seen_with_its_warning():
    def step(x, h):
        h = torch.tanh(h + x * float(x.detach().abs().max()))
        return h, h

    with unrolled.probe(nn.Identity()) as record, pytest.warns(unrolled.errors.NotFusedWarning, match="runs eagerly"):
        loss_of(*unrolled.scan(step, torch.ones(TIME, ROWS, 3), torch.zeros(ROWS, 3, requires_grad=True))).backward()
    [scan] = record.scans
    assert (scan.path, scan.gradients["h"].shape) == ("eager", (TIME, ROWS))


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_a_second_backward_takes_the_place_of_the_first(engine):
    layer = unrolled.GRU(3, 5, engine=engine)
    with unrolled.probe(layer) as record:
        total = layer(torch.ones(4, 2, 3))[0].sum()
        total.backward(retain_graph=True)
        first = record.scans[0].gradients["h"].clone()
        (3 * total).backward()
    torch.testing.assert_close(record.scans[0].gradients["h"], 3 * first)


def test_recompute_is_looked_into_as_one_scan():
    cell = make_cell("gru", 1)
    xs, state = batch_for(cell, torch.float64)
    one, other = probed(cell, xs, state), probed(cell, xs, state, recompute=True)
    assert_equal((one.gradients, one.terms), (other.gradients, other.terms))


def test_layers_and_directions_have_their_names():
    record, *_ = trained(Net(), torch.randn(7, 4, 3), is_probed=True)
    assert [(each.module, each.layer, each.direction, each.call) for each in record.scans] == [
        ("rnn", 1, "forward", 0),
        ("rnn", 1, "backward", 0),
        ("rnn", 2, "forward", 0),
        ("rnn", 2, "backward", 0),
        ("top", 1, "forward", 0),
    ]
    assert list(record.scans[3].terms) == ["rnn.weight_hh_l1_reverse", "rnn.weight_ih_l1_reverse"]
    assert list(record.scans[0].gates) == ["f", "i", "g", "o", "tanh(c)"]
    assert list(record.scans[0].gradients) == ["h", "c"]


def test_calls_in_a_loop_are_told_apart():
    layer = unrolled.GRU(3, 5)
    with unrolled.probe(layer) as record:
        for scale in (1, 100):
            (scale * layer(torch.ones(4, 2, 3))[0]).sum().backward()
    assert [each.call for each in record.scans] == [0, 1]
    one, other = (each.gradients["h"] for each in record.scans)
    torch.testing.assert_close(100 * one, other)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_packed_rows_do_not_count_beyond_their_lengths(engine):
    torch.manual_seed(0)
    layer, xs = unrolled.LSTM(3, 5, engine=engine), torch.randn(TIME, ROWS, 3)
    packed = nn.utils.rnn.pack_padded_sequence(xs, LENGTHS, enforce_sorted=False)
    with unrolled.probe(layer) as record:
        layer(packed)[0].data.sum().backward()
    [scan] = record.scans
    for row, length in enumerate(LENGTHS.tolist()):
        with unrolled.probe(layer) as alone:
            layer(xs[:length, row : row + 1])[0].sum().backward()
        for name, norms in alone.scans[0].gradients.items():
            torch.testing.assert_close(scan.gradients[name][:length, row], norms[:, 0])
            assert (scan.gradients[name][length:, row] == 0).all()


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_what_padding_holds_is_of_no_effect(engine):
    cell = make_cell("gru", 1)
    xs, state = batch_for(cell, torch.float64)
    clean = probed(cell, xs, state, engine=engine, lengths=LENGTHS)
    ended = torch.arange(TIME).unsqueeze(1) >= LENGTHS
    noisy = probed(cell, xs.masked_fill(ended.unsqueeze(2), math.nan), state, engine=engine, lengths=LENGTHS)
    assert_equal((clean.states, clean.gradients, clean.terms), (noisy.states, noisy.gradients, noisy.terms))
    for name, gate in clean.gates.items():
        assert_equal((gate.mean, gate.saturated), (noisy.gates[name].mean, noisy.gates[name].saturated))


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_gates_are_counted_over_the_rows_that_run(engine):
    cell = make_cell("gru", 1)
    with torch.no_grad():
        cell.bias_ih[5:7] = 50  # two of five units always hold
    xs, state = batch_for(cell, torch.float64)
    scan = probed(cell, xs, state, engine=engine, lengths=LENGTHS)
    values = []
    hidden = state
    for x in xs:
        gates = nn.functional.linear(x, cell.weight_ih, cell.bias_ih) + nn.functional.linear(
            hidden, cell.weight_hh, cell.bias_hh
        )
        values.append(torch.sigmoid(gates[:, 5:10]))
        hidden = cell(x, hidden)[0]
    for t, z in enumerate(values):
        z = z[t < LENGTHS]
        torch.testing.assert_close(scan.gates["z"].mean[t], z.mean())
        torch.testing.assert_close(scan.gates["z"].saturated[t], ((z - 0.5).abs() > 0.45).double().mean())
    assert scan.gates["z"].dead == pytest.approx(0.4)
    assert scan.gates["z"].function == "sigmoid"
