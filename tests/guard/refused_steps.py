# ruff: noqa: B011, F821, PT015, T201
"""Steps that cannot be captured, each with the exact reason: `REFUSED`, name → `Refusal`.

`reason` is the whole text but for the line; `line` is the source of the line that the text must end with, empty where it
names none.
"""

import contextlib
import copy
import decimal
import enum
import functools
import itertools
import random
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tests.guard.checks import HIDDEN, INPUT
from torch import Tensor, nn

import unrolled

FILE = __file__
READS = "it reads a number off a tensor, which a graph cannot: keep it a tensor"
BRANCHES = "it branches on a value of a tensor; torch.where(condition, a, b) does not"
WRITES = "it writes to an object that outlives the step; put what changes into the state"
RAISES = "it raises an exception when it is captured; the eager loop tells which, if it is the step's own"
HOOKS = "it sets a hook, which a fused loop would not run; put what the hook does into the step"
GRADIENT = "it switches gradients on or off, or takes one, within the step; tensor.detach() stops a gradient too"
FUNCTION = "it calls an autograd function of its own, whose backward a capture does not see"
GENERATOR = "it makes or uses a torch.Generator; draw from torch's own, as torch.rand(n) does"
ITERATOR = "it takes the next item of an iterator, which each step moves on"
NUMPY = "it computes with numpy, whose results have no gradient; torch and math have the same functions"
TOO_DEEP = "its functions call each other too deeply to be captured"
SHAPES = "the shape of a tensor depends on its values; torch.where(condition, a, b) keeps the shape"
SETS = "it changes a setting of torch; set it before the scan"
RANDOM = "it draws from Python's or numpy's random numbers; draw from torch's, as torch.rand(n) does"
LAYOUT = (
    "it does something else for tensors of other strides, with a gradient, or that are parameters, which a state may be "
    "at one step and not at another"
)
ROWS = "what it does depends on the number of rows of the batch"
COUNTS = "it computes with the number of rows of the batch"
SEVEN = 7


class Sizes(enum.IntEnum):
    """Numbers of rows as a user may name them."""

    SEVEN = 7


@dataclass
class Refusal:
    """A step, and why it is refused.

    Attributes:
        make: returns the step anew.
        reason, line: the text.
        inputs, state: shapes of the call.
        file: where the step stands.
        around: makes a context for the call.
    """

    make: Callable[[], Callable]
    reason: str
    line: str = ""
    inputs: tuple[int, ...] = (3, 2, INPUT)
    state: Any = (2, HIDDEN)
    file: str = FILE
    around: Callable[[], Any] = contextlib.nullcontext


REFUSED: dict[str, Refusal] = {}


def refused(reason: str, line: str = "", **options: Any) -> Callable:
    """A step that is refused."""

    def put(step: Callable) -> Callable:
        assert step.__name__ not in REFUSED, "one hides the other"
        REFUSED[step.__name__] = Refusal(lambda: step, reason, line, **options)
        return step

    return put


def refused_object(reason: str, line: str = "", **options: Any) -> Callable:
    """A function that makes a step that is refused."""

    def put(make: Callable[[], Callable]) -> Callable[[], Callable]:
        REFUSED[make.__name__] = Refusal(make, reason, line, **options)
        return make

    return put


def new(x: Tensor, h: Tensor) -> Tensor:
    """A plain step's arithmetic."""
    return torch.tanh(h + x.sum(1, keepdim=True))


@refused(BRANCHES, "if h.sum() > 0:")
def branch(x, h):
    if h.sum() > 0:
        h = -h
    return h, new(x, h)


FLAG = np.bool_(True)


@refused(
    "it branches on a number of numpy's, which a capture takes for a tensor; hold float(number)",
    "if FLAG:",
)
def branch_on_a_number_of_numpys(x, h):
    if FLAG:
        h = -h
    return h, new(x, h)


GROUPED = nn.Parameter(torch.linspace(-1, 2, 36, dtype=torch.float64).cos().view(2, 6, 3))


@refused(
    "it calls tensor.logical_not_ on numbers, whose gradient torch gives as if nothing had been written",
    "return h, new(x, h).logical_not_()",
)
def logic_in_place(x, h):
    return h, new(x, h).logical_not_()


