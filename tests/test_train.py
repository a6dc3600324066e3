"""The training loop: bounds, convergence, clipping, divergence, best weights, and runs that go on bit for bit."""

import math
import os
import re
import signal
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unrolled
from tests.assertions import assert_equal
from unrolled.errors import DivergedError, RunError, SettingsError
from unrolled.files import safetensors_tree
from unrolled.training.devices import choose_device, choose_precision
from unrolled.training.display import Display
from unrolled.training.loop import TrainSettings, train
from unrolled.training.optimizers import OPTIMIZERS
from unrolled.training.run_folder import Run


class Killed(BaseException):
    """Stands for kill -9 within one process: nothing catches it."""


class Regression:
    """Learns a linear map with dropout and a carried state: every source of randomness and memory that a job has."""

    items_per_step, item = 8, "row"

    def __init__(self, *, kill_at=None, losses=None):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))
            self.truth = torch.randn(4, 1)
        self.kill_at, self.losses, self.evaluated = kill_at, losses, 0

    def loss(self, module, step, carried):
        if step == self.kill_at:
            raise Killed
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        memory = torch.zeros(8, 1) if carried is None else carried["memory"]
        y = module(x)
        memory = 0.5 * memory + y
        return (y + 0.01 * memory - x @ self.truth).square().mean(), {"memory": memory, "count": step}

    def evaluate(self):
        self.evaluated += 1
        if self.losses is not None:
            return {"loss": self.losses[min(self.evaluated, len(self.losses)) - 1]}
        self.module.eval()
        with torch.no_grad():
            return {"loss": float((self.module[1].weight.T - self.truth).square().sum())}

    def describe(self, figures):
        return f"{figures['loss']:.3f}"

    def save(self, path, record):
        safetensors_tree.write_tensors(path, dict(self.module.state_dict()), {"rows": str(len(record))})


SETTINGS = TrainSettings(steps=40, precision="float32", checkpoint_s=0, lr=0.05, warmup=3)


def weights(job):
    return [value.clone() for value in job.module.state_dict().values()]


def test_learns_and_leaves_the_best_weights(tmp_path):
    job, run = Regression(), Run.create(tmp_path / "run", {"task": "none"})
    result = train(job, SETTINGS, run=run)
    assert result.reason == "40 steps done"
    assert result.steps == 40
    losses = [row["loss"] for row in result.record]
    assert losses[-1] < 0.1 * losses[0]
    assert result.best_loss == min(losses) == job.evaluate()["loss"]
    assert [row["step"] for row in result.record] == list(range(4, 41, 4))
    saved, _ = safetensors_tree.read_tensors(run.model_path)
    assert_equal([saved[name] for name in job.module.state_dict()], weights(job))
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 11


@given(st.lists(st.integers(0, 40), max_size=4), st.sampled_from(["cosine", "linear", "constant", "plateau"]),
       st.sampled_from(sorted(OPTIMIZERS)), st.sampled_from([0, 1e9]))  # fmt: skip
@settings(max_examples=40)
def test_a_run_killed_anywhere_goes_on_to_the_same_bits(tmp_path_factory, kills, schedule, optimizer, checkpoint_s):
    chosen = replace(SETTINGS, schedule=schedule, optimizer=optimizer, checkpoint_s=checkpoint_s)
    whole = Regression()
    expected = train(whole, chosen)
    folder = tmp_path_factory.mktemp("kill") / "run"
    Run.create(folder, {"task": "none"})
    for kill_at in kills:
        job = Regression(kill_at=kill_at)
        try:
            train(job, chosen, run=Run.open(folder))
        except Killed:
            continue
    job = Regression()
    torch.manual_seed(99)  # whatever state the new process's generator is in
    result = train(job, chosen, run=Run.open(folder))
    assert_equal(weights(job), weights(whole))
    untimed = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert untimed(result.record) == untimed(expected.record)


