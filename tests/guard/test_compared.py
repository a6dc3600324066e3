"""The net below the guards: a graph is compared with its step at the first calls, and at ever rarer ones after."""

import random
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from tests.guard.changes import CHANGES
from tests.guard.checks import Case, assert_as_eager, assert_change_is_seen
from tests.guard.test_sabotage import SABOTAGE, by_gradient, with_and_without_gradients
from tests.plans import forget_plans

import unrolled
from unrolled.engine import reasons
from unrolled.engine.cache import disk
from unrolled.engine.reasons import NotTraceable
from unrolled.engine.step import compared, found, guarded, verify
from unrolled.engine.step.found import Leaves
from unrolled.errors import NotFusedWarning


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing that is made here is used by others, and what the net catches is mended as it is for users."""
    monkeypatch.setattr(disk, "save", lambda *_: None)
    monkeypatch.setattr(reasons, "is_strict", False)
    forget_plans()
    yield
    forget_plans()


#: a graph calls methods of tensors by their names, as the step does: it gets the new one too
BY_NAME = {"methods of tensors"}


@pytest.mark.parametrize("name", sorted(SABOTAGE.keys() - BY_NAME))
def test_what_guards_miss_is_caught(name, monkeypatch, patch):
    """Each kind of guard is dropped in turn, and a change that it alone would see is still seen."""
    sabotage, row = SABOTAGE[name]
    sabotage(monkeypatch)
    assert_change_is_seen(CHANGES[row](patch))


def test_what_a_variant_would_show_is_caught(monkeypatch):
    right = Leaves.examples
    monkeypatch.setattr(Leaves, "examples", lambda self, n_rows, *, is_variant=False: right(self, n_rows))
    with_and_without_gradients(by_gradient)


def miss_all(monkeypatch):
    """Guards that always hold."""
    monkeypatch.setattr(found.Found, "holds", lambda self, *_: not self.is_wrong)


def scaled_by(box):
    def step(x, h):
        h = torch.tanh(h * box[0] + x.sum(1, keepdim=True))
        return h, h

    return step


def test_a_miss_is_told_and_the_step_is_compared_at_every_call_from_then_on(monkeypatch):
    miss_all(monkeypatch)
    box = [0.5]
    step, seen = scaled_by(box), []
    right = compared.gives_the_same
    monkeypatch.setattr(guarded, "gives_the_same", lambda *given: seen.append(1) or right(*given))
    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    box[0] = 0.25
    with pytest.warns(NotFusedWarning) as told:
        ys, _ = unrolled.scan(step, xs, h)
    assert [str(each.message) for each in told] == [
        "scan: the step scaled_by.<locals>.step gives something else than before, and its guards did not see the "
        "change. It was captured anew, and is compared at each call now; please report it."
    ]
    assert told[0].filename == __file__
    torch.testing.assert_close(ys, unrolled.scan(step, xs, h, engine="eager")[0])
    seen.clear()
    for _ in range(20):
        unrolled.scan(step, xs, h, engine="fused")
    assert len(seen) == 20
    box[0] = 0.75
    with pytest.warns(NotFusedWarning, match="did not see"):
        ys, _ = unrolled.scan(step, xs, h)
    torch.testing.assert_close(ys, unrolled.scan(step, xs, h, engine="eager")[0])


def test_a_miss_is_a_fault_in_the_tests(monkeypatch):
    miss_all(monkeypatch)
    monkeypatch.setattr(reasons, "is_strict", True)
    box = [0.5]
    step = scaled_by(box)
    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    box[0] = 0.25
    with pytest.raises(AssertionError, match="its guards did not see the change"):
        unrolled.scan(step, xs, h)


@pytest.mark.parametrize("changed", [0.75, torch.tensor(0.75, dtype=torch.float64), lambda t: t * 0.25])
def test_a_change_of_what_multiplies_a_state_of_zeros_is_caught(changed, monkeypatch):
    miss_all(monkeypatch)
    of = [0.5]

    def step(x, h):
        h = torch.tanh((of[0](h) if callable(of[0]) else h * of[0]) + x.sum(1, keepdim=True))
        return h, h

    xs, h = Case(step).arguments()
    h = torch.zeros_like(h)
    unrolled.scan(step, xs, h)
    of[0] = changed
    with pytest.warns(NotFusedWarning, match="did not see"):
        ys, _ = unrolled.scan(step, xs, h)
    torch.testing.assert_close(ys, unrolled.scan(step, xs, h, engine="eager")[0])


def test_a_state_is_compared_as_one_that_has_a_gradient(monkeypatch):
    """Which it has at the steps after the first."""
    miss_all(monkeypatch)
    of, w = [lambda t: t], torch.ones(4, dtype=torch.float64, requires_grad=True)

    def step(x, h):
        h = torch.tanh(of[0](h) * w + x.sum(1, keepdim=True))
        return h, h

    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    of[0] = lambda t: t.detach()
    with pytest.warns(NotFusedWarning, match="did not see"):
        unrolled.scan(step, xs, h)
    assert_as_eager(Case(step, wanted=lambda: [w], fuses=False))


def test_what_is_behind_a_captured_tensor_is_not_walked_through(monkeypatch):
    """An encoder's result may have a long history, which costs nothing here."""
    memory = torch.ones(4, dtype=torch.float64, requires_grad=True)
    for _ in range(30_000):
        memory = memory + 0

    def step(x, h):
        h = torch.tanh(h * memory + x.sum(1, keepdim=True))
        return h, h

    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    walked = []
    right = compared._reached
    monkeypatch.setattr(compared, "_reached", lambda *given: walked.append(right(*given)) or walked[-1])
    unrolled.scan(step, xs, h, engine="fused")
    assert len(walked) == 2
    assert all(memory.grad_fn in reached for found in walked for reached in found)


