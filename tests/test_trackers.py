"""Rows of a training, in TensorBoard itself, in stand-ins of the others' documented interfaces, and in callbacks."""

import builtins
import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import unrolled
from unrolled.errors import MissingExtraError, SettingsError
from unrolled.training.run_folder import Run
from unrolled.training.trackers import TRACKERS

TEXTS = ["good food, fast", "cold and late", "so good", "late again"] * 10
LABELS = ["up", "down", "up", "down"] * 10
QUICK = {"hidden": 4, "steps": 20, "eval_every": 10, "patience": 0}


class Kept:
    """A tracker of one's own."""

    def __init__(self):
        self.calls = []

    def start(self, config):
        self.calls.append(("start", config))

    def row(self, step, metrics):
        self.calls.append(("row", step, metrics))

    def end(self, summary):
        self.calls.append(("end", summary))


def fit(**options):
    return unrolled.ClassifyModel(**QUICK).fit(TEXTS, LABELS, **options)


def test_a_tracker_of_ones_own_gets_start_rows_and_end():
    kept = Kept()
    model = fit(log=kept)
    (start, config), *rows, (end, summary) = kept.calls
    assert (start, end) == ("start", "end")
    assert (config["task"], config["hidden"], config["steps"]) == ("classify", 4, 20)
    assert [step for _, step, _ in rows] == [10, 10, 20, 20]
    assert rows[0][2].keys() == {"train_loss", "gradient_norm"}
    assert rows[1][2].items() >= {"accuracy": model.record[0]["accuracy"], "loss": model.record[0]["loss"]}.items()
    assert summary["reason"] == "20 steps done"
    assert summary["model/accuracy"] == model.metrics["model"]["accuracy"]


def test_a_tracker_is_ended_when_the_training_is_cut_off(interrupted):
    kept = Kept()
    with interrupted(5):
        fit(log=[kept])
    assert kept.calls[-1] == ("end", {"reason": "cut off"})


def test_tensorboard_reads_the_rows(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"{a.replace(',', '')},{b}\n" for a, b in zip(TEXTS, LABELS, strict=True))
    )
    options = [each for name, value in QUICK.items() for each in (f"--{name.replace('_', '-')}", value)]
    assert call("train", "classify", "a.csv", "--folder", "run", "--log", "tensorboard", *options)[0] == 0
    assert Run.open("run").config["log"] == ["tensorboard"]
    assert call("train", "--resume", "run")[0] == 0
    seen = EventAccumulator("run/tensorboard").Reload()
    assert {"train_loss", "accuracy", "loss"} <= set(seen.Tags()["scalars"])
    assert [event.step for event in seen.Scalars("accuracy")] == [10, 20]


def stand_in(monkeypatch, name, calls):
    """A module with the functions that the library documents, which keeps its calls."""
    module = types.ModuleType(name)
    keep = lambda function: lambda *a, **k: calls.append((function, a, k))
    if name == "mlflow":
        module.active_run = lambda: None
        for function in ("start_run", "log_params", "log_metrics", "end_run"):
            setattr(module, function, keep(function))
    else:
        for function in ("log", "finish"):
            setattr(module, function, keep(function))
        run = types.SimpleNamespace(log=keep("log"), finish=keep("finish"), summary={})

        def init(*, project, name, config):
            calls.append(("init", (), {"project": project, "name": name, "config": config}))
            return run

        module.init = init
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlflow", ["start_run", "log_params", *["log_metrics"] * 5, "end_run"]),
        ("wandb", ["init", *["log"] * 4, "finish"]),
        ("trackio", ["init", *["log"] * 5, "finish"]),
    ],
)
def test_the_others_get_their_documented_calls(monkeypatch, tmp_path, name, expected):
    monkeypatch.chdir(tmp_path)
    calls = []
    stand_in(monkeypatch, name, calls)
    fit(log=name)
    assert [call for call, _, _ in calls] == expected
    rows = [(arguments[0], options["step"]) for call, arguments, options in calls if "step" in options]
    assert [step for _, step in rows] == [10, 10, 20, 20]
    assert "accuracy" in rows[1][0]
    assert list(tmp_path.iterdir()) == []


def test_an_active_run_of_mlflow_is_taken_and_left_open(monkeypatch):
    calls = []
    stand_in(monkeypatch, "mlflow", calls)
    sys.modules["mlflow"].active_run = lambda: "theirs"
    fit(log="mlflow")
    assert {"start_run", "end_run"}.isdisjoint(call for call, _, _ in calls)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_named_before_the_training(monkeypatch, name):
    whole = builtins.__import__

    def without(module, *arguments):
        if module.split(".")[0] == name:
            raise ImportError(module)
        return whole(module, *arguments)

    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError) as caught:
        fit(log=[name])
    assert str(caught.value) == f"--log {name} needs the {name} library. Install it: pip install {name}"


def test_a_tracker_that_there_is_not_is_told():
    with pytest.raises(SettingsError) as caught:
        fit(log="excel")
    assert str(caught.value) == (
        "log: got 'excel'; expected one of tensorboard, mlflow, wandb, trackio, "
        "or an object with start(config), row(step, metrics) and end(summary)"
    )


def test_a_callback_sees_every_row_and_stops_the_training():
    seen = []

    def enough(step, metrics):
        seen.append((step, sorted(metrics)[0]))
        return step >= 10 and "accuracy" in metrics

    model = fit(callbacks=[enough])
    assert model.result.reason == "stopped by the callback enough"
    assert (model.result.steps, model.result.best_step) == (10, 10)
    assert [step for step, _ in seen] == [10, 10]


def test_a_callback_that_stops_between_evaluations_leaves_an_evaluated_model():
    model = unrolled.ClassifyModel(**QUICK | {"eval_every": 15}).fit(
        TEXTS, LABELS, callbacks=[lambda step, _: step == 10]
    )
    assert model.result.steps == 10
    assert [row["step"] for row in model.record] == [10]
    assert model.metrics["model"]["accuracy"] >= 0


@pytest.mark.parametrize("kind", ["text", "forecast"])
def test_other_tasks_take_them_too(kind):
    kept, stop = Kept(), lambda step, metrics: step == 10
    if kind == "text":
        model = unrolled.TextModel(hidden=8, layers=1, batch=4, k1=20, steps=30)
        model.fit(text="to be or not to be\n" * 200, log=kept, callbacks=[stop])
    else:
        model = unrolled.ForecastModel(horizon=2, hidden=4, steps=30, eval_every=30)
        model.fit([float(i % 7) for i in range(100)], log=kept, callbacks=[stop])
    assert model.result.steps == 10
    assert kept.calls[-1][1]["steps"] == 10
