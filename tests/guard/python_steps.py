# ruff: noqa: B006, T201
"""Steps that do what people do in Python, one kind each: refused with the exact reason, or fused.

`FUSED` has those that a graph can hold. Those that it cannot go into `REFUSED` too.
"""

import asyncio
import bisect
import collections
import contextlib
import contextvars
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import json
import logging
import math
import os
import queue
import random
import re
import sys
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tests.guard.checks import HIDDEN, INPUT
from tests.guard.refused_steps import BRANCHES, FUNCTION, NUMPY, RANDOM, READS, SETS, SHAPES, WRITES, new, refused
from tests.guard.refused_steps import refused_object as _refused_object
from torch import Tensor, nn

refused = functools.partial(refused, file=__file__)
refused_object = functools.partial(_refused_object, file=__file__)
CANNOT = ", which a graph of torch's operations cannot hold"
PRINTS = "it prints, which a fused loop does not; print what the scan returns"
LOGS = "it writes to a log or warns, which a fused loop does not"
CLOCK = "it asks for the time, which differs from step to step"
SYSTEM = "it uses files or asks the operating system; do that before the scan"
SEEDS = "it sets the state of random numbers, or asks for it; call torch.manual_seed before the scan"
THREADS = "it uses threads or locks, which a fused loop does not"
ASYNC = "it calls an async function, whose result is there only after an await"
CLASS = "it makes a class, which a fused loop does not; make it outside of the step"
SCRIPT = "it calls what TorchScript made, in which no change can be seen; hand it the plain function or module"
EQUAL = "it looks for a key of a class that has __eq__ or __hash__ of its own, which a capture does not call"
FAKE = "it calls an operation of its own without a fake implementation (torch.library.register_fake)"
FUSED: dict[str, Callable[[], Callable]] = {}


def fused(step: Callable) -> Callable:
    """A step that fuses."""
    FUSED[step.__name__] = lambda: step
    return step


def fused_object(make: Callable[[], Callable]) -> Callable[[], Callable]:
    """A function that makes a step that fuses."""
    FUSED[make.__name__] = make
    return make


# ---- printing, time, files, threads


@refused(PRINTS, "print(h.shape)")
def prints(x, h):
    print(h.shape)
    return h, new(x, h)


@refused(PRINTS, 'sys.stdout.write("")')
def writes_to_standard_output(x, h):
    sys.stdout.write("")
    return h, new(x, h)


LOG = logging.getLogger("a test")


@refused(LOGS, 'LOG.debug("a step")')
def logs(x, h):
    LOG.debug("a step")
    return h, new(x, h)


@refused(LOGS, 'logging.debug("a step of %s", h.shape)')
def logs_to_the_root(x, h):
    logging.debug("a step of %s", h.shape)
    return h, new(x, h)


@refused(LOGS, 'warnings.warn("a step", stacklevel=2)')
def warns(x, h):
    warnings.warn("a step", stacklevel=2)
    return h, new(x, h)


@refused(CLOCK, "return h, new(x, h) * (time.perf_counter() > 0)")
def performance_counter(x, h):
    return h, new(x, h) * (time.perf_counter() > 0)


@refused(CLOCK, "return h, new(x, h) * (datetime.datetime.now().year > 0)")
def date_and_time(x, h):
    return h, new(x, h) * (datetime.datetime.now().year > 0)


@refused(SYSTEM, "with open(os.devnull) as file:")
def reads_a_file(x, h):
    with open(os.devnull) as file:
        rate = 1 + len(file.read())
    return h, new(x, h) * rate


@refused(SYSTEM, 'return h, new(x, h) * (0.5 if os.path.exists("no such file") else 2.0)')
def asks_for_a_file(x, h):
    return h, new(x, h) * (0.5 if os.path.exists("no such file") else 2.0)


@refused(SYSTEM, "torch.save(h, buffer_of(h))")
def saves(x, h):
    torch.save(h, buffer_of(h))
    return h, new(x, h)


BUFFER = io.BytesIO()


def buffer_of(h: Tensor) -> Any:
    """Any."""
    return BUFFER


@refused(THREADS, "KEPT_LOCK.acquire()")
def acquires(x, h):
    KEPT_LOCK.acquire()
    y = new(x, h)
    KEPT_LOCK.release()
    return h, y


KEPT_LOCK, QUEUE = threading.RLock(), queue.Queue()


