"""What counts as a difference between a captured graph and its step, and what does not."""

import warnings

import pytest
import torch
from tests.guard.checks import Case, assert_as_eager
from tests.guard.test_compared import anew as anew  # each test by itself, and as for users

import unrolled
from unrolled.engine import reasons
from unrolled.engine.step import compared, guarded
from unrolled.engine.step.found import Leaves

NUMBERS = [0.0, -0.0, 1e-30, 1.0, 1e30, float("inf"), -float("inf"), float("nan")]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_no_number_is_taken_for_a_change(number, dtype, monkeypatch):
    """What is not finite is equal to itself."""
    monkeypatch.setattr(reasons, "is_strict", True)

    def step(x, h):
        h = (
            torch.softmax(h * x.sum(1, keepdim=True), 1)
            @ torch.ones(4, 4, dtype=dtype)
            / (x - x).norm(dim=1, keepdim=True)
        )
        return {"y": h, "is_large": h > 1}, h

    case = Case(step, dtype=dtype)
    xs, h = case.arguments()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            unrolled.scan(step, torch.full_like(xs, number), h, engine="fused")


def tells_apart(change):
    """Whether a step that was changed after its capture is told from its graph."""
    box = {"of": lambda t: t}

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True))
        return box["of"](h), h

    leaves = [*Case(step).arguments()]
    xs, h = leaves[0].requires_grad_(), leaves[1].requires_grad_()
    unrolled.scan(step, xs, h)
    [[graph]] = guarded._captures.values()
    form = unrolled.engine.trees.flatten(h)[1]
    one = Leaves([xs[0]], form, [h], form)
    assert compared.gives_the_same(step, graph.graph, [], one)
    box["of"] = change
    return not compared.gives_the_same(step, graph.graph, [], one)


CHANGED = {
    "value": lambda t: t * 1.001,
    "one number": lambda t: t.index_fill(0, torch.tensor([0]), 0.0),
    "not a number": lambda t: t / 0 * 0,
    "infinite": lambda t: t / 0,
    "gradient": lambda t: t.detach(),
    "half the gradient": lambda t: t + t.detach() - t,
    "dtype": lambda t: t.float(),
    "shape": lambda t: t[:, :1],
    "broadcast": lambda t: t.unsqueeze(0),
    "a list": lambda t: [t],
    "two": lambda t: (t, t),
    "no tensor": lambda t: 1.0,
    "None": lambda t: None,
    "raises": lambda t: t @ t,
    "an integer": lambda t: t > 0,
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_step_that_differs_is_told(kind):
    assert tells_apart(CHANGED[kind])


#: the same by other functions of torch, as its capture may write them
UNCHANGED = {
    "the same": lambda t: t,
    "another order": lambda t: (t * 3 + t * 5) * (1 / 8),
    "by rows": lambda t: torch.stack(list(t)),
    "by columns": lambda t: torch.stack([t[:, i] for i in range(t.shape[1])], 1),
    "unbound": lambda t: torch.stack(t.unbind(1), 1),
    "there and back": lambda t: t.mT.mT,
}


@pytest.mark.parametrize("kind", UNCHANGED)
def test_what_has_not_changed_is_not_told(kind):
    assert not tells_apart(UNCHANGED[kind])


#: what torch's capture writes in another way
REWRITTEN = {
    "a power of a negative number": lambda h: (-2) ** torch.round(h),
    "a quotient that is scaled": lambda h: torch.addcdiv(h, h, h + 2, value=0.5),
    "a product that is scaled": lambda h: h.clone().addcmul_(h, h, value=0.5),
    "mixed": lambda h: torch.lerp(h, -h, 0.7),
}


@pytest.mark.parametrize("largest", [1.0, 1e30, 1e300, float("inf")])
@pytest.mark.parametrize("kind", REWRITTEN)
def test_what_the_capture_writes_in_another_way_fuses(kind, largest):
    def step(x, h):
        return REWRITTEN[kind](h), torch.tanh(h + x.sum(1, keepdim=True))

    xs, h = Case(step).arguments()
    for _ in range(2):
        explained = unrolled.explain(step, xs, h * largest)
        assert "its graph" not in explained.reason


TAKEN_APART = {
    "unpacked": lambda w: sum(iter([a * 1 for a in w])),
    "starred": lambda w: torch.add(*w[:2]) + w[2],
    "listed": lambda w: next(iter(w)) + [*w][1] + list(w)[2],
    "zipped": lambda w: [a + b for a, b in zip(w, w, strict=True)][1],
    "numbered": lambda w: next(a for i, a in enumerate(w) if i == 1),
    "summed": sum,
}


@pytest.mark.parametrize("kind", TAKEN_APART)
def test_a_parameter_taken_apart_by_iteration_fuses(kind):
    w = torch.nn.Parameter(torch.randn(3, 4, 4, dtype=torch.float64))

    def step(x, h):
        h = torch.tanh(h @ TAKEN_APART[kind](w) + x.sum(1, keepdim=True))
        return h, h

    xs, h = Case(step).arguments()
    for _ in range(2):
        assert unrolled.explain(step, xs, h).path == "fused"
    assert_as_eager(Case(step, wanted=lambda: [w]))


def test_what_raises_in_both_is_told_once(capfd):
    places = torch.tensor([7])

    def step(x, h):
        return h, h + h[:, places]

    xs, h = Case(step).arguments()
    with pytest.raises(IndexError):
        unrolled.scan(step, xs, h)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", sorted({str(each) for each in vars(torch).values() if isinstance(each, torch.dtype)}))
def test_outputs_of_every_dtype_are_compared(dtype):
    """A step that runs as the loop does is no fault of the net's."""
    warnings.simplefilter("ignore")  # torch's, of numbers that it has on trial; each test has filters of its own
    dtype = getattr(torch, dtype.removeprefix("torch."))

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True))
        return h.abs().to(dtype), h

    xs, h = Case(step).arguments()
    try:
        wanted = unrolled.scan(step, xs, h, engine="eager")
    except (RuntimeError, TypeError) as fault:  # torch cannot make such numbers, or not stack them
        for _ in range(3):
            with pytest.raises(type(fault)):
                unrolled.scan(step, xs, h)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*did not see")
        for _ in range(3):
            ys, last = unrolled.scan(step, xs, h)
    assert ys.dtype == wanted[0].dtype
    torch.testing.assert_close(last, wanted[1])
    assert "its graph" not in unrolled.explain(step, xs, h).reason
