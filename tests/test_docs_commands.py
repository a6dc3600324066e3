"""Each command line in the pages is one that the command line takes: verb, task, options, choices; nothing is run."""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from unrolled.cli.main import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if page.name != "commands.md")
COMMAND = re.compile(r"^(?:\$ )?(?:.*\| )?(?:\.venv/bin/)?(unrolled |make |python -m benchmarks)(.*)")


def lines(page):
    """The lines of code: (number, line), between fences or indented by four."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield number, line.strip()


def words(rest):
    """The command's words: up to a pipe, a redirection or the remark after three spaces."""
    rest = re.split(r"\s{3,}|\s[|>&;#]", rest)[0]
    return shlex.split(rest)


def fault(line):
    """What is wrong with a line of code; None if nothing, or if it is none of our commands."""
    found = COMMAND.match(line)
    if not found:
        return None
    kind, rest = found[1].strip(), found[2]
    if kind == "make":
        target = re.split(r"\s", rest.strip())[0]
        known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return None if "=" in target or target in known else f"no target {target!r}"
    if kind.startswith("python"):
        module = "benchmarks" + (re.match(r"(\.[\w.]+)?", rest)[0] or "")
        return None if importlib.util.find_spec(module) else f"no module {module}"
    return parsed(words(rest))


def parsed(rest):
    """What click's parser says to a command's words, with all paths taken as existing."""
    command, path = cli, ["unrolled"]
    context = click.Context(
        command, info_name="unrolled", **command.context_settings
    )  # click keeps the names of --help
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, command, rest = rest[0], command.get_command(context, rest[0]), rest[1:]
        if command is None:
            return f"no command {name!r} in {' '.join(path)!r}"
        path.append(name)
        context = click.Context(command, info_name=name, parent=context)
    try:
        values, _, _ = command.make_parser(context).parse_args(list(rest))
        for parameter in command.params:
            value = values.get(parameter.name)
            if isinstance(parameter.type, click.Choice) and isinstance(value, str):
                parameter.type.convert(value, parameter, context)
    except click.UsageError as error:
        return error.format_message()
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_pages_commands_are_taken(page):
    faults = [f"{page.name}:{number}: {line}: {fault(line)}" for number, line in lines(page) if fault(line)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("unrolled trane text a.txt", "no command 'trane'"),
        ("unrolled train poems a.txt", "no command 'poems'"),
        ("unrolled train text a.txt --minuets 3", "No such option '--minuets'"),
        ("unrolled train transcribe a.csv --loss cct", "'cct' is not one of"),
        ("make cake", "no target 'cake'"),
        ("python -m benchmarks.none", "no module benchmarks.none"),
    ],
)
def test_a_wrong_command_is_found(line, says):
    assert says in fault(line)