@refused(THREADS, "with KEPT_LOCK:")
def lock_that_may_be_taken_again(x, h):
    with KEPT_LOCK:
        return h, new(x, h)


@refused(THREADS, "QUEUE.put(1)")
def puts_into_a_queue(x, h):
    QUEUE.put(1)
    return h, new(x, h)


@refused(THREADS, "thread = threading.Thread(target=new)")
def starts_a_thread(x, h):
    thread = threading.Thread(target=new)
    return h, new(x, h) * (2.0 if thread.is_alive() else 0.5)


VARIABLE = contextvars.ContextVar("VARIABLE", default=0.5)


@refused(f"it calls VARIABLE.get{CANNOT}", "return h, new(x, h) * VARIABLE.get()")
def context_variable(x, h):
    return h, new(x, h) * VARIABLE.get()


# ---- random numbers, settings


@refused(SEEDS, "torch.manual_seed(0)")
def seeds(x, h):
    torch.manual_seed(0)
    return h, new(x, h)


@refused(SEEDS, "with torch.random.fork_rng():")
def forks_random_states(x, h):
    with torch.random.fork_rng():
        return h, new(x, h)


@refused(RANDOM, "return h, new(x, h) * NUMBERS.random()")
def generator_of_numpy(x, h):
    return h, new(x, h) * NUMBERS.random()


NUMBERS, OWN_NUMBERS = np.random.default_rng(0), random.Random(0)


@refused(RANDOM, "return h, new(x, h) * OWN_NUMBERS.random()")
def generator_of_python(x, h):
    return h, new(x, h) * OWN_NUMBERS.random()


@refused(SETS, "torch.set_default_dtype(torch.float32)")
def sets_the_default_dtype(x, h):
    torch.set_default_dtype(torch.float32)
    return h, new(x, h)


@refused(SETS, "torch.use_deterministic_algorithms(False)")
def sets_determinism(x, h):
    torch.use_deterministic_algorithms(False)
    return h, new(x, h)


# ---- async code, generators, contexts


@refused(ASYNC, "async def halved(y):")
def awaits(x, h):
    return h, asyncio.run(halved(new(x, h)))


async def halved(y):
    """Half."""
    return y * 0.5


@refused(ASYNC, "async def numbers_of(y):")
def makes_an_asynchronous_generator(x, h):
    numbers_of(h)
    return h, new(x, h)


async def numbers_of(y):
    """Itself."""
    yield y


@refused(
    "it runs async code, which a fused loop does not",
    "return h, new(x, h) * (0.5 if asyncio.get_event_loop_policy() else 2.0)",
)
def event_loop(x, h):
    return h, new(x, h) * (0.5 if asyncio.get_event_loop_policy() else 2.0)


@fused
def generator_that_takes(x, h):
    def scaled():
        rate = yield h
        yield new(x, h) * rate

    numbers = scaled()
    return next(numbers), numbers.send(0.5)


@fused
def generator_of_another(x, h):
    def inner():
        yield h
        yield new(x, h)

    def outer():
        yield from inner()

    a, b = outer()
    return a, b


class Rate:
    """A context of a user's."""

    def __enter__(self):
        return 0.5

    def __exit__(self, *_):
        return False


@fused
def context_of_its_own(x, h):
    with Rate() as rate, contextlib.nullcontext():
        return h, new(x, h) * rate


@fused
def stack_of_contexts(x, h):
    with contextlib.ExitStack() as stack:
        return h, new(x, h) * stack.enter_context(Rate())


@refused(f"it enters a torch.device by `with`{CANNOT}", 'with torch.device("cpu"):')
def device_as_a_context(x, h):
    with torch.device("cpu"):
        return h, new(x, h)


