"""A step that was captured with gradients is not captured again without them, unless it asks for them."""

import inspect
import operator
import warnings

import pytest
import torch
from tests.guard.checks import assert_same, scan_quietly
from torch import nn
from torch.utils.checkpoint import checkpoint

import unrolled
from unrolled.engine import reasons
from unrolled.engine.step import capture, grad_mode, guarded
from unrolled.engine.step.origin import ORIGIN
from unrolled.errors import NotFusedWarning

SCALE = 2.0


def _of_torch():
    """Functions of torch, by name, that answer something else without gradients."""
    found = {}
    for space in (torch, torch._C, torch.autograd, torch.autograd.grad_mode, torch.autograd.graph):
        for name in dir(space):
            if not name.startswith(("is_", "_is_", "has_", "_has_")):
                continue
            try:
                with torch.enable_grad():
                    taken = getattr(space, name)()
                with torch.no_grad():
                    without = getattr(space, name)()
            except (TypeError, RuntimeError, AttributeError, AssertionError, ImportError):
                continue  # it takes arguments, or there is no such device
            if isinstance(taken, bool) and taken != without:
                found[f"{space.__name__}.{name}"] = getattr(space, name)
    return found


def within(context):
    def asks(h):
        with context():
            doubled = h * 2
        return doubled.requires_grad

    return asks


def on_the_way_out(h):
    with torch.no_grad():
        pass
    return torch.is_grad_enabled()


def set_and_put_back(h):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    doubled = h * 2
    torch.set_grad_enabled(before)
    return (doubled * h).requires_grad


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # some are deprecated
    FUNCTIONS = _of_torch()
attribute = "requires_grad"
ASKS = {
    **{name: lambda h, function=function: function() for name, function in FUNCTIONS.items()},
    "attribute": lambda h: h.requires_grad,
    "getattr": lambda h: getattr(h, attribute),
    "getattr with a default": lambda h: getattr(h, attribute, False),
    "attrgetter": operator.attrgetter(attribute),
    "descriptor": lambda h: torch.Tensor.requires_grad.__get__(h),
    "of a computed one": lambda h: (h * 2).sum().requires_grad,
    "within no_grad": within(torch.no_grad),
    "within enable_grad": within(torch.enable_grad),
    "after no_grad": on_the_way_out,
    "set and put back": set_and_put_back,
    "by torch.no_grad around a function": lambda h: (
        torch.no_grad()(lambda a: a * 2)(h).requires_grad or h.requires_grad
    ),
    "of a leaf": lambda h: not h.is_leaf,
    "descriptor of a leaf": lambda h: not torch.Tensor.is_leaf.__get__(h),
    "of its function": lambda h: h.grad_fn is not None,
    "all at once": lambda h: any(each.requires_grad for each in (h, h * 2)),
}


def arguments(size):
    return torch.full((3, 2, 4), size, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)


