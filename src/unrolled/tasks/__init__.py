"""One folder a task: settings, network, model, report, and what only it uses. A task is found by its folder's name.

Each folder has `Model`, the task's class, with `fit`, `evaluate`, `save` and `load`; `Report`, which puts its metrics
into words; and `HELP`, texts for the command line. `estimator.py`, `fitted.py` and `report.py` have what they share.
"""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from unrolled.errors import ModelFileError
from unrolled.files.model_file import read_model

if TYPE_CHECKING:
    from unrolled.tasks.estimator import Estimator


def names() -> list[str]:
    """The tasks that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def task(name: str) -> ModuleType:
    """A task's folder, by name.

    Raises:
        ModelFileError: there is none of that name; names may come out of a file, so only ours are imported.
    """
    if name not in names():
        raise ModelFileError(f"task {name!r} is not known to this version; expected one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def load(path: "Path | str", *, device: str = "cpu") -> "Estimator":
    """Reads a model of any task.

    Args:
        path: of the model file, or of the run folder that it lies in.
        device: where it predicts: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.

    Returns:
        The task's model, such as a `ClassifyModel`, ready to predict.

    Raises:
        ModelFileError: the file cannot be used; nothing in it is executed.
    """
    model: Estimator = task(read_model(path).task).Model.load(path, device=device)
    return model