def test_does_not_touch_the_callers_random_state():
    before = torch.get_rng_state()
    train(Regression(), SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


def test_stops_when_it_no_longer_improves():
    job = Regression(losses=[3.0, 2.0, 2.5, 2.0, 2.0, 1.0])
    result = train(job, replace(SETTINGS, steps=None, schedule="plateau", eval_every=5, patience=3))
    assert result.reason == "converged: 3 evaluations without improvement"
    assert (result.best_step, result.best_loss, result.steps) == (10, 2.0, 25)
    job = Regression(losses=[1.0, 2.0])
    assert train(job, replace(SETTINGS, patience=0)).reason == "40 steps done"


def test_stops_at_the_minute():
    result = train(Regression(), replace(SETTINGS, steps=None, minutes=0.02, patience=0))
    assert result.reason == "0.02 minutes over"
    assert 1.2 <= result.seconds < 3
    assert 8 <= len(result.record) <= 11


def test_a_run_bounded_by_time_spends_it_on_training_not_on_evaluations():
    class Slow(Regression):
        def evaluate(self):
            time.sleep(0.3)
            return super().evaluate()

    result = train(Slow(), replace(SETTINGS, steps=None, minutes=0.03, patience=0))
    assert len(result.record) == 2  # at a tenth of 1.8 s, and at the end: 0.3 s are more than a tenth throughout
    assert result.record[-1]["step"] == result.steps


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_advice_and_the_best_model_intact(tmp_path, bad):
    class Bad(Regression):
        def loss(self, module, step, carried):
            loss, carried = super().loss(module, step, carried)
            return (loss * bad if step == 10 else loss), carried

    job, run = Bad(), Run.create(tmp_path / "run", {"task": "none"})
    with pytest.raises(DivergedError) as caught:
        train(job, SETTINGS, run=run)
    text = str(caught.value)
    assert text.startswith(f"training stopped at step 11: the loss is {bad}, the gradient's norm is nan")
    assert re.search(r"The best model, loss \S+ of step 8, is kept in \S+model.safetensors\.", text)
    assert "Try a lower --lr (such as" in text
    saved, _ = safetensors_tree.read_tensors(run.model_path)
    assert all(value.isfinite().all() for value in saved.values())


def test_clipping_bounds_the_step():
    def moved(**clipping):
        job = Regression()
        before = torch.cat([value.flatten() for value in weights(job)])
        chosen = replace(SETTINGS, steps=1, warmup=0, schedule="constant", optimizer="sgd", weight_decay=0, lr=1.0)
        train(job, replace(chosen, **clipping), make_optimizer=lambda p: torch.optim.SGD(p, 1.0))
        return torch.cat([value.flatten() for value in weights(job)]) - before

    assert moved(clip_norm=0).norm() > 0.1
    torch.testing.assert_close(moved(clip_norm=0.01).norm(), torch.tensor(0.01))
    assert moved(clip_norm=0, clip_value=0.001).abs().max() <= 0.001001


def test_ctrl_c_leaves_a_checkpoint(tmp_path):
    class Interrupted(Regression):
        def loss(self, module, step, carried):
            if step == 7:
                raise KeyboardInterrupt
            return super().loss(module, step, carried)

    run = Run.create(tmp_path / "run", {"task": "none"})
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), replace(SETTINGS, checkpoint_s=1e9), run=run)
    assert Run.open(run.folder).state["position"]["step"] == 7


def test_ctrl_c_amid_an_update_waits_for_its_end(tmp_path):
    """Weights and position belong together: one without the other would lose all since the checkpoint before."""

    class Pressed(torch.optim.SGD):
        def step(self, closure=None):
            n_steps.append(super().step(closure))
            if len(n_steps) == 7:
                os.kill(os.getpid(), signal.SIGINT)

    n_steps = []
    run = Run.create(tmp_path / "run", {"task": "none"})
    chosen = replace(SETTINGS, checkpoint_s=1e9, eval_every=10)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(Regression(), chosen, run=run, make_optimizer=lambda parameters: Pressed(parameters, 0.01))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)
    assert Run.open(run.folder).state["position"]["step"] == len(n_steps) == 7


