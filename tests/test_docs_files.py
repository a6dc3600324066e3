"""The design pages name the folders and files that there are, and none that is gone."""

import re
from pathlib import Path

import pytest

import unrolled
from unrolled.engine import backends

ROOT = Path(__file__).parent.parent
PACKAGE = Path(unrolled.__file__).parent
DESIGN = sorted((ROOT / "docs/design").glob("*.md"))
BACKENDS = Path(backends.__file__).parent


def folders_of(package):
    """The paths of the folders in a package that hold modules."""
    return {path.parent.relative_to(package).as_posix() for path in package.rglob("__init__.py")} - {"."}


def files_of(package):
    return {path for path in package.rglob("*.py") if not path.name.startswith("__")}


def folders_in(page):
    """The paths of the folders in the tree that a page draws by indentation, four spaces before its root."""
    tree = page[page.index("    src/unrolled/\n") :].split("\n\n", 1)[0]
    found, parents = set(), {}
    for line in tree.splitlines()[1:]:
        indent = len(line) - len(line.lstrip())
        if names := re.match(r" {6,16}((?:[a-z_]+/ ?)+)(?:  |$)", line):
            above = "".join(parents[i] for i in sorted(parents) if i < indent)
            parents = {i: name for i, name in parents.items() if i < indent}
            found |= {above + name.rstrip("/") for name in names[1].split()}
            parents[indent] = names[1].split()[-1]
    return found


def faults_of_tree(page):
    """Folders that the tree lacks, and those that are gone. A task or a back-end more is no news to the tree."""
    found, there = folders_in(page), folders_of(PACKAGE)
    of_many = {path for path in there if path.rpartition("/")[0] in ("tasks", "engine/backends")}
    return (there - of_many - found) | (found - there)


def test_the_tree_of_the_architecture_has_every_folder():
    assert faults_of_tree((ROOT / "docs/design/architecture.md").read_text(encoding="utf-8")) == set()


def test_a_folder_that_is_left_out_is_noticed():
    page = (ROOT / "docs/design/architecture.md").read_text(encoding="utf-8")
    assert faults_of_tree(page.replace("          lower/ ", "          raise/ ")) == {
        "engine/passes/lower",
        "engine/passes/raise",
    }
    assert faults_of_tree(page.replace("classify/ forecast/", "classify/ foretell/")) == {"tasks/foretell"}


def test_the_architecture_names_the_modules_at_the_top():
    page = (ROOT / "docs/design/architecture.md").read_text(encoding="utf-8")
    assert {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")} <= set(
        re.findall(r"\w+\.py", page)
    )


def test_the_list_of_the_engine_has_every_file_but_those_of_other_back_ends():
    pages = [(ROOT / "docs/design" / name).read_text(encoding="utf-8") for name in ("engine.md", "guard.md")]
    named = {name for page in pages for name in re.findall(r"\w+\.py", page)}
    files = {path for path in files_of(PACKAGE / "engine") if path.parent.parent != BACKENDS}
    files |= files_of(BACKENDS / "cpu")
    assert sorted(str(path.relative_to(PACKAGE)) for path in files if path.name not in named) == []


@pytest.mark.parametrize("page", DESIGN, ids=lambda page: page.name)
def test_a_design_page_names_no_file_that_is_gone(page):
    kinds = ("*.py", "*.h", "*.cpp")
    folders = ("src", "tests", "benchmarks", "docs", "examples")
    there = [path for folder in folders for kind in kinds for path in (ROOT / folder).rglob(kind)]
    for name in re.findall(r"[\w/]+\.(?:py|h|cpp)\b", page.read_text(encoding="utf-8")):
        assert any(f"/{path.as_posix()}".endswith(f"/{name}") for path in there), name


def names_that_are_gone(page):
    """Quoted names such as `module.name` that the module does not have; of a name of several files nothing is known."""
    for module, name in re.findall(r"`(?:\w+/)*([a-z_]+)\.(\w+)(?:\(\))?`", page):
        texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob(f"{module}.py")]
        made = rf"^ *(?:def|class) {name}\b|^(?:\w+, )*{name}\b[\w, ]*[:=]"
        if len(texts) == 1 and name != "py" and not re.search(made, texts[0], re.MULTILINE):
            yield f"{module}.{name}"


@pytest.mark.parametrize("page", DESIGN, ids=lambda page: page.name)
def test_a_design_page_names_nothing_in_a_module_that_is_gone(page):
    assert list(names_that_are_gone(page.read_text(encoding="utf-8"))) == []


def test_a_name_that_is_gone_is_noticed():
    page = "`comparison.counting()`, `comparison.compare`, `explain.py`, `program.POINTWISE`, `torch.mm`, `backends/emit.AWAKE`, `cache/dispatch.once`"
    assert list(names_that_are_gone(page)) == ["comparison.counting", "dispatch.once"]
