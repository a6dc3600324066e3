"""Products with Jacobians of steps that have no forward-mode derivative, against autograd's whole Jacobian."""

import numpy as np
import pytest
import torch
from torch import nn

import unrolled
from unrolled.insight import jacobian_products as ways
from unrolled.insight.lyapunov import lyapunov_exponents

N, ROWS = 5, 3


class _Bent(torch.autograd.Function):
    """tanh, as one writes it by hand: neither a forward-mode derivative nor a rule for vmap."""

    @staticmethod
    def forward(ctx, x):
        result = x.tanh()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, gradient):
        [result] = ctx.saved_tensors
        return gradient * (1 - result * result)


class _Outside(_Bent):
    """The same; its backward is computed where autograd does not see it."""

    @staticmethod
    def backward(ctx, gradient):
        [result] = ctx.saved_tensors
        return torch.from_numpy(gradient.detach().numpy() * (1 - np.square(result.detach().numpy())))


class _Once(_Bent):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        [result] = ctx.saved_tensors
        return gradient * (1 - result * result)


_weight = torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / N**0.5
_centers = torch.randn(N, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
# what it computes; whether two backwards do
STEPS = {
    "plain": (lambda h: torch.tanh(h @ _weight.to(h)), True),
    "custom": (lambda h: _Bent.apply(h @ _weight.to(h)), True),
    "custom, once": (lambda h: _Once.apply(h @ _weight.to(h)), False),
    "custom, hidden": (lambda h: _Outside.apply(h @ _weight.to(h)), False),
    "custom, in part hidden": (lambda h: _Outside.apply(h @ _weight.to(h)) + h / 2, False),
    "cdist": (lambda h: torch.tanh(torch.cdist(h, _centers.to(h), p=1.0) / 4) + h / 8, None),
    "a number of its own": (lambda h: h * (0.5 if h.detach().sum().item() > 1e9 else 0.25), True),
    "constant": (torch.zeros_like, True),
}


def _point(dtype):
    generator = torch.Generator().manual_seed(2)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    return draw(ROWS, N), draw(4, ROWS, N)


def _whole(function, point):
    """[rows, numbers, numbers], by one backward for each number."""
    full = torch.autograd.functional.jacobian(function, point)
    return torch.stack([full[row, :, row] for row in range(len(point))])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", STEPS)
def test_products_are_those_of_the_whole_jacobian(name, dtype):
    function, _ = STEPS[name]
    point, directions = _point(dtype)
    [found] = ways.jacobian_products(lambda h: (function(h),), [point], [directions])
    wanted = torch.einsum("rij,krj->kri", _whole(function, point), directions)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", [name for name, (_, has) in STEPS.items() if has is not None])
def test_two_backwards_are_refused_where_they_miss_a_part(name):
    function, has_two = STEPS[name]
    point, directions = _point(torch.float64)
    given = [point.requires_grad_()]
    results = [function(*given)]
    found = ways._by_two_backwards(results, given, [directions])
    assert (found is not None) == has_two
    wanted = torch.einsum("rij,krj->kri", _whole(function, point.detach()), directions)
    torch.testing.assert_close(ways._by_rows(results, given, [directions])[0], wanted)


def test_several_states_each_have_their_part():
    def step(h, c):
        return _Once.apply(h + c[:, :2]), c * 0.5 + h.sum(1, keepdim=True)

    generator = torch.Generator().manual_seed(3)
    h, c = (torch.randn(ROWS, n, generator=generator, dtype=torch.float64) for n in (2, 4))
    along = [torch.randn(3, *each.shape, generator=generator, dtype=torch.float64) for each in (h, c)]
    found = ways.jacobian_products(step, [h, c], along)
    plain = lambda h, c: (torch.tanh(h + c[:, :2]), c * 0.5 + h.sum(1, keepdim=True))
    for i in range(3):
        _, wanted = torch.func.jvp(plain, (h, c), tuple(each[i] for each in along))
        torch.testing.assert_close([each[i] for each in found], list(wanted))


def test_what_is_wrong_in_a_step_is_raised():
    def broken(h):
        raise RuntimeError("a sensor is missing")

    with pytest.raises(RuntimeError, match=r"^a sensor is missing$"):
        ways.jacobian_products(broken, [torch.zeros(2, 3)], [torch.zeros(1, 2, 3)])


class _Net(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.inner, self.function = nn.Linear(2, N), STEPS[name][0]

    def forward(self, xs):
        def step(x, h):
            new = self.function(h) + self.inner(x) / 8
            return new, new

        return unrolled.scan(step, xs, torch.zeros(xs.shape[1], N), engine="eager")[0]


# the same steps of torch's own operations
_SMOOTH = {
    "custom": STEPS["plain"][0],
    "custom, once": STEPS["plain"][0],
    "custom, in part hidden": lambda h: torch.tanh(h @ _weight.to(h)) + h / 2,
    "cdist": lambda h: torch.tanh((h[:, None] - _centers.to(h)).abs().sum(2) / 4) + h / 8,
}


@pytest.mark.parametrize("name", _SMOOTH)
def test_a_check_up_takes_every_step_that_has_a_backward(name):
    torch.manual_seed(0)
    net, xs = _Net(name), torch.randn(30, 4, 2)
    found = unrolled.checkup(net, xs).lyapunov
    smooth = lambda x, h: (h, _SMOOTH[name](h) + net.inner(x) / 8)
    wanted = lyapunov_exponents(smooth, xs, torch.zeros(4, N), n=N)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), wanted, rtol=1e-3, atol=1e-3)
