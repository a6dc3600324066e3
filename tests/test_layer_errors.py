"""Wrong arguments, generated: our layers raise what torch's do, with the same words."""

import inspect
import itertools
import re
import typing

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import unrolled
from unrolled.scan import ENGINES

pytestmark = [
    pytest.mark.filterwarnings("ignore:dropout option adds dropout:UserWarning"),
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),
]
KINDS = ("RNN", "LSTM", "GRU")
VALUES = {
    "proj_size": (0, 2, 5, 6, -1, "a", 1.5, None),
    "hidden_size": (0, -1, 1.5, "5", None),
    "input_size": (0, -1, 1.5, "5", None),
    "num_layers": (0, -1, 1.5, "1", None),
    "dropout": (-0.1, 1.1, True, "x", None, float("nan"), 0.5),
    "bias": (1, None, False),
    "batch_first": (0, "x", True),
    "bidirectional": ("x", None, True),
    "nonlinearity": ("tanh", "relu", "sin", 3, None),
    "unknown": (1,),
    "mode": ("LSTM",),
    "device": ("nowhere", 3.5, "cpu"),
    "dtype": (torch.int64, "float", torch.float64),
}
POSITIONAL = [
    (),
    (3,),
    (3, 5, 1, "tanh"),
    (3, 5, 1, "relu", True, False, 0.0, False, "cpu"),
    (3, 5, 1, True, False, 0.0, False, 2),
    (3, 5, 1, True, False, 0.0, False, "cpu"),
    (3, 5, 1, True, False, 0.0, False, 0, "cpu", torch.float64),
    tuple(range(1, 13)),
]


def outcome(call):
    """The type and the text of what a call raises, or None."""
    try:
        call()
    except Exception as fault:  # any: two are compared
        return type(fault), str(fault)
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_constructors(kind):
    ours, theirs = getattr(unrolled, kind), getattr(torch.nn, kind)
    raised = 0
    for name, values in VALUES.items():
        for value in values:
            options = {"input_size": 3, "hidden_size": 5, name: value}
            wanted = outcome(lambda options=options: theirs(**options))
            assert outcome(lambda options=options: ours(**options)) == wanted, options
            raised += wanted is not None
    for arguments in POSITIONAL:
        wanted = outcome(lambda arguments=arguments: theirs(*arguments))
        assert outcome(lambda arguments=arguments: ours(*arguments)) == wanted, arguments
        raised += wanted is not None
    assert raised > 30


