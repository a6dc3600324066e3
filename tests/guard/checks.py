"""The checks that all tests of the guard share.

The oracle is `engine="eager"` on the same object. A case is a step with all that a call of it needs; a change is a function
without arguments. Whatever path is taken, results and gradients must equal the oracle's, and a reason must be true.
"""

import contextlib
import re
import signal
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import unrolled
from unrolled.errors import NotFusedError, NotFusedWarning

INPUT, HIDDEN = 3, 4
FORBIDDEN = re.compile(
    r"AttributeError|IndexError|KeyError|1203400007|1417300658|10007|10,007|FakeTensor|SymInt|\bs\d+\b|(?<!weakref\.)proxy|dynamo|Unsupported|"
    r"fullgraph|torch\.compile|InternalTorch|__\w+_\d+__|\bL\['|<eval_with_key>",
    re.IGNORECASE,
)
ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)


@dataclass
class Case:
    """A step with all that a call of it needs.

    Attributes:
        step: the step.
        change: what is done between two calls.
        wanted: tensors whose gradients are compared; read anew at each run, as a change may exchange them.
        fuses: the step must be fused before the change.
        visible: the eager result, or a gradient of it, must change; else the case would test nothing.
        raises: after the change the plain loop raises, and so must the scan.
        inputs, state: other sizes than [3, 2, INPUT] and [2, HIDDEN].
        dtype: of inputs and state.
    """

    step: Callable
    change: Callable[[], Any] = lambda: None
    wanted: Callable[[], Iterable[Tensor]] = field(default=lambda: ())
    fuses: bool = True
    visible: bool = True
    raises: bool = False
    inputs: tuple[int, ...] = (3, 2, INPUT)
    state: Any = (2, HIDDEN)
    dtype: torch.dtype = torch.float64

    def arguments(self) -> tuple[Any, Any]:
        """Inputs and state, the same at each call."""
        numbers = torch.Generator().manual_seed(3)
        draw = lambda shape: torch.randn(shape, generator=numbers, dtype=torch.float64).to(self.dtype)
        is_shape = lambda leaf: isinstance(leaf, tuple) and all(isinstance(n, int) for n in leaf)
        return draw(self.inputs), pytree.tree_map(draw, self.state, is_leaf=is_shape)


def parameters_of(step: Callable) -> Callable[[], Iterable[Tensor]]:
    """`wanted` of a step that is a module."""
    assert isinstance(step, nn.Module)
    return lambda: [p for p in step.parameters() if p.requires_grad]


@contextlib.contextmanager
def quiet():
    """A fall-back's warning is expected here; each test of it asks for it by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFusedWarning)
        yield


def scan_quietly(step: Callable, xs: Any, state: Any, **options: Any) -> Any:
    """A scan whose fall-back may warn."""
    with quiet():
        return unrolled.scan(step, xs, state, **options)


@contextlib.contextmanager
def at_most(seconds: int):
    """Fails where the body takes longer; a call that never ends would else stop the whole run."""

    def stop(*_):
        pytest.fail(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(step: Callable, xs: Any, state: Any, wanted: Sequence[Tensor] = (), engine: str = "auto") -> Any:
    """Outputs, states and gradients of a scan, in one list; or the type of the error that it raises.

    A gradient that is not there counts as zeros. Whether an output requires a gradient is a part of the outcome.
    """

    def leaf_of(leaf: Tensor) -> Tensor:
        return leaf.detach().clone().requires_grad_(leaf.is_floating_point() or leaf.is_complex())

    xs, state = pytree.tree_map(leaf_of, (xs, state))
    try:
        outputs = pytree.tree_leaves(scan_quietly(step, xs, state, engine=engine))
    except NotFusedError:
        raise
    except ERRORS as error:
        return type(error)
    differentiable = [out for out in outputs if out.requires_grad]
    if not differentiable:
        return [*outputs, torch.tensor([False] * len(outputs))]
    numbers = torch.Generator().manual_seed(7)
    total = sum((out * torch.randn(out.shape, generator=numbers, dtype=torch.float64)).sum() for out in differentiable)
    total = total.real if isinstance(total, Tensor) and total.is_complex() else total
    asked = [leaf for leaf in pytree.tree_leaves((xs, state)) if leaf.requires_grad] + list(wanted)
    gradients = torch.autograd.grad(total, asked, allow_unused=True)
    kept = [torch.zeros_like(w) if g is None else g for g, w in zip(gradients, asked, strict=True)]
    return [*(out.detach() for out in outputs), *kept, torch.tensor([out.requires_grad for out in outputs])]


def are_equal(ours: Any, theirs: Any) -> bool:
    """Whether two outcomes are the same but for rounding."""
    try:
        assert_same(ours, theirs)
    except AssertionError:
        return False
    return True


def assert_same(ours: Any, theirs: Any) -> None:
    """Two outcomes are the same but for rounding: of float64, 1e-10 of each tensor's largest value."""
    if isinstance(ours, type) or isinstance(theirs, type):
        assert ours is theirs, f"one run raised: {ours} against {theirs}"
        return
    assert len(ours) == len(theirs)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.dtype == b.dtype, f"leaf {i}"
        rounding = 1e-10 if a.dtype in (torch.float64, torch.complex128) else 2e-5
        largest = b.detach().abs().nan_to_num(0, 0, 0).max().item() if b.numel() and b.dtype.is_floating_point else 1.0
        torch.testing.assert_close(
            a, b, rtol=rounding, atol=rounding * largest, equal_nan=True, msg=lambda text, i=i: f"leaf {i}: {text}"
        )


