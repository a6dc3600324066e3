"""The site: built from all pages, with no broken link, no outside request, and a search of both languages."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled
from unrolled import errors

for library in ("sphinx", "myst_parser", "furo"):
    pytest.importorskip(library, reason=f"the site is built with {library}, of the extra `dev`")

ROOT = Path(__file__).parents[1]
COMMAND = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]


def build(source, out):
    """As `make site` does."""
    return subprocess.run(
        [sys.executable, *COMMAND, "-c", source / "docs/site", "-d", out / "trees", source, out / "site"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out / "site"


def test_make_builds_it_in_this_way():
    assert "\nsite: install" in (made := (ROOT / "Makefile").read_text("utf-8"))
    assert f"python {' '.join(COMMAND)} -c docs/site " in made


def test_every_page_is_there_and_in_the_navigation(site):
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    front = (site / "index.html").read_text("utf-8")
    for page in pages:
        name = page.relative_to(ROOT).with_suffix(".html").as_posix()
        assert (site / name).exists(), name
        assert name == "README.html" or f'href="{name}"' in front, name


def test_the_site_asks_nothing_of_other_servers(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text("utf-8")
        asked = re.findall(r"""(?:src=["']|url\(["']?|@import ["'])(https?:)?//[^"')]+""", text)
        asked += [link for link in re.findall(r"<link\b[^>]*>", text) if re.search(r"""href=["'](https?:)?//""", link)]
        assert not asked, (path, asked)


def test_what_is_public_is_in_the_reference(site):
    described = set(re.findall(r'id="unrolled\.([\w.]+)"', (site / "docs/site/reference.html").read_text("utf-8")))
    public = {name for name in unrolled.__all__ if name not in ("__version__", "cells", "errors")}
    public |= {f"cells.{name}" for name in ("Elman", "SimpleRNN", "LSTM", "GRU")}
    public |= {f"errors.{name}" for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert public <= described
    assert {"TrainSettings.patience", "TextSettings.units"} <= described  # settings are described by their help


def test_words_of_both_languages_are_found(site):
    index, language = (site / "searchindex.js").read_text("utf-8"), (site / "_static/language_data.js").read_text()
    words = json.loads(re.search(r'"terms":(\{.*?\})', index)[1])
    assert {"covari", "梯度", "度消", "消失"} <= words.keys()  # stems; neighbors of 梯度消失
    assert "window.Stemmer = EnglishStemmer;" in language
    assert "function splitQuery(query)" in language


def test_what_is_broken_ends_the_build(tmp_path):
    shutil.copytree(ROOT / "docs/site", tmp_path / "from/docs/site", ignore=lambda *_: ["reference.md"])
    page = "# A page\n[none](docs/none.md)\n\n[nowhere](#nowhere)\n\n![picture](docs/none.png)\n"
    (tmp_path / "from/README.md").write_text(page, encoding="utf-8")
    (tmp_path / "from/docs/more.md").write_text("# More\n", encoding="utf-8")
    done = build(tmp_path / "from", tmp_path)
    assert done.returncode == 1
    for place in ("README.md:2: .*docs/none.md", "README.md:4: .*nowhere", "README.md:6: .*docs/none.png"):
        assert re.search(place, done.stderr), (place, done.stderr)
    assert re.search(r"docs/more\.md: WARNING: document isn't included in any toctree", done.stderr)
