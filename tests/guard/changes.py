"""The table of changes: `CHANGES`, name → function `(patch) -> Case`.

Rows made of a place and a use stand first; then those that are special to modules, tensors, classes and torch's settings.
`patch` undoes what touches what others use.
"""

import builtins
import functools
import itertools
import os
import types
from abc import ABC
from collections.abc import Callable
from typing import Any

import torch
from tests.guard.checks import HIDDEN, INPUT, Case, parameters_of
from tests.guard.numbers_kept import KEEPERS
from tests.guard.places import PLACES, VALUE  # noqa: F401
from tests.guard.places import PLAIN as PLAIN_PLACES
from tests.guard.uses import PLAIN as PLAIN_USES
from tests.guard.uses import USES
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.testing._internal.distributed import fake_pg

import unrolled

CHANGES: dict[str, Callable[[Any], Case]] = {}


def weights(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Weights of a plain step, the same ones each time."""
    numbers = torch.Generator().manual_seed(5)
    shapes = (INPUT, HIDDEN), (HIDDEN, HIDDEN)
    return tuple(torch.randn(s, generator=numbers, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes)


def placed(place: str, use: str, patch: Any) -> Case:
    """A step that uses in one way a value that lives in one place; the change is another value."""
    first, second, what = USES[use]
    get, put = PLACES[place](first, patch)
    w, u = weights()

    def step(x, h):
        h = what(x @ w + 0.3 * (h @ u), get())
        return 0.5 * h, h

    def wanted():
        value = get()
        return [w, u, value] if isinstance(value, nn.Parameter) else [w, u]

    is_plain = place in PLAIN_PLACES and use in PLAIN_USES
    return Case(step, lambda: put(second), wanted, fuses=is_plain)


def pairs() -> list[tuple[str, str]]:
    """Each place with a number, and each use in one place more; the places take turns."""
    turns = itertools.cycle(sorted(PLACES))
    return [(each, "number") for each in PLACES] + [(next(turns), use) for use in USES if use != "number"]


for _place, _use in pairs():
    CHANGES[f"{_place}-{_use}"] = functools.partial(placed, _place, _use)


def kept(keeper: str, patch: Any) -> Case:
    """A step that multiplies with a number that one of Python's own objects keeps."""
    get, put = KEEPERS[keeper](0.5)
    step, wanted = plain_step(lambda y: y * get())
    return Case(step, lambda: put(0.25), wanted, fuses=False)


CHANGES.update({name: functools.partial(kept, name) for name in KEEPERS})


def row(function: Callable[[Any], Case]) -> Callable[[Any], Case]:
    CHANGES[function.__name__] = function
    return function


class Step(nn.Module):
    """A module with something of each kind."""

    temperature = 1.0

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.inner = nn.Linear(INPUT, HIDDEN)
            self.loop = nn.Linear(HIDDEN, HIDDEN)
        self.rate = 0.5
        self.register_buffer("scale", torch.full((HIDDEN,), 0.75))
        self.register_buffer("passing", torch.full((HIDDEN,), 0.5), persistent=False)
        self.double()

    def forward(self, x, h):
        h = self.squash(self.inner(x) + self.rate * self.loop(h))
        return h * self.scale + self.passing, h

    def squash(self, y):
        return torch.tanh(y / self.temperature)


def of_module(change: Callable[[Step, Any], Any], **options: Any) -> None:
    """A row of a change to `Step`."""

    def make(patch: Any) -> Case:
        step = Step()
        return Case(step, lambda: change(step, patch), parameters_of(step), **options)

    CHANGES[change.__name__] = make


def module_row(function: Callable[[Step, Any], Any]) -> None:
    of_module(function)


@module_row
def buffer_exchanged(step, patch):
    step.scale = torch.full((HIDDEN,), 0.25, dtype=torch.float64)


@module_row
def buffer_filled(step, patch):
    step.scale.fill_(0.25)


@module_row
def non_persistent_buffer_exchanged(step, patch):
    step.passing = torch.zeros(HIDDEN, dtype=torch.float64)


@module_row
def buffer_of_another_shape(step, patch):
    step.scale = torch.full((1,), 0.25, dtype=torch.float64)


@module_row
def buffer_of_no_axes(step, patch):
    step.scale = torch.tensor(0.25, dtype=torch.float64)


@module_row
def buffer_set_by_data(step, patch):
    step.scale.data = torch.full((HIDDEN,), 0.25, dtype=torch.float64)


@module_row
def buffer_becomes_a_number(step, patch):
    del step.scale
    step.scale = 0.25


@module_row
def buffer_becomes_a_parameter(step, patch):
    del step.scale
    step.scale = nn.Parameter(torch.full((HIDDEN,), 0.75, dtype=torch.float64))


@module_row
def buffer_loaded(step, patch):
    step.load_state_dict({name: value * 0.5 for name, value in step.state_dict().items()})


@module_row
def parameter_filled(step, patch):
    with torch.no_grad():
        step.loop.weight.fill_(0.25)


@module_row
def parameter_set_by_data(step, patch):
    step.loop.weight.data = torch.eye(HIDDEN, dtype=torch.float64)


@module_row
def parameter_exchanged(step, patch):
    step.loop.weight = nn.Parameter(torch.eye(HIDDEN, dtype=torch.float64))


@module_row
def parameter_transposed_in_memory(step, patch):
    step.loop.weight = nn.Parameter(torch.arange(16.0, dtype=torch.float64).view(4, 4).t() / 16)


@module_row
def parameter_exchanged_by_setattr_on_dictionary(step, patch):
    step.loop._parameters["weight"] = nn.Parameter(torch.eye(HIDDEN, dtype=torch.float64))


@module_row
def bias_of_another_shape(step, patch):
    step.loop.bias = nn.Parameter(torch.full((1,), 0.3, dtype=torch.float64))


@module_row
def bias_removed(step, patch):
    step.loop.bias = None


@module_row
def parameter_frozen(step, patch):
    step.loop.weight.requires_grad_(False)


@module_row
def all_parameters_frozen(step, patch):
    step.requires_grad_(False)


@module_row
def weights_tied(step, patch):
    step.scale = step.loop.bias


@module_row
def rate_changed(step, patch):
    step.rate = 0.25


@module_row
def rate_becomes_a_tensor(step, patch):
    step.rate = torch.tensor(0.25, dtype=torch.float64)


@module_row
def rate_becomes_a_parameter(step, patch):
    step.rate = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))