@pytest.mark.parametrize("kind", KINDS)
def test_signatures_are_torchs_and_the_engine(kind):
    ours = inspect.signature(getattr(unrolled, kind)).parameters
    theirs = inspect.signature(typing.get_overloads(getattr(torch.nn, kind).__init__)[0]).parameters
    assert [name for name in theirs if name != "self"] == list(ours)[:-2]
    assert all(ours[name] == theirs[name] for name in list(ours)[:-2])
    own = {name: each.default for name, each in ours.items() if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert own == {"engine": "auto", "clip_state_grad": None}


def inputs():
    x, short = torch.zeros(2, 2, 3), torch.tensor([2, 1])
    return {
        "fits": x, "wrong size": torch.zeros(2, 2, 4), "1-D": torch.zeros(3), "4-D": torch.zeros(1, 2, 2, 3),
        "0-D": torch.zeros(()), "2-D": x[0], "2-D, wrong size": torch.zeros(2, 4), "double": x.double(),
        "half": x.half(), "integer": x.long(), "bool": x.bool(), "complex": x.cfloat(), "sparse": x.to_sparse(),
        "none": None, "list": [1.0], "empty": torch.zeros(0, 2, 3), "no rows": torch.zeros(2, 0, 3),
        "packed": pack_padded_sequence(x, short), "packed, size": pack_padded_sequence(torch.zeros(2, 2, 4), short),
        "packed, double": pack_padded_sequence(x.double(), short),
        "packed, deep": pack_padded_sequence(torch.zeros(2, 2, 3, 1), short),
        "packed, unsorted": pack_padded_sequence(x, short.flip(0), enforce_sorted=False),
    }  # fmt: skip


def first_states(n, size):
    state = torch.zeros(n, 2, size)
    return {
        "none": None, "fits": state, "batch": torch.zeros(n, 3, size), "layers": torch.zeros(n + 1, 2, size),
        "size": torch.zeros(n, 2, size + 1), "2-D": state[:, 0], "4-D": state.unsqueeze(-1), "1-D": torch.zeros(size),
        "double": state.double(), "half": state.half(), "integer": state.long(), "float": 1.0, "string": "x",
        "one row": torch.zeros(n, 1, size),
    }  # fmt: skip


def all_states(kind, n, size):
    halves = first_states(n, size)
    fit = halves["fits"]
    if kind != "LSTM":
        return {**halves, "tuple": (fit,), "pair": (fit, fit), "list": [fit]}
    seconds = first_states(n, 5)
    pairs = {(a, b): (halves[a], seconds[b]) for a, b in itertools.product(halves, seconds)}
    single = {"none": None, "()": (), "1": (fit,), "3": (fit,) * 3, "list": [fit, seconds["fits"]], "tensor": fit}
    return {**single, "stacked": torch.zeros(2, n, 2, 5), "string": "xy", **pairs}


def calls(kind, arguments):
    """All inputs with all first states, but those at which torch's own LSTM ends the process."""
    n = arguments.get("num_layers", 1) * (2 if arguments.get("bidirectional") else 1)
    states = all_states(kind, n, arguments.get("proj_size", 5))
    for (x_name, x), (name, hx) in itertools.product(inputs().items(), states.items()):
        if not (kind == "LSTM" and x_name.startswith("packed") and name[0] == "layers" and name[1] != "layers"):
            yield x_name, name, x, hx


LAYERS = [(kind, {}) for kind in KINDS] + [
    ("GRU", {"bidirectional": True}),
    ("RNN", {"num_layers": 2, "batch_first": True}),
    ("LSTM", {"num_layers": 2, "batch_first": True}),
    ("LSTM", {"proj_size": 2, "bidirectional": True}),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("kind", "arguments"), LAYERS)
def test_calls(kind, arguments, engine):
    ours = getattr(unrolled, kind)(3, 5, **arguments, engine=engine)
    theirs = getattr(torch.nn, kind)(3, 5, **arguments)
    raised = 0
    for x_name, name, x, hx in calls(kind, arguments):
        wanted = outcome(lambda x=x, hx=hx: theirs(x, hx))
        raised += wanted is not None
        found = outcome(lambda x=x, hx=hx: ours(x, hx))
        if engine == "fused" and wanted is None and found is not None:
            assert found[0] is unrolled.errors.NotFusedError
            assert "no rows" in found[1] or "first states are of a form" in found[1], found[1]
        else:
            assert found == wanted, (x_name, name)
    assert raised > 250


@pytest.mark.parametrize("engine", ENGINES)
def test_states_at_which_torchs_own_lstm_ends_the_process(engine):
    packed, layer = inputs()["packed"], unrolled.LSTM(3, 5, engine=engine)
    text = "Expected hidden[0] size (1, 2, 5), got [2, 2, 5]"
    with pytest.raises(RuntimeError, match=f"^{re.escape(text)}$"):
        layer(packed, (torch.zeros(2, 2, 5), torch.zeros(1, 2, 5)))


def test_first_states_that_the_compiled_loop_does_not_take():
    state = torch.zeros(1, 2, 5)
    packed = inputs()["packed, unsorted"]
    text = "LSTM: it cannot run fused: the first states are of a form that torch's own implementation alone takes."
    with pytest.raises(unrolled.errors.NotFusedError, match=f"^{re.escape(text)}$"):
        unrolled.LSTM(3, 5, engine="fused")(packed, (state,) * 3)
