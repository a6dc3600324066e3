"""The units of a text model while it reads: what `unrolled units` shows.

Inputs: a fitted model and a text. Outputs: a `UnitActivity`. The states are those of a probe, read with carried state.
"""

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ArgumentError, DataError
from unrolled.insight.probe import probe_keeping
from unrolled.insight.units import UnitActivity
from unrolled.tasks.arguments import named
from unrolled.tasks.text.fitted import TextFitted
from unrolled.tasks.text.net import TextNet

MOST_CHARS = 20_000  # that are read: 512 units take 40 MB
_WINDOW = 1000


class ReadsUnits:
    """What a text model has that `unrolled units` asks for."""

    @property
    def fitted(self) -> TextFitted:
        """What is fitted, which the model has."""
        raise NotImplementedError

    def activity(self, text: str, *, name: str = "text") -> UnitActivity:
        """The value of every unit of the network after each character of a text.

        Each layer's state counts: h, and of an LSTM c too. `activity.search()` finds units that follow something,
        `activity.html("layer 1 c 17")` shows the text colored by one.

        Args:
            text: at most 20,000 characters are read.
            name: what errors call it.

        Raises:
            ArgumentError: it is no text.
            DataError: the text is empty, or holds characters that the model does not know.

        Example:
            >>> import unrolled
            >>> model = unrolled.TextModel(hidden=8, layers=1, batch=4, k1=20, steps=5)
            >>> model = model.fit(text='he said "so" and (12) left. ' * 200)
            >>> model.activity('he said "no" to (2).')
            <UnitActivity: 16 units over 20 characters>
        """
        if not isinstance(text, str):
            raise ArgumentError(f"activity: expected a text, got {named(text)}.")
        fitted, text = self.fitted, text[:MOST_CHARS]
        if not text:
            raise DataError("activity: the text is empty")
        fitted.units.check(text, name)
        ids = fitted.units.encode(text)
        pieces = list(text) if len(ids) == len(text) else list(fitted.units.decode(ids.tolist()))
        fitted.net.eval()
        names, values = _states(fitted.net, ids)
        lengths = [len(piece) for piece in pieces] + [0] * (len(ids) - len(pieces))
        return UnitActivity("".join(pieces), names, np.repeat(values, lengths, 0))


def _states(net: TextNet, ids: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names and values [ids, units] of all units."""
    given, state = torch.from_numpy(ids).unsqueeze(1).to(net.output.weight.device), None
    names: list[str] = []
    found = []
    with torch.no_grad():
        for start in range(0, len(ids), _WINDOW):
            with probe_keeping(net) as (_, kept):
                _, state = net(given[start : start + _WINDOW], state)
            columns: list[Tensor] = []
            names = []
            for entry, scan in kept:
                for leaf, values in zip(entry.states, scan.states or [], strict=True):
                    flat = values[:, 0].flatten(1).float().cpu()
                    columns.append(flat)
                    names += [f"layer {entry.layer} {leaf} {i}" for i in range(flat.shape[1])]
            found.append(torch.cat(columns, 1))
    return names, torch.cat(found).numpy()
