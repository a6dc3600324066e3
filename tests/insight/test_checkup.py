"""`unrolled.checkup`: what is ill is found, what is healthy is let be, and the user's model stays as it was."""

import json
import math
import time
from pathlib import Path

import pytest
import torch
from benchmarks.checkup_nets import (
    HEALTHY,
    ILL,
    LAYERS,
    LORENZ_STEP,
    Net,
    copy_task,
    flip_flop,
    linear,
    lorenz,
    lorenz_states,
)
from torch import nn

import unrolled
from unrolled.errors import ArgumentError, ProbeError, ShapeError
from unrolled.insight import tangents
from unrolled.insight.diagnosis import KINDS
from unrolled.insight.fixed_points import fixed_points
from unrolled.insight.lyapunov import lyapunov_exponents

OLD = Path(__file__).parents[1] / "tasks" / "old_models"

SEEDS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


def kinds(found):
    return [finding.kind for finding in found.verdict]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ILL)
def test_what_is_ill_is_found(kind, layer, seed):
    torch.manual_seed(seed)
    model, batch, loss = ILL[kind](layer)
    assert kind in kinds(unrolled.checkup(model, batch, loss=loss))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["open gates", "first symbol", pytest.param("mean of five", marks=pytest.mark.slow)])
def test_a_healthy_net_is_not_called_ill(name, layer, seed):
    torch.manual_seed(seed)
    model, batch, loss = HEALTHY[name](layer)
    found = unrolled.checkup(model, batch, loss=loss)
    assert kinds(found) == []
    assert found.is_healthy
    assert str(found).startswith("Nothing found.\n\n")


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(8), nn.GRU(3, 4, dropout=0.5, num_layers=2))
    model[0].eval()
    model[1](torch.randn(8, 2, 3))[0].sum().backward()
    model[1].register_forward_hook(lambda *_: None)
    for weight in list(model[1].parameters())[:2]:
        weight.requires_grad_(False)
    batch = torch.randn(2, 8, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [None if weight.grad is None else weight.grad.clone() for weight in model.parameters()]
    asked = [weight.requires_grad for weight in model.parameters()]
    modes = [module.training for module in model.modules()]
    hooks = dict(model[1]._forward_hooks)
    given, draws = batch.clone(), torch.random.get_rng_state()
    unrolled.checkup(model, batch)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for gradient, weight in zip(gradients, model.parameters(), strict=True):
        assert weight.grad is None if gradient is None else torch.equal(gradient, weight.grad)
    assert asked == [weight.requires_grad for weight in model.parameters()]
    assert modes == [module.training for module in model.modules()]
    assert dict(model[1]._forward_hooks) == hooks
    assert type(model[1]) is nn.GRU
    assert torch.equal(batch, given)
    assert torch.equal(torch.random.get_rng_state(), draws)


def test_the_same_call_finds_the_same():
    model, batch, _ = ILL["vanishing"]("GRU")
    assert unrolled.checkup(model, batch).to_dict() == unrolled.checkup(model, batch).to_dict()


def test_figures_are_plain_data():
    model, batch, _ = ILL["vanishing"]("LSTM")
    found = unrolled.checkup(model, batch)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["verdict"][0]["kind"] == "vanishing"
    assert read["verdict"][0]["layer"] == "rnn, layer 1, forward"
    assert read["horizon"] == found.horizon
    assert read["layers"][0]["half_life"] == pytest.approx(found.half_life)


def test_pictures():
    pytest.importorskip("matplotlib")
    model, batch, _ = ILL["vanishing"]("LSTM")
    figure = unrolled.checkup(model, batch).plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title] == [
        "Where the gradient goes",
        "How long each unit remembers",
        "Lyapunov exponents",
        "Gates over the sequence",
    ]


def units_of(factor):
    """Elman's units that are at zero and keep this share of the gradient at each step, whatever the machine rounds."""
    net = Net("Elman")
    for weight in net.rnn.parameters():
        nn.init.zeros_(weight)
    net.rnn.weight_hh_l0.detach().copy_(factor * torch.eye(16))
    return net


@pytest.mark.parametrize(
    ("factor", "half_life", "horizon"), [(0.7, "1.9 steps", "12 steps"), (0.5, "1.0 step", "6 steps")]
)
def test_a_finding_is_a_sentence(factor, half_life, horizon):
    finding = unrolled.checkup(units_of(factor), torch.randn(100, 8, 4)).verdict[0]
    assert str(finding) == (
        f"rnn, layer 1, forward: Gradients vanish: half-life {half_life}, your sequences are 100 long; nothing that "
        f"lies more than {horizon} back is learned. Use an LSTM or GRU, or orthogonal weights; clipping does not help."
    )


