"""An error that names an option names one that the command has, and that helps: each advice is followed."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from unrolled.cli.main import cli

N = 40
BRIEF = ["--steps", "2", "--hidden", "4"]
DAYS = np.arange("2010-01-13", N, dtype="datetime64[D]")
TEXTS = [f"the soup number {i} is {'good' if i % 2 else 'bad'}" for i in range(N)]
MOODS = ["+" if i % 2 else "-" for i in range(N)]
GERMAN = ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"]  # fmt: skip
SMALL = {"forecast": ["--horizon", "2", "--context", "4"], "text": ["--layers", "1", "--batch", "2", "--k1", "16"]}


def table(*columns, mark=";", encoding="utf-8", head=None):
    rows = [mark.join(map(str, row)) for row in zip(*columns, strict=True)]
    return ("\n".join([head, *rows] if head else rows) + "\n").encode(encoding)


def tokens(*columns, head=None):
    return table(
        [i // 4 for i in range(N)],
        ["Ada", "met", "Bob", "Li"] * 10,
        ["B-P", "O", "B-P", "I-P"] * 10,
        *columns,
        mark=",",
        head=head,
    )


OPEN = [f"{1 + i % 9},{100 + i}" for i in range(N)]  # thousands, or fractions
MONTHS = [f"{month} {year}" for year in (2020, 2021, 2022) for month in GERMAN][:N]
#: by name: the task, the file, and for each option of the message the words that follow it
CASES = {
    "labels with ;": ("classify", table(TEXTS, ["", "x", "y", "x;y"] * 10, head="text\tlabel", mark="\t"), {"--separator": ["--separator", ";"]}),
    "labels with ,": ("classify", table(TEXTS, ["", "x", "y", "x,y"] * 10, head="text\tlabel", mark="\t"), {"--separator": ["--separator", ","]}),
    "labels with |": ("classify", table(TEXTS, ["", "x", "y", "x|y"] * 10, head="text\tlabel", mark="\t"), {"--separator": ["--separator", "|"]}),
    "German months": ("forecast", table(MONTHS, range(36), head="month;sales"), {"--time": ["--time", "row", "--target", "sales"]}),
    "days as words": ("forecast", table([f"{i:05}~" for i in range(N)], range(N), head="date;sales"),
                      {"--time-format": None, "--time": ["--time", "row", "--target", "sales"]}),
    "odd stamps": ("forecast", table([f"{d.item():%Y~%j}" for d in DAYS], range(N), head="date;sales"),
                   {"--time-format": ["--time-format", "%Y~%j"], "--time": ["--time", "row", "--target", "sales"]}),
    "day or month first": ("forecast", table([f"{i:02}/{i:02}/2010" if i != 2 else "02/01/2010" for i in range(1, 13)], range(12), head="date;sales"),
                           {"--day-first": ["--day-first", "--test", "0"], "--month-first": ["--month-first", "--test", "0"]}),
    "decimal of a forecast": ("forecast", table(DAYS, OPEN, head="day;sales"), {"--decimal": ["--decimal", ","]}),
    "decimal of numbers": ("regress", table(TEXTS, OPEN, head="text;price"), {"--decimal": ["--decimal", ","]}),
    "decimal of windows": ("classify", table(OPEN, [i // 4 for i in range(N)], [i // 4 % 2 for i in range(N)], head="x;who;label"),
                           {"--decimal": ["--decimal", ","]}, ["--values", "x", "--series", "who"]),
    "another mark": ("forecast", table(DAYS, ["1.5"] * 20 + ["1,75"] * 20, head="day;sales"), {"--decimal": None}),
    "thousands of a forecast": ("forecast", table(DAYS, [f"{1 + i % 9}_100" for i in range(N)], head="day;sales"), {"--thousands": ["--thousands", "_"]},
                                ["--target", "sales"]),
    "thousands of numbers": ("regress", table(TEXTS, [f"{1 + i % 9}_100" for i in range(N)], head="text;price"), {}),
    "no header of texts": ("classify", table(TEXTS, MOODS), {"--no-header": ["--no-header", "--text", "1", "--label", "2"], "--header": None}),
    "no header of numbers": ("forecast", table(DAYS, range(N)), {"--no-header": ["--no-header"], "--header": None}),
    "no header of tokens": ("tag", tokens(), {}),
    "columns named alike": ("regress", table(TEXTS, range(N), range(N), head="text;price;price"), {"--no-header": None}),
    "tokens named alike": ("tag", table(*[["a", "b"] * 20] * 3, head="sentence,token,token", mark=","), {}),
    "which tokens": ("tag", tokens(head="nr,mot,etiq"),
                     {"--token": ["--token", "mot", "--tag", "etiq", "--sentence", "nr"], "--tag": None}),
    "which sentence": ("tag", tokens(head="nr,token,tag"), {"--sentence": ["--sentence", "nr"]}),
    "numbered tokens": ("tag", tokens(range(N), head="nr,token,tag,sentence"), {"--sentence": ["--sentence", "nr"]}),
    "which text": ("classify", table(TEXTS, TEXTS, MOODS, head="a;b;label"), {"--text": ["--text", "a"]}),
    "which label": ("classify", table(TEXTS, MOODS, MOODS, head="text;a;b"), {"--label": ["--label", "a"]}),
    "which target": ("forecast", table(DAYS, range(N), range(N), head="day;a;b"), {"--target": ["--target", "a"]}),
    "rows of numbers": ("classify", table(range(N), range(N), MOODS, head="a;b;label"),
                        {"--values": ["--values", "a,b", "--series", "row", "--label", "label"], "--text": None, "--series": None, "--label": None}),
    "stamps twice": ("forecast", table([*DAYS[:20], *DAYS[:20]], range(N), head="day;sales"),
                     {"--duplicates": ["--duplicates", "mean"], "--series": None, "--zone": None}),
    "missing days": ("forecast", table([*DAYS[:20:2], *DAYS[20:]], range(30), head="day;sales"), {"--max-missing": ["--max-missing", "0.6"]}, ["--max-missing", "0.01"]),
    **{
        f"{name} of {task}": (task, ("\n".join(f"{text}ö" for text in TEXTS) * 3 if task == "text" else f"text;label\n{'grün gut;+' + chr(10)}" * 1 + "".join(f"schön {i};{'-+'[i % 2]}\n" for i in range(N))).encode(encoding),
                              {"--encoding": ["--encoding", encoding], **({"--units": ["--units", "byte"]} if task == "text" else {})})
        for task in ("text", "classify")
        for name, encoding in (("latin", "latin-1"), ("wide", "utf-16-le"), ("wide big", "utf-16-be"))
    },
}  # fmt: skip
CHINESE = "".join(f"这部电影的第{i}个故事很{'好' if i % 2 else '坏'}。;{i % 2}\n" for i in range(N))
for _name in ("utf-16-le", "utf-16-be", "gb18030"):
    CASES[f"Chinese in {_name}"] = (
        "classify",
        f"text;label\n{CHINESE}".encode(_name),
        {"--encoding": ["--encoding", _name]},
    )

NAMES = {"tag": "t.csv", "text": "t.txt"}


def run(folder, words):
    found = CliRunner().invoke(
        cli, [*words, "--folder", str(folder / "-".join(words[3:]).replace("/", "").replace(" ", ""))]
    )
    return found.exit_code, f"{found.stderr}{found.exception or ''}"


@pytest.mark.parametrize("name", CASES)
def test_an_advice_that_is_followed_helps(name, tmp_path):
    task, content, ways, *more = CASES[name]
    path = tmp_path / NAMES.get(task, "t.csv")
    path.write_bytes(content)
    words = ["train", task, str(path), *BRIEF, *SMALL.get(task, []), *(more[0] if more else [])]
    code, told = run(tmp_path, words)
    assert code != 0
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", told)) - set(words)
    options = {
        word for each in cli.commands["train"].commands[task].params for word in (*each.opts, *each.secondary_opts)
    }
    assert named <= options, told
    assert named == ways.keys() - set(words), told
    if "--encoding" in named:  # of a file that is long enough to tell
        assert f"{ways['--encoding'][1]}" in told
    for way in filter(None, ways.values()):
        code, told = run(tmp_path, [*words, *way])
        assert code == 0, told
