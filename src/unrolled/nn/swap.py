"""`swap` and `unswap`: torch's recurrent layers inside any model become Unrolled's and back, sharing the parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn
from torch.nn.utils import parametrize

from unrolled import markup
from unrolled.errors import ArgumentError
from unrolled.nn import torch_layers

# torch's own, also where torch.nn.LSTM is another class by now
_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: torch_layers.RNN,
    nn.LSTM: torch_layers.LSTM,
    nn.GRU: torch_layers.GRU,
}
_TORCHS = {ours: torchs for torchs, ours in _OURS.items()}


@dataclass(frozen=True, repr=False)
class SwapReport:
    """What `swap` or `unswap` did.

    Attributes:
        model: the model given, or, where it is itself a recurrent layer, its replacement.
        replaced: the names of the layers replaced, "" for the model itself, with the name of their new class.
        kept: the names of recurrent modules left as they were, each with the reason.
    """

    model: nn.Module
    replaced: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<SwapReport: {len(self.replaced)} replaced, {len(self.kept)} kept>"

    def _repr_html_(self) -> str:
        rows = [(name or "(the model)", f"replaced by {kind}") for name, kind in self.replaced.items()]
        rows += [(name or "(the model)", f"kept: {reason}") for name, reason in self.kept.items()]
        told = markup.table(("layer", ""), rows) if rows else markup.sentence("no recurrent layer found")
        return markup.block(markup.heading("SwapReport", repr(self)[len("<SwapReport: ") : -1]), told)

    def __str__(self) -> str:
        lines = [f"replaced {name or '(the model)'}: {kind}" for name, kind in self.replaced.items()]
        lines += [f"kept {name or '(the model)'}: {reason}" for name, reason in self.kept.items()]
        return "\n".join(lines) or "no recurrent layer found"


def swap(model: nn.Module) -> SwapReport:
    """Replaces every `torch.nn.RNN`, `LSTM` and `GRU` inside a model by Unrolled's layer of the same name.

    The parameters are shared, not copied: an optimizer made before goes on working, and results stay the same. Hooks,
    training mode and the names in the `state_dict` stay too. A layer that the model holds in several places is replaced
    by one layer in all of them. The model is changed in place; a model that is itself a recurrent layer cannot be, and
    its replacement is `report.model`.

    Args:
        model: any module.

    Returns:
        What was replaced, and what was not and why.

    Raises:
        ArgumentError: `model` is no module.

    Note:
        `torch.jit.trace`, `torch.jit.script` and the ONNX exporter take torch's own implementation of a swapped layer.
        `torch.ao.quantization.quantize_dynamic` looks layers up by their exact class and leaves swapped ones in
        floating point: call `unswap` before it.

    Example:
        >>> import torch, unrolled
        >>> model = torch.nn.ModuleDict({"encoder": torch.nn.LSTM(3, 5), "decoder": torch.nn.LSTMCell(3, 5)})
        >>> print(unrolled.swap(model))
        replaced encoder: unrolled.LSTM
        kept decoder: LSTMCell is called once a step by the model's own loop; give that loop to unrolled.scan instead
    """
    _check_module(model, "swap")
    return _exchange(model, _OURS, "unrolled", _reason_against_ours)


def unswap(model: nn.Module) -> SwapReport:
    """Replaces every `unrolled.RNN`, `LSTM` and `GRU` inside a model by torch's layer of the same name.

    The way back from `swap`, in place and with the same parameters, optimizer, hooks, training mode and `state_dict`;
    also for models built of Unrolled's layers. For what looks layers up by their class, as torch's quantization does,
    and for saving a model with pickle that is to be loaded without Unrolled.

    Args:
        model: any module.

    Returns:
        What was replaced, and what was not and why.

    Raises:
        ArgumentError: `model` is no module.

    Example:
        >>> import torch, unrolled
        >>> model = torch.nn.Sequential(unrolled.GRU(3, 5))
        >>> print(unrolled.unswap(model))
        replaced 0: torch.nn.GRU
    """
    _check_module(model, "unswap")
    return _exchange(model, _TORCHS, "torch.nn", _reason_against_torchs)


def _check_module(model: object, name: str) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"{name}: expected a torch.nn.Module, got {type(model).__name__}.")


def _exchange(
    model: nn.Module,
    counterparts: dict[type[nn.Module], type[nn.Module]],
    package: str,
    reason_to_keep: Callable[[nn.Module], str | None],
) -> SwapReport:
    replaced: dict[str, str] = {}
    kept: dict[str, str] = {}
    done: dict[nn.Module, nn.Module] = {}
    root = model
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if type(module) not in counterparts:
            reason = reason_to_keep(module)
        else:
            reason = _reason_of_state(module)
        if reason:
            kept[name] = reason
        elif type(module) in counterparts:
            if module not in done:
                done[module] = _counterpart(module, counterparts[type(module)])
            new = done[module]
            replaced[name] = f"{package}.{type(new).__name__}"
            if name == "":
                root = new
            else:
                parent, _, attribute = name.rpartition(".")
                setattr(model.get_submodule(parent), attribute, new)
    return SwapReport(root, replaced, kept)


def _reason_against_ours(module: nn.Module) -> str | None:
    kind = type(module).__name__
    if isinstance(module, nn.RNNCellBase):
        return f"{kind} is called once a step by the model's own loop; give that loop to unrolled.scan instead"
    if not isinstance(module, nn.RNNBase) or type(module) in _TORCHS:
        return None
    if parametrize.is_parametrized(module):
        return _reason_of_parametrization(module)
    return f"{kind} is a subclass of torch's layer and may compute something else"


def _reason_against_torchs(module: nn.Module) -> str | None:
    if not isinstance(module, tuple(_TORCHS)):
        return None
    if parametrize.is_parametrized(module):
        return _reason_of_parametrization(module).replace("swap", "unswap")
    return f"{type(module).__name__} is a subclass of Unrolled's layer and may compute something else"


def _reason_of_parametrization(module: nn.Module) -> str:
    names = ", ".join(name for name, _ in module.named_parameters() if ".original" in name)
    return f"its parameters {names} are parametrized; remove the parametrization, swap, and put it back"


def _reason_of_state(module: nn.Module) -> str | None:
    """Why a layer cannot be another object: something that it holds is bound to this one, or the other has no such."""
    if isinstance(module, torch_layers.RNN | torch_layers.LSTM | torch_layers.GRU) and module.clip_state_grad:
        return "it clips the gradient of its state, which torch's layer cannot; set its clip_state_grad to None first"
    if "forward" in vars(module):
        return "its forward was exchanged on the object, and would go on calling the old layer"
    if module._compiled_call_impl is not None:
        return "it was compiled by its method compile(), which would go on calling the old layer"
    hooks = (*module._state_dict_hooks.values(), *module._load_state_dict_pre_hooks.values())
    if any(getattr(hook, "with_module", False) for hook in hooks):
        return "it has state_dict hooks that are bound to it; remove them, and put them back afterwards"
    return None


def _counterpart(old: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A layer of the other class with the parameters of the old one: all but the class and the engine is the old's."""
    new = kind.__new__(kind)
    vars(new).update(vars(old))
    vars(new).pop("engine", None)
    vars(new).pop("clip_state_grad", None)
    if isinstance(new, torch_layers.RNN | torch_layers.LSTM | torch_layers.GRU):
        new._set_engine("auto")
    assert isinstance(new, nn.RNNBase), "both tables hold such layers alone"
    new._init_flat_weights()
    return new
