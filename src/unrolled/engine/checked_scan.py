"""The arguments of a scan, once they are checked.

`scan` makes one; dispatch, the graphs of torch.compile, a probe and the definition take it. It is a named tuple, as
torch.compile goes through the code that makes it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class CheckedScan(NamedTuple):
    """A scan to run.

    Attributes:
        step: `(x_t, state) -> (y_t, state)`.
        xs: tree of tensors [time, batch, ...].
        state: tree of tensors [batch, ...].
        active: bool [time, batch], true in each row up to its length; None where all rows run to the end.
        resets: bool [time, batch], where rows go back to `first`; None for nowhere.
        is_reversed: whether time runs backward.
        first: the state that resets go back to; None where that is `state`.
        idle: what the step is given in place of the state of a row that does not run, once `xs` hold inputs for it too;
            None before (`eager.with_idle_rows`).
        clip: what the gradient that each step gives the state before it is clamped to, [-clip, clip]; None for none.
    """

    step: Callable
    xs: Any
    state: Any
    active: Tensor | None = None
    resets: Tensor | None = None
    is_reversed: bool = False
    first: Any = None
    clip: float | None = None
    idle: Any = None
