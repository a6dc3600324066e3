"""The layers against torch.nn's: values, all gradients, every constructor option, every form of input."""

import gc
import itertools
import pickle
import re
import weakref
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils import _pytree as pytree

import unrolled
from tests.assertions import assert_as_exact_as, assert_equal, to_dtype, values_and_gradients
from unrolled.nn.torch_arguments import read_weights

# else torch's own LSTM ends in an error under autocast
TORCH_HAS_BFLOAT16_LSTM = torch.ops.mkldnn._is_mkldnn_bf16_supported()
KINDS = ("RNN", "LSTM", "GRU")

options = st.fixed_dictionaries(
    {
        "num_layers": st.integers(1, 3),
        "bias": st.booleans(),
        "batch_first": st.booleans(),
        "bidirectional": st.booleans(),
    }
)


def pair(kind, engine, **arguments):
    """Torch's layer and ours, with the same weights."""
    theirs = getattr(torch.nn, kind)(3, 5, **arguments)
    ours = getattr(unrolled, kind)(3, 5, **arguments, engine=engine)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def first_states(layer, batch, *, is_batched=True):
    n = layer.num_layers * (2 if layer.bidirectional else 1)
    shape = (n, batch) if is_batched else (n,)
    hidden = torch.randn(*shape, layer.proj_size or 5)
    return (hidden, torch.randn(*shape, 5)) if layer.mode == "LSTM" else hidden


def assert_same_as_torch(ours, theirs, inputs):
    """By the one rule: torch in float64 is the oracle, torch in float32 the yardstick."""
    run = lambda layer: lambda args: layer(*args)
    oracle = type(theirs)(*_arguments(theirs)).double()
    oracle.load_state_dict(theirs.state_dict())
    # several: a tensor may have two numbers, whose errors in one draw are a matter of luck
    draws = [inputs, *(pytree.tree_map(torch.randn_like, inputs) for _ in range(3))]
    results = [
        [values_and_gradients(run(layer), to_dtype(draw, dtype), list(layer.parameters())) for draw in draws]
        for layer, dtype in ((ours, torch.float32), (theirs, torch.float32), (oracle, torch.float64))
    ]
    assert_as_exact_as(*([torch.stack(leaves) for leaves in zip(*each, strict=True)] for each in results))


def _arguments(layer):
    common = (layer.bias, layer.batch_first, layer.dropout, layer.bidirectional)
    if layer.mode == "LSTM":
        return (3, 5, layer.num_layers, *common, layer.proj_size)
    if layer.mode == "GRU":
        return (3, 5, layer.num_layers, *common)
    return (3, 5, layer.num_layers, layer.nonlinearity, *common)


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@given(options, st.sampled_from([1, 2, 6]), st.sampled_from([1, 4]), st.booleans(), st.booleans(), st.booleans())
def test_values_and_gradients_are_torchs(kind, engine, arguments, steps, batch, with_states, is_batched, other):
    if kind == "RNN":
        arguments["nonlinearity"] = "relu" if other else "tanh"
    if kind == "LSTM" and other:
        arguments["proj_size"] = 2
    torch.manual_seed(0)
    ours, theirs = pair(kind, engine, **arguments)
    shape = (batch, steps) if arguments["batch_first"] else (steps, batch)
    x = torch.randn(*(shape if is_batched else (steps,)), 3)
    states = (first_states(theirs, batch, is_batched=is_batched),) if with_states else ()
    assert_same_as_torch(ours, theirs, (x, *states))


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@given(options, st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans(), st.booleans(), st.booleans())
def test_packed_sequences_are_torchs(kind, engine, arguments, lengths, with_states, is_sorted, projected):
    if kind == "LSTM" and projected:
        arguments["proj_size"] = 2
    torch.manual_seed(0)
    lengths = sorted(lengths, reverse=True) if is_sorted else lengths
    ours, theirs = pair(kind, engine, **arguments)
    x = torch.randn(max(lengths), len(lengths), 3)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=is_sorted)
    states = (first_states(theirs, len(lengths)),) if with_states else ()
    output, _ = ours(packed, *states)
    expected, _ = theirs(packed, *states)
    assert isinstance(output, PackedSequence)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert_equal(getattr(output, name), getattr(expected, name))
    parts = (packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)

    class OverData(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, data, *states):
            output, last = self.layer(PackedSequence(data, *parts), *states)
            return output.data, last

    run = lambda layer: lambda args: OverData(layer)(*args)
    oracle = type(theirs)(*_arguments(theirs)).double()
    oracle.load_state_dict(theirs.state_dict())
    inputs = (packed.data, *states)
    assert_as_exact_as(
        values_and_gradients(run(ours), inputs, list(ours.parameters())),
        values_and_gradients(run(theirs), inputs, list(theirs.parameters())),
        values_and_gradients(run(oracle), to_dtype(inputs, torch.float64), list(oracle.parameters())),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_between_layers_in_training_only(kind):
    layer = getattr(unrolled, kind)(3, 64, 2, dropout=0.5, engine="eager")
    x = torch.randn(4, 8, 3)
    assert_equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x)[0], layer(x)[0])
    certain = getattr(unrolled, kind)(3, 64, 2, dropout=1.0, engine="eager").train()
    expected = getattr(unrolled, kind)(64, 64, engine="eager")
    expected.load_state_dict(
        {name.replace("l1", "l0"): value for name, value in certain.state_dict().items() if "l1" in name}
    )
    assert_equal(certain(x)[0], expected(torch.zeros(4, 8, 64))[0])
    single = getattr(unrolled, kind)(3, 5, 1, engine="eager").train()
    assert_equal(single(x), single(x))


