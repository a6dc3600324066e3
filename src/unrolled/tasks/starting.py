"""Fine-tuning: a training that starts from a model of the same task.

Inputs: a model or its file, and what a user chose. Outputs: settings that fit the model's, and a new network with the
model's weights. Sizes, scalers and subwords are the model's. Labels, words and characters that it does not know get
rows of their own behind those that it has.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from unrolled.data.vocabulary import TokenVocabulary
from unrolled.errors import ArgumentError, SettingsError
from unrolled.json_values import Json
from unrolled.nn.label_axes import LabelAxes
from unrolled.settings import Settings
from unrolled.tasks.arguments import named

START = "start.safetensors"  # in a run folder: the model that the run started from

S = TypeVar("S", bound=Settings)
Names = Sequence[str]


@dataclass(frozen=True)
class StartModel:
    """What a training starts from.

    Attributes:
        model: fitted.
        name: of its file, for the user.
    """

    model: Any
    name: str

    @property
    def sha256(self) -> str:
        """The checksums of the files that it learnt from."""
        return str(self.model.training.get("sha256", ""))

    @classmethod
    def of(cls, start: object, kind: type[Any]) -> "StartModel":
        """A model, or the one in a file or a run folder, for a training of a kind of models.

        Raises:
            ModelFileError: the file cannot be used, or holds a model of another task.
            ArgumentError: it is no model of the task.
        """
        if isinstance(start, str | Path):
            return cls(kind.load(start), str(start))
        if not isinstance(start, kind):
            who = f"a model of the task {start.task!r}" if hasattr(start, "task") else named(start)
            raise ArgumentError(f"fit: start must be a {kind.__name__}, or the path of its file; got {who}")
        start.fitted  # noqa: B018 - raises if there is none
        return cls(copy.copy(start), "a model in memory")  # it may be the one that learns

    @classmethod
    def of_run(cls, folder: Path, name: Json, kind: type[Any]) -> "StartModel | None":
        """What a run started from, out of its folder; None for a run without."""
        return None if name is None else cls(kind.load(folder / START), str(name))

    def settings(self, chosen: S, names: set[str]) -> S:
        """The model's settings, but for those that the user chose, and for those that say how a file is written.

        Args:
            chosen: the user's settings.
            names: of those that the user gave.

        Raises:
            SettingsError: one that the model's weights fix is given with another value; all are told at once.
        """
        own, faults = self.model.settings, []
        values: dict[str, object] = {}
        for field in fields(chosen):
            value, kept, role = getattr(chosen, field.name), getattr(own, field.name), field.metadata["with_start"]
            if role == "fixed" and field.name in names and value != kept:
                faults.append(f"{field.name}={value!r}, where the model has {kept!r}")
            is_taken = role == "new" or (role == "usual" and field.name in names)
            values[field.name] = value if is_taken else kept
        if faults:
            raise SettingsError(
                f"{self.name}: a training that starts from a model keeps its sizes; got {'; '.join(faults)}. "
                "Leave them out, or train without a model to start from"
            )
        return replace(chosen, **values)


def with_new(old: Names, found: Names) -> list[str]:
    """The labels of a model, and behind them those that were found beside these."""
    known = set(old)
    return [*old, *(name for name in found if name not in known)]


def labels_note(noun: str, old: Names, names: Names) -> str:
    """Which labels are kept, and which are new, for the user."""
    known = set(old)
    new = [name for name in names if name not in known]
    n_old = sum(not name.startswith("\0") for name in old)  # padding and the like are no names
    shown = ", ".join(map(repr, new[:10])) + (", ..." if len(new) > 10 else "")
    return f"{noun}: {n_old:,} of the model are kept, {f'{len(new):,} new ({shown})' if new else 'none is new'}"


def rows_of_tokens(old: TokenVocabulary, new: TokenVocabulary) -> dict[str, tuple[Names, Names]]:
    """What the rows of a `TokenEncoder` stand for, of the model and of the new one, for `take_weights`."""
    return {kind: (getattr(old, kind).rows, getattr(new, kind).rows) for kind in ("words", "chars", "pairs")}


def unknown_note(noun: str, n_unknown: int, n: int) -> list[str]:
    """That the model's vocabulary does not have a part of the new data, for the user; nothing where it has all."""
    if not n_unknown:
        return []
    return [
        f"{noun}: {100 * n_unknown / n:.2g} % are not in the model's vocabulary, which is kept, and are read as unknown"
    ]


def take_weights(net: nn.Module, start: nn.Module, labels: Mapping[str, tuple[Names, Names]] | None = None) -> None:
    """Gives a new network the weights of another one that differs from it by its labels alone.

    Args:
        net: the new one. Its `label_axes`, if it has some, name by the ends of their names the weights with an axis of
            labels: for each axis the kind of labels, or None; an empty tuple where a weight is made anew.
        start: the other one.
        labels: by kind, the names of the other's labels and of the new one's, by number.
    """
    axes: LabelAxes = getattr(net, "label_axes", {})
    places = {kind: _places(old, new) for kind, (old, new) in (labels or {}).items()}
    given = start.state_dict()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            kinds = next((each for end, each in axes.items() if name.endswith(end)), None)
            if kinds is None:
                value.copy_(given[name])
            elif kinds:
                numbers = [
                    (torch.arange(size), torch.arange(size)) if kind is None else places[kind]
                    for kind, size in zip(kinds, value.shape, strict=True)
                ]
                from_, to = (torch.meshgrid(*each, indexing="ij") for each in zip(*numbers, strict=True))
                value[to] = given[name].to(value.device)[from_]


def _places(old: Names, new: Names) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of the old labels among themselves, and among the new ones."""
    number = {name: i for i, name in enumerate(new)}
    return torch.arange(len(old)), torch.tensor([number[name] for name in old])
