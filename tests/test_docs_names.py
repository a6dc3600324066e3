"""Names in the pages are names of today: options, what `unrolled` has, files of the repository."""

import fnmatch
import re

import click
import pytest

import unrolled
from tests.test_docs_commands import PAGES, ROOT
from unrolled.cli.main import cli

#: options of other programs
FOREIGN = {"--nproc-per-node", "--run-path", "--run"}
FILES = [
    str(path.relative_to(ROOT.parent))
    for folder in ("src", "docs", "tests", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.*")
] + [str(path.relative_to(ROOT.parent)) for path in ROOT.glob("*.*")]


def options(command):
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)


def all_options():
    context = click.Context(cli, **cli.context_settings)
    found = {"--help", "--version", *FOREIGN}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        found |= set(options(command))
        if isinstance(command, click.Group):
            for task in command.list_commands(context):
                found |= set(options(command.get_command(context, task)))
    return found


OPTIONS = all_options()


def resolves(dotted):
    """Whether `unrolled.a.b` is a name that `import unrolled` gives."""
    thing = unrolled
    for name in dotted.split(".")[1:]:
        if name in getattr(thing, "__annotations__", {}):
            return True
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def is_file(path):
    """Whether a path of the repository ends so; `*` stands for any letters."""
    return bool(fnmatch.filter(FILES, f"*/{path}"))


def is_of_benchmarks(option):
    return any(f'"{option}"' in path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py"))


def faults(text):
    """Names in code, of `text`, that do not exist."""
    fences = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    trees = re.findall(r"^    .*$", text, re.M)
    quoted = re.findall(r"`([^`\n]+)`", text.replace("\n", " "))
    for code in quoted:
        known = is_of_benchmarks if "-m benchmarks" in code else OPTIONS.__contains__
        yield from (word for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code) if not known(word))
    for code in [*quoted, *trees]:
        yield from (path for path in re.findall(r"(?<![\w.*/-])[\w/*]+\.(?:py|md|h|cpp)\b", code) if not is_file(path))
    for code in [*quoted, *fences]:
        yield from (name for name in re.findall(r"\bunrolled(?:\.[A-Za-z_]\w*)+", code) if not resolves(name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_pages_name_what_there_is(page):
    assert not list(faults(page.read_text(encoding="utf-8")))


def test_a_name_that_is_gone_is_found():
    page = "`--minuets 3`, `--minutes 3`, `unrolled.scam(x)`, `unrolled.scan`, `engine/nowhere.py`, `scan.py`\n"
    page += "    engine/elsewhere.py  passes/trace.py\n"
    page += "```python\nunrolled.ClassifyModel.predikt\nunrolled.TrainResult.reason\n```\n"
    gone = ["--minuets", "engine/nowhere.py", "engine/elsewhere.py", "unrolled.scam", "unrolled.ClassifyModel.predikt"]
    assert list(faults(page)) == gone