@module_row
def temperature_on_the_class(step, patch):
    patch.setattr(Step, "temperature", 2.0)


@module_row
def temperature_on_the_instance(step, patch):
    step.temperature = 2.0


@module_row
def helper_method_exchanged_on_the_class(step, patch):
    patch.setattr(Step, "squash", lambda self, y: torch.sigmoid(y))


@module_row
def helper_method_exchanged_on_the_instance(step, patch):
    step.squash = torch.sigmoid


@module_row
def code_of_a_method_exchanged(step, patch):
    patch.setattr(Step.squash, "__code__", (lambda self, y: y * 0.5).__code__)


@module_row
def forward_exchanged_on_the_class(step, patch):
    patch.setattr(Step, "forward", lambda self, x, h: (h, self.loop(h)))


@module_row
def forward_exchanged_on_the_instance(step, patch):
    step.forward = lambda x, h: (h, step.loop(h))


@module_row
def forward_exchanged_on_a_submodule(step, patch):
    step.loop.forward = lambda h: 0.5 * h


@module_row
def forward_of_linear_exchanged(step, patch):
    patch.setattr(nn.Linear, "forward", lambda self, x: F.linear(x, self.weight) * 0.5)


@module_row
def call_of_the_class_exchanged(step, patch):
    patch.setattr(Step, "__call__", lambda self, x, h: (h, self.loop(h)), raising=False)


@module_row
def functional_exchanged(step, patch):
    patch.setattr(F, "linear", lambda x, weight, bias=None: 0.5 * (x @ weight.t()))


@module_row
def function_of_torch_exchanged(step, patch):
    patch.setattr(torch, "tanh", torch.sigmoid)


@module_row
def method_of_tensor_exchanged(step, patch):
    right = Tensor.__truediv__
    patch.setattr(Tensor, "__truediv__", lambda self, other: right(self, 2 * other))


@module_row
def getattr_of_modules_exchanged(step, patch):
    right = nn.Module.__getattr__

    def halved(self, name):
        return right(self, name) * 0.5 if name == "scale" else right(self, name)

    patch.setattr(Step, "__getattr__", halved, raising=False)


@module_row
def class_exchanged(step, patch):
    step.__class__ = type("Other", (Step,), {"temperature": 3.0})


@module_row
def submodule_exchanged(step, patch):
    step.loop = nn.Linear(HIDDEN, HIDDEN).double()


@module_row
def submodule_by_another_kind(step, patch):
    step.loop = nn.Sequential(nn.Tanh(), nn.Identity())


@module_row
def submodule_removed_and_added(step, patch):
    weight = step.loop.weight
    del step.loop
    step.add_module("loop", nn.Identity())
    step.loop.register_parameter("weight", weight)


@module_row
def forward_hook(step, patch):
    step.loop.register_forward_hook(lambda module, inputs, output: output * 0.5)


@module_row
def forward_hook_on_the_step(step, patch):
    step.register_forward_hook(lambda module, inputs, output: (output[0] * 0.5, output[1]))


