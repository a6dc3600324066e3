"""How later files are read: each verb has the options of the training, and one that is given wins over what was learnt."""

import dataclasses
import json
import re
from functools import cache

import click
import numpy as np
import pytest
from click.testing import CliRunner

import unrolled
from tests.tasks.test_tokens import SMALL
from tests.tones import write_tones
from unrolled import tasks
from unrolled.cli.main import cli
from unrolled.cli.options import declared, flag
from unrolled.cli.reading import VERBS, kinds

BRIEF = unrolled.TrainSettings(steps=2, precision="float32")
TASKS = {name: tasks.task(name).Model for name in tasks.names()}
READING = [
    (verb, kind.task, name) for verb, of_answers in VERBS.items() for kind in kinds(verb) for name in kind.reading(of_answers=of_answers)
]  # fmt: skip
NO_READING = {
    "future",
    "past",
    "static",
    "language",
    "language_kind",
}  # the model's own covariates, and what the search has


@pytest.mark.parametrize(("verb", "task", "name"), READING)
def test_a_verb_has_the_options_of_the_training(verb, task, name):
    of_training = next(each for each in cli.commands["train"].commands[task].params if each.name == name)
    own = next(each for each in cli.commands[verb].params if each.name == name)
    field = TASKS[task].reading(of_answers=True)[name]
    assert own.opts + own.secondary_opts == of_training.opts + of_training.secondary_opts == flag(field).split("/")
    assert repr(own.type) == repr(of_training.type)
    assert own.default is None
    assert isinstance(declared(field), click.Choice) == bool(field.metadata["choices"])


@pytest.mark.parametrize("task", TASKS)
def test_what_says_how_files_are_read_is_marked_so(task):
    fields = {field.name: field for field in dataclasses.fields(TASKS[task].kind)}
    reading = TASKS[task].reading(of_answers=True)
    named = {name for name, field in fields.items() if field.metadata["help"].startswith("column")}
    written = {name for name, field in fields.items() if field.metadata["with_start"] == "new"}
    assert named | written - set(reading) <= NO_READING | set(reading)
    assert "encoding" in reading


def test_every_verb_that_reads_files_is_known():
    reads = {
        name
        for name, command in cli.commands.items()
        if any(
            isinstance(each, click.Argument) and each.name not in ("model", "run", "runs") for each in command.params
        )
        or any(each.name == "data" for each in command.params)
    }
    assert reads == set(VERBS)


# --- each option in use

