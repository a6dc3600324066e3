"""The back-end of a device, loaded when it is first asked for. Each folder here is one, by its device's name."""

import importlib
import pkgutil
from pathlib import Path
from typing import cast

import torch

from unrolled.engine.backends.base import Backend
from unrolled.engine.backends.openmp import end_threads as end_threads  # before each fork, also if no loop has run yet
from unrolled.engine.context import importing
from unrolled.engine.reasons import NotTraceable

#: the module of each kind of device that has a back-end
MODULES = {
    module.name: f"{__package__}.{module.name}"
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if module.ispkg
}
_loaded: dict[str, Backend] = {}


def backend_for(device: torch.device) -> Backend:
    """The back-end for tensors on a device.

    Raises:
        NotTraceable: there is none; the text says why, for the user.
    """
    found = _loaded.get(device.type)
    return _load(device.type) if found is None else found


def _load(kind: str) -> Backend:
    if kind not in MODULES:
        raise NotTraceable("its tensors are not on the CPU; there are no kernels for other devices yet")
    with importing():
        module = importlib.import_module(MODULES[kind])
    found = _loaded[kind] = cast("Backend", module)  # a test holds each to the protocol
    return found
