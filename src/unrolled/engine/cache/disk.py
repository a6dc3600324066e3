"""Plans on the disk, so that a process that starts anew need not trace again, nor load what tracing needs.

The name of a file is a hash of all that the plan depends on: the name and settings of a step of the library's own, or
the whole graph of a captured one; shapes; Unrolled's source, torch's version. A file is plain
data (plan_data.py): programs, and graphs of ATen operations by name; one that is damaged is made anew.
"""

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from unrolled.engine import cache_files
from unrolled.engine.cache import plan_data
from unrolled.engine.run.plan import Plan

if TYPE_CHECKING:
    from unrolled.engine.passes.trace import Traced

_PACKAGE = Path(__file__).parents[2]


def name_of(words: str) -> str:
    """The name under which a plan is kept of which these words tell all that it depends on, but for versions."""
    return hashlib.sha256("\0".join((words, _versions())).encode()).hexdigest()[:32]


def words_of(traced: "Traced") -> str:
    """What tells a traced step from all others: operations, shapes, and the numbers of the tensors that it makes."""
    numbers = [hashlib.sha256(_bytes(tensor)).hexdigest() for tensor in traced.made]
    nodes = [
        f"{node.name} {node.target} {node.args} {node.kwargs} {_shapes(node)}" for node in traced.graph.graph.nodes
    ]
    return "\n".join((*nodes, *numbers))


def _shapes(node: fx.Node) -> str:
    values = pytree.tree_leaves(node.meta.get("val"))
    return str([(tuple(value.shape), value.dtype) for value in values if isinstance(value, Tensor)])


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def load(name: str) -> Plan | None:
    """The plan of a name; None where there is none that is whole."""
    content = cache_files.read(f"{name}.json")
    if content is None:
        return None
    try:
        return plan_data.from_data(json.loads(content))
    except (ValueError, RecursionError):  # a name that two plans share, or a fault of ours: it is made anew
        return None


def save(name: str, plan: Plan) -> None:
    """Keeps a plan, where plain data can tell it; a disk that cannot be written is no fault."""
    try:
        text = json.dumps(plan_data.to_data(plan))
    except plan_data.NotPlain:
        return
    cache_files.write(f"{name}.json", text.encode())


@functools.cache
def _versions() -> str:
    """Of what makes plans: Unrolled's source, torch, Python."""
    sources = [file.read_bytes() for file in sorted(_PACKAGE.rglob("*.py"))]
    return f"{hashlib.sha256(b''.join(sources)).hexdigest()} {torch.__version__} {sys.version}"
