"""How good are the tasks on public data? `python -m benchmarks.tasks DATA_FOLDER [QUESTION...] [--threads N]`.

Each question is one protocol: the data's own split, settings chosen on validation data, the test part touched once a
run. DATA_FOLDER holds the sets as their authors publish them, a folder a set. Rows are appended to results/tasks.csv.
"""

import argparse
import csv
import statistics
from pathlib import Path

import numpy as np
import torch

import unrolled
from benchmarks.harness import append
from benchmarks.training import trained
from unrolled.data.frequency import Frequency
from unrolled.data.labeled import Labeled, read_labeled
from unrolled.data.series import Series
from unrolled.data.series_table import read_series
from unrolled.data.table import read_table
from unrolled.report.metrics import smape
from unrolled.tasks.forecast.report import ForecastReport

SEEDS = 3


def atis(folder, seed):
    model = unrolled.UnderstandModel(unrolled.UnderstandSettings(**SETTINGS["atis"]))
    seconds = trained(model, folder / "atis/train", MINUTES["atis"], seed, folder / "atis/valid", patience=0)
    figures = model.evaluate(folder / "atis/test")
    for name in ("slot_f1", "intent", "sentence"):
        yield name, 100 * figures["model"][name], 100 * figures["baseline"][name], seconds


def resume_ner(folder, seed):
    parts = [folder / f"zh_resume_ner/{part}.char.bmes" for part in ("train", "dev", "test")]
    yield from tagger("resume_ner", *parts, seed, average=0.0)


def wnut17(folder, seed):
    names = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
    yield from tagger("wnut17", *(folder / "wnut17" / name for name in names), seed)


def tagger(question, train, valid, test, seed, **training):
    model = unrolled.TagModel(unrolled.TagSettings(**SETTINGS[question]))
    seconds = trained(model, train, MINUTES[question], seed, valid, patience=0, **training)
    figures = model.evaluate(test)
    yield "span_f1", 100 * figures["model"]["f1"], 100 * figures["baseline"]["f1"], seconds


def sst2(folder, seed):
    """Phrases for training; the 1,821 sentences of the other test set for validation; the 872 for the figure."""
    lines = (folder / "sst/stsa.binary.test").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    rows = [line.split(" ", 1) for line in lines]
    valid = Labeled([text for _, text in rows], [[label] for label, _ in rows])
    train = read_labeled([folder / f"sst/glue_like/{part}.tsv" for part in ("train", "dev")])
    test = read_labeled([folder / "sst/glue_like/test.tsv"])
    yield from classifier("sst2", train, valid, test, seed, lr=1e-3)


def waimai(folder, seed):
    train, test = read_labeled([folder / "zh_waimai/waimai_10k.csv"]).stratified(0.2, 0)
    yield from classifier("waimai", train, None, test, seed)


def classifier(question, train, valid, test, seed, **training):
    model = unrolled.ClassifyModel(unrolled.ClassifySettings(**SETTINGS[question]))
    seconds = trained(model, train, MINUTES[question], seed, valid, **training)
    figures = model.evaluate(test)
    yield "accuracy", 100 * figures["model"]["accuracy"], 100 * figures["baseline"]["accuracy"], seconds


def etth1(folder, seed):
    """12, 4 and 4 months; standardized by the training part; every window."""
    [values] = read_series(read_table([folder / "ett/ETTh1.csv"]), target="OT").values
    values = (values[:14400] - values[:8640].mean()) / values[:8640].std()
    data = Series(["OT"], [values], Frequency("second", 3600), [np.datetime64("2016-07-01T00:00:00")])
    for horizon in (24, 48, 168):
        settings = {"horizon": horizon, "validation": 0.2, "test": 0.2, "stride": 1, "output": "mean"}
        model = unrolled.ForecastModel(unrolled.ForecastSettings(**settings, **SETTINGS["etth1"]))
        seconds = trained(model, data, MINUTES["etth1"], seed, lr=1e-4, average=0.99, weight_decay=0.3)
        figures = model.evaluate(data)
        yield f"mse_{horizon}", figures["model"]["rmse"] ** 2, figures["last value"]["rmse"] ** 2, seconds
        autoregression = figures["linear autoregression"]["rmse"] ** 2
        yield (
            f"mse_{horizon}, its baseline a linear autoregression",
            figures["model"]["rmse"] ** 2,
            autoregression,
            seconds,
        )