@module_row
def forward_pre_hook(step, patch):
    step.loop.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0.5,))


@module_row
def backward_hook(step, patch):
    step.loop.register_full_backward_hook(lambda module, of_inputs, of_outputs: (of_inputs[0] * 0.5,))


@module_row
def backward_pre_hook(step, patch):
    step.loop.register_full_backward_pre_hook(lambda module, of_outputs: (of_outputs[0] * 0.5,))


@module_row
def hook_on_a_parameter(step, patch):
    step.loop.weight.register_hook(lambda gradient: gradient * 0.5)


@row
def forward_hook_removed(patch):
    step = Step()
    hook = step.loop.register_forward_hook(lambda module, inputs, output: output * 0.5)
    return Case(step, hook.remove, parameters_of(step), fuses=False)


@row
def hook_of_a_hooked_module_exchanged(patch):
    step, factors = Step(), [0.5]
    step.loop.register_forward_hook(lambda module, inputs, output: output * factors[0])
    return Case(step, lambda: factors.__setitem__(0, 0.25), parameters_of(step), fuses=False)


@row
def global_forward_hook(patch):
    step, hooks = Step(), []

    def add():
        hook = nn.modules.module.register_module_forward_hook(
            lambda module, inputs, output: output * 0.5 if module is step.loop else None
        )
        hooks.append(hook)
        patch.callback(hook.remove)

    return Case(step, add, parameters_of(step))


@row
def global_forward_hook_removed(patch):
    step = Step()
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: output * 0.5 if module is step.loop else None
    )
    patch.callback(hook.remove)
    return Case(step, hook.remove, parameters_of(step), fuses=False)


@row
def global_forward_pre_hook(patch):
    step = Step()

    def add():
        hook = nn.modules.module.register_module_forward_pre_hook(
            lambda module, inputs: (inputs[0] * 0.5,) if module is step.loop else None
        )
        patch.callback(hook.remove)

    return Case(step, add, parameters_of(step))


class Half(nn.Module):
    """A parametrization."""

    def forward(self, weight):
        return 0.5 * weight


@module_row
def parametrization_added(step, patch):
    parametrize.register_parametrization(step.loop, "weight", Half())


@row
def parametrization_removed(patch):
    step = Step()
    parametrize.register_parametrization(step.loop, "weight", Half())

    def remove():
        parametrize.remove_parametrizations(step.loop, "weight", leave_parametrized=False)

    return Case(step, remove, parameters_of(step), fuses=False)


@row
def weight_norm_changed(patch):
    step = Step()
    nn.utils.parametrizations.weight_norm(step.loop)

    def change():
        with torch.no_grad():
            step.loop.parametrizations.weight.original0.mul_(0.5)

    return Case(step, change, parameters_of(step), fuses=False)


@row
def dtype_of_the_module(patch):
    class Converted(Step):
        def forward(self, x, h):
            y = self.inner(x.to(self.inner.weight.dtype)).to(h.dtype)
            h = torch.tanh(y + h)
            return h, h

    step = Converted()
    return Case(step, step.float, parameters_of(step), fuses=False)


@row
def train_and_eval(patch):
    class Trained(Step):
        def forward(self, x, h):
            h = torch.tanh(self.inner(x) + self.loop(h))
            return (h * 0.5 if self.training else h), h

    step = Trained()
    return Case(step, step.eval, parameters_of(step))


@row
def eval_of_a_submodule(patch):
    step = Step()
    step.loop = nn.Sequential(nn.Linear(HIDDEN, HIDDEN).double(), nn.Dropout(1.0))
    return Case(step, step.loop.eval, parameters_of(step), fuses=False)


@row
def rate_of_dropout(patch):
    step = Step()
    step.loop = nn.Sequential(nn.Linear(HIDDEN, HIDDEN).double(), nn.Dropout(1.0))
    return Case(step, lambda: setattr(step.loop[1], "p", 0.0), parameters_of(step), fuses=False)


@row
def module_list_appended(patch):
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(HIDDEN, HIDDEN), nn.Tanh()]).double()

        def forward(self, x, h):
            for layer in self.layers:
                h = layer(h)
            h = h + x.sum(1, keepdim=True)
            return h, h

    step = Deep()
    return Case(step, lambda: step.layers.append(nn.Sigmoid()), parameters_of(step))


@row
def sequential_item_exchanged(patch):
    layers = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Tanh()).double()

    def step(x, h):
        h = layers(h) + x.sum(1, keepdim=True)
        return h, h

    return Case(step, lambda: layers.__setitem__(1, nn.Sigmoid()), lambda: list(layers.parameters()))


