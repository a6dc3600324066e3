"""Settings of the site: Sphinx builds it from the pages as they lie in the repository (make site).

Inputs: README, CHANGELOG, CONTRIBUTING and docs/. Outputs: HTML without outside requests, in build/site. A broken link,
a missing anchor or a page that is missing in PAGES ends the build.
"""

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

import unrolled
from unrolled.settings import Settings

ROOT = Path(__file__).parents[2]
ROOTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
#: the navigation: captions, and the pages below each
PAGES = {
    "Tasks": "forecasting classification regression tagging understanding text transcription translation training "
    "report results commands",
    "Library": "tutorial cells insight gradients site/reference",
    "Design": "design/architecture design/engine design/engine-speed design/engine-figures design/guard design/tasks "
    "design/text-task design/transcription design/translation design/claims design/time design/model-file "
    "design/command-line design/launcher design/site design/probe design/checkup design/report",
    "中文": "zh/README zh/forecasting zh/classification zh/regression zh/tagging zh/understanding zh/text "
    "zh/transcription zh/translation zh/insight zh/gradients zh/report",
    "Project": "/CHANGELOG /CONTRIBUTING",
}

project = "Unrolled"
version = release = unrolled.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [*ROOTS, "docs/**.md"]
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name not in ("docs", *ROOTS)]  # not looked through
suppress_warnings = ["misc.highlighting_failure"]  # shortened code
html_theme = "furo"
html_title = f"Unrolled {version}"
html_show_sphinx = html_show_copyright = html_copy_source = False
html_static_path, html_css_files = ["static"], ["site.css"]
html_search_language = "pages"
html_show_search_summary = False  # a browser fetches nothing from file://
highlight_language = "text"
myst_heading_anchors = 3
default_role = "literal"  # `names` in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 80


class Words(SearchEnglish):
    """Words of the search: English ones, and pairs of neighbors where a script has no spaces."""

    lang = "pages"
    js_splitter_code = """
function splitQuery(query) {
  return query.toLowerCase().split(/[^\\p{L}\\p{N}_]+/u).flatMap((word) =>
    /\\p{Script=Han}/u.test(word) && word.length > 2
      ? Array.from({length: word.length - 1}, (_, i) => word.slice(i, i + 2)) : [word]).filter(Boolean);
}"""

    def split(self, input: str) -> list[str]:
        """The words of a text; the browser splits a query in the same way."""
        words = re.findall(r"\w+", input)
        return [
            part
            for word in words
            for part in ((word[i : i + 2] for i in range(len(word) - 1)) if re.search("[一-鿿]{2}", word) else [word])
        ]


def navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """The list of pages, which only the first page has, and only here."""
    if name != root_doc:
        return
    for caption, pages in PAGES.items():
        places = [page if page.startswith("/") else f"/docs/{page}" for page in pages.split()]
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *places, "```\n"])


def settings(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Fields of settings are described where they are declared: each is one attribute with its help."""
    if what == "class" and isinstance(thing, type) and issubclass(thing, Settings):
        lines += ["", "Attributes:", *(line for field in dataclasses.fields(thing) for line in described(field))]


def described(field: "dataclasses.Field[object]") -> Sequence[str]:
    """A field, as a docstring has it."""
    choices = field.metadata.get("choices")
    said = f" One of {', '.join(map(str, choices))}." if choices else ""
    return [f"    {field.name}: {field.metadata.get('help', '')}; default {field.default!r}.{said}".replace("*", r"\*")]


def front(app: Sphinx, exception: Exception | None) -> None:
    """The first page also has the name that a browser looks for."""
    if exception is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """What Sphinx asks for."""
    app.add_search_language(Words)
    app.connect("source-read", navigation)
    app.connect("autodoc-process-docstring", settings, priority=400)  # before napoleon reads the docstring
    app.connect("build-finished", front)