def test_a_graph_that_never_was_the_step_runs_eagerly(monkeypatch):
    """As if torch's capture had read another number than the step does."""
    box = [0.5]
    step = scaled_by(box)
    right = verify.found

    def wrong(*given):
        box[0] = 0.25
        made = right(*given)
        box[0] = 0.5
        return made

    monkeypatch.setattr(guarded, "_find", lambda: wrong)
    monkeypatch.setattr(found.Found, "holds", lambda self, *_: True)
    xs, h = Case(step).arguments()
    for _ in range(2):
        found_path = unrolled.explain(step, xs, h)
        assert (found_path.path, found_path.reason) == (
            "eager", "its graph, as torch captures it, gives something else than the step itself",
        )  # fmt: skip
        assert_as_eager(Case(step, fuses=False))


@pytest.mark.parametrize("training", [False, True])
def test_it_is_done_ever_more_rarely(training, monkeypatch):
    step, calls = scaled_by([0.5]), []
    right = compared.gives_the_same
    monkeypatch.setattr(guarded, "gives_the_same", lambda *given: calls.append(n_calls) or right(*given))
    xs, h = Case(step).arguments()
    n_calls = 0
    while n_calls < 300:
        n_calls += 1
        unrolled.scan(step, xs, h.requires_grad_(training))
    assert calls == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 23, 39, 71, 135, 263]


def draws(x, h):
    h = torch.tanh(h + torch.dropout(x, 0.5, train=True).sum(1, keepdim=True))
    return h, h


@pytest.mark.parametrize("step", [draws, scaled_by([0.5])], ids=["draws", "does not"])
def test_it_leaves_nothing(step):
    """Random states, inputs, gradients, hooks on saved tensors: as if there were no net."""
    xs, h = Case(step).arguments()
    xs.requires_grad_()
    unrolled.scan(step, xs, h)
    saved, before = [], (xs.detach().clone(), h.clone())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.shape) or tensor, lambda t: t):
        ys, _ = unrolled.scan(step, xs, h)
    n_saved, drawn = len(saved), (torch.rand(1), random.random(), np.random.rand())
    saved.clear()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with (
        pytest.MonkeyPatch.context() as patch,
        torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.shape) or tensor, lambda t: t),
    ):
        patch.setattr(guarded, "gives_the_same", lambda *_: True)
        others, _ = unrolled.scan(step, xs, h)
    assert drawn == (torch.rand(1), random.random(), np.random.rand())
    assert n_saved == len(saved)
    assert torch.equal(ys, others)
    assert torch.equal(xs, before[0])
    assert torch.equal(h, before[1])
    assert xs.grad is None


