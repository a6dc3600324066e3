"""Trees of tensors in safetensors files.

Inputs: plain data and tensors. Outputs: files that appear under their name only when complete; and what they hold.
Reading executes nothing: safetensors holds numbers, JSON holds text. A checksum over all of it tells a file in which a
single bit has changed.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.files.bounds import lacks_memory
from unrolled.files.whole import write_aside

_TREE_KEY = "tree"
_CHECKSUM = "checksum"


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes one safetensors file, aside and renamed; the tensors may share memory and lie on any device."""
    # imported here so that `import unrolled` needs torch alone
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory
        whole[name] = value.clone() if value.untyped_storage().data_ptr() in seen else value
        seen.add(value.untyped_storage().data_ptr())

    def save(aside: Path) -> None:
        try:
            save_file(whole, aside, metadata=metadata)
        except SafetensorError as fault:  # how the library words a full disk
            raise OSError(str(fault)) from fault

    metadata = metadata | {_CHECKSUM: _checksum(whole, metadata)}
    write_aside(path, save)


def _checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """CRC-32 of names, shapes, dtypes, numbers and texts."""
    found = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {value.dtype} {list(value.shape)}".encode(), found)
        flat = value.contiguous().as_strided((value.numel(),), (1,))  # of one number the stride may be 0
        found = zlib.crc32(flat.view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises:
        ValueError: the file is damaged or of another kind; the text says why.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("it is a device or a pipe")  # which may wait for ever when it is opened
    path.open("rb").close()  # a clear OSError first: safetensors words it less well
    try:
        with safe_open(path, framework="pt") as file:
            # clones: the file's own pages are not aligned, which changes sums, and change with the file
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - the file is no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, ValueError, RuntimeError, KeyError) as fault:
        if lacks_memory(fault):
            raise MemoryError(str(fault)) from fault
        raise ValueError(str(fault)) from fault
    checksum = metadata.pop(_CHECKSUM, None)  # the first files had none
    if checksum is not None and checksum != _checksum(tensors, metadata):
        raise ValueError("its checksum does not fit what it holds")
    return tensors, metadata


def write_tree(path: Path, tree: object) -> None:
    """Writes nested dicts, lists, tuples, tensors, numbers, strings and None."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encode(tree, tensors))
    write_tensors(path, tensors, {_TREE_KEY: text})


def read_tree(path: Path) -> Any:
    """What `write_tree` wrote; ValueError and OSError as for `read_tensors`."""
    tensors, metadata = read_tensors(path)
    try:
        return _decode(json.loads(metadata[_TREE_KEY]), tensors)
    except (KeyError, TypeError, RecursionError) as fault:
        raise ValueError(f"it holds no tree that this version knows ({fault!r})") from fault


def _encode(tree: object, tensors: dict[str, Tensor]) -> Any:
    match tree:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = tree
            return {"tensor": name}
        case dict():
            return {"dict": [[key, _encode(value, tensors)] for key, value in tree.items()]}
        case list():
            return {"list": [_encode(value, tensors) for value in tree]}
        case tuple():
            return {"tuple": [_encode(value, tensors) for value in tree]}
        case None | bool() | int() | float() | str():
            return tree
    raise TypeError(f"a tree cannot hold a {type(tree).__name__}")


def _decode(tree: object, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    [(kind, value)] = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in value}
    if kind in ("list", "tuple"):
        items = [_decode(item, tensors) for item in value]
        return items if kind == "list" else tuple(items)
    raise KeyError(kind)
