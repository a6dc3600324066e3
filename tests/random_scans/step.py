"""A step of random operations: any inputs and states become values [batch, WIDTH], and values become outputs and states."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from tests.random_scans.operations import ONE, TWO, WIDTH


def as_value(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf [batch, ...] as a value of a step [batch, WIDTH]."""
    leaf = leaf.real if leaf.is_complex() else leaf
    leaf = leaf.to(dtype) if leaf.dtype != dtype else leaf
    if leaf.dim() == 1:
        leaf = leaf.unsqueeze(1)
    leaf = leaf.flatten(1)
    if leaf.shape[1] == 0:
        return leaf.sum(1, keepdim=True).expand(-1, WIDTH)
    return leaf if leaf.shape[1] == WIDTH else torch.cat([leaf] * WIDTH, 1)[:, :WIDTH]


def as_leaf(value: Tensor, like: Tensor) -> Tensor:
    """A value as a new leaf of a state."""
    if like.dtype == torch.bool:
        value = value > 0.1
    elif not like.is_floating_point() and not like.is_complex():
        value = (3 * value).clamp(-20, 20)
    width = like[0].numel() if like.shape[0] else like.flatten(1).shape[1] if like.dim() > 1 else 1
    return value[:, :width].reshape(like.shape).to(like.dtype)


@dataclass
class Step:
    """The operations of a step in their order, what it returns, and the tensors that it holds."""

    nodes: list[tuple[str, int, int]]
    news: list[tuple[str, int]]
    ys: list[tuple[str, int]]
    ys_form: str
    held: list[Tensor]
    dtype: torch.dtype

    def __call__(self, x: Any, state: Any) -> Any:
        xs, states = pytree.tree_leaves(x), pytree.tree_leaves(state)
        values = [as_value(leaf, self.dtype) for leaf in (*xs, *states)]
        weight, bias, by_row = self.held
        values.append(values[0] @ weight + bias)
        for name, first, second in self.nodes:
            a, b = values[first % len(values)], values[second % len(values)]
            if name == "product":
                values.append(a @ weight)
            elif name == "linear":
                values.append(F.linear(torch.cat((a, b), 1), torch.cat((weight, weight.t()), 1), bias))
            elif name == "by row":
                values.append(a * by_row)
            else:
                values.append(ONE[name](a) if name in ONE else TWO[name](a, b))
        pick = lambda i: values[-1 - i % len(values)]
        new = []
        for place, (kind, i) in enumerate(self.news):
            old = states[place]
            if kind == "same":
                new.append(old)
            elif kind == "other":  # of the same shape and dtype, else itself
                like = [s for s in states if s.shape == old.shape and s.dtype == old.dtype]
                new.append(like[i % len(like)])
            elif kind == "input":
                like = [s for s in xs if s.shape == old.shape and s.dtype == old.dtype] or [old]
                new.append(like[i % len(like)])
            else:
                new.append(as_leaf(torch.tanh(pick(i)) if kind == "new" else pick(i).clamp(-3, 3), old))
        ys = []
        for kind, i in self.ys:
            source = {"value": values, "state": states, "new": new, "input": xs}[kind]
            y = source[-1 - i % len(source)]
            ys.append(y)
        y = {
            "one": ys[0],
            "tuple": tuple(ys),
            "dict": dict(zip("cabd", ys, strict=False)),
            "nested": [ys[0], {"z": tuple(ys)}],
        }[self.ys_form]
        return y, pytree.tree_unflatten(new, pytree.tree_structure(state))
