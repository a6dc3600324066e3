"""`explain`: how a scan runs, or one of the layers."""

from abc import abstractmethod

from torch import Tensor, nn

from unrolled.engine.explain import Explanation, explained
from unrolled.engine.step.torch_cells import as_step
from unrolled.engine.trees import Step, Tree
from unrolled.errors import ShapeError
from unrolled.scan import checked, checked_clip


class Layer(nn.Module):
    """Base of layers that are no subclass of torch's own: `explain` asks them."""

    @abstractmethod
    def explain(
        self,
        input: Tree,
        state: Tree = None,
        *,
        lengths: Tensor | None = None,
        verbose: bool = False,
        timed: bool = False,
    ) -> Explanation:
        """How the layer runs on such an input."""


def explain(
    step: Step | nn.Module,
    xs: Tree,
    state: Tree = None,
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    clip_state_grad: float | None = None,
    verbose: bool = False,
    timed: bool = False,
) -> Explanation:
    """Says how `scan` runs a step on such inputs.

    Args:
        step: as for `scan`, like the following five; or one of Unrolled's layers, with its input.
        xs: inputs.
        state: the first state; of a layer it may be left out.
        lengths: of a variable-length batch.
        resets: of rows that start anew.
        clip_state_grad: what the state's gradient is clamped to; a layer has its own.
        verbose: also what each stage of the engine made of the step: graph, loop programs, source.
        timed: also measure the forward, and the machine's peak.

    Raises:
        ShapeError: an argument does not fit the others.
        ArgumentError, SettingsError: `clip_state_grad` is no number, or not above 0.

    Example:
        >>> import torch, unrolled
        >>> print(unrolled.explain(lambda x, h: (h, x + h.sort(1)[0]), torch.zeros(3, 2, 4), torch.zeros(2, 4)).path)
        eager
    """
    if isinstance(step, Layer):
        if resets is not None:
            raise ShapeError("explain: resets are for a step; a layer takes none.")
        _no_clip(clip_state_grad)
        return step.explain(xs, state, lengths=lengths, verbose=verbose, timed=timed)
    of_layer = getattr(step, "explain", None) if isinstance(step, nn.RNNBase) else None
    if callable(of_layer):
        _no_clip(clip_state_grad)
        return of_layer(xs, state, verbose=verbose, timed=timed)
    clip = checked_clip(clip_state_grad, "explain")
    return explained(checked(as_step(step), xs, state, lengths, resets, clip=clip), verbose=verbose, timed=timed)


def _no_clip(given: float | None) -> None:
    if given is not None:
        raise ShapeError("explain: clip_state_grad is for a step; a layer has its own, set where it is made.")