def m4_hourly(folder, seed):
    """The last 48 values of each training series validate; the official test values are forecast."""
    with open(folder / "m4_hourly/Hourly-train.csv") as file:
        rows = list(csv.reader(file))[1:]
    with open(folder / "m4_hourly/Hourly-test.csv") as file:
        test = np.array([[float(value) for value in row[1:49]] for row in list(csv.reader(file))[1:]])
    values = [np.array([float(value) for value in row[1:] if value]) for row in rows]
    data = Series([row[0] for row in rows], values)
    settings = {"horizon": 48, "season": 24, "test": 0.0, "validation": 0.048}
    model = unrolled.ForecastModel(unrolled.ForecastSettings(**settings, **SETTINGS["m4_hourly"]))
    seconds = trained(model, data, MINUTES["m4_hourly"], seed, patience=0)
    found = np.stack([forecast.values for forecast in model.predict(data)])
    naive = np.stack([np.tile(each[-24:], 2) for each in values])
    scales = np.array([np.abs(each[24:] - each[:-24]).mean() for each in values])[:, None]
    yield "smape", smape(test, found), smape(test, naive), seconds
    yield "mase", float((np.abs(test - found) / scales).mean()), float((np.abs(test - naive) / scales).mean()), seconds


def melbourne(folder, seed):
    data = read_series(read_table([folder / "jbrownlee/daily-min-temperatures.csv"]))
    share = 365 / len(data.values[0])
    settings = {"horizon": 1, "test": share, "validation": share, "output": "mean"}
    model = unrolled.ForecastModel(unrolled.ForecastSettings(**settings, **SETTINGS["melbourne"]))
    seconds = trained(model, data, MINUTES["melbourne"], seed, lr=5e-4)
    figures = model.evaluate(data)
    yield "rmse", figures["model"]["rmse"], figures["last value"]["rmse"], seconds
    yield (
        "rmse, its baseline a linear autoregression",
        figures["model"]["rmse"],
        figures["linear autoregression"]["rmse"],
        seconds,
    )


def stocks(folder, seed):
    data = read_series(read_table([folder / "vega/stocks.csv"]), target="price", series="symbol")
    model = unrolled.ForecastModel(unrolled.ForecastSettings(horizon=1, test=0.2, validation=0.2))
    seconds = trained(model, data, MINUTES["stocks"], seed)
    figures = model.evaluate(data)
    print(ForecastReport(model, figures).last_line())
    yield "mae", figures["model"]["mae"], figures["last value"]["mae"], seconds


# chosen on the validation parts; see docs/design/tasks.md
SETTINGS = {
    "atis": {"hidden": 200, "layers": 2, "ensemble": 3},
    "resume_ner": {"hidden": 200, "layers": 2, "pairs": 50},
    "wnut17": {"hidden": 100, "layers": 1, "word_dropout": 0.3, "chars": 100},
    "sst2": {"batch": 64, "hidden": 150, "pairs": 0, "chars": 0, "words": 200, "ensemble": 2},
    "waimai": {"hidden": 200},
    "etth1": {"context": 336, "scaling": "series", "hidden": 32, "dropout": 0.5},
    "m4_hourly": {"context": 336, "scaling": "series", "hidden": 96, "dropout": 0.2},
    "melbourne": {"context": 60},
    "stocks": {},
}
MINUTES = {
    "atis": 18, "resume_ner": 10, "wnut17": 4, "sst2": 18, "waimai": 3, "etth1": 1.5, "m4_hourly": 18, "melbourne": 1,
    "stocks": 1,
}  # fmt: skip
QUESTIONS = {
    each.__name__: each for each in (atis, resume_ner, wnut17, sst2, waimai, etth1, m4_hourly, melbourne, stocks)
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS], default=[])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for question in arguments.questions or QUESTIONS:
        found: dict[str, list[float]] = {}
        for seed in range(SEEDS if MINUTES[question] < 5 else 1):
            rows = []
            for name, value, baseline, seconds in QUESTIONS[question](arguments.data, seed):
                found.setdefault(name, []).append(value)
                print(
                    f"{question} {name}, seed {seed}: {value:.4g}, baseline {baseline:.4g}, {seconds:.0f} s", flush=True
                )
                rows.append(
                    {
                        "question": question,
                        "figure": name,
                        "seed": seed,
                        "value": value,
                        "baseline": baseline,
                        "seconds": round(seconds),
                    }
                    | {"settings": str(SETTINGS[question])}
                )
            append("tasks", rows)
        for name, values in found.items():
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            print(f"{question} {name}: {statistics.mean(values):.4g}{spread} over {len(values)} seeds")


if __name__ == "__main__":
    main()
