"""What `import unrolled` needs, and that what it offers is documented."""

import inspect
import subprocess
import sys

import unrolled


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
    assert version("unrolled") in done.stdout
