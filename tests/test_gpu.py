"""On a GPU, where there are no kernels yet: steps run in torch's loop, layers on cuDNN, and both say so; the tasks train,
go on and answer there, and what was trained there answers anywhere. By `pytest -m gpu`, on a machine with a GPU.
"""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

import unrolled
from tests import strategies
from tests.assertions import assert_as_exact_as, assert_equal, to_dtype, values_and_gradients
from tests.tasks import test_forecast, test_text, test_tokens, test_transcribe, test_translate
from unrolled.engine import dispatch
from unrolled.errors import NotFusedError, NotFusedWarning
from unrolled.training.devices import choose_device, choose_precision
from unrolled.training.run_folder import Run

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)
REASON = "its tensors are not on the CPU; there are no kernels for other devices yet"


def on(device, tree):
    return pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf, tree)


def results(cell, xs, state, device, **options):
    """Values and all gradients of a scan on a device, brought to the CPU."""
    cell, options = copy.deepcopy(cell).to(device), on(device, options)

    def run(args):
        return on("cpu", unrolled.scan(cell, *on(device, args), engine="eager", **options))

    return on("cpu", values_and_gradients(run, (xs, state), list(cell.parameters())))


@given(
    strategies.cell_names, st.sampled_from([1, 7]), st.sampled_from([1, 5]), strategies.seeds, st.booleans(), st.data()
)  # fmt: skip
@settings(max_examples=40)
def test_a_scan_is_the_cpus(name, steps, batch, seed, reverse, data):
    cell = strategies.make_cell(name, seed, torch.float32)
    xs = strategies.make_inputs(steps, batch, seed, torch.float32)
    state = strategies.make_state(cell, batch, seed, torch.float32)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)))
    resets = torch.rand(steps, batch, generator=torch.Generator().manual_seed(seed)) < 0.3
    options = {"lengths": lengths, "resets": resets}
    oracle = results(cell.double(), *to_dtype((xs, state), torch.float64), "cpu", **options, reverse=reverse)
    cell.float()
    ours, yardstick = (results(cell, xs, state, device, **options, reverse=reverse) for device in (GPU, "cpu"))
    assert_as_exact_as(ours, yardstick, oracle)


def test_a_scan_says_that_it_runs_eagerly(monkeypatch):
    monkeypatch.setattr(dispatch, "_warned", set())
    cell = unrolled.cells.GRU(3, 5).to(GPU)
    xs, state = torch.randn(4, 2, 3, device=GPU), torch.zeros(2, 5, device=GPU)
    with pytest.warns(NotFusedWarning) as caught:
        ys, last = unrolled.scan(cell, xs, state)
    unrolled.scan(cell, xs, state)  # told once: a second warning would end the test
    assert [str(warning.message) for warning in caught] == [
        f"scan: the step runs eagerly, many times slower than a fused loop: {REASON}. "
        "Pass engine='eager' if that is what you want."
    ]
    assert ys.device == last.device == GPU
    with pytest.raises(NotFusedError) as refused:
        unrolled.scan(cell, xs, state, engine="fused")
    assert str(refused.value) == f"scan: the step cannot run fused: {REASON}."
    for lengths in (None, torch.tensor([4, 2], device=GPU), torch.tensor([4, 2])):
        assert str(unrolled.explain(cell, xs, state, lengths=lengths, timed=True)) == f"eager: {REASON}"


def test_a_scan_that_recomputes_is_the_same():
    cell = unrolled.cells.LSTM(3, 5).to(GPU)
    xs, state = torch.randn(9, 2, 3, device=GPU, requires_grad=True), cell.initial_state(2)
    parameters = [xs, *cell.parameters()]
    runs = [unrolled.scan(cell, xs, state, engine="eager", recompute=recompute)[0] for recompute in (False, True)]
    assert_equal(*([ys, *torch.autograd.grad(ys.square().sum(), parameters)] for ys in runs))