class BothEnds(nn.Module):
    """A classifier over three layers that reads the last state of each direction, or the last step alone."""

    def __init__(self, layer, reads, **options):
        super().__init__()
        self.rnn, self.head, self.reads = LAYERS[layer](4, 16, **options), nn.LazyLinear(2), reads

    def forward(self, xs):
        ys, last = self.rnn(xs)
        last = last[0] if isinstance(last, tuple) else last
        n = 2 if self.rnn.bidirectional else 1
        return self.head(torch.cat(tuple(last[-n:]), 1) if self.reads == "states" else ys[-1])


@pytest.mark.parametrize("reads", ["states", "last step"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True}]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_and_directions_do_not_hide_what_vanishes(layer, options, reads):
    torch.manual_seed(0)
    xs = torch.randn(100, 8, 4)
    model = BothEnds(layer, reads, **options)
    model(xs)
    found = unrolled.checkup(model, xs)
    assert kinds(found) == ["vanishing"]
    assert found.half_life < 3


@pytest.mark.parametrize(
    ("layer", "bias", "advice"),
    [
        (
            "LSTM",
            8,
            "The memory c is so large that tanh(c) is flat for 99% of its values: take smaller biases of the input gate "
            "or smaller inputs; clipping does not help.",
        ),
        ("LSTM", 0, "Give the forget gate a bias of 1 to 4, or attend over all states; clipping does not help."),
        ("GRU", 0, "Give the update gate z a bias of 1 to 4, or attend over all states; clipping does not help."),
        ("Elman", 8, "tanh is flat for 100% of its values: take smaller weights or inputs; clipping does not help."),
    ],
)
def test_the_advice_follows_from_what_was_measured(layer, bias, advice):
    torch.manual_seed(0)
    model = LAYERS[layer](4, 16)
    if bias:
        nn.init.constant_(model.bias_ih_l0, bias)
    [vanishing] = [each for each in unrolled.checkup(model, torch.randn(100, 8, 4)).verdict if each.kind == "vanishing"]
    assert vanishing.advice == advice


def test_a_gate_that_is_open_is_not_to_be_opened():
    torch.manual_seed(0)
    model = Net("LSTM")
    model.gate("f").fill_(2.5)
    found = unrolled.checkup(model, torch.randn(400, 8, 4)).verdict[0]
    assert found.kind == "vanishing"
    assert found.advice.startswith("The forget gate is open already (mean 0.9")
    assert "so a larger bias does not help: attend over all states" in found.advice


@pytest.mark.parametrize(
    ("model", "batch", "loss", "kind", "text"),
    [
        (3, None, None, ArgumentError, "checkup: a model of type int. Expected a torch.nn.Module."),
        *(
            (
                unrolled.GRU(3, 4),
                batch,
                None,
                ArgumentError,
                f"checkup: a batch of type {type(batch).__name__}, in which there is no tensor. Expected what the model "
                "takes: a tensor, or a tuple of its arguments.",
            )
            for batch in ([1, 2], 3, "x", None, {"a": 1.0}, ())
        ),
        (
            nn.Linear(4, 4),
            torch.zeros(4, 2, 4),
            None,
            ShapeError,
            "checkup: no recurrent layer and no scan ran in the model. Give it a model with torch's or Unrolled's "
            "layers, or one that calls scan",
        ),
        (
            Net("GRU"),
            torch.zeros(4, 2, 4),
            lambda out: out,
            ArgumentError,
            "checkup: loss returned a tensor of shape [4, 2, 1]. Expected a tensor of one number.",
        ),
        (
            Net("GRU"),
            torch.zeros(4, 2, 4),
            lambda out: 1.0,
            ArgumentError,
            "checkup: loss returned a value of type float. Expected a tensor of one number.",
        ),
    ],
)
def test_what_it_cannot_take(model, batch, loss, kind, text):
    with pytest.raises(kind) as raised:
        unrolled.checkup(model, batch, loss=loss)
    assert str(raised.value) == text


def test_it_does_not_run_within_a_probe():
    model = Net("GRU")
    with (
        unrolled.probe(model),
        pytest.raises(ProbeError, match=r"^probe: another probe is on. Leave its `with` first.$"),
    ):
        unrolled.checkup(model, torch.zeros(4, 2, 4))


# ---- figures that are known