class Mode(torch.utils._python_dispatch.TorchDispatchMode):
    """It changes nothing."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@refused(f"it enters a Mode by `with`{CANNOT}", "with Mode():")
def mode(x, h):
    with Mode():
        return h, new(x, h)


@fused
def tried_finally(x, h):
    try:
        y = new(x, h)
    finally:
        z = h
    return z, y


@fused
def exception_of_a_group(x, h):
    try:
        y = new(x, h)
    except* ValueError:
        y = h
    return h, y


# ---- classes, data, keys


@dataclasses.dataclass
class Settings:
    rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Frozen:
    rate: float = 0.5


@dataclasses.dataclass(unsafe_hash=True)
class Hashed:
    rate: float = 0.5


class Kind(enum.Enum):
    HALF = 0.5
    TWICE = 2.0


KIND, BY_KIND = Kind.HALF, {Kind.HALF: 0.5}


@fused
def dataclasses_made(x, h):
    return h, new(x, h) * dataclasses.replace(Settings(), rate=0.25).rate * Frozen(2.0).rate


@fused
def frozen_key(x, h):
    return h, new(x, h) * {Frozen(0.25): 0.5}.get(Frozen(0.25), 2.0)


@fused
def enumerated(x, h):
    y = new(x, h) * BY_KIND[KIND] * Kind(2.0).value * Kind["HALF"].value
    for kind in Kind:
        y = y * kind.value
    return h, y


@fused
def matched(x, h):
    match h, Settings(), {"rate": 0.5}, "tanh":
        case Tensor(), Settings(rate=rate), {"rate": other}, "tanh":
            return h, new(x, h) * rate * other
    return h, h


@refused(EQUAL, "return h, new(x, h) * {Hashed(0.25): 0.5}.get(Hashed(0.25), 2.0)")
def key_of_a_dataclass(x, h):
    return h, new(x, h) * {Hashed(0.25): 0.5}.get(Hashed(0.25), 2.0)


class Equal:
    """Equal to all that is one."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    def __hash__(self):
        return 1


@refused(EQUAL, "return h, new(x, h) * {Equal(): 0.5}.get(Equal(), 2.0)")
def key_of_a_class_of_its_own(x, h):
    return h, new(x, h) * {Equal(): 0.5}.get(Equal(), 2.0)


@refused(f"it calls dataclasses.asdict{CANNOT}", 'return h, new(x, h) * dataclasses.asdict(Settings())["rate"]')
def dataclass_as_a_dictionary(x, h):
    return h, new(x, h) * dataclasses.asdict(Settings())["rate"]


@refused(f"it calls copy.deepcopy{CANNOT}", 'return h, new(x, h) * copy.deepcopy({"rate": 0.5})["rate"]')
def deep_copy_of_a_dictionary(x, h):
    return h, new(x, h) * copy.deepcopy({"rate": 0.5})["rate"]


@refused(CLASS, "class Local:")
def class_within(x, h):
    class Local:
        rate = 0.5

    return h, new(x, h) * Local.rate


@refused(f"it calls types.SimpleNamespace{CANNOT}", "return h, new(x, h) * types.SimpleNamespace(rate=0.5).rate")
def namespace_made(x, h):
    return h, new(x, h) * types.SimpleNamespace(rate=0.5).rate


CHAIN, BYTES = collections.ChainMap({}, {"rate": 0.5}), bytearray(b"\x01")


@refused(f"it takes an item of a collections.ChainMap{CANNOT}", 'return h, new(x, h) * CHAIN["rate"]')
def chain_of_dictionaries(x, h):
    return h, new(x, h) * CHAIN["rate"]


@refused(f"it takes an item of a bytearray{CANNOT}", "return h, new(x, h) * BYTES[0]")
def item_of_bytes(x, h):
    return h, new(x, h) * BYTES[0]


@refused(f"it looks for something in a bytearray{CANNOT}", "return h, new(x, h) * (0.5 if 97 in BYTES else 2.0)")
def found_in_bytes(x, h):
    return h, new(x, h) * (0.5 if 97 in BYTES else 2.0)


@refused(f"it changes a bytearray{CANNOT}", "BYTES[0] = 1")
def changes_bytes(x, h):
    BYTES[0] = 1
    return h, new(x, h)


TENSORS = {torch.ones(HIDDEN, dtype=torch.float64)}


@refused(f"it loops over a set{CANNOT}", "for weight in TENSORS:")
def set_of_tensors(x, h):
    for weight in TENSORS:
        h = h * weight
    return h, new(x, h)


NAMED = collections.namedtuple("NAMED", "a b")
REFERENCE = weakref.ref(Settings)
LOCAL, EVENT = threading.local(), threading.Event()
LOCAL.rate = 0.5


@fused
def containers(x, h):
    pair = NAMED(h, 0.5)
    ordered = collections.OrderedDict(rate=0.5)
    view = types.MappingProxyType({"rate": 0.5})
    kept = {"h": pair.a}
    kept.update(y=new(x, h))
    return kept.pop("h"), kept["y"] * pair.b * ordered["rate"] * view["rate"]


