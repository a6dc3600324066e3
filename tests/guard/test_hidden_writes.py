"""Steps that write to a value through an alias without a gradient: what autograd does not see is not fused."""

import pytest
import torch

import unrolled
from unrolled.errors import NotFusedError

WIDTH = 4
HIDDEN = (
    "scan: the step cannot run fused: it writes to what tensor.detach() gave, which is the tensor itself, hidden from "
    "gradients; tensor.detach().clone() is a tensor of its own"
)
ALIASES = {
    "detach": lambda z: z.detach(),
    "torch.detach": torch.detach,
    "view of it": lambda z: z.detach()[:, 1:],
    "of a view": lambda z: z[:, 1:].detach(),
    "turned": lambda z: z.detach().view(-1, 2, 2).transpose(1, 2),
    "split": lambda z: z.detach().split(2, 1)[1],
    "twice": lambda z: z.detach().detach(),
    "bits": lambda z: z.view(torch.int64),
    "bits by name": lambda z: z.view(dtype=torch.int64),
}
WRITES = {
    "method": lambda d, x: d.mul_(2),
    "copy": lambda d, x: d.copy_(torch.ones_like(d)),
    "fill": lambda d, x: d.fill_(1),
    "zero": lambda d, x: d.zero_(),
    "element": lambda d, x: d.__setitem__((slice(None), 0), 3),
    "operator": lambda d, x: d.__iadd__(1),
    "clamp": lambda d, x: d.clamp_(0, 1),
    "masked": lambda d, x: d.masked_fill_(d > 0, 1),
    "function": lambda d, x: torch.nn.functional.threshold_(d, 0, 1),
    "in place": lambda d, x: torch.nn.functional.relu(d, inplace=True),
    "out": lambda d, x: torch.neg(d.clone(), out=d),
}


def both(step):
    torch.manual_seed(0)
    xs, state, weight = (torch.randn(*shape, WIDTH, dtype=torch.float64) for shape in ((3, 2), (2,), (WIDTH,)))
    given = [each.requires_grad_() for each in (xs, state, weight)]
    found = []
    for engine in ("eager", "fused"):
        ys, last = unrolled.scan(lambda x, h: step(x, h, weight), xs, state, engine=engine)
        gradients = torch.autograd.grad(ys.square().sum() + last.sum(), given, allow_unused=True)
        found.append(
            (ys, last, *(torch.zeros_like(a) if g is None else g for a, g in zip(given, gradients, strict=True)))
        )
    return found


#: not of bits, and torch writes no `out` into a part of a tensor where it captures
NUMBERS = {"method", "operator", "clamp", "masked", "function", "in place", "out"}
PARTS = {"view of it", "of a view", "turned", "split"}
PAIRS = [
    (alias, write)
    for alias in ALIASES
    for write in WRITES
    if not (alias.startswith("bits") and write in NUMBERS) and not (alias in PARTS and write == "out")
]


@pytest.mark.parametrize(("alias", "write"), PAIRS)
def test_a_write_that_gradients_do_not_see_is_refused(alias, write):
    def step(x, h, weight):
        z = h @ weight + x
        WRITES[write](ALIASES[alias](z), x)
        return z * h, torch.tanh(z)

    with pytest.raises(NotFusedError) as error:
        both(step)
    assert str(error.value).startswith(HIDDEN)
    assert "test_hidden_writes.py" in str(error.value)


def _own(z, x):
    d = z.detach().clone()
    d.mul_(2)
    return z + d


def _through_tensor(z, x):
    d = z.detach()
    z.add_(d)
    return z * d


def _of_constant(z, x):
    zeros = torch.zeros_like(z)
    zeros.detach().add_(1)
    return z + zeros


def _read(z, x):
    return (z - z.detach().amax(-1, keepdim=True)).exp()


def _result(z, x):
    d = z.detach() * 2
    d.mul_(3)
    return z * d


def _cut_itself(z, x):
    z.detach_()
    return z + x


