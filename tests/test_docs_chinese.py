"""The Chinese pages stand beside the English ones, with the same commands, and are set as Chinese is."""

import re

import pytest

from tests.test_docs_commands import COMMAND, ROOT, lines, words

CHINESE = sorted((ROOT / "docs/zh").glob("*.md"))
#: pages that are no task's
OTHERS = {"README.md", "gradients.md", "insight.md", "report.md"}
PAGES = [page for page in CHINESE if page.name != "README.md"]
TASKS = [page for page in CHINESE if page.name not in OTHERS]
#: rows of code without fences, code in a line, targets of links
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]*`|\]\([^)]*\)", re.M | re.S)


def english(page):
    return ROOT / "README.md" if page.name == "README.md" else ROOT / "docs" / page.name


def commands(page):
    """Verb, task and names of options of each command."""
    found = [COMMAND.match(line) for _, line in lines(page)]
    each = [words(match[2]) for match in found if match and match[1] == "unrolled "]
    return {" ".join(word for word in rest if re.fullmatch(r"train|--[a-z-]+|[a-z]+", word)) for rest in each}


def test_every_task_has_a_page_in_both_languages():
    pages = {page.name for page in (ROOT / "docs").glob("*.md") if "zh/" in page.read_text("utf-8")}
    assert pages == {page.name for page in PAGES}
    assert len(TASKS) == 8


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
def test_the_two_pages_lead_to_each_other(page):
    assert f"[docs/zh/{page.name}]" in english(page).read_text("utf-8")
    link = re.search(r"^\[English\]\((.*?)\)", page.read_text("utf-8"), re.M)[1]
    assert (page.parent / link).resolve() == english(page).resolve()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_are_those_of_the_english_page(page):
    assert commands(page) or not commands(english(page))
    assert commands(page) <= commands(english(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_options_are_those_of_the_english_page(page):
    ours, theirs = (
        set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", each.read_text("utf-8"))) for each in (page, english(page))
    )
    assert ours <= theirs


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
def test_chinese_has_its_own_punctuation(page):
    text = CODE.sub("x", page.read_text("utf-8"))
    assert not re.findall(r".{0,8}(?:[一-鿿][,;:!?(]|[,;:!?)][一-鿿]).{0,8}", text)