@pytest.mark.parametrize("values", [(0.99, 0.8, 0.5, -0.3), (0.95 + 0.2j, 0.7, 0.4 + 0.4j), (1.02, 0.9)])
def test_exponents_of_a_linear_recurrence_are_the_logarithms_of_its_eigenvalues(values):
    torch.manual_seed(0)
    model, batch = linear(values)
    wanted = torch.linalg.eigvals(model.weight.detach()).abs().log().sort(descending=True).values
    found = unrolled.checkup(model, batch)
    torch.testing.assert_close(torch.tensor(found.lyapunov, dtype=torch.float64), wanted, rtol=0, atol=1e-4)


def test_the_half_life_of_a_linear_recurrence():
    torch.manual_seed(0)
    model, batch = linear((0.9,))
    [layer] = unrolled.checkup(model, batch).layers
    assert layer.reach.half_life == pytest.approx(math.log(2) / -math.log(0.9), rel=1e-6)
    assert layer.reach.horizon == math.floor(math.log(0.01) / math.log(0.9))
    assert layer.forgetting["h"].item() == pytest.approx(layer.reach.half_life, rel=1e-6)


def test_the_largest_exponent_of_the_lorenz_system():
    """0.9056, J. C. Sprott, Chaos and Time-Series Analysis, 2003; the sum is -(σ + 1 + β)."""
    torch.manual_seed(0)
    states = lorenz_states(64, 500)
    found = lyapunov_exponents(lorenz, torch.zeros(1500, 64), states, n=3) / LORENZ_STEP
    assert found[0].item() == pytest.approx(0.906, abs=0.02)
    assert found[1].item() == pytest.approx(0, abs=0.02)
    assert found.sum().item() == pytest.approx(-(10 + 1 + 8 / 3), abs=0.02)


def test_exponents_by_products_are_those_of_whole_jacobians(monkeypatch):
    model, batch, _ = ILL["vanishing"]("LSTM")
    batch = batch[:30]
    whole = unrolled.checkup(model, batch)
    monkeypatch.setattr(tangents, "MOST_WHOLE", 0)
    by_products = unrolled.checkup(model, batch)
    assert by_products.lyapunov == pytest.approx(whole.lyapunov, abs=1e-5)
    for leaf, times in whole.layers[0].forgetting.items():
        torch.testing.assert_close(by_products.layers[0].forgetting[leaf], times, rtol=1e-4, atol=1e-4)


def test_fixed_points_of_a_map_that_is_known():
    weight = torch.tensor([[3.0]])
    found = fixed_points(
        lambda x, h: (h, (h @ weight + x).tanh()), torch.zeros(1, 1), torch.linspace(-1, 1, 11)[:, None]
    )
    states = [point.state.item() for point in found]
    assert [point.is_stable for point in found] == [True, True, False]
    assert states == pytest.approx([-0.9949, 0.9949, 0], abs=1e-3)
    assert found[2].eigenvalues[0].real.item() == pytest.approx(3)
    assert found[2].n_unstable == 1


@pytest.mark.slow
def test_the_flip_flop_has_its_eight_stable_points():
    torch.manual_seed(0)
    start = time.perf_counter()
    model, batch, loss = flip_flop()
    found = unrolled.checkup(model, batch, loss=loss)
    assert time.perf_counter() - start < 60
    stable = [point for point in found.layers[0].fixed_points if point.is_stable]
    answers = {tuple(model.head(point.state[:16].float()).sign().tolist()) for point in stable}
    assert len(stable) == len(answers) == 8
    assert found.is_healthy


DELAYS = [10, pytest.param(50, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.slow)]


@pytest.mark.parametrize("delay", DELAYS)
def test_the_horizon_of_a_net_that_copies_is_its_delay(delay):
    torch.manual_seed(0)
    model, batch, loss = copy_task(delay)
    with_loss, without = unrolled.checkup(model, batch, loss=loss), unrolled.checkup(model, batch)
    assert with_loss.horizon == pytest.approx(delay, rel=0.1)
    assert without.horizon == pytest.approx(delay, rel=0.1)
    assert with_loss.is_healthy
    assert with_loss.past.has_learned
    model, batch, loss = copy_task(delay, is_trained=False)
    untrained = unrolled.checkup(model, batch, loss=loss)
    assert untrained.horizon < 0.9 * delay
    assert not untrained.past.has_learned


# ---- other forms of models


