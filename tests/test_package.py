"""What `import unrolled` needs, and that what it offers is documented."""

import inspect
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import unrolled
from unrolled import tasks
from unrolled.errors import ModelFileError


def test_import_needs_torch_and_numpy_alone():
    program = (
        "import sys\n"
        "for name in ('safetensors', 'click', 'rich', 'tokenizers', 'accelerate', 'pandas'): sys.modules[name] = None\n"
        "import unrolled\n"
        "unrolled.TextModel(); unrolled.scan; unrolled.swap\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_public_is_documented():
    public = {name: value for name, value in vars(unrolled).items() if not name.startswith("_")}
    for name, value in public.items():
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith("unrolled")
            assert len(inspect.getdoc(value) or "") > 40, name


def test_the_version_is_the_packages():
    from importlib.metadata import version

    done = subprocess.run([sys.executable, "-m", "unrolled", "--version"], capture_output=True, text=True, check=True)
    assert version("unrolled") == unrolled.__version__
    assert unrolled.__version__ in done.stdout


def test_what_is_public_is_listed():
    modules = {name for name, value in vars(unrolled).items() if inspect.ismodule(value)} - {"cells", "errors"}
    public = {name for name in vars(unrolled) if not name.startswith("_")} - modules
    assert sorted(unrolled.__all__) == sorted(public | {"__version__"})


def test_it_says_that_it_has_types():
    assert (Path(unrolled.__file__).parent / "py.typed").is_file()


def test_all_has_every_extra_that_a_user_may_want():
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    wanted = set(extras) - {"all", "dev", "bench", "compiler"}
    assert extras["all"] == [f"unrolled[{','.join(name for name in extras if name in wanted)}]"]


@pytest.mark.parametrize("name", tasks.names())
def test_a_model_of_any_task_is_loaded(name, tmp_path):
    path = Path(__file__).parent / "tasks/old_models" / f"{name}.safetensors"
    assert type(unrolled.load(path)) is tasks.task(name).Model
    shutil.copy(path, tmp_path / "model.safetensors")
    assert type(unrolled.load(tmp_path)) is tasks.task(name).Model


def test_what_is_no_model_is_not_loaded(tmp_path):
    with pytest.raises(ModelFileError, match=r"no\.safetensors: no such file$"):
        unrolled.load(tmp_path / "no.safetensors")
