"""The model file: one safetensors file with all that prediction needs.

Inputs: a task's name, settings, vocabulary, baseline, record and tensors. Outputs: the same, after checks. A file can
run no code: each name in it is looked up among the library's names, or refused.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unrolled.errors import ArgumentError, ModelFileError
from unrolled.files import safetensors_tree
from unrolled.json_values import JsonObject

FORMAT = "unrolled"
VERSION = 1
EvaluationRow: TypeAlias = dict[str, float]  # an evaluation within a training: metrics by name, its step and time
_PARTS = ("settings", "vocabulary", "baseline", "record")


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds.

    Attributes:
        task: the name of the task whose model this is.
        settings: what the model was built and trained with.
        vocabulary: what turns the user's data into numbers and back.
        baseline: the trivial method's metrics, beside the model's.
        record: the evaluations of the training, oldest first.
        tensors: weights, under "model.", and whatever else the task keeps.
    """

    task: str
    settings: dict[str, JsonObject]
    vocabulary: JsonObject
    baseline: JsonObject
    record: list[EvaluationRow]
    tensors: dict[str, Tensor] = field(repr=False)


def write_model(path: Path | str, model: ModelFile) -> None:
    """Writes a model file, aside and renamed."""
    metadata = {"format": FORMAT, "version": str(VERSION), "task": model.task}
    metadata |= {part: json.dumps(getattr(model, part)) for part in _PARTS}
    safetensors_tree.write_tensors(checked_path(path, "save"), model.tensors, metadata)


def _in_folder(path: Path) -> Path:
    """The model file of a run folder; a file as it is."""
    if path.is_dir():
        if not (path / "model.safetensors").is_file():
            raise ModelFileError(
                f"{path}: is a folder without a model.safetensors in it; expected a model file or a run"
            )
        return path / "model.safetensors"
    return path


def checked_path(path: object, verb: str) -> Path:
    """The path of a model file, as a user of Python gave it.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(
            f"{verb}: expected the path of a model file, such as 'model.safetensors'; got a value of type "
            f"{type(path).__name__}"
        )
    return Path(path)


def read_model(path: Path | str, *, task: str | None = None) -> ModelFile:
    """Reads a model file.

    Args:
        path: of the file, or of the run folder that it lies in.
        task: the task it must be of; any if None.

    Raises:
        ModelFileError: it is missing, damaged, foreign, too new or of another task.
        ArgumentError: it is no path.
    """
    path = _in_folder(checked_path(path, "load"))
    try:
        tensors, metadata = safetensors_tree.read_tensors(path)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file") from None
    except OSError as fault:
        raise ModelFileError(f"{path}: cannot be read: {fault.strerror or fault}") from fault
    except ValueError as fault:
        raise ModelFileError(
            f"{path}: is damaged or no model file ({fault}). Expected a .safetensors file that unrolled wrote"
        ) from fault
    if metadata.get("format") != FORMAT or "task" not in metadata:
        raise ModelFileError(f"{path}: is a safetensors file, but not one that unrolled wrote")
    _rename_of_old(tensors, metadata)
    version = metadata.get("version", "")
    if version != str(VERSION):
        raise ModelFileError(
            f"{path}: has format version {version!r}; this unrolled reads version {VERSION}. Install a newer unrolled"
        )
    if task is not None and metadata["task"] != task:
        raise ModelFileError(f"{path}: is a model of the task {metadata['task']!r}; expected one of {task!r}")
    try:
        parts = {part: json.loads(metadata[part]) for part in _PARTS}
    except (KeyError, ValueError, RecursionError) as fault:
        raise ModelFileError(f"{path}: its description is damaged ({fault!r})") from fault
    for part, kind in (("settings", dict), ("vocabulary", dict), ("baseline", dict), ("record", list)):
        if not isinstance(parts[part], kind):
            raise ModelFileError(f"{path}: its {part} is damaged: expected a {kind.__name__}")
    if not all(isinstance(row, dict) for row in parts["record"]):
        raise ModelFileError(f"{path}: its record is damaged: expected a dict for each evaluation")
    if not all(isinstance(parts["settings"].get(part, {}), dict) for part in ("model", "training")):
        raise ModelFileError(f"{path}: its settings are damaged: expected a dict for the model and the training")
    return ModelFile(metadata["task"], tensors=tensors, **parts)


def _rename_of_old(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Files that unrolled 0.1.0 wrote call the baseline "floor"."""
    if "floor" not in metadata:
        return
    metadata["baseline"] = metadata.pop("floor").replace('"floor_nats"', '"baseline_nats"')
    for name in [name for name in tensors if name.startswith("floor.")]:
        tensors["baseline." + name.removeprefix("floor.")] = tensors.pop(name)


@contextlib.contextmanager
def without_numbers() -> Iterator[None]:
    """Modules made within have their shapes alone, on the meta device, until `load_weights`."""
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Nothing is drawn for weights without numbers: torch would load its compiler for it, which takes seconds."""

    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (nn.init.normal_, nn.init.uniform_):
            return kwargs["tensor"]
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **kwargs)


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def load_weights(module: nn.Module, tensors: dict[str, Tensor], *, prefix: str = "model.") -> None:
    """Puts a file's weights into a module built `without_numbers`, once their names, shapes and dtypes fit.

    Raises:
        ModelFileError: they do not; all faults at once.
    """
    given = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    wanted = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in given]
    faults += [f"{name} is not of this model" for name in given if name not in wanted]
    for name in wanted.keys() & given.keys():
        if wanted[name].shape != given[name].shape or wanted[name].dtype != given[name].dtype:
            faults.append(
                f"{name} is {given[name].dtype} {list(given[name].shape)}, "
                f"expected {wanted[name].dtype} {list(wanted[name].shape)}"
            )
    if not faults:
        faults = [f"{name} holds NaN or infinite numbers" for name, value in given.items() if not _is_finite(value)]
    if faults:
        raise ModelFileError("its weights do not fit its settings: " + "; ".join(sorted(faults)))
    module.load_state_dict(given, assign=True)
    for module_part in module.modules():
        # torch's recurrent layers keep a list of their weights, which assignment leaves on the meta device
        if isinstance(module_part, nn.RNNBase):
            module_part._init_flat_weights()