def test_the_display_is_told_of_every_step_and_evaluation():
    told = []

    class Listening(Display):
        def step(self, step, progress, seconds, loss, gradient_norm):
            told.append((step, progress))

        def evaluated(self, row, figure, *, is_best):
            told.append((row["step"], figure, is_best))

    train(Regression(losses=[2.0, 3.0]), replace(SETTINGS, steps=4, eval_every=2), display=Listening())
    assert told == [(1, 0.25), (2, 0.5), (2, "2.000", True), (3, 0.75), (4, 1.0), (4, "3.000", False)]


def test_settings_are_held_to_their_ranges_all_at_once():
    with pytest.raises(
        SettingsError, match=r"^steps=0: expected at least 1; optimizer='x': expected one of .*; lr=-1:"
    ):
        TrainSettings(steps=0, lr=-1, optimizer="x")
    with pytest.raises(SettingsError, match=r"^schedule=cosine needs an end to run towards: give steps or minutes"):
        TrainSettings()
    with pytest.raises(SettingsError, match=r"^seed=True: expected a whole number$"):
        TrainSettings(steps=1, seed=True)
    with pytest.raises(SettingsError, match=r"^settings: a, b not known to this version$"):
        TrainSettings.from_dict({"steps": 1, "b": 1, "a": 2})
    assert TrainSettings.from_dict(SETTINGS.to_dict()) == SETTINGS


def test_devices_and_precisions():
    assert choose_device("cpu").type == "cpu"
    assert choose_precision("auto", torch.device("cpu")) in ("float32", "bfloat16")
    assert choose_precision("float32", torch.device("cpu")) == "float32"
    with pytest.raises(SettingsError, match=r"^device='abacus': not to be had here"):
        choose_device("abacus")


def test_bfloat16_keeps_its_weights_in_float32():
    job = Regression()
    result = train(job, replace(SETTINGS, precision="bfloat16"))
    assert job.module[1].weight.dtype == torch.float32
    assert result.record[-1]["loss"] < result.record[0]["loss"]


def test_run_folders_are_whole_or_absent(tmp_path):
    run = Run.create(tmp_path / "run", {"task": "none"})
    with pytest.raises(RunError, match=r"run: exists already\. Choose another folder, or go on with it"):
        Run.create(tmp_path / "run", {"task": "none"})
    with pytest.raises(
        RunError, match=r"other: no run to resume here; expected a folder with checkpoint\.safetensors\. R"
    ):
        Run.open(tmp_path / "other")
    (run.folder / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: cannot be read"):
        Run.open(run.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the run folder"):
        Run.create(tmp_path / "file" / "run", {"task": "none"})
    safetensors_tree.write_tree(run.folder / "checkpoint.safetensors", {"version": 99})
    with pytest.raises(RunError, match=r"version 99; this unrolled resumes version 1\. Train anew"):
        Run.open(run.folder)


def test_a_folder_that_cannot_be_written_any_more_is_told(tmp_path):
    import shutil

    class Removed(Regression):
        def evaluate(self):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            return super().evaluate()

    run = Run.create(tmp_path / "run", {"task": "none"})
    with pytest.raises(RunError, match=r"model\.safetensors: cannot be written: "):
        train(Removed(), SETTINGS, run=run)


def test_it_takes_an_optimizer_of_ones_own():
    made = []

    def make(parameters):
        made.append(torch.optim.LBFGS)
        return torch.optim.SGD(parameters, 0.1, momentum=0.5)

    result = unrolled.train(Regression(), SETTINGS, make_optimizer=make)
    assert made
    assert result.record[-1]["lr"] < 0.1
