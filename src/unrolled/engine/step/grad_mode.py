"""Whether a step's graph may be another one without gradients.

Input: what torch's capture looks at on its way through the step. Output: one truth. A step that never asks whether
gradients are taken has one graph for both, so it need not be captured again where it is evaluated.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch import fx
from torch._dynamo.variables import GradModeVariable, TensorVariable
from torch._ops import HigherOrderOperator

# torch sets this guard wherever its capture reads or sets the mode
_guard: Any = getattr(GradModeVariable, "_guards_singleton", None)
_has_gradient: Any = getattr(TensorVariable, "method_attr_requires_grad", None)
_IS_SEEN = None not in (_guard, _has_gradient)  # else, as torch has another capture, each step counts as one that asks


class GradMode:
    """What one capture asked of gradients.

    Attributes:
        is_asked: whether the step read or set the mode, or asked a tensor whether it has a gradient.
    """

    def __init__(self) -> None:
        self.is_asked = not _IS_SEEN

    def __get__(self, *_: Any) -> Any:
        self.is_asked = True
        return _guard

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Within, what a capture asks is noted."""

        def noted(*args: Any) -> Any:
            self.is_asked = True
            return _has_gradient(*args)

        with contextlib.ExitStack() as stack:
            if _IS_SEEN:
                stack.enter_context(mock.patch.object(GradModeVariable, "_guards_singleton", self))
                stack.enter_context(mock.patch.object(TensorVariable, "method_attr_requires_grad", noted))
            yield

    def matters(self, graph: fx.GraphModule | None) -> bool:
        """Whether the graph that was captured may depend on the mode; torch has rules of its own for graphs within."""
        if self.is_asked or graph is None:
            return self.is_asked
        return any(isinstance(node.target, HigherOrderOperator) for node in graph.graph.nodes)