@row
def module_dict_reordered(patch):
    layers = nn.ModuleDict({"a": nn.Tanh(), "b": nn.Linear(HIDDEN, HIDDEN)}).double()

    def step(x, h):
        for layer in layers.values():
            h = layer(h)
        h = h + x.sum(1, keepdim=True)
        return h, h

    def change():
        first = layers.pop("a")
        layers["a"] = first

    return Case(step, change, lambda: list(layers.parameters()))


@row
def parameter_list_appended(patch):
    scales = nn.ParameterList([torch.full((HIDDEN,), 0.5, dtype=torch.float64)])

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True))
        for scale in scales:
            h = h * scale
        return h, h

    more = nn.Parameter(torch.full((HIDDEN,), 0.25, dtype=torch.float64))
    return Case(step, lambda: scales.append(more), lambda: list(scales.parameters()))


@row
def settings_of_layer_norm(patch):
    norm = nn.LayerNorm(HIDDEN).double()

    step, wanted = plain_step(norm)
    return Case(step, lambda: setattr(norm, "eps", 0.1), lambda: [*wanted(), *norm.parameters()])


@row
def weights_untied(patch):
    step = Step()
    step.again = nn.Linear(HIDDEN, HIDDEN).double()
    step.again.weight = step.loop.weight
    right = step.forward
    step.forward = lambda x, h: right(x, step.again(h))

    def untie():
        step.again.weight = nn.Parameter(step.loop.weight.detach() * 0.5)

    return Case(step, untie, parameters_of(step))


@row
def a_cell_of_ours_has_its_activation_exchanged(patch):
    step = unrolled.cells.Elman(INPUT, HIDDEN).double()
    return Case(step, lambda: setattr(step, "activation", torch.sigmoid), parameters_of(step))


@row
def a_cell_of_ours_has_its_forward_exchanged(patch):
    step = unrolled.cells.GRU(INPUT, HIDDEN).double()
    change = lambda: patch.setattr(type(step), "forward", lambda self, x, h: (h, h * 0.5 + x.sum(1, keepdim=True)))
    return Case(step, change, parameters_of(step))


@row
def a_cell_of_ours_has_a_forward_of_its_own(patch):
    step = unrolled.cells.GRU(INPUT, HIDDEN).double()
    change = lambda: setattr(step, "forward", lambda x, h: (h, h * 0.5 + x.sum(1, keepdim=True)))
    return Case(step, change, parameters_of(step))


@row
def a_cell_of_ours_gets_a_hook(patch):
    step = unrolled.cells.GRU(INPUT, HIDDEN).double()
    change = lambda: step.register_forward_hook(lambda module, inputs, output: (output[0] * 0.5, output[1]))
    return Case(step, change, parameters_of(step))


@row
def a_cell_of_ours_is_parametrized(patch):
    step = unrolled.cells.GRU(INPUT, HIDDEN).double()
    name = next(name for name, _ in step.named_parameters())
    return Case(step, lambda: parametrize.register_parametrization(step, name, Half()), parameters_of(step))


@row
def a_subclass_of_our_cell_has_its_number_changed(patch):
    class Mine(unrolled.cells.GRU):
        def forward(self, x, state):
            y, state = super().forward(x, state)
            return self.rate * y, state

    step = Mine(INPUT, HIDDEN).double()
    step.rate = 0.5
    return Case(step, lambda: setattr(step, "rate", 0.25), parameters_of(step))


@row
def a_cell_of_torch_has_its_weight_exchanged(patch):
    step = nn.GRUCell(INPUT, HIDDEN).double()
    change = lambda: setattr(step, "weight_hh", nn.Parameter(step.weight_hh.detach() * 0.5))
    return Case(step, change, parameters_of(step))


@row
def a_cell_of_torch_has_its_nonlinearity_exchanged(patch):
    step = nn.RNNCell(INPUT, HIDDEN).double()
    return Case(step, lambda: setattr(step, "nonlinearity", "relu"), parameters_of(step))


@row
def a_cell_of_torch_gets_a_hook(patch):
    step = nn.GRUCell(INPUT, HIDDEN).double()
    return Case(step, lambda: step.register_forward_hook(lambda m, i, output: output * 0.5), parameters_of(step))


@row
def a_cell_of_torch_is_parametrized(patch):
    step = nn.LSTMCell(INPUT, HIDDEN).double()
    change = lambda: parametrize.register_parametrization(step, "weight_hh", Half())
    return Case(step, change, parameters_of(step), state=((2, HIDDEN), (2, HIDDEN)))


@row
def forward_of_a_cell_of_torch_exchanged(patch):
    step = nn.GRUCell(INPUT, HIDDEN).double()
    right = nn.GRUCell.forward
    change = lambda: patch.setattr(nn.GRUCell, "forward", lambda self, x, h: 0.5 * right(self, x, h))
    return Case(step, change, parameters_of(step))


