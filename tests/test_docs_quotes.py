"""What the pages about gradients quote is what their code prints today."""

import contextlib
import io
import re

import pytest

from tests.test_docs_commands import ROOT
from tests.test_docs_run import shell as shell

#: a block of Python, and the block of output that follows it, perhaps after one line that announces it
BLOCK = re.compile(r"```python\n(.*?)```\n+(?:[^\n`]+[:：]\n+)?((?:    [^\n]*\n(?:\n(?=    ))?)*)", re.S)
PAGES = ["gradients.md", "insight.md", "zh/gradients.md", "zh/insight.md"]


def words(text):
    """Without the breaks of lines, which are a page's own."""
    return " ".join(text.split())


def quotes(page):
    return BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_code_prints_what_its_page_quotes(page):
    blocks, names = quotes(page), {}
    assert sum(bool(quoted) for _, quoted in blocks) >= 3
    for code, quoted in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<stdin>", "exec"), names)
        if quoted:
            assert words(printed.getvalue()) == words(quoted)


@pytest.mark.parametrize("page", ["report.md", "zh/report.md"])
def test_a_report_answers_as_its_page_quotes(shell, page):
    for name, cell in (("reviews", "lstm"), ("reviews-gru", "gru")):
        line = f"unrolled train classify reviews.csv --text review --label stars --cell {cell} --folder runs/{name}"
        assert shell(line)[0] == 0
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.findall(r"^    \$ (unrolled report .*)\n    (.*)$", text, re.M)
    assert len(found) == 2
    for line, quoted in found:
        code, out, err = shell(line)
        assert code == 0, err
        assert out == f"{quoted}\n"
