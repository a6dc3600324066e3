"""The cells of a recurrent layer: those that were given, or further ones like the first.

Input: a cell, or a sequence of cells. Output: a cell for each layer and direction. A file of its own, as only the
constructor of `Recurrent` needs it.
"""

import copy
import inspect
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

from unrolled.errors import ArgumentError, SettingsError


def listed(cells: object, layers: int, n_directions: int) -> list[nn.Module]:
    """The cells of a sequence, held to their number."""
    if not isinstance(cells, Sequence | nn.ModuleList) or not all(isinstance(cell, nn.Module) for cell in cells):
        raise ArgumentError(
            f"Recurrent: cell is of type {type(cells).__name__}. Expected a module (x_t, state) -> (y_t, state), or a "
            "sequence of such."
        )
    n_layers, rest = divmod(len(cells), n_directions)
    if rest or n_layers == 0 or layers not in (1, n_layers):
        wanted = f"{layers * n_directions}, one" if layers > 1 else "one"
        raise SettingsError(
            f"Recurrent: {len(cells)} cells. Expected {wanted} for each layer{' and direction' * (n_directions == 2)}."
        )
    return list(cells)


def further(cell: nn.Module, layers: int, n_directions: int) -> list[nn.Module]:
    """All cells but the first; those of the first layer read what the first cell reads."""
    if layers * n_directions == 1:
        return []
    beside = [_like(cell) for _ in range(n_directions - 1)]
    if layers == 1:
        return beside
    size = n_directions * _output_size(cell)
    return [*beside, *(_like(cell, input_size=size) for _ in range((layers - 1) * n_directions))]


def _output_size(cell: nn.Module) -> int:
    for name in ("output_size", "hidden_size"):
        size = getattr(cell, name, None)
        if isinstance(size, int):
            return size
    raise SettingsError(
        f"Recurrent: {type(cell).__name__} has neither output_size nor hidden_size, the number of features of its "
        "output, which the next layer reads. Give it one, or pass a list of cells."
    )


def _like(cell: nn.Module, *, input_size: int | None = None) -> nn.Module:
    """A new cell of the same class with the same arguments, which it keeps as attributes, but for the input's size."""
    kind = type(cell)
    given: dict[str, object] = {}
    if parametrize.is_parametrized(cell):
        raise SettingsError("Recurrent: the cell has parametrized weights. Pass a list of cells.")
    first = next(cell.parameters(), None)
    parameters = inspect.signature(kind).parameters
    if input_size is not None and "input_size" not in parameters:
        raise SettingsError(f"Recurrent: {kind.__name__} takes no argument input_size. Pass a list of cells.")
    for name, parameter in parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise SettingsError(
                f"Recurrent: {kind.__name__} has a constructor with {parameter}, so that no further cell like it can "
                "be made. Pass a list of cells."
            )
        if name == "input_size" and input_size is not None:
            given[name] = input_size
        elif name in ("device", "dtype"):
            given[name] = None if first is None else getattr(first, name)
        else:
            given[name] = _kept(cell, name)
    made = kind(**given).train(cell.training)
    return made if first is None else made.to(first.device, first.dtype)


def _kept(cell: nn.Module, name: str) -> object:
    """An argument of a cell's constructor. Tensors and modules with weights would be shared, so they count as none."""
    value = getattr(cell, name, cell)
    is_module = isinstance(value, nn.Module)
    if value is cell or isinstance(value, Tensor) or (is_module and next(value.parameters(), None) is not None):
        raise SettingsError(
            f"Recurrent: {type(cell).__name__} does not keep its argument {name!r} as an attribute, so that no further "
            "cell like it can be made. Keep it, or pass a list of cells."
        )
    return copy.deepcopy(value) if is_module else value