@pytest.mark.parametrize("change", [_own, _through_tensor, _of_constant, _read, _result, _cut_itself])
def test_others_are_the_loop(change):
    def step(x, h, weight):
        z = change(h @ weight + x, x)
        return z * h, torch.tanh(z)

    eager, fused = both(step)
    torch.testing.assert_close(fused, eager)


LOGICAL = {
    "logical_not_": lambda z, x: z.logical_not_(),
    **{f"logical_{name}_": lambda z, x, name=name: getattr(z, f"logical_{name}_")(x) for name in ("and", "or", "xor")},
}


@pytest.mark.parametrize("name", LOGICAL)
def test_logic_in_place_on_numbers_is_not_fused(name):
    """Torch's gradient passes by it, as if nothing had been written; of conditions there is none."""

    def of_numbers(x, h, weight):
        z = LOGICAL[name](h @ weight, x)
        return z * h, torch.tanh(z)

    def of_conditions(x, h, weight):
        z = LOGICAL[name](h @ weight > 0, x > 0)
        return h, torch.where(z, h @ weight, x)

    with pytest.raises(NotFusedError, match=f"it calls tensor.{name} on numbers"):
        both(of_numbers)
    eager, fused = both(of_conditions)
    torch.testing.assert_close(fused, eager)


def test_an_operation_that_has_no_gradient_is_told():
    def step(x, h):
        d = (h + 1).detach()
        torch.sin(x, out=d)
        return d * h, h + x

    xs, state = torch.ones(3, 2, WIDTH), torch.ones(2, WIDTH)
    unrolled.scan(step, xs, state, engine="eager")
    with pytest.raises(NotFusedError, match="torch cannot trace it as a graph of its own operations"):
        unrolled.scan(step, xs, state, engine="fused")


DETACHED = {
    "state": lambda cell, x, h: (cell(x, h.detach()), h),
    "input": lambda cell, x, h: (cell(x.detach(), h), h),
    "output": lambda cell, x, h: (h, cell(x, h).detach()),
}
LAYERS = {
    "RNNCell": lambda: torch.nn.RNNCell(WIDTH, WIDTH, dtype=torch.float64),
    "GRUCell": lambda: torch.nn.GRUCell(WIDTH, WIDTH, dtype=torch.float64),
    "LSTMCell": lambda: torch.nn.LSTMCell(WIDTH, WIDTH, dtype=torch.float64),
    "LayerNorm": lambda: torch.nn.LayerNorm(WIDTH, dtype=torch.float64),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("where", DETACHED)
def test_a_layer_beside_an_alias_keeps_the_batch_open(where, layer):
    torch.manual_seed(0)
    module = LAYERS[layer]()

    def called(x, h):
        result = module(x + h) if layer == "LayerNorm" else module(x, (h, h) if layer == "LSTMCell" else h)
        return result[0] if layer == "LSTMCell" else result

    def step(x, h, weight):
        y, state = DETACHED[where](called, x, h)
        return y @ weight, torch.tanh(state + x)

    eager, fused = both(step)
    torch.testing.assert_close(fused, eager)


@pytest.mark.parametrize("alias", [each for each in ALIASES if not each.startswith("bits")])
@pytest.mark.parametrize("is_written", [False, True])
def test_in_inference_mode(alias, is_written):
    def step(x, h):
        z = h + x
        d = ALIASES[alias](z)
        if is_written:
            d.mul_(2)
        return z * d.sum(dim=tuple(range(1, d.dim())))[:, None], torch.tanh(z)

    torch.manual_seed(0)
    xs, state = torch.randn(3, 2, WIDTH), torch.randn(2, WIDTH)
    with torch.inference_mode():
        eager = unrolled.scan(step, xs, state, engine="eager")
        if is_written:
            with pytest.raises(NotFusedError) as error:
                unrolled.scan(step, xs, state, engine="fused")
            assert str(error.value).startswith(HIDDEN)
        else:
            torch.testing.assert_close(unrolled.scan(step, xs, state, engine="fused"), eager)