def assert_reason(explanation: Any, words: str = "") -> None:
    """Fused, or eager with a sentence that a user understands; `words` is a pattern that the sentence must have."""
    assert explanation.path in ("fused", "eager")
    reason = explanation.reason
    if explanation.path == "fused":
        assert reason == ""
        return
    assert len(reason.split()) >= 3, f"no sentence: {reason!r}"
    found = FORBIDDEN.search(re.sub(r'\("[^"]+", line \d+.*\)$', "", reason))  # the line is the user's own
    assert found is None, f"{found.group()!r} is an inner word, in: {reason}"
    assert "\n" not in reason.strip(), f"more than one line: {reason!r}"
    assert reason.count("(") == reason.count(")"), f"cut: {reason}"
    assert not reason.rstrip().endswith((",", ":", "...", "…", " of", " the", " a")), f"cut: {reason}"
    assert re.search(words, reason), f"expected {words!r} in: {reason}"


def assert_as_eager(case: Case, times: int = 1, words: str = "", *, may_raise: bool = False) -> Any:
    """`times` calls equal the plain loop, and what is said of them is true. Returns the plain loop's outcome."""
    xs, state = case.arguments()
    found = [outcome(case.step, xs, state, list(case.wanted())) for _ in range(times)]
    expected = outcome(case.step, xs, state, list(case.wanted()), engine="eager")
    for each in found:
        assert_same(each, expected)
    assert may_raise or not isinstance(expected, type), f"the plain loop raises {expected}: the case tests nothing"
    if not isinstance(expected, type):
        assert_reason(unrolled.explain(case.step, xs, state), words)
    return expected


def assert_change_is_seen(case: Case) -> None:
    """The step is right before a change (twice, so that it is remembered) and after it (twice)."""
    before = assert_as_eager(case, times=2)
    if case.fuses:
        xs, state = case.arguments()
        explanation = unrolled.explain(case.step, xs, state)
        assert explanation.path == "fused", f"a plain step must fuse: {explanation.reason}"
    case.change()
    after = assert_as_eager(case, times=2, may_raise=case.raises)
    if case.visible:
        assert not are_equal(before, after), "the change changes nothing in the plain loop: the case tests nothing"


def slow_but_for(few: Iterable[Any], names: Iterable[Any]) -> list[Any]:
    """Parameters of a test: a sample runs by default, all others with `-m slow`."""
    few, names = list(few), list(names)
    assert all(name in names for name in few), [name for name in few if name not in names]
    return [name if name in few else pytest.param(name, marks=pytest.mark.slow) for name in names]