def test_what_lies_on_two_devices_is_refused_by_torch():
    cell = unrolled.cells.Elman(3, 5)
    with pytest.raises(RuntimeError, match="same device"):
        unrolled.scan(cell, torch.randn(4, 2, 3, device=GPU), torch.zeros(2, 5, device=GPU), engine="eager")
    with pytest.raises(RuntimeError, match="same device"):
        unrolled.scan(cell.to(GPU), torch.randn(4, 2, 3), torch.zeros(2, 5))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_layers_are_torchs_own(kind, is_packed):
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True, "device": GPU}
    ours, theirs = getattr(unrolled, kind)(3, 5, **options), getattr(torch.nn, kind)(3, 5, **options)
    theirs.load_state_dict(ours.state_dict())
    xs = torch.randn(4, 7, 3, device=GPU)
    if is_packed:
        xs = torch.nn.utils.rnn.pack_padded_sequence(xs, [7, 2, 5, 1], batch_first=True, enforce_sorted=False)
    for autocast in (False, True):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
            assert_equal(ours(xs), theirs(xs))
    explained = unrolled.explain(ours, xs)
    assert explained.path == "torch"
    assert explained.reason == "the input is on cuda:0; there are no kernels for other devices than the CPU yet"
    swapped = unrolled.swap(copy.deepcopy(theirs)).model
    assert type(swapped) is type(ours)
    assert_equal(swapped(xs), theirs(xs))


def test_a_layer_asked_for_the_definition_or_the_loop():
    options = {"input_size": 3, "hidden_size": 5, "device": GPU}
    theirs = torch.nn.GRU(**options)
    xs = torch.randn(7, 4, 3, device=GPU)
    eager = unrolled.GRU(**options, engine="eager")
    eager.load_state_dict(theirs.state_dict())
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        torch.testing.assert_close(eager(xs), theirs(xs))
    with pytest.raises(NotFusedError) as refused:
        unrolled.GRU(**options, engine="fused")(xs)
    assert str(refused.value) == f"scan: the step cannot run fused: {REASON}."


def test_a_layer_moves_there_and_back():
    layer = unrolled.LSTM(3, 5)
    xs = torch.randn(7, 4, 3)
    before = layer(xs)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        there = layer.to(GPU)(xs.to(GPU))
    assert there[0].device == GPU
    torch.testing.assert_close(on("cpu", there), before)
    assert_equal(layer.cpu()(xs), before)
    assert unrolled.explain(layer, xs).path == "fused"


@pytest.mark.filterwarnings("ignore::unrolled.errors.NotFusedWarning", "ignore:The .grad attribute of a Tensor")
def test_within_torch_compile():
    cell = unrolled.cells.GRU(3, 5).to(GPU)
    xs, state = torch.randn(4, 2, 3, device=GPU, requires_grad=True), torch.zeros(2, 5, device=GPU)

    def run(xs):
        return unrolled.scan(cell, 2 * xs, state)[0]

    ours, theirs = torch.compile(run, fullgraph=True, backend="aot_eager")(xs), run(xs)
    torch.testing.assert_close(ours, theirs)
    parameters = [xs, *cell.parameters()]
    gradients = (torch.autograd.grad(ys.square().sum(), parameters) for ys in (ours, theirs))
    torch.testing.assert_close(*gradients)


def test_the_trainer_takes_it():
    assert choose_device("auto") == choose_device("cuda") == GPU
    assert choose_precision("auto", GPU) == ("bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32")


SPOKEN = (test_transcribe.spoken("bab"), test_transcribe.RATE)
ORIGINS = [(0, 400), (1, 280)]
# a model's settings, what it learns from, how and what it is asked for
TASKS = {
    **{
        name: (kind, settings, data, test_tokens.TRAINING, lambda model, text=text: answer_of(model, text))
        for name, (kind, settings, data, _, text) in test_tokens.CASES.items()
    },
    **{
        f"forecast-{decoder}-{output}": (
            unrolled.ForecastModel,
            unrolled.ForecastSettings(**test_forecast.SETTINGS, decoder=decoder, output=output),
            test_forecast.PAIR,
            test_forecast.TRAINING,
            lambda model: torch.from_numpy(model.forecasts_from(test_forecast.PAIR, ORIGINS).levels("model")),
        )
        for decoder, output in (
            ("direct", "quantiles"), ("direct", "student"), ("autoregressive", "quantiles"), ("autoregressive", "gaussian"),
        )
    },
    "translate": (
        unrolled.TranslateModel,
        unrolled.TranslateSettings(**test_translate.SMALL),
        test_translate.PAIRS,
        test_translate.TRAINING,
        lambda model: str(model.predict("ein kater singt.")),
    ),
    **{
        f"transcribe-{loss}": (
            unrolled.TranscribeModel,
            unrolled.TranscribeSettings(**test_transcribe.SMALL, loss=loss, direction="forward"),
            test_transcribe.PAIRS,
            unrolled.TrainSettings(steps=60, lr=0.02, precision="float32", patience=0, warmup=10),
            lambda model: (model.predict(SPOKEN).text, streamed(model)),
        )
        for loss in ("ctc", "transducer")
    },
}  # fmt: skip


