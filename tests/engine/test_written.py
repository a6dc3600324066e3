"""Writes in place, by the step and by the caller: a gradient is that of what was computed, or the backward raises."""

import pytest
import torch

import unrolled

MODIFIED = "modified by an inplace operation"
OF_A_VIEW = "has been modified inplace"  # so torch words it of what `unbind` returns


def products(weight):
    return lambda x, h: ((h := torch.tanh(h @ weight + x)), h)


def sums(weight):
    return lambda x, h: ((h := h + x + weight[0]), h)


def squares(weight):
    return lambda x, h: (x * x, torch.sin(x * h) * weight[0])


STEPS = {"products": products, "sums": sums, "squares": squares}


def gradients(name, engine, written=""):
    """Of inputs, state and weight; before the backward one of the tensors is written to."""
    generator = torch.Generator().manual_seed(1)
    number = lambda *shape: torch.randn(shape, generator=generator).double().requires_grad_()
    wanted = [number(3, 2, 4), number(2, 4), number(4, 4)]
    xs, state, weight = (each * 1 for each in wanted)
    ys, last = unrolled.scan(STEPS[name](weight), xs, state, engine=engine)
    total = (ys * 1).sum() + (last * 1).sum()
    with torch.no_grad():
        for each in {"xs": [xs], "state": [state], "weight": [weight], "ys": [ys], "last": [last]}.get(written, []):
            each.add_(1)
    return torch.autograd.grad(total, wanted)


def gradients_if_any(name, engine, written):
    """None where the backward raises of the write."""
    try:
        return gradients(name, engine, written)
    except RuntimeError as fault:
        if MODIFIED not in str(fault) and OF_A_VIEW not in str(fault):
            raise
        return None


@pytest.mark.parametrize("engine", ["fused", "eager"])
@pytest.mark.parametrize("written", ["xs", "state", "weight", "ys", "last"])
@pytest.mark.parametrize("name", STEPS)
def test_a_write_before_the_backward_raises_or_changes_no_gradient(name, written, engine):
    exact, found = gradients(name, engine), gradients_if_any(name, engine, written)
    assert found is not None or written not in ("ys", "last"), "outputs may be changed in place"
    torch.testing.assert_close(found or exact, exact)


@pytest.mark.parametrize("name", STEPS)
def test_outputs_and_what_is_read_are_told_apart(name):
    """Else the test above would hold of a loop that always raises, or that copies all that it reads."""
    gradients(name, "fused", "ys")
    with pytest.raises(RuntimeError, match=MODIFIED):
        gradients(name, "fused", "xs")


def test_a_step_that_writes_what_its_gradient_needs():
    weight = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    xs, state = torch.randn(3, 2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)

    def writes(x, h):
        a = torch.exp(h @ weight)
        b = a * a
        return b, torch.tanh(a.add_(1) + x)

    def does_not(x, h):
        a = torch.exp(h @ weight)
        return a * a, torch.tanh(a + 1 + x)

    with pytest.raises(RuntimeError, match=MODIFIED):
        unrolled.scan(writes, xs, state, engine="eager")[0].sum().backward()
    results = [unrolled.scan(writes, xs, state, engine="fused"), unrolled.scan(does_not, xs, state, engine="eager")]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad(ys.sum(), weight) for ys, _ in results))
