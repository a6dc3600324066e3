"""`Recurrent` against torch.nn's layers, with torch's cells and with cells of one's own."""

import copy
import pickle
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.assertions import assert_as_exact_as, assert_equal, to_dtype, values_and_gradients
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree as pytree

import unrolled
from unrolled import cells
from unrolled.errors import ArgumentError, NotFusedError, SettingsError, ShapeError, StepError

KINDS = {"RNN": cells.Elman, "LSTM": cells.LSTM, "GRU": cells.GRU}
TORCHS_CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


class Leaky(nn.Module):
    """A cell of one's own, with a setting, and a state of two leaves that is no pair."""

    def __init__(self, input_size, hidden_size, rate=0.5):
        super().__init__()
        self.input_size, self.hidden_size, self.rate = input_size, hidden_size, rate
        self.mix = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        h = self.rate * state["h"] + torch.tanh(self.mix(torch.cat((x, state["h"]), 1)))
        return h, {"h": h, "sum": state["sum"] + h.sum(1, keepdim=True)}

    def initial_state(self, batch_size):
        zeros = self.mix.weight.new_zeros
        return {"h": zeros(batch_size, self.hidden_size), "sum": zeros(batch_size, 1)}


def with_weights_of(layer, other):
    """Both have their parameters in the same order: layer by layer, direction by direction."""
    with torch.no_grad():
        for ours, theirs in zip(layer.parameters(), other.parameters(), strict=True):
            ours.copy_(theirs)
    return layer


options = st.fixed_dictionaries({"layers": st.integers(1, 3), "bidirectional": st.booleans(), "bias": st.booleans()})