def answer_of(model, text):
    return {name: value for name, value in model.predict(text).to_dict().items() if not name.startswith("probabilit")}


def streamed(model):
    stream = model.stream(SPOKEN[1])
    stream.accept(SPOKEN[0])
    return stream.finish().text


@pytest.mark.parametrize("name", TASKS)
def test_a_task_trained_there_answers_there_and_on_the_cpu(name, tmp_path):
    kind, settings, data, training, ask = TASKS[name]
    model = kind(settings)
    model.fit(data, train=replace(training, device="cuda"))
    assert {parameter.device for parameter in model.net.parameters()} == {GPU}
    assert model.record[-1]["loss"] < model.record[0]["loss"] or model.record[0]["loss"] == 0
    model.save(tmp_path / "model")
    answers = [ask(model), *(ask(kind.load(tmp_path / "model", device=device)) for device in ("cuda", "cpu"))]
    if torch.is_tensor(answers[0]):
        assert_equal(*answers[:2])
        # cuDNN's products keep 10 bits of their factors' digits
        torch.testing.assert_close(answers[2], answers[0], rtol=0.02, atol=0.02 * float(answers[0].abs().max()))
    else:
        assert answers[0] == answers[1] == answers[2]


def test_text_trained_there_is_the_same_there_and_on_the_cpu(tmp_path):
    model = unrolled.TextModel(test_text.SMALL)
    model.fit(text=test_text.TEXT, train=replace(test_text.TRAINING, device="cuda", precision="auto"))
    assert model.net.output.weight.device == GPU
    assert model.record[-1]["loss"] < model.record[0]["loss"] - 0.3
    model.save(tmp_path / "model")
    texts = []
    for device in ("cuda", "cpu"):
        loaded = unrolled.TextModel.load(tmp_path / "model", device=device)
        texts.append("".join(loaded.generate("The ", length=20, temperature=0, seed=1)))
        metrics = loaded.evaluate(test_text.TEXT)
        assert metrics["nats"] == pytest.approx(model.evaluate(test_text.TEXT)["nats"], abs=2e-3)
    assert texts[0] == texts[1]


def test_a_run_that_was_cut_off_goes_on_there(tmp_path, interrupted):
    kind, settings, _, write, _ = test_tokens.CASES["tag"]
    write(tmp_path / "data")
    training = unrolled.TrainSettings(
        steps=12, lr=0.02, precision="float32", checkpoint_s=0, average=0.9, eval_every=4, device="cuda"
    )
    whole = kind(settings)
    whole.fit(tmp_path / "data", train=training, run=tmp_path / "whole")
    with interrupted(6):
        kind(settings).fit(tmp_path / "data", train=training, run=tmp_path / "cut")
    resumed, result = kind.resume(Run.open(tmp_path / "cut"))
    assert result.steps == 12
    ends = [dict(model.net.state_dict()) for model in (resumed, whole)]
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-3)  # a GPU adds up in any order


def test_training_there_leaves_its_random_numbers_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3, device=GPU)
    torch.manual_seed(5)
    kind, settings, data, training, ask = TASKS["forecast-autoregressive-gaussian"]
    model = kind(settings)
    model.fit(data, train=replace(training, steps=2, device="cuda"))
    ask(model)
    assert_equal(torch.rand(3, device=GPU), expected)