def plain_step(what: Callable[[Tensor], Tensor]) -> tuple[Callable, Callable[[], list[Tensor]]]:
    w, u = weights()

    def step(x, h):
        h = what(x @ w + 0.3 * (h @ u))
        return 0.5 * h, h

    return step, lambda: [w, u]


@row
def environment_variable(patch):
    patch.setenv("A_NAME_OF_A_TEST", "tanh")
    step, wanted = plain_step(lambda y: getattr(torch, os.environ["A_NAME_OF_A_TEST"])(y))
    return Case(step, lambda: patch.setenv("A_NAME_OF_A_TEST", "sigmoid"), wanted, fuses=False)


@row
def environment_variable_deleted(patch):
    patch.setenv("A_NAME_OF_A_TEST", "0.5")
    step, wanted = plain_step(lambda y: y * float(os.environ.get("A_NAME_OF_A_TEST", "0.25")))
    return Case(step, lambda: patch.delenv("A_NAME_OF_A_TEST"), wanted, fuses=False)


@row
def environment_variable_by_getenv(patch):
    patch.setenv("A_NAME_OF_A_TEST", "1")
    step, wanted = plain_step(lambda y: torch.tanh(y) if os.getenv("A_NAME_OF_A_TEST") == "1" else torch.sigmoid(y))
    return Case(step, lambda: patch.setenv("A_NAME_OF_A_TEST", "0"), wanted, fuses=False)


@row
def content_of_a_file(patch):
    path = patch.folder / "rate"
    path.write_text("0.5")
    step, wanted = plain_step(lambda y: y * float(path.read_text()))
    return Case(step, lambda: path.write_text("0.25"), wanted, fuses=False)


@row
def existence_of_a_file(patch):
    path = patch.folder / "flag"
    step, wanted = plain_step(lambda y: torch.tanh(y) if os.path.exists(path) else torch.sigmoid(y))
    return Case(step, path.touch, wanted, fuses=False)


@row
def state_of_pythons_generator(patch):
    import random

    step, wanted = plain_step(lambda y: y * random.Random(numbers[0]).random())
    numbers = [1]
    return Case(step, lambda: numbers.__setitem__(0, 2), wanted, fuses=False)


@row
def default_dtype(patch):
    step, wanted = plain_step(lambda y: y * torch.tensor(0.1))

    def change():
        patch.callback(lambda: torch.set_default_dtype(torch.float32))
        torch.set_default_dtype(torch.float64)

    return Case(step, change, wanted, fuses=False)


@row
def default_dtype_of_a_new_tensor(patch):
    step, wanted = plain_step(lambda y: y + torch.full((HIDDEN,), 0.1))

    def change():
        patch.callback(lambda: torch.set_default_dtype(torch.float32))
        torch.set_default_dtype(torch.float64)

    return Case(step, change, wanted, fuses=False)


@row
def default_dtype_asked_for(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.get_default_dtype() is torch.float32 else 0.25))

    def change():
        patch.callback(lambda: torch.set_default_dtype(torch.float32))
        torch.set_default_dtype(torch.float64)

    return Case(step, change, wanted, fuses=False)


@row
def deterministic_algorithms(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.are_deterministic_algorithms_enabled() else 0.25))

    def change():
        patch.callback(lambda: torch.use_deterministic_algorithms(False))
        torch.use_deterministic_algorithms(True)

    return Case(step, change, wanted, fuses=False)


@row
def number_of_threads(patch):
    step, wanted = plain_step(lambda y: y / (1 + torch.get_num_threads()))
    before = torch.get_num_threads()

    def change():
        patch.callback(lambda: torch.set_num_threads(before))
        torch.set_num_threads(before + 1)

    return Case(step, change, wanted, fuses=False)


@row
def precision_of_products(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.get_float32_matmul_precision() == "highest" else 0.25))

    def change():
        patch.callback(lambda: torch.set_float32_matmul_precision("highest"))
        torch.set_float32_matmul_precision("high")

    return Case(step, change, wanted, fuses=False)


@row
def setting_of_a_backend(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.backends.mkldnn.enabled else 0.25))

    def change():
        before = torch.backends.mkldnn.set_flags(False)
        patch.callback(lambda: torch.backends.mkldnn.set_flags(*before))

    return Case(step, change, wanted, fuses=False)


@row
def gradient_mode_asked_for(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.is_grad_enabled() else 0.25))

    def change():
        patch.callback(lambda: torch.set_grad_enabled(True))
        torch.set_grad_enabled(False)

    return Case(step, change, wanted, fuses=False)