@pytest.mark.parametrize("kind", KINDS)
def test_device_and_dtype_of_the_parameters(kind):
    layer = getattr(unrolled, kind)(3, 5, device="meta", dtype=torch.float64)
    assert all(value.is_meta and value.dtype == torch.float64 for value in layer.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_is_torchs_class_with_torchs_names_and_initialization(kind):
    torch.manual_seed(3)
    ours = getattr(unrolled, kind)(3, 5, 2, bidirectional=True)
    torch.manual_seed(3)
    theirs = getattr(torch.nn, kind)(3, 5, 2, bidirectional=True)
    assert isinstance(ours, getattr(torch.nn, kind))
    assert_equal(dict(ours.state_dict()), dict(theirs.state_dict()))
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("x", "hidden"),
    [
        (torch.zeros(4, 2, 7), None),
        (torch.zeros(4, 2, 3), torch.zeros(1, 3, 5)),
        (torch.zeros(4, 2, 3), torch.zeros(2, 2, 5)),
        (torch.zeros(1, 4, 2, 3), None),
        (torch.zeros(3), None),
    ],
)
def test_wrong_shapes_are_refused(kind, engine, x, hidden):
    layer = getattr(unrolled, kind)(3, 5, engine=engine)
    hx = (hidden, hidden) if kind == "LSTM" and hidden is not None else hidden
    with pytest.raises((ValueError, RuntimeError)):
        layer(x, hx)


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_the_compiled_loop_runs_in_the_weights_dtype(kind):
    layer, xs = getattr(unrolled, kind)(3, 5), torch.randn(4, 2, 3, dtype=torch.bfloat16)
    packed = pack_padded_sequence(xs, torch.tensor([4, 2]))
    first = first_states(layer, 2)
    wanted = [layer(xs.float(), first), layer(packed.to(torch.float32))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        if kind == "LSTM" and TORCH_HAS_BFLOAT16_LSTM:
            assert layer.explain(xs).reason == "oneDNN's LSTM is the faster one under autocast"
        else:
            assert layer.explain(xs).path == "fused"
        assert layer(xs, first)[0].dtype == torch.float32
        layer.engine = "fused"
        assert layer.explain(xs).path == "fused"
        found = [layer(xs, first), layer(packed)]
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(wanted), strict=True):
        if torch.is_tensor(a):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_under_autocast_the_large_products_are_as_exact_as_torchs(kind, bias):
    theirs = getattr(torch.nn, kind)(32, 32, bias=bias)
    ours = getattr(unrolled, kind)(32, 32, bias=bias, engine="fused")
    ours.load_state_dict(theirs.state_dict())
    oracle = getattr(torch.nn, kind)(32, 32, bias=bias).double()
    oracle.load_state_dict(theirs.state_dict())
    xs = torch.randn(8, 16, 32)

    def run(layer):
        return lambda xs: [out.to(xs.dtype) for out in pytree.tree_leaves(layer(xs))]

    def results(layer):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return values_and_gradients(run(layer), xs, list(layer.parameters()))

    if kind == "LSTM" and not TORCH_HAS_BFLOAT16_LSTM:  # the definition, under autocast as well
        theirs = unrolled.LSTM(32, 32, bias=bias, engine="eager")
        theirs.load_state_dict(ours.state_dict())
    found = results(ours)
    exact = values_and_gradients(run(oracle), xs.double(), list(oracle.parameters()))
    assert_as_exact_as(found, results(theirs), exact, rounded_to=torch.bfloat16)
    whole = values_and_gradients(run(ours), xs, list(ours.parameters()))
    # outputs and gradients of inputs and weights: all were made from factors that were rounded
    assert all(not torch.equal(a, b) for a, b in zip(found, whole, strict=True) if a.dim() > 1)
    assert not any(torch.isnan(each).any() for each in found)


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_without_a_compiled_loop_torchs_own_runs_as_there(kind, monkeypatch):
    def refused(*_):
        raise unrolled.errors.NotFusedError("there is no compiler")

    ours, theirs = pair(kind, "auto")
    monkeypatch.setattr(ours, "_forward_scan", refused)
    xs = torch.randn(4, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.autocast("cpu", enabled=kind != "LSTM" or TORCH_HAS_BFLOAT16_LSTM):
            wanted = pytree.tree_map(torch.Tensor.float, theirs(xs))
        assert_equal(ours(xs), wanted)
        ours.engine = "fused"
        with pytest.raises(unrolled.errors.NotFusedError, match=r"^there is no compiler$"):
            ours(xs)


def test_engines_are_told_word_for_word():
    with pytest.raises(unrolled.errors.SettingsError, match=re.escape("LSTM: engine='fast' is not known.")):
        unrolled.LSTM(3, 5, engine="fast")
    text = "scan: the step cannot run fused: its inputs and state are of torch.float16; a fused loop takes one of float32, float64 and bfloat16."
    with pytest.raises(unrolled.errors.NotFusedError, match=f"^{re.escape(text)}$"):
        unrolled.GRU(3, 5, engine="fused").half()(torch.zeros(1, 1, 3).half())


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.LSTM(3, 5, 2, bidirectional=True, batch_first=True)
        self.parts = torch.nn.ModuleList([torch.nn.GRU(10, 5), torch.nn.RNN(5, 5, nonlinearity="relu")])
        self.again = self.parts[0]

    def forward(self, x):
        y, _ = self.encoder(x)
        return self.parts[1](self.parts[0](y)[0])[0] + self.again(y)[0]


def test_swap_shares_parameters_and_keeps_results():
    model, x = Model().eval(), torch.randn(2, 4, 3)
    parameters, before = list(model.parameters()), model(x)
    report = unrolled.swap(model)
    assert report.model is model
    assert report.replaced == {
        "encoder": "unrolled.LSTM", "parts.0": "unrolled.GRU", "parts.1": "unrolled.RNN", "again": "unrolled.GRU",
    }  # fmt: skip
    assert not report.kept
    assert model.again is model.parts[0]
    assert not model.encoder.training
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    torch.testing.assert_close(model(x), before)
    for layer in (model.encoder, *model.parts):
        layer.engine = "eager"
    torch.testing.assert_close(model(x), before)
    assert not unrolled.swap(model).replaced


def test_swap_of_a_layer_itself():
    layer = torch.nn.GRU(3, 5)
    report = unrolled.swap(layer)
    assert isinstance(report.model, unrolled.GRU)
    assert report.model.weight_ih_l0 is layer.weight_ih_l0
    assert str(report) == "replaced (the model): unrolled.GRU"


def test_swap_says_what_it_kept_and_why():
    class Odd(torch.nn.LSTM):
        pass

    model = torch.nn.ModuleDict({"odd": Odd(3, 5), "normed": torch.nn.GRU(3, 5), "cell": torch.nn.GRUCell(3, 5)})
    torch.nn.utils.parametrizations.weight_norm(model["normed"], "weight_hh_l0")
    assert str(unrolled.swap(model)).splitlines() == [
        "kept odd: Odd is a subclass of torch's layer and may compute something else",
        "kept normed: its parameters parametrizations.weight_hh_l0.original0, parametrizations.weight_hh_l0.original1 "
        "are parametrized; remove the parametrization, swap, and put it back",
        "kept cell: GRUCell is called once a step by the model's own loop; give that loop to unrolled.scan instead",
    ]
    assert str(unrolled.swap(torch.nn.Linear(1, 1))) == "no recurrent layer found"


def test_swapped_layers_move_copy_and_save():
    import copy

    model = torch.nn.Sequential(torch.nn.LSTM(3, 5))
    unrolled.swap(model)
    x = torch.randn(4, 2, 3)
    for other in (copy.deepcopy(model), model.double().float()):
        assert_equal(pytree.tree_leaves(other(x)), pytree.tree_leaves(model(x)))
    assert list(itertools.islice(model.state_dict(), 1)) == ["0.weight_ih_l0"]


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_under_autocast_torchs_own_runs_where_its_products_are_the_faster(kind):
    layer, xs = getattr(unrolled, kind)(2, 520), torch.zeros(1, 127, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.explain(xs).reason == f"torch's {kind} is the faster one under autocast at this size"
        assert layer.explain(xs[:, :100]).path == "fused"
        assert layer(xs)[0].dtype == torch.float32
    assert layer.explain(xs).path == "fused"


def test_a_layer_follows_its_weights():
    layer = unrolled.RNN(3, 4, num_layers=2, engine="fused")
    xs = torch.randn(5, 2, 3)
    first = layer(xs)[0]
    read = read_weights(layer)
    assert layer._step("l0", read) is layer._step("l0", read), "it is remembered"
    copy, loaded = deepcopy(layer), pickle.loads(pickle.dumps(layer))
    with torch.no_grad():
        layer.weight_hh_l0 = torch.nn.Parameter(torch.zeros(4, 4))
        changed = layer(xs)[0]
        layer.nonlinearity = "relu"
        assert not torch.equal(changed, layer(xs)[0])
    assert not torch.equal(changed, first)
    assert torch.equal(copy(xs)[0], first)
    assert torch.equal(loaded(xs)[0], first)
    parameters = {name: torch.zeros_like(each) for name, each in copy.named_parameters()}
    assert not torch.func.functional_call(copy, parameters, (xs,))[0].any()
    assert torch.equal(copy(xs)[0], first)


def test_a_layer_goes_with_its_last_holder():
    layer = unrolled.LSTM(3, 4)
    layer(torch.randn(5, 2, 3))
    gone = weakref.ref(layer), weakref.ref(layer.weight_hh_l0)
    del layer
    gc.collect()
    assert [each() for each in gone] == [None, None]
