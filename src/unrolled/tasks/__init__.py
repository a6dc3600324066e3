"""One folder a task: settings, network, model, report, and what only it uses. A task is found by its folder's name.

Each folder has `Model`, the task's class, with `fit`, `evaluate`, `save` and `load`; `Report`, which puts its metrics
into words; and `HELP`, texts for the command line. `estimator.py`, `fitted.py` and `report.py` have what they share.
"""

import importlib
import pkgutil
from types import ModuleType

from unrolled.errors import ModelFileError


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