@refused(
    "it takes mean and deviation of native_group_norm, whose gradient torch has in part; torch.var_mean has it whole",
    "y, mean, _ = torch.native_group_norm(GROUPED, None, None, 2, 6, 3, 2, 1e-5)",
)
def moments_of_a_group_norm(x, h):
    y, mean, _ = torch.native_group_norm(GROUPED, None, None, 2, 6, 3, 2, 1e-5)
    return h, new(x, h) * y.cos().mean() * mean.cos().mean()


@refused(BRANCHES, "while h.abs().max() > 1:")
def loop_on_a_value(x, h):
    while h.abs().max() > 1:
        h = h / 2
    return h, new(x, h)


@refused(BRANCHES, "assert torch.isfinite(h).all()")
def bare_assert(x, h):
    assert torch.isfinite(h).all()
    return h, new(x, h)


@refused(BRANCHES, 'assert torch.isfinite(h).all(), "not finite"')
def assert_with_a_text(x, h):
    assert torch.isfinite(h).all(), "not finite"
    return h, new(x, h)


@refused(BRANCHES, "return h, torch.tanh(h) if torch.equal(h, -h) else new(x, h)")
def equal_tensors(x, h):
    return h, torch.tanh(h) if torch.equal(h, -h) else new(x, h)


@refused(READS, "return h, new(x, h) * h.sum().item()")
def item(x, h):
    return h, new(x, h) * h.sum().item()


@refused(READS, "return h, new(x, h) * float(h.sum())")
def float_of_a_tensor(x, h):
    return h, new(x, h) * float(h.sum())


@refused(READS, "return h, new(x, h) * h[0].tolist()[0]")
def to_list(x, h):
    return h, new(x, h) * h[0].tolist()[0]


@refused(READS, "width = int(x.abs().sum())")
def slice_by_a_value(x, h):
    width = int(x.abs().sum())
    return h[:, :width], new(x, h)


@refused(NUMPY, "numbers = np.tanh(h.detach().numpy())")
def to_numpy(x, h):
    numbers = np.tanh(h.detach().numpy())
    return h, new(x, h) + torch.from_numpy(numbers)


@refused(SHAPES, "places = (h > 0).nonzero()")
def nonzero(x, h):
    places = (h > 0).nonzero()
    return h, new(x, h) + places.sum()


@refused(SHAPES, "return h, new(x, h) + h[h > 0].sum()")
def boolean_index(x, h):
    return h, new(x, h) + h[h > 0].sum()


@refused(GENERATOR, "noise = torch.rand(HIDDEN, generator=GENERATOR_OF_A_TEST, dtype=h.dtype)")
def generator(x, h):
    noise = torch.rand(HIDDEN, generator=GENERATOR_OF_A_TEST, dtype=h.dtype)
    return h, new(x, h) + noise


GENERATOR_OF_A_TEST = torch.Generator()


@refused(GENERATOR, "own = torch.Generator()")
def generator_made(x, h):
    own = torch.Generator()
    return h, new(x, h) + torch.rand(HIDDEN, generator=own, dtype=h.dtype)


NUMBERS = itertools.count(1)


@refused(ITERATOR, "return h, new(x, h) / next(NUMBERS)")
def next_of_a_count(x, h):
    return h, new(x, h) / next(NUMBERS)


GENERATED = (0.1 * i for i in range(10_000))


@refused(ITERATOR, "return h, new(x, h) * next(GENERATED)")
def next_of_a_generator(x, h):
    return h, new(x, h) * next(GENERATED)


def _table() -> Any:
    return iter(range(1, 10_000))


ITEMS = _table()


@refused(ITERATOR, "return h, new(x, h) / next(ITEMS)")
def next_of_an_iterator(x, h):
    return h, new(x, h) / next(ITEMS)