class Scanned(nn.Module):
    """A user's step, by scan."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3 + 5, 5)

    def forward(self, xs, lengths=None):
        return unrolled.scan(self._step, xs, xs.new_zeros(xs.shape[1], 5), lengths=lengths)[0]

    def _step(self, x, h):
        h = self.mix(torch.cat((x, h), 1)).tanh()
        return h, h


def test_a_step_of_the_users():
    found = unrolled.checkup(Scanned(), torch.randn(80, 4, 3))
    assert kinds(found) == ["vanishing"]
    assert found.layers[0].saturated.keys() == {"tanh 1"}


def test_rows_have_their_own_lengths():
    """What lies beyond a row's length changes no figure."""
    model, xs = Scanned(), torch.randn(40, 4, 3)
    lengths = torch.tensor([40, 31, 40, 5])
    first = unrolled.checkup(model, (xs, lengths))
    changed = torch.where(torch.arange(40)[:, None, None] < lengths[:, None], xs, 7)
    second = unrolled.checkup(model, (changed, lengths))
    assert second.half_life == pytest.approx(first.half_life)
    assert second.lyapunov == pytest.approx(first.lyapunov)
    assert second.horizon == first.horizon
    assert second.layers[0].effective_rank == pytest.approx(first.layers[0].effective_rank)


@pytest.mark.parametrize("layer", LAYERS)
def test_batch_first_and_both_directions_find_what_time_first_finds(layer):
    torch.manual_seed(0)
    there = LAYERS[layer](4, 16)
    back = LAYERS[layer](4, 16, batch_first=True)
    back.load_state_dict(there.state_dict())
    xs = torch.randn(40, 40, 4)  # as many rows as steps
    first, second = unrolled.checkup(there, xs), unrolled.checkup(back, xs.transpose(0, 1))
    assert second.half_life == pytest.approx(first.half_life)
    assert second.horizon == first.horizon
    both = LAYERS[layer](4, 16, bidirectional=True)
    weights = there.state_dict()
    both.load_state_dict(weights | {f"{name}_reverse": value for name, value in weights.items()})
    forward, backward = unrolled.checkup(both, xs).layers
    mirrored = unrolled.checkup(both, xs.flip(0)).layers
    assert backward.reach.half_life == pytest.approx(mirrored[0].reach.half_life)
    assert forward.reach.half_life == pytest.approx(mirrored[1].reach.half_life)
    assert forward.reach.half_life == pytest.approx(first.half_life, rel=0.05)


def test_packed_rows_and_float64():
    model = nn.GRU(3, 8).double()
    packed = nn.utils.rnn.pack_padded_sequence(
        torch.randn(50, 3, 3, dtype=torch.float64), torch.tensor([20, 50, 33]), enforce_sorted=False
    )
    found = unrolled.checkup(model, packed)
    assert kinds(found) == ["vanishing"]
    assert found.n_steps == 50


def test_a_carried_state_is_cut_off():
    torch.manual_seed(0)
    model, xs = Net("LSTM"), torch.randn(20, 8, 4)
    model.remember(5)

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model.rnn

        def forward(self, xs, *state):
            return self.net(xs, state)[0]

    carried = tuple(torch.randn(1, 8, 16) for _ in range(2))
    assert kinds(unrolled.checkup(Windows(), (xs, *carried))) == ["truncation too short"]


QUICK = ("classify", "tag", "text")
NAMES = sorted(path.stem for path in OLD.glob("*.safetensors"))


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_the_command_line_looks_into_every_tasks_model(name, call):
    code, out, err = call("checkup", OLD / f"{name}.safetensors", "--format", "json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["data"] == "made-up input: what the model knows in random order, with random answers"
    assert found["layers"]
    assert {finding["kind"] for finding in found["verdict"]} <= set(KINDS)


def test_the_command_line_takes_data(call, tmp_path):
    text = tmp_path / "tale.txt"
    text.write_text("".join(f"line {i % 50} of the tale\n" for i in range(400)), encoding="utf-8")
    code, out, _ = call("checkup", OLD / "text.safetensors", text, "--picture", tmp_path / "a.png")
    assert code == 0
    assert out.startswith(f"{OLD / 'text.safetensors'}, on {text}\n\n")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.PNG.bak"])
def test_a_picture_of_no_known_kind_is_refused_before_the_work(call, name):
    assert call("checkup", OLD / "tag.safetensors", "--picture", name) == (
        2,
        "",
        f"unrolled: --picture {name}: expected a name that ends in .png or .svg\n",
    )


def test_a_run_whose_files_have_gone_is_told(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("\n".join(["text,label", *(f"a {i} word,{i % 2}" for i in range(40))]), encoding="utf-8")
    code, *_ = call("train", "classify", "t.csv", "--steps", "2", "--hidden", "4", "--folder", "run")
    assert code == 0
    Path("t.csv").unlink()
    code, out, err = call("checkup", "run")
    assert code == 0
    assert err == f"{tmp_path}/t.csv: no such file; so the input is made up\n"
    assert out.startswith("run, on made-up input")
