"""One file a cell: the formula in plain PyTorch, its paper, its initialization; nothing else.

A cell is a step for `unrolled.scan`, `cell(x_t, state) -> (y_t, state)`, that has

- `initial_state(batch_size)`, the first state: a tensor [batch, ...] or a tree of such;
- the arguments of its constructor as attributes of the same names, so that `unrolled.Recurrent` makes further layers;
- `output_size`, or else `hidden_size`, the number of features of y_t.

The folder is the list: each file has one public class, and a file whose name begins with "_" is no cell. `BY_NAME` has
the classes by their files' names. A cell whose constructor needs `input_size` and `hidden_size` alone is a layer of the
tasks too, as `--cell NAME`; its y_t is [batch, hidden_size]. `SimpleRNN` needs an `output_size` as well and returns
log-probabilities, so it is none.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:  # signatures for type checkers and editors; a cell that is not listed here is a module to them
    from unrolled.cells.elman import Elman as Elman
    from unrolled.cells.gru import GRU as GRU
    from unrolled.cells.lstm import LSTM as LSTM
    from unrolled.cells.simple_rnn import SimpleRNN as SimpleRNN

    def __getattr__(name: str) -> type[nn.Module]: ...


def _cell_of(file: str) -> type[nn.Module]:
    """The public class of a file."""
    module = importlib.import_module(f"{__name__}.{file}")
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    if len(found) != 1 or not issubclass(found[0], nn.Module):
        raise ImportError(
            f"{module.__name__}: expected one public class, a module; found {[each.__name__ for each in found]}"
        )
    return found[0]


BY_NAME: dict[str, type[nn.Module]] = {
    module.name: _cell_of(module.name) for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
}
globals().update({cell.__name__: cell for cell in BY_NAME.values()})