@fused
def weak_reference_and_what_a_thread_has(x, h):
    return h, new(x, h) * LOCAL.rate * (2.0 if EVENT.is_set() else 0.5) * len(REFERENCE().__name__)


@fused
def itertools_and_functools(x, h):
    y = functools.reduce(lambda a, b: a + b, [h, new(x, h)])
    for a, b in itertools.product((1, 2), (3, 4)):
        y = y * a / b
    for a in itertools.chain(itertools.islice(itertools.count(1), 2), itertools.accumulate((1, 2))):
        y = y / a
    for a, b in zip(map(abs, (-1, 2)), filter(None, (0, 3, 4)), strict=True):
        y = y * a / b
    return h, y


@fused
def text(x, h):
    name = f"rate={0.5:.2f}" + "{}={:>4}".format("a", 3) + "%s=%d" % ("a", 3) + ",".join(["a", "b"])  # noqa: UP031
    return h, new(x, h) / len(name) * {"torch.float64": 0.5}[str(h.dtype)] * len(re.findall("a", name))


@fused
def recursion(x, h):
    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)

    return h, new(x, h) / factorial(4)


class Vector:
    """It has operators."""

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Vector(self.value + other.value)

    def __neg__(self):
        return Vector(-self.value)

    def __matmul__(self, other):
        return Vector(self.value)

    def __getitem__(self, at):
        return self.value

    def __len__(self):
        return 3

    def __bool__(self):
        return True

    def __float__(self):
        return 0.5

    def __iter__(self):
        return iter([self.value])

    def __format__(self, _):
        return "v"


@fused
def operators_of_its_own(x, h):
    both = -(Vector(h) + Vector(new(x, h)))
    (value,) = both
    return h, value * len(both) * float(both) * (0.5 if both else 2.0)


@refused(f"it computes with a Vector{CANNOT}", "return h, new(x, (Vector(h) @ Vector(h)).value)")
def product_of_its_own(x, h):
    return h, new(x, (Vector(h) @ Vector(h)).value)


@refused(f"it turns a Vector into text{CANNOT}", 'return h, new(x, h) * len(f"{Vector(h)}")')
def text_of_an_object(x, h):
    return h, new(x, h) * len(f"{Vector(h)}")


@refused(READS, 'return h, new(x, h) * len(f"{h[0, 0].item():.2f}")')
def text_of_a_number(x, h):
    return h, new(x, h) * len(f"{h[0, 0].item():.2f}")


# ---- numbers, functions of Python


@refused(f"it calls Decimal{CANNOT}", 'return h, new(x, h) * float(Decimal("0.5"))')
def decimal_made(x, h):
    return h, new(x, h) * float(Decimal("0.5"))


EXACT, HALF = decimal.Decimal("0.5"), fractions.Fraction(1, 2)


@refused(f"it calls float of a decimal.Decimal{CANNOT}", "return h, new(x, h) * float(EXACT)")
def decimal_held(x, h):
    return h, new(x, h) * float(EXACT)


@refused(f"it computes with a decimal.Decimal{CANNOT}", "rate = EXACT + 1")
def decimal_sum(x, h):
    rate = EXACT + 1
    return h, new(x, h) * rate


@fused
def fraction(x, h):
    return h, new(x, h) * float(HALF * 3) * math.sqrt(2) * abs(3 + 4j) * (5).bit_length()


@refused(f"it calls bisect.bisect{CANNOT}", "return h, new(x, h) * bisect.bisect([1, 2, 3], 2)")
def bisected(x, h):
    return h, new(x, h) * bisect.bisect([1, 2, 3], 2)


@refused(f"it calls json.loads{CANNOT}", 'return h, new(x, h) * json.loads(\'{"rate": 0.5}\')["rate"]')
def reads_json(x, h):
    return h, new(x, h) * json.loads('{"rate": 0.5}')["rate"]


@refused(f"it calls pow{CANNOT}", "return h, pow(new(x, h), 2)")
def power_by_a_function(x, h):
    return h, pow(new(x, h), 2)


@refused(f"it calls globals{CANNOT}", 'return h, new(x, h) * globals()["EXACT"]')
def asks_for_globals(x, h):
    return h, new(x, h) * globals()["EXACT"]


@refused(f"it calls sys.getsizeof{CANNOT}", "return h, new(x, h) * sys.getsizeof(1)")
def size_of_an_object(x, h):
    return h, new(x, h) * sys.getsizeof(1)


