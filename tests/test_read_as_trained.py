"""Data that a model is given later are read as its training data were: columns, marks, dates, schemes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import unrolled
from tests.tasks.test_tokens import SMALL
from unrolled.cli.main import cli
from unrolled.errors import DataError

BRIEF = unrolled.TrainSettings(steps=2, precision="float32")
DAYS = np.arange("2010-01-13", "2010-03-20", dtype="datetime64[D]")
TEXTS = [f"the soup number {i} is {'good' if i % 2 else 'bad'}" for i in range(40)]
MOODS = ["+" if i % 2 else "-" for i in range(40)]


def table(path, columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([";".join(columns), *(";".join(map(str, row)) for row in rows)]) + "\n")
    return path


def reloaded(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    return type(model).load(tmp_path / "m.safetensors")


def trained_on_texts(task, tmp_path, text, answer, answers):
    kind = unrolled.RegressModel if task == "regress" else unrolled.ClassifyModel
    model = kind(**SMALL).fit([table(tmp_path / "t.csv", {answer: answers, text: TEXTS})], train=BRIEF)
    return reloaded(model, tmp_path)


def answers_of(data):
    return data.targets.tolist() if hasattr(data, "targets") else [names[0] for names in data.labels]


@pytest.mark.parametrize("task", ["classify", "regress"])
@pytest.mark.parametrize("text", ["review", "words"])  # one of a usual name, one that is told by the cells
@pytest.mark.parametrize("more", ["", "text", "body", "label", "target", "rating"])
def test_a_table_with_more_columns_in_another_order_is_read_by_those_of_the_training(task, text, more, tmp_path):
    answers = [i % 7 for i in range(40)] if task == "regress" else MOODS
    model = trained_on_texts(task, tmp_path, text, "mood", answers)
    assert (model.read_as["text"], model.read_as["target" if task == "regress" else "label"]) == (text, "mood")
    longer = [f"{i} " * 30 + "a longer text that nobody asked for" for i in range(40)]
    beside = {more: longer if more in ("text", "body", "") else range(100, 140)} if more else {}
    data = model.as_data([table(tmp_path / "new.csv", {**beside, "mood": answers, text: TEXTS})])
    assert (data.items, answers_of(data)) == (TEXTS, answers)
    assert model.evaluate([tmp_path / "new.csv"]) == model.evaluate(list(zip(TEXTS, answers, strict=True)))


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_an_earlier_model_file_notes_the_column_of_texts_alone(task, tmp_path):
    model = trained_on_texts(task, tmp_path, "words", "mood", list(range(40)) if task == "regress" else MOODS)
    earlier = model.fitted.without("read_as").noting({"text_column": "words"})
    model._fitted = earlier
    loaded = reloaded(model, tmp_path)
    assert loaded.read_as == {"text": "words"}
    found = CliRunner().invoke(cli, ["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "t.csv")])
    assert (found.exit_code, found.stderr) == (
        0,
        f"{tmp_path / 't.csv'}: a table of 40 rows, texts in column 'words'\n",
    )
    model._fitted = earlier.without("text_column")
    assert reloaded(model, tmp_path).read_as == {}


@pytest.mark.parametrize("task", ["classify", "regress"])
@pytest.mark.parametrize("lost", ["words", "mood"])
def test_a_table_without_a_column_of_the_training_is_refused(task, lost, tmp_path):
    answers = list(range(40)) if task == "regress" else MOODS
    model = trained_on_texts(task, tmp_path, "words", "mood", answers)
    names = {"words": "words", "mood": "mood", lost: "label"}
    path = table(tmp_path / "new.csv", {names["words"]: TEXTS, names["mood"]: answers})
    shown = ", ".join(map(repr, names.values()))
    option = "text" if lost == "words" else "target" if task == "regress" else "label"
    with pytest.raises(DataError) as told:
        model.evaluate([path])
    assert str(told.value) == (
        f"{path}: has no column {lost!r}, from which the model learnt. It has {shown}; pass --{option} with the one that is "
        "meant"
    )


def test_every_verb_on_files_reads_alike(tmp_path):
    trained_on_texts("classify", tmp_path, "words", "mood", MOODS)
    odd = table(tmp_path / "new.csv", {"text": ["xyzzy"] * 40, "label": ["x"] * 40, "mood": MOODS, "words": TEXTS})
    out = ["--out", str(tmp_path / "out.html")]
    verbs = {"predict": [str(odd)], "evaluate": [str(odd)], "checkup": [str(odd)], "report": ["--data", str(odd), *out]}
    for verb, more in verbs.items():
        command = [sys.executable, "-m", "unrolled", verb, str(tmp_path / "m.safetensors"), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, "xyzzy" in done.stdout) == (0, False), done.stderr
    page = (tmp_path / "out.html").read_text()
    assert ("soup" in page, "xyzzy" in page) == (True, False)


@pytest.mark.parametrize("verb", ["--valid", "--test-file"])
def test_other_files_of_a_training_are_read_as_its_own(verb, tmp_path):
    table(tmp_path / "t.csv", {"mood": MOODS, "words": TEXTS})
    table(tmp_path / "v.csv", {"label": ["x"] * 40, "text": ["y"] * 40, "mood": MOODS, "words": TEXTS})
    command = [sys.executable, "-m", "unrolled", "train", "classify", "t.csv", verb, "v.csv", "--steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_labels_that_look_like_numbers_stay_the_labels_of_the_training(tmp_path):
    model = trained_on_texts("classify", tmp_path, "words", "stars", [1 + i % 2 for i in range(40)])
    scores = [i / 7 for i in range(40)]
    new = table(tmp_path / "new.csv", {"label": scores, "stars": [1 + i % 2 for i in range(40)], "words": TEXTS})
    assert answers_of(model.as_data([new])) == [str(1 + i % 2) for i in range(40)]
    with pytest.raises(DataError, match=r"none of the labels of these data: '1\.0', '2\.0'; it knows '1', '2'\."):
        model.evaluate([table(tmp_path / "f.csv", {"stars": [1.0 + i % 2 for i in range(40)], "words": TEXTS})])


# --- numbers


OPEN = ["1.234", "2.500", "3.125"]  # thousands, or fractions


@pytest.mark.parametrize(("mark", "values"), [(",", [1234.0, 2500.0, 3125.0]), (".", [1.234, 2.5, 3.125])])
def test_a_short_file_that_leaves_the_decimal_mark_open_has_that_of_the_training(mark, values, tmp_path):
    numbers = [f"{i}{mark}5" for i in range(40)]
    regress = trained_on_texts("regress", tmp_path, "words", "mood", numbers)
    short = table(tmp_path / "short.csv", {"words": TEXTS[:3], "mood": OPEN})
    assert regress.as_data([short]).targets.tolist() == values
    windows = {"x": numbers, "who": [i // 4 for i in range(40)], "label": [i // 4 % 2 for i in range(40)]}
    classify = unrolled.ClassifyModel(**SMALL, values="x", series="who")
    classify = reloaded(classify.fit([table(tmp_path / "w.csv", windows)], train=BRIEF), tmp_path)
    short = table(tmp_path / "short.csv", {"x": OPEN, "who": "aaa", "label": [1] * 3})
    assert classify.as_data([short]).items[0].tolist() == [[each] for each in values]
    forecast = trained_on_series(tmp_path, {"day": DAYS, "sales": [f"{i % 9}{mark}25" for i in range(len(DAYS))]})
    short = table(tmp_path / "short.csv", {"day": DAYS[:3], "sales": OPEN})
    assert forecast.as_data([short]).values[0].tolist() == values


@pytest.mark.parametrize("mark", [",", "."])
def test_a_file_that_shows_another_decimal_mark_is_read_by_its_own(mark, tmp_path):
    model = trained_on_texts("regress", tmp_path, "words", "mood", [f"{i}{mark}5" for i in range(40)])
    other = "," if mark == "." else "."
    data = model.as_data([table(tmp_path / "o.csv", {"words": TEXTS[:3], "mood": [f"{i}{other}25" for i in range(3)]})])
    assert data.targets.tolist() == [0.25, 1.25, 2.25]


def test_whole_numbers_after_a_decimal_comma_are_whole(tmp_path):
    model = trained_on_series(tmp_path, {"day": DAYS, "sales": [f"{i % 9},25" for i in range(len(DAYS))]})
    assert model.as_data([table(tmp_path / "s.csv", {"day": DAYS[:3], "sales": [5, 6, 70]})]).values[0].tolist() == [
        5.0,
        6.0,
        70.0,
    ]


# --- series


def trained_on_series(tmp_path, columns, **settings):
    model = unrolled.ForecastModel(horizon=3, context=7, hidden=4, **settings)
    return reloaded(model.fit([table(tmp_path / "t.csv", columns)], train=BRIEF), tmp_path)


def written(days, form):
    return [day.item().strftime(form) for day in days]


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%y", "%m-%d-%Y %H:%M"])
def test_dates_that_are_open_are_read_as_those_of_the_training(form, tmp_path):
    model = trained_on_series(tmp_path, {"day": written(DAYS, form), "sales": range(len(DAYS))})
    few = np.array(["2011-03-04", "2011-03-05", "2011-03-06"], dtype="datetime64[D]")
    data = model.as_data([table(tmp_path / "few.csv", {"day": written(few, form), "sales": range(3)})])
    assert (data.frequency, data.first[0]) == (model.fitted.frequency, few[0])


def test_time_and_target_are_the_columns_of_the_training(tmp_path):
    values = [7 + i % 5 for i in range(len(DAYS))]
    model = trained_on_series(tmp_path, {"booked": DAYS, "sales": values})
    assert model.read_as == {"time": "booked", "targets": ["sales"]}
    more = {"date": DAYS + 400, "rain": range(len(DAYS)), "sales": values, "booked": DAYS}
    data = model.as_data([table(tmp_path / "more.csv", more)])
    assert (data.target, data.first[0], data.values[0].tolist()) == ("sales", DAYS[0], values)
    (forecast,) = model.predict([tmp_path / "more.csv"])
    assert forecast.stamps[0] == "2010-03-20"
    for lost in ("sales", "booked"):
        path = table(tmp_path / "less.csv", {name: each for name, each in more.items() if name != lost})
        with pytest.raises(DataError, match=f"has no column {lost!r}, from which the model learnt. It has "):
            model.evaluate([path])


def test_rows_in_their_order_stay_so(tmp_path):
    model = trained_on_series(tmp_path, {"sales": range(60)})
    data = model.as_data([table(tmp_path / "n.csv", {"date": DAYS[:60], "sales": range(60)})])
    assert (model.read_as["time"], data.frequency.unit) == ("row", "row")


def test_all_columns_of_numbers_are_those_of_the_training_where_they_are_there(tmp_path):
    two = {"day": DAYS, "a": range(len(DAYS)), "b": range(len(DAYS))}
    model = trained_on_series(tmp_path, two, target="*")
    data = model.as_data([table(tmp_path / "n.csv", {"c": range(len(DAYS)), **two})])
    assert data.names == ["a", "b"]
    others = model.as_data([table(tmp_path / "n.csv", {"day": DAYS, "b": two["b"], "c": two["a"]})])
    assert others.names == ["b", "c"]  # a panel of others is forecast as well


def test_a_frame_with_an_index_and_a_series_have_no_columns_to_keep(tmp_path):
    pandas = pytest.importorskip("pandas")
    values = pandas.Series([float(i % 5) for i in range(len(DAYS))], index=pandas.DatetimeIndex(DAYS), name="y")
    settings = {"horizon": 3, "context": 7, "hidden": 4}
    of_series = unrolled.ForecastModel(**settings).fit(values, train=BRIEF)
    assert of_series.read_as == {}
    assert len(of_series.predict(values.rename("z"))[0].values) == 3
    of_frame = unrolled.ForecastModel(**settings).fit(values.to_frame(), train=BRIEF)
    assert of_frame.read_as == {"targets": ["y"]}
    path = table(tmp_path / "n.csv", {"date": DAYS, "y": [float(i % 5) for i in range(len(DAYS))]})
    assert np.allclose(of_frame.predict([path])[0].values, of_frame.predict(values.to_frame())[0].values)


# --- tags and sounds


CORPUS = [(["Ada", "met", "Bob", "Li"], ["B-P", "O", "B-P", "I-P"]), (["Go", "to", "Rome"], ["O", "O", "B-L"])] * 10


def of_rows(sentences, order=("sentence", "word", "pos")):
    rows = [
        {"sentence": i, "word": token, "pos": tag, "ner": "O", "token": "x"}
        for i, (tokens, tags) in enumerate(sentences)
        for token, tag in zip(tokens, tags, strict=True)
    ]
    return {name: [row[name] for row in rows] for name in order}


def test_a_tagger_reads_the_columns_and_the_scheme_of_its_training(tmp_path):
    model = unrolled.TagModel(**SMALL).fit([table(tmp_path / "t.csv", of_rows(CORPUS))], train=BRIEF)
    model = reloaded(model, tmp_path)
    assert model.read_as == {"sentence": "sentence", "token": "word", "tag": "pos", "scheme": "BIO"}
    more = table(tmp_path / "n.csv", of_rows(CORPUS, ("token", "ner", "pos", "word", "sentence")))
    assert model.as_data([more]).tags == [tags for _, tags in CORPUS]
    with pytest.raises(DataError, match="has no column 'word', from which the model learnt"):
        model.evaluate([table(tmp_path / "n.csv", of_rows(CORPUS, ("sentence", "token", "pos")))])


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "BILOU", "BMES"])
def test_tags_that_fit_several_schemes_are_of_that_of_the_training(scheme, tmp_path):
    from unrolled.data.schemes import spans_of, tags_of

    data = [
        (tokens, tags_of(spans_of(tags, "BIOES"), len(tags), scheme))
        for tokens, tags in [(["Ada", "met", "Bob", "Li", "x"], ["S-P", "O", "B-P", "I-P", "E-P"])] * 20
    ]
    model = reloaded(unrolled.TagModel(**SMALL).fit(data, train=BRIEF), tmp_path)
    assert model.as_data([(["nobody", "came"], ["O", "O"])]).scheme == scheme
    assert model.as_data([(["we", "go"], ["NOUN", "VERB"])]).scheme == "plain"


def test_numbered_tokens_are_so_in_a_file_of_single_ones(tmp_path):
    lines = [f"{j + 1}\t{token}\t{tag}" for _ in range(9) for j, (token, tag) in enumerate([("I", "A"), ("go", "B")])]
    (tmp_path / "t.tsv.conll").write_text(
        "".join(f"{each}\n\n" if i % 2 else f"{each}\n" for i, each in enumerate(lines))
    )
    model = unrolled.TagModel(**SMALL).fit([tmp_path / "t.tsv.conll"], train=BRIEF)
    (tmp_path / "one.conll").write_text("1\tgo\tB\n\n1\tI\tA\n")
    assert reloaded(model, tmp_path).as_data([tmp_path / "one.conll"]).sentences == [["go"], ["I"]]


def test_a_transcriber_reads_the_columns_of_its_training(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    for i in range(12):
        soundfile.write(tmp_path / f"{i}.wav", np.sin(np.arange(8000) * (0.1 + 0.02 * (i % 2))), 8000)
    names, said = [f"{i}.wav" for i in range(12)], ["one" if i % 2 else "two" for i in range(12)]
    model = unrolled.TranscribeModel(hidden=8, layers=1)
    model = reloaded(model.fit([table(tmp_path / "m.csv", {"sound": names, "words": said})], train=BRIEF), tmp_path)
    assert model.read_as == {"path": "sound", "text": "words"}
    more = {"path": ["none.wav"] * 12, "transcript": ["x"] * 12, "words": said, "sound": names}
    data = model.as_data([table(tmp_path / "more.csv", more)])
    assert (data.transcripts, [each.name for each in data.sounds]) == (said, names)


def test_a_training_anew_guesses_anew_and_what_a_file_says_of_it_may_be_damaged(tmp_path):
    model = trained_on_texts("classify", tmp_path, "words", "mood", MOODS)
    model.fit([table(tmp_path / "o.csv", {"class": MOODS, "review": TEXTS})], train=BRIEF)
    assert model.read_as == {"text": "review", "label": "class"}
    for damaged in (3, [], {"text": 3, "label": None, "decimal": [3]}):
        model._fitted = replace(model.fitted, training=model.training | {"read_as": damaged})
        assert reloaded(model, tmp_path).read_as == {}


@pytest.mark.parametrize("verb", ["evaluate", "predict", "checkup"])
@pytest.mark.parametrize(("trained", "later", "is_read"), [(",", "1,302", "1.302"), (".", "1.302,5", "1302.5")])
def test_the_mark_of_numbers_that_may_be_read_in_two_ways_is_told(tmp_path, verb, trained, later, is_read):
    """A later file in English, read by a model that learnt from German numbers, gave other numbers without a word."""
    rows = [f"{i}{trained}{i % 7}5;{3 * i}{trained}25" for i in range(60)]
    (tmp_path / "a.csv").write_text("x;z\n" + "\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text("x;z\n" + "\n".join([f"{later};{i}" for i in range(20)]) + "\n")
    run = CliRunner().invoke
    words = ["--values", "x", "--series", "row", "--target", "z", "--steps", "2", "--folder", str(tmp_path / "run")]
    begun = run(cli, ["train", "regress", str(tmp_path / "a.csv"), *words])
    assert begun.exit_code == 0, begun.output
    found = run(cli, [verb, str(tmp_path / "run"), str(tmp_path / "b.csv")])
    assert found.exit_code == 0, found.output
    told = f"column 'x': numbers with a decimal comma ({later!r} is {is_read})"
    assert told in found.stderr
