"""A mode of torch or of Python around a first call prevents no capture, nor does it stay with the step."""

import contextlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.guard.checks import HIDDEN, INPUT
from tests.plans import forget_plans

import unrolled
from unrolled.cells import GRU
from unrolled.engine.cache import disk


@contextlib.contextmanager
def between(on: Callable[[], Any], off: Callable[[], Any]):
    on()
    try:
        yield
    finally:
        off()


@contextlib.contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def deterministic(*, warn_only: bool) -> Any:
    set_to = torch.use_deterministic_algorithms
    return between(lambda: set_to(True, warn_only=warn_only), lambda: set_to(False))


MODES: dict[str, Callable[[], Any]] = {
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "anomaly without a look for nan": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "deterministic": lambda: deterministic(warn_only=False),
    "deterministic, warns": lambda: deterministic(warn_only=True),
    "a default device": lambda: between(
        lambda: torch.set_default_device("cpu"), lambda: torch.set_default_device(None)
    ),
    "a device": lambda: torch.device("cpu"),
    "default dtype": lambda: between(
        lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)
    ),
    "backward in one thread": lambda: torch.autograd.set_multithreading_enabled(False),
    "no hooks on saved tensors": lambda: torch.autograd.graph.disable_saved_tensors_hooks("none here"),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "warnings as errors": warnings_as_errors,
    "torch.compile set to eager": lambda: torch.compiler.set_stance("force_eager"),
    "torch.compile set to fail": lambda: torch.compiler.set_stance("fail_on_recompile"),
    "checks of sparse tensors": torch.sparse.check_sparse_tensor_invariants,
    "a tracer": lambda: between(lambda: sys.settrace(lambda *_: None), lambda: sys.settrace(None)),
    "parametrizations kept": torch.nn.utils.parametrize.cached,
    "attention by its definition": lambda: torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    "autocast that is off": lambda: torch.autocast("cpu", enabled=False),
    "shallow recursion": lambda: between(lambda: sys.setrecursionlimit(400), lambda: sys.setrecursionlimit(1000)),
    "denormals flushed": lambda: between(
        lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)
    ),
}


WEIGHT = torch.linspace(-1, 1, HIDDEN * HIDDEN, dtype=torch.float64).view(HIDDEN, HIDDEN).requires_grad_()
CELL = torch.nn.GRUCell(INPUT, HIDDEN, dtype=torch.float64)


def plain(x, h):
    h = torch.tanh(h @ WEIGHT + x.sum(1, keepdim=True))
    return h, h


def making(x, h):
    h = torch.tanh(h + torch.ones(HIDDEN, dtype=h.dtype) + torch.zeros_like(h) + x.sum(1, keepdim=True))
    return h, h


def of_torch(x, h):
    h = CELL(x, h)
    return h, h


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("step", [plain, making, of_torch, GRU(INPUT, HIDDEN).double()])
def test_a_first_call_within_a_mode_fuses(name, step, monkeypatch):
    monkeypatch.setattr(disk, "load", lambda _: None)  # all is made anew, as by the first call of all
    monkeypatch.setattr(disk, "save", lambda *_: None)
    forget_plans()
    xs, h = torch.randn(3, 2, INPUT, dtype=torch.float64), torch.zeros(2, HIDDEN, dtype=torch.float64)
    with MODES[name]():
        ys, _ = unrolled.scan(step, xs, h, engine="fused")
    torch.testing.assert_close(ys, unrolled.scan(step, xs, h, engine="eager")[0], rtol=1e-10, atol=1e-10)
    found = unrolled.explain(step, xs, h)
    assert found.path == "fused", found.reason
