"""TorchScript, and what else reads a model's layers by their operations or their class, gets torch's own of our layers."""

import copy
import io
import pickle
import subprocess
import sys

import onnx.reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import unrolled
from tests.assertions import assert_equal
from unrolled.scan import ENGINES

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),  # of torch's own layers too
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Exporting a model to ONNX with a batch_size other than 1:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:The tensor attributes self.layer._flat_weights:UserWarning"
    ),  # torch's layers too
]
KINDS = ("RNN", "LSTM", "GRU")
layer_options = st.fixed_dictionaries(
    {
        "num_layers": st.integers(1, 2),
        "bias": st.booleans(),
        "batch_first": st.booleans(),
        "bidirectional": st.booleans(),
    }
)


class Of(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class OfPacked(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x: PackedSequence) -> PackedSequence:
        return self.layer(x)[0]


class OfStates(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, hx: tuple[torch.Tensor, torch.Tensor]):
        return self.layer(x, hx)


def pair(kind, engine="auto", **arguments):
    """Torch's layer and ours, with the same weights."""
    theirs = getattr(torch.nn, kind)(3, 5, **arguments)
    ours = getattr(unrolled, kind)(3, 5, **arguments, engine=engine)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def with_projection(kind, arguments, is_projected):
    return {**arguments, "proj_size": 2} if kind == "LSTM" and is_projected else arguments


def reloaded(scripted):
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    return torch.jit.load(file)


def onnx_of(model, x):
    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"])
    return file.getvalue()


def swapped(layer):
    model = Of(copy.deepcopy(layer))
    assert unrolled.swap(model).replaced
    return model


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.sampled_from(ENGINES), layer_options, st.booleans())
def test_traces_are_torchs(kind, engine, arguments, is_projected):
    ours, theirs = pair(kind, engine, **with_projection(kind, arguments, is_projected))
    x, other = torch.randn(4, 2, 3), torch.randn(6, 3, 3)
    for _ in range(2):
        traced = torch.jit.trace(Of(ours), x)
        wanted = torch.jit.trace(Of(theirs), x)
        assert [node.kind() for node in traced.inlined_graph.nodes()] == [
            node.kind() for node in wanted.inlined_graph.nodes()
        ]
        assert_equal(reloaded(traced)(other), theirs(other))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.sampled_from(ENGINES), layer_options, st.booleans(), st.booleans())
def test_scripts_are_torchs(kind, engine, arguments, is_projected, is_sorted):
    ours, theirs = pair(kind, engine, **with_projection(kind, arguments, is_projected))
    x = torch.randn(4, 4, 3)
    script = reloaded(torch.jit.script(Of(ours)))
    assert_equal(script(x), theirs(x))
    assert_equal(script(x[0]), theirs(x[0]))
    lengths = torch.tensor([4, 3, 2, 2] if is_sorted else [2, 4, 3, 2])
    packed = pack_padded_sequence(x, lengths, batch_first=ours.batch_first, enforce_sorted=is_sorted)
    assert_equal(tuple(reloaded(torch.jit.script(OfPacked(ours)))(packed)), tuple(theirs(packed)[0]))


