"""Settings that all tests share."""

import contextlib
import gc
import itertools
import logging
import os
import sys

import pytest
import torch
from hypothesis import HealthCheck, find, settings
from hypothesis.strategies import none
from torch._dynamo import guards

from unrolled.engine import reasons

# one thread: the tests' tensors are tiny, and two pools that spin on two cores slow each other down a hundredfold
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # more are processes, of which each loads torch

# each child process would compile the package anew, in half a second
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    sys.dont_write_bytecode = False

# the same examples at every run: rounding errors of a few numbers are a matter of luck, and a run must be repeatable
settings.register_profile(
    "here", deadline=None, max_examples=30, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")


gc.disable()  # while modules are loaded and tests collected: nothing of it is freed

# no test cuts the power, so no write need reach the disk; tests of their own check that fsync is called
os.fsync = os.fstat

# an error inside a pass is a bug here, and no reason to run eagerly
reasons.is_strict = True


def pytest_configure(config):
    """Most tests ask for the same bits or for the compiled loop: they run on the CPU where there is a GPU too."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_finish():
    """Modules that are loaded by now are never freed; to traverse them at each full collection takes a tenth of the
    time. Young generations are collected as often as before, at any point of a test.
    """
    find(none(), lambda _: True)  # Hypothesis asks once who holds its random numbers: what is frozen is no answer
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    # pytest gives its handlers to each logger that does not propagate; to this one they make torch describe in JSON all
    # that it compiles
    structured = logging.getLogger("torch.__trace")
    structured.handlers.clear()
    structured.propagate = True
    guards.profile_guard_manager = lambda *_: 0.0  # flushes the processor's caches for a line of a log: 20 ms each time


@pytest.fixture(autouse=True)
def same_draws(request):
    """What a test draws without a seed of its own is the same at every run, as Hypothesis' examples are."""
    # torch.manual_seed notes for GPUs from where it was called, which takes half a millisecond
    is_on_gpu = request.config.option.markexpr == "gpu"
    (torch.manual_seed if is_on_gpu else torch.default_generator.manual_seed)(0)


@pytest.fixture
def interrupted(monkeypatch):
    """A context in which the n-th backward is met by Ctrl-C, which it expects."""

    @contextlib.contextmanager
    def interrupted(n):
        backward, numbers = torch.Tensor.backward, itertools.count(1)

        def stop(loss, *arguments, **options):
            if next(numbers) == n:
                raise KeyboardInterrupt
            return backward(loss, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "backward", stop)
            with pytest.raises(KeyboardInterrupt):
                yield

    return interrupted


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command line in this process: (exit code, standard output, standard error)."""

    from unrolled.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["unrolled", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main.main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return call