@row
def gradient_mode(patch):
    step, wanted = plain_step(torch.tanh)

    def change():
        patch.callback(lambda: torch.set_grad_enabled(True))
        torch.set_grad_enabled(False)

    return Case(step, change, wanted)


@row
def autocast(patch):
    step, wanted = plain_step(lambda y: torch.tanh(y))

    def change():
        context = torch.autocast("cpu", torch.bfloat16)
        context.__enter__()
        patch.callback(lambda: context.__exit__(None, None, None))

    inner = step
    return Case(
        lambda x, h: (inner(x, h)[0].float(), h), change, wanted, dtype=torch.float64, fuses=False, visible=False
    )


@row
def autocast_asked_for(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.is_autocast_enabled("cpu") else 0.25))

    def change():
        context = torch.autocast("cpu", torch.bfloat16)
        context.__enter__()
        patch.callback(lambda: context.__exit__(None, None, None))

    return Case(step, change, wanted, fuses=False)


def _dtype_of_autocast(asks: Callable[[], torch.dtype], patch: Any) -> Case:
    """Autocast is off."""
    step, wanted = plain_step(lambda y: y * (0.5 if asks() is torch.float16 else 0.25))
    before = torch.get_autocast_dtype("cpu"), torch.get_autocast_dtype("cuda")

    def change():
        for device, dtype in zip(("cpu", "cuda"), before, strict=True):
            patch.callback(functools.partial(torch.set_autocast_dtype, device, dtype))
            torch.set_autocast_dtype(device, torch.bfloat16 if dtype is torch.float16 else torch.float16)

    return Case(step, change, wanted, fuses=False)


CHANGES["dtype_of_autocast_asked_for"] = functools.partial(_dtype_of_autocast, lambda: torch.get_autocast_dtype("cpu"))
CHANGES["dtype_of_autocast_on_gpus_asked_for"] = functools.partial(
    _dtype_of_autocast, lambda: torch.get_autocast_dtype("cuda")
)


def _several_processes(asks: Callable[[], int], patch: Any) -> Case:
    """The process comes to be the second one of three."""
    step, wanted = plain_step(lambda y: y / (2 + asks()))

    def change():
        torch.distributed.init_process_group("fake", rank=1, world_size=3, store=fake_pg.FakeStore())
        patch.callback(torch.distributed.destroy_process_group)

    return Case(step, change, wanted, fuses=False)


CHANGES["several_processes_asked_for"] = functools.partial(
    _several_processes, lambda: 3 if torch.distributed.is_initialized() else 1
)
CHANGES["number_of_processes_asked_for"] = functools.partial(
    _several_processes, lambda: torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
)


def _order_of_classes(asks: Callable[[Any, type], bool], patch: Any) -> Case:
    """A class comes to be one of another's."""

    class Base:
        pass

    class Other:
        pass

    class Settings(Base):
        pass

    one = Settings()
    step, wanted = plain_step(lambda y: y * (0.5 if asks(one, Other) else 0.25))
    return Case(step, lambda: setattr(Settings, "__bases__", (Base, Other)), wanted, fuses=False)


ASKS_OF_CLASSES = {
    "isinstance": isinstance,
    "issubclass": lambda one, other: issubclass(type(one), other),
    "several": lambda one, other: isinstance(one, (int, other)),
    "order": lambda one, other: len(type(one).__mro__) > 3,
    "bases": lambda one, other: len(type(one).__bases__) > 1,
}
for _name, _asks in ASKS_OF_CLASSES.items():
    CHANGES[f"order_of_classes-{_name}"] = functools.partial(_order_of_classes, _asks)


@row
def builtins_of_its_own(patch):
    builtins_of_it = {**vars(builtins)}
    names: dict[str, Any] = {"__builtins__": builtins_of_it}
    exec("def rate(): return max(0.25, 0.5)", names)
    step, wanted = plain_step(lambda y: y * names["rate"]())
    return Case(step, lambda: builtins_of_it.update(max=min), wanted, fuses=False)


@row
def inference_mode_asked_for(patch):
    step, wanted = plain_step(lambda y: y * (0.5 if torch.is_inference_mode_enabled() else 0.25))
    inner = step
    modes = [False]

    def step(x, h):
        with torch.inference_mode(modes[0]):
            return inner(x, h)

    return Case(step, lambda: modes.__setitem__(0, True), wanted, fuses=False)


@row
def gradients_of_a_captured_tensor(patch):
    scale = torch.full((HIDDEN,), 0.5, dtype=torch.float64)
    step, wanted = plain_step(lambda y: y * scale)
    both = lambda: [*wanted(), scale] if scale.requires_grad else wanted()
    return Case(step, scale.requires_grad_, both)