def assert_right_without_gradients(asks):
    """Numbers that tell come after the first calls, in which graph and step are compared."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.float64))

    def step(x, h):
        h = h * 0.5 + x * weight
        return (h.clamp(max=3.0) if asks(h) else h), h

    for _ in range(2):
        scan_quietly(step, *arguments(0.5))
        with torch.no_grad():
            for size in (0.5, 0.6, 7.0):
                given = arguments(size)
                ours, theirs = scan_quietly(step, *given), unrolled.scan(step, *given, engine="eager")
                assert torch.equal(ours[0], theirs[0])
                assert torch.equal(ours[1], theirs[1])


def test_there_is_a_function_that_asks():
    assert "torch.is_grad_enabled" in FUNCTIONS


@pytest.mark.parametrize("name", ASKS)
def test_a_step_that_asks_is_right_with_and_without(name, monkeypatch):
    monkeypatch.setattr(guarded, "gives_the_same", lambda *_: True)  # the guards are to see it by themselves
    assert_right_without_gradients(ASKS[name])


@pytest.mark.parametrize("name", ["torch.is_grad_enabled", "attribute", "of a computed one"])
def test_a_question_that_is_not_seen_is_noticed(name, monkeypatch):
    monkeypatch.setattr(grad_mode.GradMode, "matters", lambda *_: False)
    monkeypatch.setattr(guarded, "gives_the_same", lambda *_: True)
    with pytest.raises(AssertionError):
        assert_right_without_gradients(ASKS[name])


@pytest.fixture
def captures(monkeypatch):
    """The mode of each capture of a step."""
    find, modes = guarded._find(), []

    def found(*given):
        modes.append(torch.is_grad_enabled())
        return find(*given)

    monkeypatch.setattr(guarded, "_find", lambda: found)
    return modes


def test_a_step_that_is_trained_and_evaluated_is_captured_once(captures):
    layer = nn.Linear(4, 4).double()

    def step(x, h):
        h = torch.tanh(layer(x) + h) * SCALE
        return h, h

    for mode in (torch.enable_grad, torch.no_grad, torch.enable_grad, torch.no_grad):
        with mode():
            given = arguments(0.3)
            ours, theirs = (unrolled.scan(step, *given, engine=engine) for engine in ("fused", "eager"))
            assert_same(list(ours), list(theirs))
            assert ours[0].requires_grad == theirs[0].requires_grad
    assert captures == [True]


def test_a_change_is_seen_without_gradients_too(captures, monkeypatch):
    step = lambda x, h: (h, torch.tanh(x + h) * SCALE)
    given = arguments(0.3)
    unrolled.scan(step, *given, engine="fused")
    with torch.no_grad():
        for scale in (2.0, 3.0, 4.0):
            monkeypatch.setitem(globals(), "SCALE", scale)
            ours, theirs = (unrolled.scan(step, *given, engine=engine) for engine in ("fused", "eager"))
            assert_same(list(ours), list(theirs))
    assert captures == [True, False, False]


def test_a_graph_that_gives_something_else_without_gradients_is_captured_anew(captures, monkeypatch):
    monkeypatch.setattr(grad_mode.GradMode, "matters", lambda *_: False)
    step = lambda x, h: (h, torch.tanh(x + h) * (0.5 if torch.is_grad_enabled() else 0.25))
    given = arguments(0.3)
    for mode in (torch.enable_grad, torch.no_grad, torch.enable_grad, torch.no_grad):
        with mode():
            ours, theirs = (unrolled.scan(step, *given, engine=engine) for engine in ("fused", "eager"))
            assert_same(list(ours), list(theirs))
    assert captures == [True, False]


def test_a_checkpoint_within_a_step_is_right_with_and_without():
    step = lambda x, h: (h, checkpoint(lambda a: torch.tanh(a + x), h, use_reentrant=False))
    given = arguments(0.3)
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            ours, theirs = scan_quietly(step, *given), unrolled.scan(step, *given, engine="eager")
            assert_same(list(ours), list(theirs))


def miss_all_but_the_mode(monkeypatch):
    """Guards that hold whatever a step reads."""
    guarded.forget()
    make = capture.Guarded.__init__

    def made(self, *given):
        self.mode = torch.is_grad_enabled()
        make(self, *given)

    monkeypatch.setattr(capture.Guarded, "__init__", made)
    monkeypatch.setattr(capture.Guarded, "holds", lambda self, *_: torch.is_grad_enabled() is self.mode)
    monkeypatch.setattr(reasons, "is_strict", False)


@pytest.mark.parametrize("first", [torch.enable_grad, torch.no_grad])
def test_a_change_that_guards_missed_in_one_mode_is_caught_in_the_other(first, monkeypatch):
    miss_all_but_the_mode(monkeypatch)
    of, given = [0.5], arguments(0.3)
    step = lambda x, h: (h, torch.tanh(h * of[0] + x))
    modes = [torch.enable_grad, torch.no_grad] if first is torch.enable_grad else [torch.no_grad, torch.enable_grad]
    for mode in (torch.enable_grad, torch.no_grad):
        for _ in range(12):  # after which it is compared at few calls
            with mode():
                unrolled.scan(step, *given)
    of[0] = 0.25
    with modes[0](), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFusedWarning)
        for _ in range(20):
            unrolled.scan(step, *given)
    with modes[1](), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFusedWarning)
        ours, theirs = (unrolled.scan(step, *given, engine=engine) for engine in ("auto", "eager"))
    assert_same(list(ours), list(theirs))


def test_what_guards_missed_once_is_compared_at_each_call_without_gradients_too(monkeypatch):
    miss_all_but_the_mode(monkeypatch)
    of, given = [0.5], arguments(0.3)
    step = lambda x, h: (h, torch.tanh(h * of[0] + x))
    unrolled.scan(step, *given)
    of[0] = 0.25
    with pytest.warns(NotFusedWarning, match="did not see"):
        unrolled.scan(step, *given)
    with torch.no_grad():
        for _ in range(12):
            unrolled.scan(step, *given)
        of[0] = 0.75
        with pytest.warns(NotFusedWarning, match="did not see"):
            ours = unrolled.scan(step, *given)
    assert_same(list(ours), list(unrolled.scan(step, *given, engine="eager")))


def _kept_with_tensors():
    """Data of torch's tensors, by name, and by each way of a class to read it."""
    found = {}
    for name in sorted(ORIGIN):
        kept = inspect.getattr_static(torch.Tensor, name)
        if not callable(kept):
            found[f"{name} of an attribute"] = operator.attrgetter(name)
            found[f"{name} of a class"] = lambda h, kept=kept: kept.__get__(h)
    return found


KEPT = _kept_with_tensors()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("name", KEPT)
def test_what_a_capture_tells_of_its_own_tensors_is_refused(name):
    read = KEPT[name]
    step = lambda x, h: (h, h * x if read(h) is None else h + x)
    if name.startswith("is_leaf"):
        step = lambda x, h: (h, h * x if read(h) else h + x)
    found = unrolled.explain(step, *arguments(0.5))
    assert found.path == "eager"