class Partial(nn.Module):
    """A method of a method."""

    def act(self, y, rate):
        return torch.tanh(y) * rate

    half = functools.partialmethod(act, rate=0.5)

    def forward(self, x, h):
        return h, self.half(h)


refused_object(f"it reads .half of a Partial{CANNOT}", "return h, self.half(h)")(Partial)


class Cached(nn.Module):
    """An attribute that is found once."""

    @functools.cached_property
    def rate(self):
        return 0.5

    def forward(self, x, h):
        return h, new(x, h) * self.rate


if sys.version_info < (3, 12):  # where it takes a lock
    refused_object(f"it reads .rate of a Cached{CANNOT}", "return h, new(x, h) * self.rate")(Cached)


class Described(nn.Module):
    """Its text is asked for."""

    def extra_repr(self):
        return "rate=0.5"

    def forward(self, x, h):
        return h, new(x, h) * len(self.extra_repr())


fused_object(Described)


# ---- what torch made, functions of torch


@refused_object(SCRIPT, "return h, scripted(x, h)")
def function_of_torchscript():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        scripted = torch.jit.script(_scripted)

    def step(x, h):
        return h, scripted(x, h)

    return step


def _scripted(x, h):
    return torch.tanh(h + x.sum(1, keepdim=True))


@fused_object
def function_of_torch_compile():
    compiled = torch.compile(new, backend="eager")

    def step(x, h):
        return h, compiled(x, h)

    return step


@fused_object
def step_of_torch_compile():
    return torch.compile(lambda x, h: (h, new(x, h)), backend="eager")


@fused_object
def module_of_torch_compile():
    module = torch.compile(nn.Linear(INPUT, HIDDEN).double(), backend="eager")

    def step(x, h):
        return h, torch.tanh(module(x) + h)

    return step


@torch.compiler.disable
def disabled(y):
    """Itself."""
    return y


@refused(
    f"it calls a function that torch.compile leaves out, such as unrolled.scan{CANNOT}", "return h, disabled(new(x, h))"
)
def left_out(x, h):
    return h, disabled(new(x, h))


@refused(
    "it branches by torch.cond, and a fused loop has no branches; torch.where(condition, a, b) does not branch",
    "y = torch.cond(h.sum() > 0, torch.sin, torch.cos, (new(x, h),))",
)
def conditional(x, h):
    y = torch.cond(h.sum() > 0, torch.sin, torch.cos, (new(x, h),))
    return h, y


@refused(
    "it loops by while_loop, and a fused loop has no inner loops; loop in Python a fixed number of times",
    "_, y = torch._higher_order_ops.while_loop(_goes_on, _halves, (torch.tensor(0), new(x, h)))",
)
def loop_of_torch(x, h):
    _, y = torch._higher_order_ops.while_loop(_goes_on, _halves, (torch.tensor(0), new(x, h)))
    return h, y


def _goes_on(i, y):
    return i < 3


def _halves(i, y):
    return i + 1, y * 0.5


@refused(
    "it calls torch.utils.checkpoint; scan(..., recompute=True) recomputes too",
    "return h, torch.utils.checkpoint.checkpoint(new, x, h, use_reentrant=False)",
)
def recomputed(x, h):
    return h, torch.utils.checkpoint.checkpoint(new, x, h, use_reentrant=False)


class Squared(torch.autograd.Function):
    """With a context of its own."""

    @staticmethod
    def forward(y):
        return y * y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


@refused(FUNCTION, "return h, Squared.apply(new(x, h))")
def function_with_a_context(x, h):
    return h, Squared.apply(new(x, h))


LIBRARY = torch.library.Library("a_test_of_steps", "DEF")
LIBRARY.define("twice(Tensor y) -> Tensor")
LIBRARY.impl("twice", lambda y: y * 2, "CompositeImplicitAutograd")
LIBRARY.define("thrice(Tensor y) -> Tensor")
LIBRARY.impl("thrice", lambda y: y * 3, "CPU")


@fused
def operation_of_operations(x, h):
    return h, torch.ops.a_test_of_steps.twice(new(x, h))


@refused(FAKE, "return h, torch.ops.a_test_of_steps.thrice(new(x, h))")
def operation_of_a_library(x, h):
    return h, torch.ops.a_test_of_steps.thrice(new(x, h))


@torch.library.custom_op("a_test_of_steps::four_times", mutates_args=())
def four_times(y: Tensor) -> Tensor:
    """Four times."""
    return y * 4