def test_a_step_that_draws_is_not_compared(monkeypatch):
    monkeypatch.setattr(guarded, "gives_the_same", lambda *_: pytest.fail("it was compared"))
    xs, h = Case(draws).arguments()
    for _ in range(3):
        unrolled.scan(draws, xs, h, engine="fused")


def test_no_random_state_is_touched(monkeypatch):
    """Which other threads draw from too."""
    step = scaled_by([0.5])
    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    for where, names in {torch: ("set_rng_state",), random: ("setstate",), np.random: ("set_state",)}.items():
        for name in names:
            monkeypatch.setattr(where, name, lambda *_: pytest.fail("a random state was set"))
    for _ in range(3):
        unrolled.scan(step, xs, h)


@pytest.mark.parametrize("n_calls_before", [0, 1, 5])
def test_weights_that_another_thread_trains_are_no_change(n_calls_before, monkeypatch):
    w = torch.ones(4, dtype=torch.float64)

    def step(x, h):
        h = torch.tanh(h * w + x.sum(1, keepdim=True))
        return h, h

    xs, h = Case(step).arguments()
    for _ in range(n_calls_before):
        unrolled.scan(step, xs, h)
    right = compared._apart
    monkeypatch.setattr(compared, "_apart", lambda leaves: w.add_(0.5) is not None and right(leaves))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unrolled.scan(step, xs, h, engine="fused")
    assert w[0] > 1


def test_a_gradient_that_cannot_be_taken_is_no_fault_of_the_call(monkeypatch):
    """As of weights that another thread writes into meanwhile, or of an operation that has none."""

    def written(*_):
        raise RuntimeError("one of the variables needed for gradient computation has been modified")

    step = scaled_by([0.5])
    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    monkeypatch.setattr(compared, "_gradients", written)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unrolled.scan(step, xs, h, engine="fused")
    miss_all(monkeypatch)
    box = [0.5]
    step = scaled_by(box)
    unrolled.scan(step, xs, h)
    box[0] = 0.25
    with pytest.warns(NotFusedWarning, match="did not see"):
        unrolled.scan(step, xs, h)


@pytest.mark.parametrize("at", [1, 2])
def test_what_a_signal_raises_comes_out(at, monkeypatch):
    """As a limit of time that a handler sets, amid the step or amid its graph."""
    step, right, seen = scaled_by([0.5]), compared._gradients, []

    def interrupted(*given):
        seen.append(1)
        if len(seen) == at:
            raise TimeoutError("too late")
        return right(*given)

    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    monkeypatch.setattr(compared, "_gradients", interrupted)
    with pytest.raises(TimeoutError, match="too late"):
        unrolled.scan(step, xs, h)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unrolled.scan(step, xs, h, engine="fused")


def test_a_warning_that_was_shown_is_not_shown_again(recwarn):
    warnings.simplefilter("default")
    step = scaled_by([0.5])
    xs, h = Case(step).arguments()
    unrolled.scan(step, xs, h)
    recwarn.clear()
    for _ in range(5):
        warnings.warn("of the user's own", UserWarning, stacklevel=1)
        unrolled.scan(step, xs, h)
    assert len(recwarn) == 1


def test_what_is_kept_is_put_in_order_by_several_threads_at_once(monkeypatch):
    """Each of whom has found its graph, while others drop and move what is kept."""
    monkeypatch.setattr(guarded, "_MOST", 40)
    faults, founds = [], [found.Found(None, NotTraceable("no graph"), ()) for _ in range(60)]

    def work(at):
        try:
            for i in range(5000):
                guarded._keep((7 * at + i) % 11, founds[(13 * at + 3 * i) % len(founds)])
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
    assert not faults
    assert all(0 < len(each) <= guarded._MOST_GRAPHS for each in guarded._captures.values())
