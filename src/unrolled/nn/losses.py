"""A loss for one time step becomes a loss over all time steps, or over each row's last."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from unrolled.errors import SettingsError


def sequence_loss(
    ys: Tensor,
    targets: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor],
    *,
    over: Literal["all", "last"] = "all",
    lengths: Tensor | None = None,
) -> Tensor:
    """Applies a criterion over all time steps of a sequence, or over each row's last one.

    Args:
        ys: outputs [time, batch, ...].
        targets: with over="all" [time, batch, ...]; with over="last" [batch, ...].
        criterion: takes outputs [rows, ...] and targets [rows, ...] and returns their mean loss, as
            `torch.nn.functional.cross_entropy` and `mse_loss` do.
        over: "all" time steps, or the "last" of every row.
        lengths: integers [batch]; steps past a row's length do not count, and its last step is `lengths[b] - 1`.

    Returns:
        The mean over the rows that count, a scalar.

    Raises:
        SettingsError: another `over`.

    Example:
        >>> import torch, unrolled
        >>> ys, targets = torch.zeros(4, 2, 3), torch.ones(4, 2, 3)
        >>> unrolled.sequence_loss(ys, targets, torch.nn.functional.mse_loss).item()
        1.0
    """
    if over == "last":
        if lengths is None:
            return criterion(ys[-1], targets)
        return criterion(ys[lengths - 1, torch.arange(ys.shape[1], device=ys.device)], targets)
    if over != "all":
        raise SettingsError(f"sequence_loss: over={over!r} is not known. Expected 'all' or 'last'.")
    if lengths is None:
        return criterion(ys.flatten(0, 1), targets.flatten(0, 1))
    counts = torch.arange(ys.shape[0], device=ys.device).unsqueeze(1) < lengths.to(ys.device)
    return criterion(ys[counts], targets[counts])