four_times.register_fake(torch.empty_like)
four_times.register_autograd(lambda ctx, gradient: gradient * 4)


@refused("torch cannot trace it as a graph of its own operations", "return h, four_times(new(x, h))")
def operation_with_a_derivative(x, h):
    return h, four_times(new(x, h))


@refused("it uses quantized tensors", "y = torch.quantize_per_tensor(h.float(), 0.1, 0, torch.quint8).dequantize()")
def quantized(x, h):
    y = torch.quantize_per_tensor(h.float(), 0.1, 0, torch.quint8).dequantize()
    return h, new(x, h) + y.double()


@refused("it uses sparse tensors", "return h, new(x, h) + h.to_sparse().to_dense()")
def made_sparse(x, h):
    return h, new(x, h) + h.to_sparse().to_dense()


@refused(f"it calls nn.Parameter{CANNOT}", "weight = nn.Parameter(torch.ones(HIDDEN, dtype=h.dtype))")
def parameter_made(x, h):
    weight = nn.Parameter(torch.ones(HIDDEN, dtype=h.dtype))
    return h, new(x, h) * weight


LINEAR = nn.Linear(INPUT, HIDDEN).double()
OPTIMIZER = torch.optim.SGD(LINEAR.parameters(), 0.1)


@refused(
    "it goes through all parameters or buffers of a module; no guard sees which of them become one",
    "for weight in LINEAR.parameters():",
)
def all_parameters(x, h):
    for weight in LINEAR.parameters():
        h = h + weight.sum()
    return h, new(x, h)


@refused(f"it calls OPTIMIZER.step{CANNOT}", "OPTIMIZER.step()")
def optimizer(x, h):
    OPTIMIZER.step()
    return h, new(x, h)


@refused(f"it calls torch.get_num_threads{CANNOT}", "return h, new(x, h) * torch.get_num_threads()")
def number_of_threads(x, h):
    return h, new(x, h) * torch.get_num_threads()


@refused(f"it calls F.one_hot{CANNOT}", "return h, new(x, h) + F.one_hot((h > 0).long()).sum()")
def one_hot_of_unknown_size(x, h):
    return h, new(x, h) + F.one_hot((h > 0).long()).sum()


@refused(SHAPES, "return h, new(x, h) + torch.unique(h.detach()).sum()")
def distinct_values(x, h):
    return h, new(x, h) + torch.unique(h.detach()).sum()


@refused(READS, "for _ in range(int(h.abs().max())):")
def as_often_as_a_value(x, h):
    for _ in range(int(h.abs().max())):
        h = h * 0.5
    return h, new(x, h)


@refused(BRANCHES, "return h, new(x, h) * (0.5 if 0 in h else 2.0)")
def value_in_a_tensor(x, h):
    return h, new(x, h) * (0.5 if 0 in h else 2.0)


@refused(NUMPY, "return h, new(x, h) * float(np.sqrt(2.0))")
def number_of_numpy(x, h):
    return h, new(x, h) * float(np.sqrt(2.0))


ARRAY = np.array([0.1, 0.2, 0.3, 0.4])


@fused
def array_held(x, h):
    return h, new(x, h) * torch.from_numpy(ARRAY) + torch.as_tensor(ARRAY) + np.pi


@refused(WRITES, "NOTES.append(h.shape)")
def notes(x, h):
    NOTES.append(h.shape)
    return h, new(x, h)


NOTES: list[Any] = []


@refused(WRITES, "[NOTES.append(i) for i in range(2)]")
def comprehension_that_notes(x, h):
    [NOTES.append(i) for i in range(2)]
    return h, new(x, h)


@refused(WRITES, "COUNT += 1")
def global_counter(x, h):
    global COUNT
    COUNT += 1
    return h, new(x, h) / COUNT


COUNT = 0


@refused(WRITES, "seen.append(1)")
def default_that_grows(x, h, seen=[]):
    seen.append(1)
    return h, new(x, h) / len(seen)


@fused
def conditions_as_places(x, h):
    y = new(x, h).clone()
    y[y > 0.5] = 0.25
    y[h[:, 0] > 0] = 0
    y[y < -0.5] = torch.tensor(-0.25, dtype=h.dtype)
    return h, y


@fused
def scaled_by_a_duck(x, h):
    return h, torch.tanh(Duck(h)) + new(x, h)


class Duck:
    """It stands for a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return function(*(a.tensor if isinstance(a, Duck) else a for a in args), **(kwargs or {}))
