# ruff: noqa: T201
"""Steps that do what people do in Python beside computing: printing, files, threads, contexts, classes, data; one kind
each, refused with the exact reason, or fused.

`FUSED` has those that a graph can hold. Those that it cannot go into `REFUSED` too. function_steps.py has more.
"""

import asyncio
import collections
import contextlib
import contextvars
import copy
import dataclasses
import datetime
import enum
import functools
import io
import itertools
import logging
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
from typing import Any

import numpy as np
import torch
from tests.guard.checks import HIDDEN
from tests.guard.refused_steps import RANDOM, READS, SETS, new
from tests.guard.refused_steps import refused as _refused
from tests.guard.refused_steps import refused_object as _refused_object
from torch import Tensor

refused = functools.partial(_refused, file=__file__)
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
    "return h, new(x, h) * (0.5 if asyncio._get_running_loop() else 2.0)",
)
def event_loop(x, h):
    return h, new(x, h) * (0.5 if asyncio._get_running_loop() else 2.0)


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


@refused("it turns a dict into text, whose changes no guard sees", 'return h, new(x, h) * len(f"{FUSED}")')
def text_of_a_dictionary(x, h):
    return h, new(x, h) * len(f"{FUSED}")


@refused(f"it formats the number of rows of the batch as text{CANNOT}", 'return h, new(x, h) * len(f"{len(x):b}")')
def rows_in_a_form(x, h):
    return h, new(x, h) * len(f"{len(x):b}")


@refused(f"it turns a Vector into text{CANNOT}", 'return h, new(x, h) * len(f"{Vector(h)}")')
def text_of_an_object(x, h):
    return h, new(x, h) * len(f"{Vector(h)}")


@refused(READS, 'return h, new(x, h) * len(f"{h[0, 0].item():.2f}")')
def text_of_a_number(x, h):
    return h, new(x, h) * len(f"{h[0, 0].item():.2f}")
