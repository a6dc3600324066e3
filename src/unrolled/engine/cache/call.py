"""A call of a step, by leaves: what a plan is looked up with.

Inputs: the leaves of inputs and state, and what is around the step. It is a file of its own as `memory.py`, which looks
plans up, takes it from several callers that make it.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.engine.backends.base import reading
from unrolled.engine.step.declared import kind_of
from unrolled.engine.step.found import Leaves
from unrolled.engine.trees import Form

_MASKS = ("resets", "ends")


@dataclass(slots=True)
class Call:
    """A call of a step, by leaves.

    Attributes:
        xs: of the inputs, [time, batch, ...].
        states: of the first state, [batch, ...].
        x_form, state_form: of what the step takes.
        around: what is around the step, innermost first: a limit, to which the state's gradient is clamped; "resets"
            and "ends", which have a mask as the last of the inputs, and as many states more: those that rows go back
            to, those of rows that do not run. "probe" adds the taps of `passes/taps.py`, whose zeros are none of `xs`.
    """

    xs: list[Tensor]
    x_form: Form
    states: list[Tensor]
    state_form: Form
    around: tuple[str | float, ...] = ()

    @property
    def is_probed(self) -> bool:
        """Whether the taps of a probe are in the step."""
        return "probe" in self.around

    @property
    def n_states(self) -> int:
        """Leaves of the step's own state."""
        return len(self.states) // (1 + self._n_masks)

    def of_step(self) -> Leaves:
        """One time step of it, as the step itself takes it."""
        xs = self.xs[: len(self.xs) - self._n_masks]
        return Leaves([x[0] for x in xs], self.x_form, self.states[: self.n_states], self.state_form)

    @property
    def _n_masks(self) -> int:
        return sum(each in _MASKS for each in self.around)

    def form(self) -> Hashable:
        """What a call of a known step depends on, and how it runs."""
        return (
            self.x_form, self.state_form, self.around, torch.get_default_dtype(), torch.is_grad_enabled(), reading(),
            torch.get_num_threads(), *map(kind_of, self.xs), *map(kind_of, self.states),
        )  # fmt: skip


def around_of(clip: float | None) -> tuple[str | float, ...]:
    """What `clip_state_grad` puts around a step."""
    return () if clip is None else (clip,)