class Counting(nn.Module):
    """It counts its steps."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.seen: list[Any] = []

    def forward(self, x, h):
        self.count += 1
        return h, new(x, h) / (1 + self.count)


refused_object(WRITES, "self.count += 1")(Counting)


class Collecting(Counting):
    def forward(self, x, h):
        self.seen.append(1)
        return h, new(x, h)


refused_object(WRITES, "self.seen.append(1)")(Collecting)
TABLE = {"n": 0}


@refused(WRITES, 'TABLE["n"] += 1')
def counting_in_a_dict(x, h):
    TABLE["n"] += 1
    return h, new(x, h)


@refused(RAISES, 'raise ValueError("of the step")')
def raising(x, h):
    raise ValueError("of the step")


@refused(RAISES, "assert False")
def failing_assert(x, h):
    assert False


@refused(RAISES, "return h, h @ h")
def wrong_sizes(x, h):
    return h, h @ h


@refused(RAISES, "return h, torch.tanh(h, h)")
def wrong_arguments(x, h):
    return h, torch.tanh(h, h)


@refused(RAISES, 'return h, new(x, h) * {"a": 1}["b"]')
def missing_key(x, h):
    return h, new(x, h) * {"a": 1}["b"]


@refused(RAISES, "return h, new(x, h) * x.no_such_attribute")
def missing_attribute(x, h):
    return h, new(x, h) * x.no_such_attribute


@refused("it reads a name that is not there", "return h, new(x, h) * no_such_name")
def missing_name(x, h):
    return h, new(x, h) * no_such_name


@refused("it imports a module that is not there", "import no_such_module")
def missing_module(x, h):
    import no_such_module

    return h, new(x, h) * no_such_module.rate


@refused(HOOKS, "y.register_hook(lambda gradient: gradient * 0.5)")
def hook(x, h):
    y = new(x, h)
    y.register_hook(lambda gradient: gradient * 0.5)
    return y, y


@refused(GRADIENT, "scale = h.norm()")
def no_grad(x, h):
    with torch.no_grad():
        scale = h.norm()
    return h, new(x, h) / scale


@refused(GRADIENT, "norm = h.norm()")
def gradients_off(x, h):
    torch.set_grad_enabled(False)
    norm = h.norm()
    torch.set_grad_enabled(True)
    return h, new(x, h) / norm


@refused(GRADIENT, "(slope,) = torch.autograd.grad(torch.tanh(point).sum(), point)")
def gradient_of_a_step(x, h):
    point = h.detach().requires_grad_()
    (slope,) = torch.autograd.grad(torch.tanh(point).sum(), point)
    return h, new(x, h) * slope


@refused(GRADIENT, "y.retain_grad()")
def retained_gradient(x, h):
    y = new(x, h)
    y.retain_grad()
    return y, y


@refused(GRADIENT, "y.sum().backward()")
def backward_in_a_step(x, h):
    y = new(x, h)
    y.sum().backward()
    return h, y


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return torch.sign(y)

    @staticmethod
    def backward(ctx, gradient):
        return 0.5 * gradient


@refused(FUNCTION, "return h, Straight.apply(new(x, h))")
def autograd_function(x, h):
    return h, Straight.apply(new(x, h))


@refused("it calls a whole recurrent layer; a step runs one time step", "y = LAYER(x.unsqueeze(0))[0][0]")
def recurrent_layer(x, h):
    y = LAYER(x.unsqueeze(0))[0][0]
    return y, new(x, h)


LAYER = nn.GRU(INPUT, HIDDEN).double()


@refused(RANDOM, "return h, new(x, h) * np.random.rand()")
def numpy_random(x, h):
    return h, new(x, h) * np.random.rand()


@refused(RANDOM, "return h, new(x, h) * random.random()")
def python_random(x, h):
    return h, new(x, h) * random.random()


@refused("it writes a result by out= into a tensor of another shape", "torch.tanh(h, out=KEPT)")
def written_tensor(x, h):
    torch.tanh(h, out=KEPT)
    return h, new(x, h) + KEPT


KEPT = torch.zeros(2, HIDDEN, dtype=torch.float64)


@refused_object(
    "it calls what TorchScript made, in which no change can be seen; hand it the plain function or module",
    "return h, scripted(new(x, h))",
)
def torchscript():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        scripted = torch.jit.trace(nn.Tanh(), torch.ones(2, HIDDEN, dtype=torch.float64))

    def step(x, h):
        return h, scripted(new(x, h))

    return step


@refused("it uses nested tensors", "both = torch.nested.nested_tensor([h, h])")
def nested(x, h):
    both = torch.nested.nested_tensor([h, h])
    return h, new(x, h) + both.unbind()[0]


@refused("it turns a tensor into text", 'return h, new(x, h) * len(f"{h.sum()}")')
def text_of_a_tensor(x, h):
    return h, new(x, h) * len(f"{h.sum()}")


@refused("it turns a tensor into text", "return h, new(x, h) * len(repr(h))")
def repr_of_a_tensor(x, h):
    return h, new(x, h) * len(repr(h))


@refused("it copies a tensor by copy.deepcopy; tensor.clone() does the same", "h = copy.deepcopy(h)")
def deep_copy(x, h):
    h = copy.deepcopy(h)
    return h, new(x, h)


@refused("it prints, which a fused loop does not; print what the scan returns", 'print("a step")')
def printing(x, h):
    print("a step")
    return h, new(x, h)


@refused(TOO_DEEP)
def deep(x, h):
    def again(y, n):
        return y if n == 0 else again(y + 0.001, n - 1)

    return h, again(new(x, h), 900)


@refused("it handles an exception, whose cause no guard sees", 'rate = TABLE["rate"]')
def handled(x, h):
    try:
        rate = TABLE["rate"]
    except KeyError:
        rate = 0.5
    return h, new(x, h) * rate


class Looked:
    """It makes its attributes up."""

    def __getattr__(self, name):
        return len(name) / 10


LOOKED = Looked()


@refused("it looks an attribute up by a __getattr__ of its own", "def __getattr__(self, name):")
def looked_up(x, h):
    return h, new(x, h) * LOOKED.rate


@refused("it does not return a pair (y_t, state)")
def no_pair(x, h):
    return new(x, h)


@refused("it does not return a pair (y_t, state)")
def three(x, h):
    return h, h, new(x, h)


@refused("it returns something that is no tensor")
def a_number(x, h):
    return 0.5, new(x, h)


@refused("it returns something that is no tensor")
def nothing(x, h):
    return None, new(x, h)


@refused("it returns a tensor that it holds, as it is")
def held(x, h):
    return KEPT, new(x, h)


@refused("its state does not keep its structure")
def structure(x, h):
    return h, (new(x, h), h)


@refused("its state does not keep its shape and dtype")
def shape_of_the_state(x, h):
    return h, new(x, h).sum(1, keepdim=True)


@refused("its state does not keep its shape and dtype")
def dtype_of_the_state(x, h):
    return h, new(x, h).float()


@refused("it changes one of its arguments, or a tensor that it holds, in place")
def state_in_place(x, h):
    h.mul_(0.5)
    return h, new(x, h)


@refused(COUNTS, "return h, new(x, h) / x.shape[0]")
def divided_by_rows(x, h):
    return h, new(x, h) / x.shape[0]


@refused(COUNTS, "return h, new(x, h) + torch.full((len(h), 1), 1 / len(h), dtype=h.dtype)")
def filled_by_rows(x, h):
    return h, new(x, h) + torch.full((len(h), 1), 1 / len(h), dtype=h.dtype)


@refused(ROWS)
def loop_over_rows(x, h):
    return h, torch.stack([torch.tanh(row) for row in h])


@refused(
    LAYOUT,
    "return h, torch.tanh(h) if h.requires_grad else torch.sigmoid(h)",
)
def by_gradient(x, h):
    return h, torch.tanh(h) if h.requires_grad else torch.sigmoid(h)


@refused(
    LAYOUT,
    "return h, torch.tanh(h) if x.is_contiguous() else new(x, h)",
)
def by_strides(x, h):
    return h, torch.tanh(h) if x.is_contiguous() else new(x, h)


@refused(
    "it does something else for a batch of a single row",
    "return h, torch.tanh(h) if len(h) == 1 else torch.sigmoid(h)",
    inputs=(3, 1, INPUT),
    state=(1, HIDDEN),
)
def by_one_row(x, h):
    return h, torch.tanh(h) if len(h) == 1 else torch.sigmoid(h)


@refused("it holds a tensor that has a row of the batch on another axis than its first")
def rows_on_another_axis(x, h):
    return h, new(x, h) + BY_COLUMN.t()


BY_COLUMN = torch.ones(HIDDEN, 2, dtype=torch.float64)


@refused(
    "it has more than 2,000 operations, too many for one loop; a loop within the step is better a tensor operation"
)
def many_operations(x, h):
    for i in range(1500):
        h = torch.tanh(h + i)
    return h, new(x, h)


@refused(
    "it runs more than 100,000 instructions of Python, too many to capture; a loop over numbers is better a tensor "
    "operation"
)
def many_instructions(x, h):
    total = 0
    for i in range(30_000):
        total += i
    return h, new(x, h) * total


@refused("it mixes torch.float64 with tensors of another dtype")
def another_dtype(x, h):
    return h, new(x, h) + SINGLE


SINGLE = torch.ones(HIDDEN)


@refused("it uses sparse tensors", "eye = torch.eye(HIDDEN, dtype=h.dtype).to_sparse()")
def sparse(x, h):
    eye = torch.eye(HIDDEN, dtype=h.dtype).to_sparse()
    return h, new(x, h) + torch.sparse.mm(eye, h.t()).t()


@refused("it reads tensor.data, which hides how gradients flow; tensor.detach() does not", "y.data.mul_(0.5)")
def data(x, h):
    y = new(x, h)
    y.data.mul_(0.5)
    return h, y


@refused(
    "it runs a transform of torch.func, which a graph of plain operations does not hold",
    "slope = torch.func.grad(lambda point: torch.tanh(point).sum())(h)",
)
def transform(x, h):
    slope = torch.func.grad(lambda point: torch.tanh(point).sum())(h)
    return h, new(x, h) * slope


@refused(
    "it writes to what tensor.detach() gave, which is the tensor itself, hidden from gradients; "
    "tensor.detach().clone() is a tensor of its own",
    "y.detach().mul_(0.5)",
)
def hidden(x, h):
    y = new(x, h)
    y.detach().mul_(0.5)
    return h, y


@refused("it uses nested tensors", "return h, new(x, h) + NESTED.unbind()[0]")
def nested_held(x, h):
    return h, new(x, h) + NESTED.unbind()[0]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it tells that it is a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(2, HIDDEN, dtype=torch.float64)] * 2)


@refused("it asks for the time, which differs from step to step", "return h, new(x, h) * time.time()")
def clock(x, h):
    return h, new(x, h) * time.time()


@refused(
    "it calls an operation of its own without a fake implementation (torch.library.register_fake)",
    "return h, doubled(new(x, h))",
)
def own_operation(x, h):
    return h, doubled(new(x, h))


@torch.library.custom_op("a_test::doubled", mutates_args=())
def doubled(y: Tensor) -> Tensor:
    return y * 2


@refused("its results are of a subclass of torch.Tensor")
def subclass_held(x, h):
    return h, new(x, h) * SUBCLASS


class Mine(Tensor):
    pass


SUBCLASS = torch.ones(HIDDEN, dtype=torch.float64).as_subclass(Mine)


@refused("it uses threads or locks, which a fused loop does not", "with LOCK:")
def lock(x, h):
    with LOCK:
        return h, new(x, h)


LOCK = threading.Lock()


@refused(
    "it runs a transform of torch.func, which a graph of plain operations does not hold",
    "y = torch.vmap(torch.tanh)(h)",
)
def vmapped(x, h):
    y = torch.vmap(torch.tanh)(h)
    return h, y


@refused("it reads tensor.data, which hides how gradients flow; tensor.detach() does not", "own.data = h")
def sets_data(x, h):
    own = torch.zeros(1, dtype=h.dtype)
    own.data = h
    return h, new(x, h) + own


@refused(GRADIENT, "own.requires_grad = True")
def sets_requires_grad(x, h):
    own = torch.zeros(1, dtype=h.dtype)
    own.requires_grad = True
    return h, new(x, h) + own


@refused("it switches torch.autocast on or off; convert by tensor.to(dtype) where it should", "y = torch.tanh(h)")
def autocast(x, h):
    with torch.autocast("cpu", torch.bfloat16):
        y = torch.tanh(h)
    return h, y


@refused(GRADIENT, "y = h * 2")
def inference(x, h):
    with torch.inference_mode():
        y = h * 2
    return h, new(x, h) + y


@refused("it calls copy.copy, which a graph of torch's operations cannot hold", "h = copy.copy(h)")
def shallow_copy(x, h):
    h = copy.copy(h)
    return h, new(x, h)


@refused("it calls an operation that works on numbers alone", "y = h.float().to_mkldnn()")
def numbers_alone(x, h):
    y = h.float().to_mkldnn()
    return h, new(x, h) + y.to_dense()


@refused(
    "it sorts by values of tensors in Python; torch.sort does not", "rows = sorted([h, -h], key=lambda y: y[0, 0])"
)
def sorted_by_values(x, h):
    rows = sorted([h, -h], key=lambda y: y[0, 0])
    return h, new(x, h) + rows[0]


@refused("it returns an output that has no row for each row of the batch")
def output_of_no_rows(x, h):
    return h.sum(0), new(x, h)


class Settings:
    """It has a number."""

    def __init__(self):
        self.rate = 0.5


SETTINGS = Settings()


@refused(
    "it reads all attributes of an object at once, of which no guard sees new ones",
    "return h, new(x, h) * sum(vars(SETTINGS).values())",
)
def all_attributes(x, h):
    return h, new(x, h) * sum(vars(SETTINGS).values())


@refused(
    "it calls unrolled.scan, which a graph of torch's operations cannot hold",
    "y, _ = unrolled.scan(new_pair, h.t().unsqueeze(2), h[:, :1])",
)
def scan_in_a_scan(x, h):
    y, _ = unrolled.scan(new_pair, h.t().unsqueeze(2), h[:, :1])
    return h, new(x, h) + y.sum(0)


def new_pair(x, h):
    h = torch.tanh(x + h)
    return h, h


@functools.lru_cache
def kept_rate():
    return 0.5


@refused("it calls a function that keeps its results, or that wraps another in C", "return h, new(x, h) * kept_rate()")
def kept_function(x, h):
    return h, new(x, h) * kept_rate()


@torch._dynamo.assume_constant_result
def assumed_rate():
    return 0.5


@refused("it calls a function whose result is assumed to be constant", "return h, new(x, h) * assumed_rate()")
def assumed_function(x, h):
    return h, new(x, h) * assumed_rate()


@refused(
    "it asks whether a module or a function has an attribute, which no guard sees",
    'return h, new(x, h) * getattr(torch, "not_there", 0.5)',
)
def absent_attribute(x, h):
    return h, new(x, h) * getattr(torch, "not_there", 0.5)


@refused(
    "it asks whether a module or a function has an attribute, which no guard sees",
    'return h, new(x, h) * (0.5 if hasattr(new, "rate") else 2.0)',
)
def attribute_asked_of_a_function(x, h):
    return h, new(x, h) * (0.5 if hasattr(new, "rate") else 2.0)


LEAF = "is_leaf"
COMPILING = torch.compiler.is_compiling


@refused("it asks whether it is being compiled", "return h, new(x, h) * (2.0 if COMPILING() else 0.5)")
def compiling_by_another_name(x, h):
    return h, new(x, h) * (2.0 if COMPILING() else 0.5)


@refused(LAYOUT, "return h, new(x, h) * (0.5 if isinstance(h, nn.Parameter) else 2.0)")
def first_state_a_parameter(x, h):
    return h, new(x, h) * (0.5 if isinstance(h, nn.Parameter) else 2.0)


@refused(
    "it asks a tensor for an attribute of its own, which the first state alone may have",
    'return h, new(x, h) * getattr(h, "rate", 0.5)',
)
def attribute_of_the_first_state(x, h):
    return h, new(x, h) * getattr(h, "rate", 0.5)


@refused(
    "it asks a tensor how it came about, which may differ from step to step",
    "return h, new(x, h) * (0.5 if getattr(h, LEAF) else 2.0)",
)
def leaf_by_getattr(x, h):
    return h, new(x, h) * (0.5 if getattr(h, LEAF) else 2.0)


RATES = {torch.zeros(1): 0.5}


@refused(
    "it looks for a tensor among keys, which depends on which object it is",
    "return h, new(x, h) * (2.0 if h in RATES else 0.5)",
)
def tensor_among_keys(x, h):
    return h, new(x, h) * (2.0 if h in RATES else 0.5)


@refused(
    "it looks for a tensor among keys, which depends on which object it is",
    "return h, new(x, h) * RATES.get(h, 0.5)",
)
def tensor_as_a_key(x, h):
    return h, new(x, h) * RATES.get(h, 0.5)


@refused(
    "it reads the annotations of a function, whose changes no guard sees",
    "return h, new(x, h) / (1 + len(new.__annotations__))",
)
def annotations_of_a_function(x, h):
    return h, new(x, h) / (1 + len(new.__annotations__))


class Rates(dict):
    """A dictionary that has a number beside its items."""

    rate = 0.5


OF_A_DICTIONARY = Rates()


@refused(
    "it reads an attribute of a dictionary of a class of its own, whose changes no guard sees",
    "return h, new(x, h) * OF_A_DICTIONARY.rate",
)
def attribute_of_a_dictionary(x, h):
    return h, new(x, h) * OF_A_DICTIONARY.rate


class Doubled(float):
    """A number that multiplies twice."""

    def __mul__(self, other):
        return 2 * float(self) * other


DOUBLED = Doubled(0.5)


@refused(
    "it computes with a number or a text of a class that has operators of its own", "return h, DOUBLED * new(x, h)"
)
def number_with_operators(x, h):
    return h, DOUBLED * new(x, h)


class Meta(type):
    """It has a number."""

    rate = 0.5


class OfMeta(metaclass=Meta):
    """Its class has it."""


@refused(
    "it reads an attribute of a class that has a metaclass of its own, whose changes no guard sees",
    "return h, new(x, h) * OfMeta.rate",
)
def of_a_metaclass(x, h):
    return h, new(x, h) * OfMeta.rate


@refused("it asks for the address of an object", "return h, new(x, h) * (id(SETTINGS) % 3)")
def address(x, h):
    return h, new(x, h) * (id(SETTINGS) % 3)


@refused("it asks whether it is being compiled", "return h, h if torch.compiler.is_compiling() else new(x, h)")
def compiling(x, h):
    return h, h if torch.compiler.is_compiling() else new(x, h)


@refused(
    "it asks a tensor how it came about, which may differ from step to step", "return h, h if h.is_leaf else new(x, h)"
)
def is_leaf(x, h):
    return h, h if h.is_leaf else new(x, h)


@refused("it compares tensors by `is`, which may differ from step to step", "return h, h if h is x else new(x, h)")
def same_tensor(x, h):
    return h, h if h is x else new(x, h)


@refused(COUNTS, "return h, new(x, h) / torch.sym_min(len(x), 4)")
def smaller_of_a_size(x, h):
    return h, new(x, h) / torch.sym_min(len(x), 4)


@refused(COUNTS, "return h, new(x, h) / torch.sym_max(len(x), 4)")
def larger_of_a_size(x, h):
    return h, new(x, h) / torch.sym_max(len(x), 4)


@refused(COUNTS, "return h, new(x, h) + (len(x) == 7)")
def condition_as_a_number(x, h):
    return h, new(x, h) + (len(x) == 7)


COMPARES = "it compares a size with an object, or by `is`; compare with a plain number by `==`"


@refused(COMPARES, "return h, new(x, h) if len(x) is SEVEN else h")
def size_by_is(x, h):
    return h, new(x, h) if len(x) is SEVEN else h


@refused(COMPARES, "return h, new(x, h) if len(x) == Sizes.SEVEN else h")
def size_and_a_member(x, h):
    return h, new(x, h) if len(x) == Sizes.SEVEN else h


@refused(
    "it looks for a constant among values that are none; compare with each by `==`",
    "return h, new(x, h) if 7 in x.shape else h",
)
def constant_among_sizes(x, h):
    return h, new(x, h) if 7 in x.shape else h


PRICE = decimal.Decimal(1)


@refused("it compares a Decimal that it holds, whose changes no guard sees", "return h, new(x, h) if PRICE == 1 else h")
def comparison_in_c(x, h):
    return h, new(x, h) if PRICE == 1 else h


class Rate(float):
    """A float of a class of its own."""


NAN = Rate("nan")


@refused("it reads a value that is not equal to itself, as a nan of its own class")
def nan_of_a_class(x, h):
    return h, new(x, h) * float(NAN)