@row
def branch_on_the_gradients_of_a_captured_tensor(patch):
    scale = torch.full((HIDDEN,), 0.5, dtype=torch.float64)
    step, wanted = plain_step(lambda y: y * scale if scale.requires_grad else y)
    return Case(step, scale.requires_grad_, wanted)


@row
def captured_tensor_resized(patch):
    scale = torch.full((HIDDEN,), 0.5, dtype=torch.float64)
    step, wanted = plain_step(lambda y: y * scale.sum() / scale.numel() / scale.numel())

    def change():
        scale.resize_(2)

    return Case(step, change, wanted)


@row
def captured_tensor_restrided(patch):
    square = torch.arange(16.0, dtype=torch.float64).view(4, 4) / 16
    step, wanted = plain_step(lambda y: y @ square if square.is_contiguous() else y @ square * 0.5)

    def change():
        square.t_()

    return Case(step, change, wanted, fuses=False)


@row
def captured_tensor_with_a_view_of_another(patch):
    base = torch.arange(8.0, dtype=torch.float64) / 8
    view = base[2:6]
    step, wanted = plain_step(lambda y: y * view)
    return Case(step, lambda: base.mul_(0.5), wanted)


@row
def attribute_of_a_tensor(patch):
    w, _ = weights()
    w.rate = 0.5
    step, wanted = plain_step(lambda y: y * w.rate)
    return Case(step, lambda: setattr(w, "rate", 0.25), wanted, fuses=False)


@row
def subclass_of_tensor_has_its_number_changed(patch):
    class Scaled(Tensor):
        rate = 0.5

    scale = torch.ones(HIDDEN, dtype=torch.float64).as_subclass(Scaled)
    step, wanted = plain_step(lambda y: y * (scale.as_subclass(Tensor) * type(scale).rate))
    return Case(step, lambda: setattr(Scaled, "rate", 0.25), wanted, fuses=False)


@row
def abstract_class_registers(patch):
    class Scaling(ABC):  # noqa: B024
        pass

    class Thing:
        pass

    thing = Thing()
    step, wanted = plain_step(lambda y: y * (0.5 if isinstance(thing, Scaling) else 0.25))
    return Case(step, lambda: Scaling.register(Thing), wanted, fuses=False)


@row
def single_dispatch_registers(patch):
    @functools.singledispatch
    def factor(thing):
        return 0.5

    step, wanted = plain_step(lambda y: y * factor(1))
    return Case(step, lambda: factor.register(int, lambda thing: 0.25), wanted, fuses=False)


def operators(name: str, first: Any, second: Any, use: Callable[[Tensor, Any], Tensor]) -> None:
    """A row of a special method exchanged on a class."""

    def make(patch: Any) -> Case:
        kind = type("Thing", (), {name: lambda self, *_: first})
        thing = kind()
        step, wanted = plain_step(lambda y: use(y, thing))
        return Case(step, lambda: setattr(kind, name, lambda self, *_: second), wanted, fuses=False)

    CHANGES[f"special_method{name}"] = make


operators("__float__", 0.5, 0.25, lambda y, thing: y * float(thing))
operators("__bool__", True, False, lambda y, thing: torch.tanh(y) if thing else torch.sigmoid(y))
operators("__len__", 2, 3, lambda y, thing: y / len(thing))
operators("__contains__", True, False, lambda y, thing: torch.tanh(y) if 1 in thing else torch.sigmoid(y))
operators("__getitem__", 0.5, 0.25, lambda y, thing: y * thing[0])
operators("__eq__", True, False, lambda y, thing: torch.tanh(y) if thing == 1 else torch.sigmoid(y))
operators("__index__", 1, 2, lambda y, thing: y / [1, 2, 3][thing])
operators("__iter__", iter(()), iter(()), lambda y, thing: y / (1 + len(list(vars(type(thing))))))
operators("__rmul__", 0.5, 0.25, lambda y, thing: y * (2 * thing))
operators("__str__", "tanh", "sigmoid", lambda y, thing: getattr(torch, str(thing))(y))
operators("__enter__", 0.5, 0.25, lambda y, thing: y * type(thing).__enter__(thing))
operators("__call__", 0.5, 0.25, lambda y, thing: y * thing())
operators("__hash__", 1, 2, lambda y, thing: y / hash(thing))
del CHANGES["special_method__iter__"]  # an iterator is used up; see test_leaves_nothing


@row
def step_is_a_method_of_an_object(patch):
    class Model:
        rate = 0.5

        def step(self, x, h):
            h = torch.tanh(h * self.rate + x.sum(1, keepdim=True))
            return h, h

    model = Model()
    return Case(model.step, lambda: setattr(model, "rate", 0.25))


