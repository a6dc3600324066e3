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
from unrolled.training.loop import train
from unrolled.training.optimizers import OPTIMIZERS
from unrolled.training.run_folder import Run
from unrolled.training.settings import TrainSettings
from unrolled.training.stopping import Position, in_minutes, reason_to_stop


class Killed(BaseException):
    """Stands for kill -9 within one process: nothing catches it."""


class Regression:
    """Learns a linear map with dropout and a carried state: every source of randomness and memory that a job has."""

    items_per_step, item, steps_per_epoch, baseline_loss = 8, "row", 1, None

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

    def describe(self, metrics):
        return f"{metrics['loss']:.3f}"

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
    untimed = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert untimed(result.record) == untimed(expected.record)


def test_does_not_touch_the_callers_random_state():
    before = torch.get_rng_state()
    train(Regression(), SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


class Prescribed(Regression):
    """Training and validation losses as given, one an update and one an evaluation; the last of them goes on."""

    def __init__(self, *, training, losses, steps_per_epoch=1, baseline_loss=None):
        super().__init__(losses=losses)
        self.training, self.steps_per_epoch, self.baseline_loss = training, steps_per_epoch, baseline_loss

    def loss(self, module, step, carried):
        loss, carried = super().loss(module, step, carried)
        wanted = self.training[min(step, len(self.training) - 1)]
        return loss - loss.detach() + wanted, carried


PATIENT = replace(SETTINGS, steps=200, schedule="constant", eval_every=5, patience=3)
FALLING = [100 - step for step in range(50)]  # then it stays at 51


def test_converges_when_neither_loss_falls():
    job = Prescribed(training=FALLING, losses=[3.0, 2.0, 2.5])
    result = train(job, PATIENT)
    # evaluations at 15, ..., 50 wait, as the training loss falls; those at 55 (the first at 51), 60, 65 and 70 count
    assert result.reason == "converged: no better for 12 evaluations, and the training loss no longer falls"
    assert (result.best_step, result.best_loss, result.steps) == (10, 2.0, 70)
    assert result.has_begun
    assert train(job, replace(PATIENT, patience=0)).reason == "200 steps done"


@pytest.mark.parametrize(
    ("training", "steps_per_epoch", "has_begun", "why"),
    [
        ([100 - step / 10 for step in range(300)], 1, True, "the training loss falls"),
        ([5.0], 1, False, "it has not left its starting level"),
        ([5.0, 5.2, 4.9, 5.1, 5.0] * 60, 1, False, "nor where that is noisy"),
        (FALLING, 67, False, "three epochs are not over"),
    ],
)
def test_patience_does_not_count_before_there_is_anything_to_lose(training, steps_per_epoch, has_begun, why):
    result = train(Prescribed(training=training, losses=[1.0], steps_per_epoch=steps_per_epoch), PATIENT)
    assert result.reason == "200 steps done", why
    assert result.has_begun == has_begun  # else a worse evaluation does not tell that longer training is in vain


def test_a_late_improvement_is_not_missed():
    result = train(Prescribed(training=FALLING, losses=[1.0] * 9 + [0.5]), replace(PATIENT, steps=50))
    assert (result.best_step, result.best_loss) == (50, 0.5)


def test_a_run_without_bound_ends_at_its_starting_level_too():
    unbounded = replace(PATIENT, steps=None, schedule="plateau")
    result = train(Prescribed(training=[5.0], losses=[1.0]), unbounded)
    assert result.reason == "no better for 12 evaluations; the training loss is still at its starting level"
    assert result.steps == 65


def test_a_slow_machine_neither_ends_early_nor_goes_without_evaluations(monkeypatch):
    """A clock on which an update takes 4 s and an evaluation 20 s: 15 updates in two minutes."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Slow(Prescribed):
        def loss(self, module, step, carried):
            now[0] += 4
            return super().loss(module, step, carried)

        def evaluate(self):
            now[0] += 20
            return super().evaluate()

    slow = replace(SETTINGS, steps=None, minutes=2, patience=1, checkpoint_s=1e9)
    result = train(Slow(training=FALLING, losses=[1.0]), slow)
    assert result.reason == "2 minutes over"
    assert [row["step"] for row in result.record] == [3, 10, 20]
    assert 120 <= result.seconds <= 144
    rates = [row["lr"] for row in result.record]
    assert rates[0] == pytest.approx(0.05 * 0.5 * (1 + math.cos(math.pi * 8 / 120)))


def test_a_slow_machines_warmup_ends_after_a_tenth_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Slow(Regression):
        def loss(self, module, step, carried):
            now[0] += 3
            return super().loss(module, step, carried)

    slow = replace(SETTINGS, steps=None, minutes=1, warmup=1000, schedule="linear", eval_every=1, checkpoint_s=1e9)
    rates = [row["lr"] for row in train(Slow(), slow).record]
    shares = [max((step + 1) / 1000, min(1, 3 * step / 6)) for step in range(20)]
    assert rates == pytest.approx([0.05 * share * (1 - 3 * step / 60) for step, share in enumerate(shares)])


def test_a_run_goes_on_until_it_beats_its_baseline(monkeypatch):
    now, notes = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Slow(Prescribed):
        def loss(self, module, step, carried):
            now[0] += 3
            return super().loss(module, step, carried)

    class Noting(Display):
        def note(self, text):
            notes.append(text)

    bounded = replace(SETTINGS, steps=None, minutes=1, most_minutes=5, eval_every=4, checkpoint_s=1e9)
    result = train(Slow(training=FALLING, losses=[3.0] * 8 + [0.9], baseline_loss=1.0), bounded, display=Noting())
    assert (result.reason, result.steps) == ("2 minutes over", 40)
    assert notes == ["no better than the baseline yet: goes on to 2 minutes"]
    never = train(Slow(training=range(200, 0, -1), losses=[3.0], baseline_loss=1.0), bounded)
    assert (never.reason, never.steps) == ("5 minutes over", 100)
    assert train(Slow(training=FALLING, losses=[0.5], baseline_loss=1.0), bounded).reason == "1 minute over"
    with pytest.raises(SettingsError, match=r"^most_minutes: nothing says what the baseline's loss is here; set minut"):
        train(Regression(), bounded)
    with pytest.raises(SettingsError, match=r"^most_minutes=1: expected minutes=2 or more; it is how long a run"):
        TrainSettings(minutes=2, most_minutes=1)
    with pytest.raises(SettingsError, match=r"^most_minutes=1: expected minutes=M or more"):
        TrainSettings(steps=2, most_minutes=1)


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        (1, "1 minute"),
        (2.5, "2.5 minutes"),
        (0.123456, "0.123 minutes"),
        (1440, "1,440 minutes"),
        (1e6, "1,000,000 minutes"),
    ],
)
def test_a_bound_of_minutes_is_told_without_an_exponent(minutes, told):
    assert in_minutes(minutes) == told
    at = Position(seconds=60 * minutes)
    assert reason_to_stop(at, replace(SETTINGS, steps=None, minutes=minutes)) == f"{told} over"


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
    assert (
        len(result.record) == 3
    )  # at a tenth of 1.8 s, at half and at the end: 0.3 s are more than a tenth throughout
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


def pressed():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def interruptible():
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background ignore it
    yield
    signal.signal(signal.SIGINT, usual)


class Slow(Regression):
    """The signal comes amid the evaluation at a step."""

    def __init__(self, at):
        super().__init__()
        self.at, self.step = at, 0

    def loss(self, module, step, carried):
        self.step = step + 1
        return super().loss(module, step, carried)

    def evaluate(self):
        if self.step == self.at:
            pressed()
        return super().evaluate()


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("average", [0, 0.9])
@pytest.mark.parametrize("at", [4, 20, 40])
def test_ctrl_c_amid_an_evaluation_loses_nothing(tmp_path, interruptible, at, average, schedule):
    """Also before the first checkpoint, and at the last evaluation: a resumed run evaluates first."""
    chosen = replace(SETTINGS, checkpoint_s=1e9, average=average, schedule=schedule)
    whole = Regression()
    expected = train(whole, chosen)
    run = Run.create(tmp_path / "run", {"task": "none"})
    with pytest.raises(KeyboardInterrupt):
        train(Slow(at), chosen, run=run)
    state = Run.open(run.folder).state
    assert state["position"]["step"] == at
    assert [row["step"] for row in state["position"]["record"]] == list(range(4, at, 4))
    job = Regression()
    result = train(job, chosen, run=Run.open(run.folder))
    assert_equal(weights(job), weights(whole))
    assert [row["loss"] for row in result.record] == [row["loss"] for row in expected.record]


@pytest.mark.parametrize("what", ["write_tree", "write_tensors"])
@pytest.mark.parametrize("at_write", [1, 2])
def test_ctrl_c_amid_the_writing_of_a_checkpoint_or_a_model_loses_nothing(
    tmp_path, interruptible, monkeypatch, what, at_write
):
    chosen = replace(SETTINGS, checkpoint_s=0 if what == "write_tree" else 1e9)
    whole = Regression()
    train(whole, chosen)
    run = Run.create(tmp_path / "run", {"task": "none"})
    write, n_writes = getattr(safetensors_tree, what), []

    def interrupted(path, *more):
        n_writes.append(path)
        if len(n_writes) == at_write:
            pressed()
        write(path, *more)

    monkeypatch.setattr(safetensors_tree, what, interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(Regression(), chosen, run=run)
    step = Run.open(run.folder).state["position"]["step"]
    assert step == (at_write if what == "write_tree" else 4 * at_write)
    assert not list(run.folder.glob(".*.part"))
    job = Regression()
    train(job, chosen, run=Run.open(run.folder))
    assert_equal(weights(job), weights(whole))


def test_the_display_is_told_of_every_step_and_evaluation():
    told = []

    class Recorder(Display):
        def step(self, step, progress, seconds, loss, gradient_norm):
            told.append((step, progress))

        def evaluated(self, row, metric, *, is_best):
            told.append((row["step"], metric, is_best))

    train(Regression(losses=[2.0, 3.0]), replace(SETTINGS, steps=4, eval_every=2), display=Recorder())
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
