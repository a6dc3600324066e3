"""--watch-gradients: metrics of each recurrent layer in the log, and a line where something is wrong."""

import csv
from dataclasses import replace

import pytest
import torch
from torch import nn

import unrolled
from unrolled.training import gradient_metrics
from unrolled.training.display import Display
from unrolled.training.loop import train
from unrolled.training.settings import TrainSettings

STEPS = 30
SETTINGS = TrainSettings(steps=10, lr=1e-5, eval_every=5, precision="float32", patience=0)


class Sums(nn.Module):
    def __init__(self, kind, gain):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = getattr(unrolled, kind)(2, 8, bidirectional=True)
        self.out = nn.Linear(16, 1)
        with torch.no_grad():
            for name, weight in self.recurrent.named_parameters():
                if name.startswith("weight_hh"):
                    for gate in weight.split(8):
                        gate.copy_(gain * nn.init.orthogonal_(torch.empty(8, 8)))
                if name.startswith("bias"):
                    weight.zero_()

    def forward(self, xs):
        return self.out(self.recurrent(xs)[0][-1])


class Job:
    items_per_step, item, steps_per_epoch = 4, "row", 10

    def __init__(self, kind="RNN", gain=1.0, size=0.01, baseline_loss=None):
        self.module, self.size, self.baseline_loss = Sums(kind, gain), size, baseline_loss

    def loss(self, module, step, carried):
        xs = torch.randn(STEPS, 4, 2, generator=torch.Generator().manual_seed(step)) * self.size
        torch.rand(3)  # as dropout would draw
        return (module(xs) - xs.sum((0, 2)).unsqueeze(1)).square().mean(), carried

    def evaluate(self):
        return {"loss": 1.0}

    def describe(self, metrics):
        return f"loss {metrics['loss']}"

    def save(self, path, record):
        path.write_text("")


def seen(job):
    return {each.name: each for each in gradient_metrics.layer_metrics(job, 0, None)}


@pytest.mark.parametrize(("gain", "half_life"), [(0.5, 1.0), (0.9, 6.6)])
def test_the_half_life_is_that_of_the_recurrent_weights(gain, half_life):
    forward = seen(Job(gain=gain))["recurrent, layer 1, forward"]
    assert forward.half_life == pytest.approx(half_life, rel=0.05)  # log 2 / -log gain, as tanh is linear near zero
    assert forward.steps == STEPS
    assert forward.first / forward.last == pytest.approx(gain ** (STEPS - 1), rel=0.2)
    assert forward.columns().keys() == {
        f"recurrent/1/forward/{name}" for name in ("first", "last", "half_life", "saturated")
    }


def test_a_gradient_that_does_not_fall_has_a_half_life_of_a_million():
    assert seen(Job(gain=1.0, size=0.0))["recurrent, layer 1, forward"].half_life == 1e6


def test_it_says_what_is_wrong_with_advice():
    told = lambda job, learns=False: gradient_metrics.advice(
        gradient_metrics.layer_metrics(job, 0, None), is_learning=learns
    )
    exploding = told(Job(gain=1.5, size=1e-6), learns=True)["explodes"]
    assert exploding.replace("backward", "forward") == (
        "gradients explode in recurrent, layer 1, forward: 1e5 times over 30 steps. "
        "Try --clip-state-gradient 1, a lower --lr, or another --cell."
    )
    vanishing = told(Job(gain=0.5))["vanishes"]
    assert vanishing == (
        "gradients vanish: half-life 1.0 step in recurrent, layer 1, forward, sequences are 30 long. "
        "Try --cell lstm or gru, or cut the sequences shorter. Clipping does not help."
    )
    gated = told(Job("LSTM", gain=0.1))["vanishes"]
    assert "Gates open with training: go on for longer" in gated
    assert told(Job(gain=0.5), learns=True) == {}
    full = told(Job("RNN", gain=1.0, size=1000.0))["saturates"]
    assert "% of the gates of recurrent, layer 1, " in full
    assert full.endswith(" are saturated. Try a lower --lr, or smaller inputs.")
    assert told(Job(gain=0.99)) == {}


class Notes(Display):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_watched_run_trains_to_the_same_bits_and_tells_each_thing_once():
    plain, job, display = Job(gain=1.5), Job(gain=1.5), Notes()
    train(plain, SETTINGS)
    result = train(job, replace(SETTINGS, watch_gradients=True), display=display)
    for one, other in zip(plain.module.parameters(), job.module.parameters(), strict=True):
        assert torch.equal(one, other)
    assert len(result.record) == 2
    assert all(row["recurrent/1/backward/half_life"] > 0 for row in result.record)
    [note] = display.notes
    assert note.startswith("step 5: gradients explode in recurrent, layer 1, ")


def test_what_vanishes_is_told_of_a_run_that_is_no_better_than_its_baseline():
    settings, notes = replace(SETTINGS, watch_gradients=True), {}
    for baseline in (0.5, 2.0):
        display = Notes()
        train(Job(gain=0.5, baseline_loss=baseline), settings, display=display)
        notes[baseline] = display.notes
    assert len(notes[0.5]) == 1
    assert notes[2.0] == []


def test_the_states_gradient_is_clipped_while_it_trains():
    class Looking(Job):
        def loss(self, module, step, carried):
            assert module.recurrent.clip_state_grad == limit
            return super().loss(module, step, carried)

    found = []
    for limit in (None, 1e-3):
        job = Looking(gain=1.5)
        found.append(train(job, replace(SETTINGS, clip_state_gradient=limit or 0.0)).record[0]["gradient_norm"])
        assert job.module.recurrent.clip_state_grad is None
    assert found[1] < found[0] / 10


def test_on_the_command_line(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("the cat sat on the mat and ran. " * 200)
    options = ("--steps", "4", "--hidden", "8", "--layers", "1", "--watch-gradients", "--clip-state-gradient", "0.5")
    code, _, _ = call("train", "text", "t.txt", *options, "--folder", "run")
    assert code == 0
    with (tmp_path / "run/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["recurrent/1/forward/half_life"]) > 0
    assert call("train", "text", "t.txt", "--clip-state-gradient", "-1", "--folder", "other") == (
        2,
        "",
        "unrolled: clip_state_gradient=-1.0: expected at least 0\n",
    )
    assert not (tmp_path / "other").exists()
