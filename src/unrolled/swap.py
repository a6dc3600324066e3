"""`swap`: replaces torch's recurrent layers inside any model by Unrolled's, sharing the parameters."""

from dataclasses import dataclass, field

from torch import nn
from torch.nn.utils import parametrize

from unrolled import layers

_COUNTERPARTS: dict[type[nn.Module], type[layers.RNN | layers.LSTM | layers.GRU]] = {
    nn.RNN: layers.RNN,
    nn.LSTM: layers.LSTM,
    nn.GRU: layers.GRU,
}


@dataclass(frozen=True)
class SwapReport:
    """What `swap` did.

    Attributes:
        model: the model given, or, where it is itself a recurrent layer, its replacement.
        replaced: the names of the layers replaced, "" for the model itself, with the name of their class.
        kept: the names of recurrent modules left as they were, each with the reason.
    """

    model: nn.Module
    replaced: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"replaced {name or '(the model)'}: {kind}" for name, kind in self.replaced.items()]
        lines += [f"kept {name or '(the model)'}: {reason}" for name, reason in self.kept.items()]
        return "\n".join(lines) or "no recurrent layer found"


def swap(model: nn.Module) -> SwapReport:
    """Replaces every `torch.nn.RNN`, `LSTM` and `GRU` inside a model by Unrolled's layer of the same name.

    The parameters are shared, not copied: an optimizer made before goes on working, and results stay the same. A layer
    that the model holds in several places is replaced by one layer in all of them. The model is changed in place; a
    model that is itself a recurrent layer cannot be, and its replacement is `report.model`.

    Args:
        model: any module.

    Returns:
        What was replaced, and what was not and why.

    Example:
        >>> import torch, unrolled
        >>> model = torch.nn.ModuleDict({"encoder": torch.nn.LSTM(3, 5), "decoder": torch.nn.LSTMCell(3, 5)})
        >>> print(unrolled.swap(model))
        replaced encoder: unrolled.LSTM
        kept decoder: LSTMCell is called once a step by the model's own loop; give that loop to unrolled.scan instead
    """
    replaced: dict[str, str] = {}
    kept: dict[str, str] = {}
    done: dict[nn.Module, nn.Module] = {}
    root = model
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(module, nn.RNNBase | nn.RNNCellBase) or type(module) in _COUNTERPARTS.values():
            continue
        reason = _reason_to_keep(module)
        if reason:
            kept[name] = reason
            continue
        assert isinstance(module, nn.RNNBase), "cells have a reason to be kept"
        if module not in done:
            done[module] = _counterpart(module)
        new = done[module]
        replaced[name] = f"unrolled.{type(new).__name__}"
        if name == "":
            root = new
        else:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, new)
    return SwapReport(root, replaced, kept)


def _reason_to_keep(module: nn.Module) -> str | None:
    if isinstance(module, nn.RNNCellBase):
        kind = type(module).__name__
        return f"{kind} is called once a step by the model's own loop; give that loop to unrolled.scan instead"
    if parametrize.is_parametrized(module):
        names = ", ".join(name for name, _ in module.named_parameters() if ".original" in name)
        return f"its parameters {names} are parametrized; remove the parametrization, swap, and put it back"
    if type(module) not in _COUNTERPARTS:
        return f"{type(module).__name__} is a subclass of torch's layer and may compute something else"
    if any(hooks for hooks in _hooks(module)):
        return "it has hooks, which would be lost; remove them, swap, and put them back"
    return None


def _hooks(module: nn.Module) -> list[dict]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return [getattr(module, name) for name in names]


def _counterpart(old: nn.RNNBase) -> nn.Module:
    """A layer of ours with the parameters of torch's: everything but the class and the engine is the old layer's."""
    kind = _COUNTERPARTS[type(old)]
    new = kind.__new__(kind)
    new.__dict__.update(old.__dict__)
    new._set_engine("auto")
    new._init_flat_weights()
    return new
