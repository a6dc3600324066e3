"""Writes to a tensor that autograd does not see: through an alias that has no gradient, as `tensor.detach()` gives one.

Input: a captured graph. Output: the node that writes so, or None. The tracing that follows takes an alias and what it
is an alias of for one tensor, so that the gradient would end at the write, where in the loop it passes by.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree


def hidden_write(graph: fx.GraphModule) -> fx.Node | None:
    """The first node of a captured graph that writes through an alias without a gradient."""
    nodes = list(graph.graph.nodes)
    if not any(map(_may_hide, nodes)):
        return None
    examples = [node.meta.get("example_value") for node in nodes if node.op == "placeholder"]
    if not any(isinstance(each, Tensor) for each in examples):
        return None
    finding = _Finding(graph)
    # sizes are numbers there, and not the capture's, to which a second run may add what it holds for known of them
    with torch.inference_mode(False), torch.enable_grad(), FakeTensorMode():
        finding.run(*map(_with_gradient, examples))
    return finding.found


def _may_hide(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    dtypes = [each for each in (*node.args, *node.kwargs.values()) if isinstance(each, torch.dtype)]
    return name.startswith("detach") or (name == "view" and bool(dtypes))


def _with_gradient(example: Any) -> Any:
    if not isinstance(example, Tensor):
        return _number(example)
    sizes, strides = map(_number, example.shape), map(_number, example.stride())
    made = torch.empty_strided(list(sizes), list(strides), dtype=example.dtype, device=example.device)
    has_gradient = made.is_floating_point() or made.is_complex()
    return made.clone().requires_grad_(has_gradient).clone()  # not a leaf: a leaf may not be written to


def _number(size: Any) -> Any:
    return size.node.hint if isinstance(size, torch.SymInt) else size


class _Finding(fx.Interpreter):
    """Runs a graph on examples. An alias and its tensor have one counter of writes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: fx.Node | None = None
        self._hidden: list[Tensor] = []

    def run_node(self, node: fx.Node) -> Any:
        if self.found is not None or node.op in ("placeholder", "output"):
            return super().run_node(node) if node.op == "placeholder" else None
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        # torch writes to `out`, or else to its first argument
        given = [each for each in pytree.tree_leaves((kwargs.get("out"), args, kwargs)) if isinstance(each, Tensor)]
        before = [each._version for each in given]
        result = super().run_node(node)
        written = [each for each, version in zip(given, before, strict=True) if each._version != version]
        if written and any(written[0] is each for each in self._hidden):
            self.found = node
        for each in pytree.tree_leaves(result):
            if isinstance(each, Tensor) and not each.requires_grad and any(self._hides(each, other) for other in given):
                self._hidden.append(each)
        return result

    def _hides(self, result: Tensor, given: Tensor) -> bool:
        """Whether a result without a gradient is an alias of a tensor that has one, or of such an alias."""
        has_gradient = given.requires_grad or any(given is each for each in self._hidden)
        places = {StorageWeakRef(each.untyped_storage()) for each in (result, given)}
        return has_gradient and result is not given and len(places) == 1