@pytest.mark.parametrize("engine", ["fused", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@given(options, st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans(), st.booleans())
@settings(max_examples=15)
def test_values_and_gradients_are_torchs(kind, engine, given_, lengths, with_state, with_lengths):
    n_layers, bias, bidirectional = given_["layers"], given_["bias"], given_["bidirectional"]
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(3, 5, n_layers, bias=bias, bidirectional=bidirectional)
    cell = KINDS[kind](3, 5, bias=bias)
    ours = unrolled.Recurrent(cell, layers=n_layers, bidirectional=bidirectional, engine=engine)
    with_weights_of(ours, theirs)
    oracle = copy.deepcopy(theirs).double()
    n_rows, n_cells = len(lengths), n_layers * (1 + bidirectional)
    lengths = torch.tensor(lengths) if with_lengths else None
    state = pytree.tree_map(torch.randn_like, ours.initial_state(n_rows))
    assert pytree.tree_leaves(state)[0].shape == (n_cells, n_rows, 5)

    def run(layer):
        if lengths is None or layer is ours:
            return lambda args: layer(*args, **({} if lengths is None else {"lengths": lengths}))

        def packed(args):
            output, last = layer(pack_padded_sequence(args[0], lengths, enforce_sorted=False), *args[1:])
            return pad_packed_sequence(output, total_length=6)[0], last

        return packed

    # several: the error of a tensor of few numbers is a matter of luck in one draw
    shown = (torch.randn(6, n_rows, 3), state) if with_state else (torch.randn(6, n_rows, 3),)
    draws = [shown, *(pytree.tree_map(torch.randn_like, shown) for _ in range(3))]
    results = [
        [values_and_gradients(run(layer), to_dtype(draw, dtype), list(layer.parameters())) for draw in draws]
        for layer, dtype in ((ours, torch.float32), (theirs, torch.float32), (oracle, torch.float64))
    ]
    assert_as_exact_as(*([torch.stack(leaves) for leaves in zip(*each, strict=True)] for each in results))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_torchs_weights_and_the_layers_of_torchs_name_the_same_bits(kind):
    torch.manual_seed(3)
    theirs = getattr(unrolled, kind)(3, 5, 2, bidirectional=True, engine="fused")
    torch.manual_seed(3)
    ours = unrolled.Recurrent(KINDS[kind](3, 5), layers=2, bidirectional=True, engine="fused")
    assert_equal(list(ours.parameters()), list(theirs.parameters()))
    xs = torch.randn(6, 4, 3)
    assert_equal(ours(xs), theirs(xs))


@pytest.mark.parametrize("name", sorted(cells.BY_NAME))
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_cell_of_the_folder_makes_layers_that_run_fused(name, bidirectional):
    needed = [5, 5, 5] if name == "simple_rnn" else [5, 5]
    layer = unrolled.Recurrent(cells.BY_NAME[name](*needed), layers=2, bidirectional=bidirectional, engine="fused")
    xs = torch.randn(6, 4, 5)
    assert unrolled.explain(layer, xs).path == "fused"
    fused = layer(xs, lengths=torch.tensor([6, 0, 3, 1]))
    layer.engine = "eager"
    torch.testing.assert_close(layer(xs, lengths=torch.tensor([6, 0, 3, 1])), fused)
    assert fused[0].shape == (6, 4, 10 if bidirectional else 5)


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_cells(kind):
    theirs = getattr(nn, kind)(3, 5, 2, bidirectional=True, bias=False)
    ours = unrolled.Recurrent(TORCHS_CELLS[kind](3, 5, bias=False), layers=2, bidirectional=True, engine="fused")
    with_weights_of(ours, theirs)
    assert all(type(cell) is TORCHS_CELLS[kind] for cell in ours.cells)
    xs = torch.randn(6, 4, 3)
    torch.testing.assert_close(ours(xs), theirs(xs))
    state = pytree.tree_map(torch.randn_like, ours.initial_state(4))
    torch.testing.assert_close(ours(xs, state), theirs(xs, state))
    assert unrolled.explain(ours, xs).path == "fused"


def test_settings_of_a_torch_cell_are_kept():
    ours = unrolled.Recurrent(nn.RNNCell(3, 5, nonlinearity="relu"), layers=2)
    assert [cell.nonlinearity for cell in ours.cells] == ["relu", "relu"]


def test_a_cell_of_ones_own():
    layer = unrolled.Recurrent(Leaky(3, 5, rate=0.25), layers=2, bidirectional=True, engine="fused")
    assert [(cell.mix.in_features, cell.rate) for cell in layer.cells] == [(8, 0.25), (8, 0.25), (15, 0.25), (15, 0.25)]
    xs, lengths = torch.randn(6, 4, 3), torch.tensor([6, 2, 0, 5])
    output, state = layer(xs, lengths=lengths)
    assert {name: leaf.shape for name, leaf in state.items()} == {"h": (4, 4, 5), "sum": (4, 4, 1)}
    firsts, of_layers = xs, []
    for i in (0, 2):  # by hand, as scans
        ways = [
            unrolled.scan(cell, firsts, cell.initial_state(4), lengths=lengths, reverse=reverse, engine="eager")
            for cell, reverse in zip(layer.cells[i : i + 2], (False, True), strict=True)
        ]
        firsts = torch.cat([ys for ys, _ in ways], 2)
        of_layers += [last for _, last in ways]
    torch.testing.assert_close(output, firsts)
    torch.testing.assert_close(state, pytree.tree_map(lambda *leaves: torch.stack(leaves), *of_layers))
    later = layer(xs, state)[1]
    assert later["sum"].shape == (4, 4, 1)


def test_further_cells_have_dtype_device_and_mode_of_the_first():
    layer = unrolled.Recurrent(Leaky(3, 5).double().eval(), layers=2)
    assert layer.cells[1].mix.weight.dtype == torch.float64
    assert not layer.cells[1].training
    with torch.device("meta"):
        cell = Leaky(3, 5)
    assert unrolled.Recurrent(cell, layers=2).cells[1].mix.weight.is_meta
    assert unrolled.Recurrent(cells.GRU(3, 5, device="meta"), layers=2).cells[1].weight_hh.is_meta


def test_a_list_of_cells():
    of_both = [cells.GRU(3, 5), cells.GRU(3, 5, reset="before"), cells.GRU(10, 5), nn.GRUCell(10, 5)]
    layer = unrolled.Recurrent(of_both, bidirectional=True)
    assert (layer.layers, list(layer.cells)) == (2, of_both)
    assert layer(torch.randn(6, 4, 3))[1].shape == (4, 4, 5)
    mixed = unrolled.Recurrent(nn.ModuleList([cells.LSTM(3, 5), cells.GRU(5, 5)]))
    with pytest.raises(
        ShapeError, match=r"^Recurrent: the cells' states are not of one form and shape, so they cannot be"
    ):
        mixed(torch.randn(6, 4, 3))


@pytest.mark.parametrize("is_sorted", [True, False])
def test_packed_sequences(is_sorted):
    theirs = nn.LSTM(3, 5, 2, bidirectional=True)
    ours = with_weights_of(unrolled.Recurrent(cells.LSTM(3, 5), layers=2, bidirectional=True), theirs)
    lengths = torch.tensor([6, 4, 4, 1] if is_sorted else [4, 1, 6, 4])
    packed = pack_padded_sequence(torch.randn(6, 4, 3), lengths, enforce_sorted=is_sorted)
    state = pytree.tree_map(torch.randn_like, ours.initial_state(4))
    (output, last), (expected, expected_last) = ours(packed, state), theirs(packed, state)
    assert isinstance(output, PackedSequence)
    torch.testing.assert_close(output.data, expected.data)
    torch.testing.assert_close(last, expected_last)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert_equal(getattr(output, name), getattr(expected, name))
    assert unrolled.explain(ours, packed, state).path == "fused"
    with pytest.raises(ShapeError, match=r"^Recurrent: lengths beside a PackedSequence, which has its own\."):
        ours(packed, lengths=lengths)


def test_batch_first():
    layer = unrolled.Recurrent(cells.GRU(3, 5), batch_first=True)
    xs = torch.randn(4, 6, 3)
    output, state = layer(xs)
    layer.batch_first = False
    expected, expected_state = layer(xs.transpose(0, 1))
    assert_equal((output, state), (expected.transpose(0, 1), expected_state))
    assert state.shape == (1, 4, 5)


def test_dropout_acts_between_layers_in_training_only():
    layer = unrolled.Recurrent(cells.GRU(3, 5), layers=2, dropout=1.0)
    xs = torch.randn(6, 4, 3)
    zeros = unrolled.scan(layer.cells[1], torch.zeros(6, 4, 5), torch.zeros(4, 5))[0]
    torch.testing.assert_close(layer(xs)[0], zeros)
    layer.eval()
    assert not torch.allclose(layer(xs)[0], zeros)
    single = unrolled.Recurrent(cells.GRU(3, 5), dropout=1.0)
    assert_equal(single(xs), single(xs))
    assert single(xs)[0].any()


def test_copies_pickles_and_state_dicts():
    layer = unrolled.Recurrent(cells.LSTM(3, 5), layers=2, bidirectional=True, dropout=0.5).eval()
    xs = torch.randn(6, 4, 3)
    expected = layer(xs)
    other = unrolled.Recurrent(cells.LSTM(3, 5), layers=2, bidirectional=True).eval()
    other.load_state_dict(layer.state_dict())
    for each in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert_equal(each(xs), expected)
    assert list(layer.state_dict())[:2] == ["cells.0.weight_ih", "cells.0.weight_hh"]
    assert repr(layer).startswith("Recurrent(\n  dropout=0.5, bidirectional=True\n")


def test_it_compiles_without_a_break():
    layer = unrolled.Recurrent(cells.GRU(3, 5), layers=2, bidirectional=True)
    xs = torch.randn(6, 4, 3)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(xs), layer(xs))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch.compile itself
@pytest.mark.parametrize("cell", [cells.Elman(3, 5), cells.LSTM(3, 5), nn.GRUCell(3, 5)])
def test_under_autocast_it_runs_in_the_weights_dtype(cell):
    layer, xs = unrolled.Recurrent(cell, layers=2, engine="fused"), torch.randn(6, 4, 3).bfloat16()
    expected = layer(xs.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(layer(xs), expected)
        assert unrolled.explain(layer, xs).path == "fused"
        torch._dynamo.reset()
        assert_equal(torch.compile(layer, backend="aot_eager")(xs), expected)


def test_traces_and_transforms():
    layer, xs = unrolled.Recurrent(cells.GRU(3, 5), layers=2, bidirectional=True), torch.randn(6, 4, 3)
    expected = layer(xs)[0]
    zeros = {name: torch.zeros_like(each) for name, each in layer.named_parameters()}
    assert not torch.func.functional_call(layer, zeros, (xs,))[0].any()
    torch.testing.assert_close(torch.vmap(lambda each: layer(each)[0])(torch.stack([xs, -xs]))[0], expected)
    gradient = torch.func.grad(lambda xs: layer(xs)[0].sum())(xs)
    leaf = xs.clone().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(layer(leaf)[0].sum(), leaf)[0])
    packed = pack_padded_sequence(xs, torch.tensor([6, 2, 1, 5]), enforce_sorted=False)

    def over_data(data):
        parts = (packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return layer(PackedSequence(data, *parts))[0].data

    torch.testing.assert_close(torch.func.vjp(over_data, packed.data)[0], over_data(packed.data))


def test_it_says_which_way_it_runs():
    xs = torch.randn(6, 4, 3)
    told = unrolled.explain(unrolled.Recurrent(cells.GRU(3, 5), batch_first=True), xs.transpose(0, 1), verbose=True)
    assert told.path == "fused"
    assert told.stages
    assert unrolled.explain(unrolled.Recurrent(cells.GRU(3, 5)), xs, lengths=torch.tensor([6, 1, 0, 2])).path == "fused"
    eager = unrolled.explain(unrolled.Recurrent(cells.GRU(3, 5), engine="eager"), xs)
    assert str(eager) == "eager: engine='eager' was asked for"

    class Sorting(Leaky):
        def forward(self, x, state):
            y, state = super().forward(x.sort(1)[0] * state["h"].sort(1)[0][:, :3], state)
            return y, state

    told = unrolled.explain(unrolled.Recurrent(Sorting(3, 5)), xs)
    assert told.path == "eager"
    assert told.reason.startswith("aten.sort is not among the operations that a fused loop can hold")
    with pytest.raises(NotFusedError, match=r"the step cannot run fused: aten\.sort"):
        unrolled.Recurrent(Sorting(3, 5), engine="fused")(xs)


def test_it_says_which_way_each_of_several_cells_runs():
    class Sorting(nn.GRUCell):
        def forward(self, x, h):
            h = super().forward(x, h.sort(1)[0])
            return h, h

    class Plain(nn.GRUCell):
        def forward(self, x, h):
            h = super().forward(x, h)
            return h, h

    xs = torch.randn(6, 4, 3)
    layer = unrolled.Recurrent([Plain(3, 5), Plain(3, 5), Sorting(10, 5), Plain(10, 5)], bidirectional=True)
    state = torch.get_rng_state()
    told = unrolled.explain(layer, xs)
    assert torch.equal(state, torch.get_rng_state())
    assert [part.path for part in told.parts.values()] == ["fused", "fused", "eager", "fused"]
    assert list(told.parts) == ["layer 1, forward", "layer 1, backward", "layer 2, forward", "layer 2, backward"]
    assert told.path == "eager"
    assert told.reason.startswith("layer 2, forward: aten.sort is not among the operations that a fused loop can hold")
    assert "\n\nlayer 2, forward: eager: aten.sort is not among" in str(told)
    told = unrolled.explain(unrolled.Recurrent(cells.LSTM(3, 5), layers=2), xs, timed=True)
    first, second = told.parts.values()
    assert told.path == "fused"
    assert told.products == first.products + second.products
    assert told.flops_per_step == first.flops_per_step + second.flops_per_step
    assert told.us_per_step == pytest.approx(first.us_per_step + second.us_per_step)
    assert (
        min(first.share_of_peak, second.share_of_peak)
        <= told.share_of_peak
        <= max(first.share_of_peak, second.share_of_peak)
    )


def test_resets_are_for_steps():
    xs = torch.randn(6, 4, 3)
    with pytest.raises(ShapeError, match=r"^explain: resets are for a step; a layer takes none\.$"):
        unrolled.explain(unrolled.Recurrent(cells.GRU(3, 5)), xs, resets=torch.zeros(6, 4, dtype=torch.bool))


class Forgetful(nn.Module):
    """Keeps no argument."""

    def __init__(self, input_size, size):
        super().__init__()
        self.mix = nn.Linear(input_size + size, size)


class Sized(Forgetful):
    def __init__(self, input_size, size):
        super().__init__(input_size, size)
        self.input_size, self.size = input_size, size


class Around(nn.Module):
    """Its argument is a module with weights, which further cells would share."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell


class Wide(Leaky):
    def __init__(self, *sizes):
        super().__init__(*sizes)


def parametrized():
    return nn.utils.parametrizations.weight_norm(cells.GRU(3, 5), "weight_hh")


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: unrolled.Recurrent(cells.GRU),
            ArgumentError,
            "cell is of type type. Expected a module (x_t, state) -> ",
        ),
        (lambda: unrolled.Recurrent([]), SettingsError, "0 cells. Expected one for each layer."),
        (
            lambda: unrolled.Recurrent([cells.GRU(3, 5)], bidirectional=True),
            SettingsError,
            "1 cells. Expected one for each layer and direction.",
        ),
        (
            lambda: unrolled.Recurrent([cells.GRU(3, 5)], layers=2),
            SettingsError,
            "1 cells. Expected 2, one for each layer.",
        ),
        (lambda: unrolled.Recurrent(cells.GRU(3, 5), layers=0), SettingsError, "layers=0. Expected at least 1."),
        (
            lambda: unrolled.Recurrent(cells.GRU(3, 5), dropout=1.5),
            SettingsError,
            "dropout=1.5. Expected a number from 0 to 1.",
        ),
        (lambda: unrolled.Recurrent(cells.GRU(3, 5), engine="fast"), SettingsError, "engine='fast' is not known."),
        (
            lambda: unrolled.Recurrent(Forgetful(3, 5), bidirectional=True),
            SettingsError,
            "Forgetful does not keep its argument 'input_size' as an attribute, so that no further cell like it can be "
            "made. Keep it, or pass a list of cells.",
        ),
        (
            lambda: unrolled.Recurrent(Sized(3, 5), layers=2),
            SettingsError,
            "Sized has neither output_size nor hidden_size, the number of features of its output, which the next layer "
            "reads. Give it one, or pass a list of cells.",
        ),
        (
            lambda: unrolled.Recurrent(Around(cells.GRU(3, 5)), bidirectional=True),
            SettingsError,
            "Around does not keep its argument 'cell' as an attribute",
        ),
        (
            lambda: unrolled.Recurrent(Wide(3, 5), bidirectional=True),
            SettingsError,
            "Wide has a constructor with *sizes, so that no further cell like it can be made. Pass a list of cells.",
        ),
        (
            lambda: unrolled.Recurrent(parametrized(), bidirectional=True),
            SettingsError,
            "the cell has parametrized weights. Pass a list of cells.",
        ),
    ],
)
def test_a_layer_that_cannot_be_made_is_told(make, error, text):
    with pytest.raises(error, match=f"^{re.escape('Recurrent: ' + text)}"):
        make()


@pytest.mark.parametrize(
    ("cell", "args", "text"),
    [
        (cells.GRU(3, 5), ([1.0],), "an input of type list. Expected a tensor [time, batch, ...]."),
        (cells.GRU(3, 5), (torch.zeros(3),), "an input of shape [3]. Expected [time, batch, ...]."),
        (
            cells.GRU(3, 5),
            (torch.zeros(6, 4, 3), torch.zeros(4, 5)),
            "the state has a leaf [4, 5]. Expected [1, 4, ...], [layers · directions, batch, ...].",
        ),
        (
            cells.LSTM(3, 5),
            (torch.zeros(6, 4, 3), torch.zeros(1, 4, 5)),
            "the state has for each layer and direction tensors of shape [[4, 5]]. Expected [[4, 5], [4, 5]], as LSTM has "
            "them.",
        ),
        (cells.GRU(3, 5), (torch.zeros(6, 4, 3), "x"), "the state has a leaf str. Expected [1, 4, ...]"),
        (
            Forgetful(3, 5),
            (torch.zeros(6, 4, 3),),
            "Forgetful has no method initial_state(batch_size). Give it one, or pass the first state.",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_told(cell, args, text):
    with pytest.raises(ShapeError, match=f"^{re.escape('Recurrent: ' + text)}"):
        unrolled.Recurrent(cell)(*args)


def test_an_output_that_is_no_tensor_is_told():
    class Pair(Leaky):
        def forward(self, x, state):
            y, state = super().forward(x, state)
            return (y, y), state

    with pytest.raises(StepError, match=r"^Recurrent: a cell returned an output of type tuple\. Expected a tensor"):
        unrolled.Recurrent(Pair(3, 5))(torch.zeros(6, 4, 3))
