"""Metrics on files that a model learnt from flatter it: which files those are is known of every task."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import unrolled
from tests.test_reading_options import BRIEF, MODELS, TASKS
from tests.tones import write_tones
from unrolled.cli.main import cli
from unrolled.data.frequency import ROWS, Frequency
from unrolled.data.series import Series
from unrolled.tasks.checksums import checksums_of

NAMES = ["texts", "numbers", "tag", "understand", "transcribe", "text"]  # a translator's two files are one part
HEADS = {"texts", "numbers", "transcribe"}  # a table has the names of its columns in each file


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of three files of different lengths that are a training file together, by its name."""
    folder = tmp_path_factory.mktemp("parts")
    write_tones(folder)
    suffixes = {"tag": "conll", "understand": "jsonl", "text": "txt"}

    def files(name):
        lines = MODELS[name][2].decode().splitlines(keepends=True)
        head, rows = (lines[:1], lines[1:]) if name in HEADS else ([], lines)
        each = 5 if name == "tag" else 1  # lines of an example
        n = len(rows) // each
        cuts = [each * at for at in (0, n // 4, n * 3 // 5, n)]
        paths = [folder / f"{part}-{name}.{suffixes.get(MODELS[name][0], 'csv')}" for part in "abc"]
        for i, path in enumerate(paths):
            path.write_text("".join([*head, *rows[cuts[i] : cuts[i + 1]]]), encoding="utf-8")
        return paths

    return files


def fitted(name, files, **more):
    task, settings, _ = MODELS[name]
    return TASKS[task](**settings).fit(files, train=BRIEF, **more)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_known_however_they_are_named_again(name, files, tmp_path):
    a, b, c = files(name)
    fitted(name, [a, b]).save(tmp_path / "m.safetensors")
    model = unrolled.load(tmp_path / "m.safetensors")
    for part in ([a], [b], [a, b], [b, a]):
        assert model.is_flattered_by(model.read(part)), part
    for part in ([c], [a, c]):
        assert not model.is_flattered_by(model.read(part)), part
    assert not model.is_flattered_by([("a text in memory", "+")])


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_the_model_that_a_training_starts_from_are_known(name, files):
    a, b, c = files(name)
    model = fitted(name, [b, c], start=fitted(name, [a, b]))
    assert model.is_flattered_by(model.read([a, b, c]))
    assert not fitted(name, [b, c]).is_flattered_by(model.read([a]))


@pytest.mark.parametrize("name", ["texts", "numbers", "tag", "understand", "transcribe"])
def test_the_validation_part_of_a_training_is_known(name, files):
    a, b, _ = files(name)
    model = fitted(name, [a], valid=[b])
    assert model.is_flattered_by(model.read([b]))


def test_two_files_of_a_translator_are_one_part(tmp_path):
    sides = zip(*(pair.split("\t") for pair in MODELS["translate"][2].decode().splitlines()), strict=True)
    paths = [tmp_path / "s.en", tmp_path / "s.de"]
    for path, lines in zip(paths, sides, strict=True):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    model = fitted("translate", paths)
    assert model.is_flattered_by(model.read(paths))
    paths[0].write_text(paths[0].read_text(encoding="utf-8").replace("house", "home"), encoding="utf-8")
    assert not model.is_flattered_by(model.read(paths))


def test_a_forecast_is_judged_on_what_training_leaves_out(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(MODELS["forecast"][2])
    model = fitted("forecast", [path])
    assert not model.is_flattered_by(model.read([path]))


N = 40
WORDS = [f"the soup number {i} is {'good' if i % 2 else 'bad'}" for i in range(N)]
PLAIN = " ".join(WORDS)
TOKENS = [word.split() for word in WORDS]
TAGS = [["O", "B-X", "O", "O", "O", "B-Y"] for _ in range(N)]
WINDOWS = [np.full((4, 2), i % 2 + 0.01 * i) for i in range(N)]
#: by name: the task, its settings, what `fit` is given in memory, and others
IN_MEMORY = {
    "classify": ({}, (WORDS, ["+-"[i % 2] for i in range(N)]), (WORDS[::-1], ["+-"[i % 2] for i in range(N)])),
    "regress": ({}, (WORDS, list(range(N))), (WORDS, [i + (i == 7) for i in range(N)])),
    "tag": ({}, (list(zip(TOKENS, TAGS, strict=True)),), (list(zip(TOKENS, TAGS, strict=True))[1:],)),
    "understand": ({}, ([(*pair, "ab"[i % 2]) for i, pair in enumerate(zip(TOKENS, TAGS, strict=True))],),
                   ([(*pair, "ba"[i % 2]) for i, pair in enumerate(zip(TOKENS, TAGS, strict=True))],)),
    "translate": ({"subwords": 60}, (WORDS, WORDS[::-1]), (WORDS, WORDS)),
}  # fmt: skip


@pytest.mark.parametrize("task", IN_MEMORY)
def test_what_was_learnt_in_memory_is_known_in_the_report(task, tmp_path):
    settings, given, others = IN_MEMORY[task]
    TASKS[task](hidden=4, layers=1, **settings).fit(*given, train=BRIEF).save(tmp_path / "m.safetensors")
    model = unrolled.load(tmp_path / "m.safetensors")
    assert model.report(*given).is_flattered
    assert not model.report(*others).is_flattered
    assert not model.report().is_flattered  # of the part that was kept apart
    as_lists = [list(each) for each in given]
    assert model.report(*as_lists).is_flattered


def test_windows_and_numbers_in_memory_are_known():
    labels = ["ab"[i % 2] for i in range(N)]
    model = unrolled.ClassifyModel(hidden=4, values="x,y", series="s").fit(WINDOWS, labels, train=BRIEF)
    assert model.report(WINDOWS, labels).is_flattered
    assert not model.report([*WINDOWS[:-1], WINDOWS[-1] + 1e-9], labels).is_flattered


def test_a_validation_part_in_memory_is_known():
    pairs = list(zip(WORDS, ["+-"[i % 2] for i in range(N)], strict=True))
    model = unrolled.ClassifyModel(hidden=4, layers=1).fit(pairs[:30], valid=pairs[30:], train=BRIEF)
    assert [model.report(each).is_flattered for each in (pairs[:30], pairs[30:], pairs)] == [True, True, False]


@pytest.mark.parametrize("stamps", [None, "2024-01-01T00"])
def test_the_checksum_of_series_in_memory_does_not_change_with_what_they_were_asked(stamps):
    first = [] if stamps is None else [np.datetime64(stamps)]
    frequency = ROWS if stamps is None else Frequency("second", 3600)
    series = Series(["a"], [np.sin(np.arange(200.0)) + np.arange(200) / 50], frequency, first)
    before = checksums_of(series)
    model = unrolled.ForecastModel(hidden=4, layers=1, horizon=4, context=12).fit(series, train=BRIEF)
    model.evaluate(series)
    model.predict(series)
    assert series._changes  # it keeps what it worked out
    assert checksums_of(series) == before == model.training["sha256"]
    assert checksums_of(Series(["a"], [series.values[0] + 1e-9], frequency, first)) != before


@pytest.mark.parametrize("units", ["char", "byte"])
def test_a_text_in_memory_is_known(units):
    model = unrolled.TextModel(hidden=8, layers=1, batch=2, k1=16, size="given", units=units).fit(
        text=PLAIN, train=BRIEF
    )
    assert model.report(PLAIN).is_flattered
    assert not model.report(PLAIN + " ").is_flattered
    if units == "byte":
        assert model.report(PLAIN.encode()).is_flattered


@pytest.mark.parametrize("n", [8, 40])
def test_the_words_of_a_report_are_those_of_the_command_line(n, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"{word},{'+-'[i % 2]}\n" for i, word in enumerate(WORDS[:n])))
    model = unrolled.ClassifyModel(hidden=4, layers=1).fit([path], train=BRIEF)
    model.save(tmp_path / "m.safetensors")
    told = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "m.safetensors"), str(path), "--format", "json"])
    found = model.report([path])
    assert found.is_flattered
    assert found.verdict() == json.loads(told.stdout)["verdict"]
    assert "learnt from" in found.verdict()
    assert "learnt from" in str(found)
