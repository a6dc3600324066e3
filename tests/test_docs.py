"""The README's and the docs' Python runs, their links lead somewhere, and the tutorial does what it says."""

import re
import runpy
from pathlib import Path

import pytest
from benchmarks import figures

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text()], ids=name)
def test_the_pages_python_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    space = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, name(page), "exec"), space)  # our own pages


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_pages_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
    assert "@" not in re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8")), "a placeholder is left"


def test_the_engines_figures_are_those_that_were_kept():
    assert figures.page() == figures.PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.figures"


def test_the_page_of_commands_is_the_commands_own_help():
    written = runpy.run_path(str(ROOT / "docs/commands.py"))
    assert written["page"]() == written["PAGE"].read_text(encoding="utf-8"), "run python docs/commands.py (make docs)"


def test_the_tutorial_beats_its_baseline(capsys):
    tutorial = runpy.run_path(str(ROOT / "examples/tutorial.py"))
    figures = tutorial["main"](share=0.15)
    assert figures["classic"] > figures["majority"] + 0.1
    assert figures["batched"] > figures["majority"] + 0.1
    assert figures["indentation"] < figures["last_value"]


def test_the_listings_loop_goes_with_any_criterion():
    import torch

    tutorial = runpy.run_path(str(ROOT / "examples/tutorial.py"))
    rnn = tutorial["SimpleRNN"](4, 8, 3)
    optimizer = torch.optim.SGD(rnn.parameters(), 0.1)
    before = [value.clone() for value in rnn.parameters()]
    output, loss = tutorial["train"](rnn, torch.nn.NLLLoss(), optimizer, torch.randn(5, 1, 4), torch.tensor([1]))
    assert output.shape == (1, 3)
    assert loss > 0
    assert all(not torch.equal(a, b) for a, b in zip(before, rnn.parameters(), strict=True))