@row
def step_is_a_partial(patch):
    def step(rate, x, h, *, shift):
        h = torch.tanh(h * rate["value"] + x.sum(1, keepdim=True) + shift)
        return h, h

    rate = {"value": 0.5}
    return Case(functools.partial(step, rate, shift=0.1), lambda: rate.update(value=0.25))


@row
def step_is_an_object(patch):
    class Model:
        def __init__(self):
            self.rate = 0.5

        def __call__(self, x, h):
            h = torch.tanh(h * self.rate + x.sum(1, keepdim=True))
            return h, h

    model = Model()
    return Case(model, lambda: setattr(model, "rate", 0.25))


@row
def code_of_the_step_exchanged(patch):
    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True))
        return h, h

    def other(x, h):
        h = torch.sigmoid(h + x.sum(1, keepdim=True))
        return h, h

    return Case(step, lambda: setattr(step, "__code__", other.__code__))


@row
def defaults_of_the_step(patch):
    def step(x, h, rate=0.5):
        h = torch.tanh(h * rate + x.sum(1, keepdim=True))
        return h, h

    return Case(step, lambda: setattr(step, "__defaults__", (0.25,)))


# ---- parts of functions, changed in place


def _squash(y, factor=0.5, *, rate=0.5):
    return torch.tanh(y) * factor * rate


def _squash_again(y, factor=0.5, *, rate=0.5):
    return torch.sigmoid(y) * factor * rate


def _copy_of(function: types.FunctionType) -> types.FunctionType:
    copy = types.FunctionType(function.__code__, globals(), function.__name__, function.__defaults__)
    copy.__kwdefaults__ = dict(function.__kwdefaults__)
    return copy


HOLDERS: dict[str, Callable[[Any], Callable]] = {
    "helper": lambda function: function,
    "helper_of_a_method": lambda function: type("Holder", (), {"call": lambda self, y: function(y)})().call,
    "static_method": lambda function: type("Holder", (), {"call": staticmethod(function)}).call,
    "partial": functools.partial,
}
PARTS = {"__code__": _squash_again.__code__, "__defaults__": (0.25,), "__kwdefaults__": {"rate": 0.25}}


def part_changed(holder: str, part: str, patch: Any) -> Case:
    """A step that calls a function of which one part is exchanged, or of keyword defaults one value."""
    function = _copy_of(_squash)
    call = HOLDERS[holder](function)
    step, wanted = plain_step(lambda y: call(y))
    return Case(step, lambda: setattr(function, part, PARTS[part]), wanted)


CHANGES.update(
    {
        f"{part.strip('_')}_of_a_{holder}": functools.partial(part_changed, holder, part)
        for holder in HOLDERS
        for part in PARTS
    }
)


@row
def keyword_default_changed_in_its_dictionary(patch):
    function = _copy_of(_squash)
    step, wanted = plain_step(lambda y: function(y))
    return Case(step, lambda: function.__kwdefaults__.update(rate=0.25), wanted)


@module_row
def code_of_a_function_of_torch_exchanged(step, patch):
    patch.setattr(nn.Linear.forward, "__code__", (lambda self, x: F.linear(x, self.weight) * 0.5).__code__)


@row
def module_reloaded(patch):
    module = types.ModuleType("a_module_of_a_test")
    exec("import torch\ndef act(y):\n    return torch.tanh(y)", module.__dict__)
    step, wanted = plain_step(lambda y: module.act(y))

    def change():
        exec("import torch\ndef act(y):\n    return torch.sigmoid(y)", module.__dict__)

    return Case(step, change, wanted)


@row
def name_hides_a_builtin(patch):
    names: dict[str, Any] = {"torch": torch}
    exec("def step(x, h):\n    h = torch.tanh(h + x.sum(1, keepdim=True)) * float(0.5)\n    return h, h", names)
    return Case(names["step"], lambda: names.update(float=lambda number: number / 2))


@row
def deletion_that_raises(patch):
    names = types.SimpleNamespace(rate=0.5)
    step, wanted = plain_step(lambda y: y * names.rate)
    return Case(step, lambda: delattr(names, "rate"), wanted, raises=True)


@row
def missing_attribute_that_is_handled(patch):
    names = types.SimpleNamespace()

    def rate():
        try:
            return names.rate
        except AttributeError:
            return 0.25

    step, wanted = plain_step(lambda y: y * rate())
    return Case(step, lambda: setattr(names, "rate", 0.5), wanted, fuses=False)


@row
def global_deleted_that_raises(patch):
    names: dict[str, Any] = {"torch": torch, "rate": 0.5}
    exec("def step(x, h):\n    h = torch.tanh(h + x.sum(1, keepdim=True)) * rate\n    return h, h", names)
    return Case(names["step"], lambda: names.pop("rate"), raises=True)