def test_a_script_takes_first_states_and_leaves_the_layer_as_it_was():
    ours, theirs = pair("LSTM")
    model, x, states = OfStates(ours), torch.randn(4, 2, 3), (torch.randn(1, 2, 5), torch.randn(1, 2, 5))
    script = torch.jit.script(model)
    assert_equal(script(x, states), theirs(x, states))
    assert model.layer is ours
    assert ours.explain(x).path == "fused"
    torch.testing.assert_close(pickle.loads(pickle.dumps(ours))(x), theirs(x))
    with pytest.raises(torch.jit.Error, match=r"Expected hidden\[0\] size"):
        script(x, (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_script_trains_the_shared_weights(kind):
    ours, theirs = pair(kind)
    x = torch.randn(4, 2, 3)
    torch.jit.script(Of(ours))(x)[0].square().sum().backward()
    theirs(x)[0].square().sum().backward()
    assert_equal([each.grad for each in ours.parameters()], [each.grad for each in theirs.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_a_forward_of_ones_own_is_scripted_as_it_stands(kind):
    class Doubled(getattr(unrolled, kind)):
        def forward(self, x):
            return 2 * x

    class Same(getattr(unrolled, kind)):
        pass

    x = torch.randn(4, 2, 3)
    assert_equal(torch.jit.script(Doubled(3, 5))(x), 2 * x)
    layer = Same(3, 5)
    theirs = getattr(torch.nn, kind)(3, 5)
    theirs.load_state_dict(layer.state_dict())
    assert_equal(torch.jit.script(Of(layer))(x), theirs(x))


def test_a_stub_for_the_compiler_is_not_to_be_called():
    with pytest.raises(TypeError, match=r"^a method for TorchScript alone; call the layer itself$"):
        unrolled.GRU(3, 5).forward__0()
    assert unrolled.GRU.forward__0 is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
def test_the_torchscript_onnx_exporter_writes_the_same_file(kind, arguments):
    _, theirs = pair(kind, **arguments)
    x = torch.randn(4, 2, 3)
    file = onnx_of(swapped(theirs), x)
    assert file == onnx_of(Of(theirs), x)
    if arguments == {}:
        found = onnx.reference.ReferenceEvaluator(onnx.load_from_string(file)).run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found[0].copy()), theirs(x)[0], rtol=1e-5, atol=1e-6)


def test_two_traces_and_a_script_in_one_process_after_the_compiled_loop_has_run():
    program = (
        "import torch, unrolled\n"
        "model = torch.nn.Sequential(torch.nn.LSTM(3, 5)); unrolled.swap(model)\n"
        "x = torch.randn(4, 2, 3)\n"
        "for _ in range(3):\n"
        "    want = model(x)\n"
        "    for make in (lambda: torch.jit.trace(model, x), lambda: torch.jit.script(model)):\n"
        "        torch.testing.assert_close(make()(x), want)\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", (done.returncode, done.stderr)


def test_a_trace_of_a_scan_holds_the_loops_operations():
    weight = torch.randn(5, 5)

    def run(x):
        def step(x, hidden):
            hidden = torch.tanh(x + hidden @ weight)
            return hidden, hidden

        return unrolled.scan(step, x, x.new_zeros(x.shape[1], 5), lengths=torch.tensor([4, 2]))[0]

    x, other = torch.randn(4, 2, 5), torch.randn(4, 2, 5)
    for _ in range(2):
        torch.testing.assert_close(torch.jit.trace(run, x)(other), run(other))


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_of_fx_calls_the_layer_as_it_calls_torchs(kind):
    ours, theirs = pair(kind)
    graphs = [torch.fx.symbolic_trace(Of(layer)) for layer in (ours, theirs)]
    assert graphs[0].code == graphs[1].code
    assert graphs[0].layer is ours
    x = torch.randn(4, 2, 3)
    assert_equal(graphs[0](x), ours(x))
    if kind == "LSTM":
        state = torch.randn(1, 2, 5)
        assert_equal(torch.fx.symbolic_trace(OfStates(ours))(x, (state, state)), ours(x, (state, state)))


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_torch_export_is_torchs(kind, is_strict):
    ours, theirs = pair(kind)
    x, other = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    programs = [torch.export.export(Of(layer), (x,), strict=is_strict) for layer in (ours, theirs)]
    targets = [[str(node.target) for node in program.graph.nodes] for program in programs]
    assert targets[0] == targets[1]
    assert_equal(programs[0].module()(other), theirs(other))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_after_unswap_quantize_dynamic_knows_the_layers(kind):
    model = Of(getattr(unrolled, kind)(3, 5))
    theirs = getattr(torch.nn, kind)
    kept = torch.ao.quantization.quantize_dynamic(model, {theirs}, dtype=torch.qint8)
    assert type(kept.layer) is getattr(unrolled, kind), "the note of swap says so"
    unrolled.unswap(model)
    quantized = torch.ao.quantization.quantize_dynamic(model, {theirs}, dtype=torch.qint8)
    assert type(quantized.layer) is getattr(torch.ao.nn.quantized.dynamic, kind)
    assert quantized(torch.randn(4, 2, 3))[0].shape == (4, 2, 5)


class Doubled(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


def _hooked(layer):
    layer.register_forward_hook(lambda _module, _arguments, result: (2 * result[0], result[1]))


CHANGES = {
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", amount=0.3),
    "pruned for good": lambda layer: prune.remove(
        prune.l1_unstructured(layer, "weight_hh_l0", amount=0.3), "weight_hh_l0"
    ),
    "weight norm, old": lambda layer: weight_norm(layer, "weight_hh_l0"),
    "weight norm": lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"),
    "orthogonal": lambda layer: parametrizations.orthogonal(layer, "weight_ih_l0"),
    "parametrized": lambda layer: torch.nn.utils.parametrize.register_parametrization(layer, "bias_hh_l0", Doubled()),
    "frozen": lambda layer: layer.weight_hh_l0.requires_grad_(False),
    "emptied": lambda layer: (layer.to_empty(device="cpu"), layer.reset_parameters()),
    "hooked": _hooked,
}


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_a_layer_changes_ours_alike(kind, name, engine):
    ours, theirs = pair(kind, engine, num_layers=2, bidirectional=True)
    x, found = torch.randn(4, 2, 3), []
    for layer in (ours, theirs):
        torch.manual_seed(0)
        CHANGES[name](layer)
        results = []
        for _ in range(2):  # trained in between
            layer.zero_grad()
            y = layer(x)[0]
            y.square().sum().backward()
            results += [y.detach(), *(each.grad.clone() for each in layer.parameters() if each.grad is not None)]
            with torch.no_grad():
                for each in layer.parameters():
                    each += 0.01
        found.append((list(layer.state_dict()), results))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
