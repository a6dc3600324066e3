"""Names of a step's states and gates.

Inputs: a step, its state, the functions of its gates. Outputs: words: the formula's letters for LSTM and GRU, the
library's and torch's; others by function and number.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from torch.utils import _pytree as pytree

from unrolled.engine.step.declared import declared
from unrolled.engine.trees import Tree

_LSTM = ("f", "i", "g", "o", "tanh(c)")
#: by cell and number of gates, in the order in which the step computes them
_GATES = {
    ("LSTM", 5): _LSTM,
    ("_lstm_step", 5): _LSTM,
    ("GRU", 3): ("r", "z", "n"),
    ("GRU", 2): ("r and z", "n"),  # reset="before" makes two gates at once
    ("_gru_step", 3): ("r", "z", "n"),
    ("GRUCell", 3): ("r", "z", "n"),
}
_WITHOUT_GATES = ("Elman", "_rnn_step", "RNNCell")  # the formula's f is the activation, no forget gate
_LAYERS = "unrolled.nn.torch_layers."
_OF_TWO_STATES = ("LSTM", "_lstm_step", "LSTMCell")


def state_names(step: Callable, state: Tree) -> list[str]:
    """Of each leaf of the state: h and c of an LSTM, h of a state of one tensor, else the path in the tree."""
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(state)[0]]
    if len(paths) == 1:
        return ["h"]
    return ["h", "c"] if _kind_of(step) in _OF_TWO_STATES and len(paths) == 2 else paths


def gate_names(step: Callable, functions: Sequence[str], *, is_fused: bool) -> list[str]:
    """Of each gate, whose functions are given in the order of the step."""
    kind = _kind_of(step)
    if kind == "LSTMCell" and len(functions) == 5:
        return list(("i", "f", "g", "o", "tanh(c)") if is_fused else _LSTM)
    if kind in _WITHOUT_GATES and len(functions) == 1:
        return list(functions)
    known = _GATES.get((kind, len(functions)))
    if known is not None:
        return list(known)
    return numbered(functions, always=True)


def is_recurrence(step: Callable) -> bool:
    """Whether a step is a layer's or the user's: the library's sums over sequences, as of a conditional random field,
    are scans too.
    """
    own = declared(step)
    name = own.key[0] if own is not None and isinstance(own.key, tuple) else ""
    return not isinstance(name, str) or not name.startswith("unrolled.nn.") or name.startswith(_LAYERS)


def numbered(names: Sequence[str], *, always: bool = False) -> list[str]:
    """Names told apart: the second "tanh" is "tanh 2"."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name} {seen[name]}" if always or seen[name] > 1 else name)
    return found


def _kind_of(step: Callable) -> str:
    """The class of a cell or the function of a layer's step; empty for a step of the user's."""
    own = declared(step)
    if own is None or not isinstance(own.key, tuple):
        return ""
    first, *others = own.key
    return first.rsplit(".", 1)[1] if isinstance(first, str) else str(others[0][2])