N = 60
TEXTS = [f"the soup number {i} is {'good' if i % 2 else 'bad'} café" for i in range(N)]
MOODS = ["+" if i % 2 else "-" for i in range(N)]
BOTH = ["x;y" if i % 3 else "y" if i % 2 else "x" for i in range(N)]
DAYS = np.arange("2010-01-13", N, dtype="datetime64[D]")
HOURS = np.arange("2010-10-29T00", 96, dtype="datetime64[h]")
WHO = [i // 4 for i in range(N)]
OPEN = [f"{1 + i % 9}.{100 + 7 * i}" for i in range(N)]  # thousands, or fractions


def table(columns, mark=";", encoding="utf-8", header=True):
    rows = zip(*columns.values(), strict=True)
    lines = [mark.join(columns)] * header + [mark.join(map(str, row)) for row in rows]
    return ("\n".join(lines) + "\n").encode(encoding)


def lines(rows, encoding="utf-8"):
    return ("\n".join(rows) + "\n").encode(encoding)


def written(form, days=DAYS):
    return [day.item().strftime(form) for day in days]


def tagged(form):
    return lines([f"{word} {tag}" if word else "" for word, tag in form * 20])


SALES = [i % 7 + i % 3 for i in range(N)]
SOME = {"x": [i % 5 + 1.5 for i in range(N)], "who": WHO, "label": [w % 2 for w in WHO]}
PAIRS = [f"the house number {i}\tdas Haus Nummer {i} ist schön" for i in range(N)]
SIDES = dict(zip(("en", "de"), zip(*(each.split("\t") for each in PAIRS), strict=True), strict=True))
SAID = [json.dumps({"tokens": ["open", "the", "café" if i % 2 else "box"], "tags": ["O", "O", "B-thing"], "intent": "ab"[i % 2]},
                   ensure_ascii=False) for i in range(N)]  # fmt: skip
WORDS = ["Ada", "met", "Bob", "Li"] * 15
MARKS = ["B-P", "O", "B-P", "I-P"] * 15
OF_TOKENS = {"nr": WHO, "mot": WORDS, "etiq": MARKS}
OF_INTENTS = {**OF_TOKENS, "but": ["ab"[w % 2] for w in WHO]}
BIO = [("Ada", "B-P"), ("met", "O"), ("Bob", "B-P"), ("Li", "I-P"), ("", "")]
SPEECH = {"path": [f"{i}.wav" for i in range(12)], "text": ["öne" if i % 2 else "two" for i in range(12)]}
#: by name: the task, its settings, the training file
MODELS = {
    "texts": ("classify", SMALL, table({"mood": MOODS, "words": TEXTS})),
    "several": ("classify", {**SMALL, "separator": ";"}, table({"mood": BOTH, "words": TEXTS}, "\t")),
    "windows": ("classify", {**SMALL, "values": "x", "series": "who"}, table(SOME)),
    "numbers": ("regress", SMALL, table({"price": OPEN, "words": TEXTS})),
    "loads": ("regress", {**SMALL, "values": "x", "series": "who", "target": "load"}, table({**SOME, "load": WHO})),
    "forecast": ("forecast", {"horizon": 3, "context": 7, "hidden": 4}, table({"day": DAYS, "sales": SALES})),
    "many": ("forecast", {"horizon": 3, "context": 7, "hidden": 4, "decimal": "."}, table({"day": DAYS, "sales": OPEN})),
    "hours": ("forecast", {"horizon": 3, "context": 7, "hidden": 4}, table({"hour": HOURS, "sales": range(96)})),
    "panel": ("forecast", {"horizon": 3, "context": 7, "hidden": 4, "series": "who"},
              table({"day": [*DAYS, *DAYS], "who": ["a"] * N + ["b"] * N, "sales": SALES * 2})),
    "tag": ("tag", SMALL, tagged(BIO)),
    "tokens": ("tag", {**SMALL, "sentence": "nr", "token": "mot", "tag": "etiq"}, table(OF_TOKENS)),
    "understand": ("understand", SMALL, lines(SAID)),
    "intents": ("understand", {**SMALL, "sentence": "nr", "token": "mot", "tag": "etiq", "intent": "but"}, table(OF_INTENTS)),
    "translate": ("translate", {"hidden": 8, "subwords": 60}, lines(PAIRS)),
    "pairs": ("translate", {"hidden": 8, "subwords": 60}, table(SIDES)),
    "transcribe": ("transcribe", {"hidden": 8, "layers": 1}, table(SPEECH)),
    "text": ("text", {"hidden": 8, "layers": 1, "batch": 2, "k1": 16, "size": "given"}, lines(TEXTS)),
}  # fmt: skip
VALUES = table({"day": DAYS, "sales": OPEN})
#: by model: options, a later file, and whether it means the same by them; a verb: there it is
#: read, to something else than without
CASES = [
    ("texts", ["--text", "body"], table({"mood": MOODS, "body": TEXTS, "text": MOODS}), True),
    ("texts", ["--label", "feel"], table({"mood": ["+"] * N, "words": TEXTS, "feel": MOODS}), True),
    ("texts", ["--no-header", "--text", "2", "--label", "1"], table({"mood": MOODS, "words": TEXTS}, header=False), True),
    ("texts", ["--encoding", "latin-1"], table({"mood": MOODS, "words": TEXTS}, encoding="latin-1"), True),
    ("several", ["--separator", "|"], table({"mood": [each.replace(";", "|") for each in BOTH], "words": TEXTS}, "\t"), True),
    ("windows", ["--values", "a"], table({"x": [0] * N, "a": SOME["x"], "who": WHO, "label": SOME["label"]}), True),
    ("windows", ["--series", "id"], table({"x": SOME["x"], "who": [7] * N, "id": WHO, "label": SOME["label"]}), True),
    ("windows", ["--decimal", ","], table({**SOME, "x": [f"{each:.3f}".replace(".", ",") for each in SOME["x"]]}), True),
    ("numbers", ["--target", "cost"], table({"words": TEXTS, "price": [0] * N, "cost": OPEN}), True),
    ("numbers", ["--decimal", ","], table({"words": TEXTS, "price": [each.replace(".", ",") for each in OPEN]}), True),
    ("numbers", ["--text", "body"], table({"words": MOODS, "body": TEXTS, "price": OPEN}), True),
    ("numbers", ["--no-header", "--text", "2", "--target", "1"], table({"price": OPEN, "words": TEXTS}, header=False), True),
    ("numbers", ["--encoding", "latin-1"], table({"price": OPEN, "words": TEXTS}, encoding="latin-1"), True),
    ("loads", ["--values", "a"], table({"x": [0] * N, "a": SOME["x"], "who": WHO, "load": WHO}), True),
    ("loads", ["--series", "id"], table({"x": SOME["x"], "who": [7] * N, "id": WHO, "load": WHO}), True),
    ("forecast", ["--target", "sold"], table({"day": DAYS, "sales": [0] * N, "sold": SALES}), True),
    ("forecast", ["--target", "*"], table({"day": DAYS, "sales": SALES, "sold": range(N)}), "predict"),
    ("forecast", ["--time", "when"], table({"day": range(N), "when": DAYS, "sales": SALES}), True),
    ("forecast", ["--day-first"], table({"day": written("%d/%m/%Y", DAYS[:12] - 12), "sales": SALES[:12]}), "predict"),
    ("forecast", ["--time-format", "day %d, month %m, year %Y"], table({"day": written("day %d, month %m, year %Y"), "sales": SALES}), True),
    ("many", ["--thousands", "_"], table({"day": DAYS, "sales": [f"{1 + i % 9}_000.5" for i in range(N)]}), "predict"),
    ("many", ["--decimal", ","], table({"day": DAYS, "sales": [each.replace(".", ",") for each in OPEN]}), True),
    ("hours", ["--zone", "Europe/Berlin"], table({"hour": [*HOURS[:51], *HOURS[50:-1]], "sales": range(96)}), "predict"),
    ("panel", ["--series", "id"], table({"day": [*DAYS, *DAYS], "id": ["a"] * N + ["b"] * N, "who": 2 * ["a"] * N, "sales": SALES * 2}), True),
    ("forecast", ["--duplicates", "first"], table({"day": [DAYS[0], *DAYS], "sales": [SALES[0], *SALES]}), True),
    ("forecast", ["--max-missing", "0.6"], table({"day": DAYS[::2], "sales": SALES[::2]}), "predict"),
    ("forecast", ["--missing", "-99"], table({"day": DAYS, "sales": [-99 if i == N - 3 else each for i, each in enumerate(SALES)]}), "predict"),
    ("forecast", ["--no-header", "--time", "1", "--target", "2"], table({"day": DAYS, "sales": SALES}, header=False), True),
    ("forecast", ["--encoding", "utf-16-le"], table({"day": DAYS, "sales": SALES}, encoding="utf-16-le"), True),
    ("tokens", ["--sentence", "id"], table({"nr": ["x"] * N, "id": WHO, "mot": WORDS, "etiq": MARKS}), True),
    ("tokens", ["--token", "word"], table({"nr": WHO, "mot": MARKS, "word": WORDS, "etiq": MARKS}), True),
    ("tokens", ["--tag", "ner"], table({**OF_TOKENS, "etiq": ["O", "B-P"] * 30, "ner": MARKS}), True),
    ("tag", ["--token", "2"], lines(f"x {word} {tag}" if word else "" for word, tag in BIO * 20), True),
    ("tag", ["--tag", "2"], lines(f"{word} {tag} O" if word else "" for word, tag in BIO * 20), True),
    ("intents", ["--sentence", "id"], table({**OF_INTENTS, "nr": range(N), "id": WHO}), True),
    ("intents", ["--token", "word"], table({**OF_INTENTS, "mot": MARKS, "word": WORDS}), True),
    ("intents", ["--tag", "ner"], table({**OF_INTENTS, "etiq": ["O", "B-P"] * 30, "ner": MARKS}), True),
    ("intents", ["--intent", "aim"], table({**OF_INTENTS, "but": ["a"] * N, "aim": OF_INTENTS["but"]}), True),
    ("tag", ["--scheme", "IOB1"], tagged(BIO), "evaluate"),
    ("tag", ["--encoding", "utf-16-le"], tagged(BIO).decode().encode("utf-16-le"), True),
    ("understand", ["--encoding", "latin-1"], lines(SAID, "latin-1"), True),
    ("translate", ["--encoding", "latin-1"], lines(PAIRS, "latin-1"), True),
    ("translate", ["--direction", "backward"], lines("\t".join(each.split("\t")[::-1]) for each in PAIRS), True),
    ("pairs", ["--source", "eng"], table({**SIDES, "en": MOODS, "eng": SIDES["en"]}), True),
    ("pairs", ["--target", "ger"], table({**SIDES, "de": MOODS, "ger": SIDES["de"]}), True),
    ("pairs", ["--no-header", "--source", "2", "--target", "1"], table(dict(reversed(SIDES.items())), header=False), True),
    ("transcribe", ["--path", "sound"], table({"path": ["none"] * 12, "sound": SPEECH["path"], "text": SPEECH["text"]}), True),
    ("transcribe", ["--text", "said"], table({"path": SPEECH["path"], "said": SPEECH["text"], "text": ["x"] * 12}), True),
    ("transcribe", ["--encoding", "latin-1"], table(SPEECH, encoding="latin-1"), True),
    ("text", ["--encoding", "latin-1"], lines(TEXTS, "latin-1"), True),
]  # fmt: skip


def test_every_option_of_every_task_is_tried():
    tried = {(MODELS[name][0], word) for name, words, _, _ in CASES for word in words if word.startswith("--")}
    for task, kind in TASKS.items():
        for field in kind.reading(of_answers=True).values():
            assert any((task, word) in tried for word in flag(field).split("/")), (task, field.name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The path of a model by its name, and that of its training file, whose folder holds what it names."""
    folder = tmp_path_factory.mktemp("models")
    write_tones(folder)

    @cache
    def trained(name):
        task, settings, content = MODELS[name]
        suffix = {"tag": "conll", "understand": "jsonl", "translate": "tsv", "text": "txt"}.get(name, "csv")
        path = folder / f"{name}.{suffix}"
        path.write_bytes(content)
        TASKS[task](**settings).fit([path], train=BRIEF).save(folder / f"{name}.safetensors")
        return folder / f"{name}.safetensors", path

    return trained


def run(*words):
    return CliRunner().invoke(cli, list(map(str, words)))


def metrics(*words):
    found = run("evaluate", *words, "--format", "json")
    of_files = {"files": 0, "verdict": "", "is_flattered": None}  # whether they are those of the training
    return {**json.loads(found.stdout), **of_files} if found.exit_code == 0 else str(found.exception)


def those_of(verb, path, options):
    """The options that a verb has for a model, with their values."""
    model = unrolled.load(path)
    fields = [model.reading(of_answers=True)[name] for name in model.reads_by(of_answers=VERBS[verb])]
    own = {word for field in fields for word in flag(field).split("/")}
    starts = [i for i, word in enumerate(options) if word.startswith("--")]
    parts = [options[i:j] for i, j in zip(starts, [*starts[1:], None], strict=True)]
    return [word for part in parts if part[0] in own for word in part]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1][0][2:]}")
def test_an_option_wins_over_what_was_learnt(case, trained):
    name, options, content, is_same = case
    model, file = trained(name)
    task, later = MODELS[name][0], file.with_name(f"later-{name}-{options[0]}{file.suffix}")
    later.write_bytes(content)
    for verb in ("checkup", "units" if task == "text" else "predict"):
        done = run(verb, model, later, *those_of(verb, model, options))
        assert done.exit_code == 0, (verb, done.stderr, done.exception)
    if is_same is True:
        found = metrics(model, later, *options)
        assert found == metrics(model, file)
        assert found != metrics(model, later)
    elif is_same == "evaluate":
        told = [run("evaluate", model, later, *words).stderr for words in (options, [])]
        assert ["scheme IOB1" in each for each in told] == [True, False]
    else:
        without = run("predict", model, later)
        assert (without.exit_code, without.stdout) != (0, done.stdout)


@pytest.mark.parametrize(("verb", "name", "words", "told"), [
    ("evaluate", "texts", ["--time", "x"], "--time goes with a forecast; {} is a model of the task 'classify' that reads texts"),
    ("evaluate", "texts", ["--values", "x"], "--values makes no difference here; {} is a model of the task 'classify' that reads texts"),
    ("checkup", "windows", ["--text", "x"], "--text makes no difference here; {} is a model of the task 'classify' that reads windows of numbers"),
    ("predict", "windows", ["--text", "x"], "--text makes no difference here; {} is a model of the task 'classify' that reads windows of numbers"),
    ("predict", "numbers", ["--decimal", ","], "--decimal makes no difference here; {} is a model of the task 'regress' that reads texts"),
    ("evaluate", "texts", ["--separator", ";"], "--separator makes no difference here; {} is a model of the task 'classify' that reads texts"),
    ("evaluate", "forecast", ["--label", "x"], "--label goes with a classifier; {} is a model of the task 'forecast'"),
])  # fmt: skip
def test_an_option_that_would_be_ignored_is_refused(verb, name, words, told, trained):
    model, file = trained(name)
    done = run(verb, model, file, *words)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "Error: " + told.format(model))


def test_an_encoding_is_refused_where_a_model_reads_bytes(tmp_path):
    (tmp_path / "t.txt").write_bytes(lines(TEXTS))
    task, settings, _ = MODELS["text"]
    model = TASKS[task](**settings, units="byte").fit([tmp_path / "t.txt"], train=BRIEF)
    model.save(tmp_path / "m.safetensors")
    for verb in ("evaluate", "checkup"):
        done = run(verb, tmp_path / "m.safetensors", tmp_path / "t.txt", "--encoding", "latin-1")
        told = f"Error: --encoding makes no difference here; {tmp_path / 'm.safetensors'} is a model of the task 'text'"
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, told)
    assert run("units", tmp_path / "m.safetensors", tmp_path / "t.txt", "--encoding", "latin-1").exit_code == 0


def test_an_option_without_files_is_refused(trained):
    model, _ = trained("texts")
    for words in (
        ["checkup", model],
        ["report", model, "--out", model.with_suffix(".html")],
        ["predict", model, "good soup"],
    ):
        done = run(*words, "--encoding", "latin-1")
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (
            2,
            "Error: --encoding says how files are read; none is named",
        )


# --- of which file an error is


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_an_error_of_an_encoding_names_the_file(name, encoding, trained):
    model, file = trained(name)
    task, settings, content = MODELS[name]
    wrong = file.with_name(f"wrong-{name}-{encoding}{file.suffix}")
    wrong.write_bytes("\n".join(f"{line}é" if line else "" for line in content.decode().split("\n")).encode(encoding))
    words = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
    verbs = [["train", task, wrong, *words, "--steps", "1"], ["evaluate", model, wrong], ["checkup", model, wrong]]
    verbs += [["report", model, "--data", wrong, "--out", model.with_suffix(".html")]]
    verbs += [["units" if task == "text" else "predict", model, wrong]]
    for verb in verbs:
        done = run(*verb)
        assert done.exit_code == 1, verb  # raised, which the command tells in one line
        told = str(done.exception)
        assert (told.startswith(str(wrong)), "--encoding" in told) == (True, True), (verb, told)


def test_characters_that_a_model_does_not_know_are_told_with_the_file(trained):
    model, file = trained("text")
    odd = file.with_name("odd.txt")
    odd.write_bytes("здесь\n".encode() * 50)
    done = run("units", model, odd)
    assert str(done.exception).startswith(f"{odd}, read as utf-8: 'д', 'е', 'з', 'с', 'ь' did not occur in the text")
    assert str(run("units", model, "здесь").exception).startswith("text: 'д', 'е', ")


FAULTY = [
    ("classify", table({"label": ["+"] * 9, "text": TEXTS[:9]}), [], "there is one class only"),
    ("classify", table({"label": MOODS[:2], "text": ["", "..."]}), [], "holds no texts|there is"),
    ("regress", table({"target": [3] * 9, "text": TEXTS[:9]}), [], "all targets are 3"),
    ("tag", tagged([("a", "O"), ("", "")]), [], "there is one tag only"),
    ("forecast", table({"day": DAYS[:9], "sales": range(9)}), ["--horizon", "9"], "series are too short"),
    ("understand", lines(each.replace('"b"', '"a"') for each in SAID), [], "there is one intent only"),
    ("translate", lines(PAIRS[:1]), [], "there is 1 example only"),
]  # fmt: skip


def train_on(content, task, folder, *more):
    path = folder / {"tag": "t.conll", "understand": "t.jsonl", "translate": "t.tsv"}.get(task, "t.csv")
    path.write_bytes(content)
    return path, run("train", task, path, "--steps", "1", "--hidden", "4", *more)


@pytest.mark.parametrize(("task", "content", "more", "told"), FAULTY)
def test_an_error_of_a_training_names_its_file(task, content, more, told, tmp_path):
    path, done = train_on(content, task, tmp_path, "--folder", tmp_path / "run", *more)
    assert done.exit_code == 1
    assert re.match(rf"{path}: .*(?:{told})", str(done.exception)), done.exception


@pytest.mark.parametrize(
    ("task", "content", "_", "told"), [case for case in FAULTY if case[3].startswith(("there is one", "all"))]
)
def test_so_does_an_error_of_a_cross_validation(task, content, _, told, tmp_path):
    path, done = train_on(content, task, tmp_path, "--folds", "2")
    assert (done.exit_code, str(done.exception)[: len(f"{path}: {told}")]) == (1, f"{path}: {told}")
