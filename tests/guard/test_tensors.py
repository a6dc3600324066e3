"""Tensors of odd kinds, as inputs, as states and as what a step holds."""

import types

import pytest
import torch
from tests.guard.checks import HIDDEN, outcome, scan_quietly
from torch import Tensor, nn

import unrolled


def negated(*shape: int) -> Tensor:
    """Its memory holds the numbers with the other sign."""
    found = torch.complex(torch.randn(*shape), torch.randn(*shape)).conj().imag
    assert found.is_neg()
    return found


def negated_and_contiguous(*shape: int) -> Tensor:
    return torch._neg_view(torch.randn(*shape))


def without_memory(*shape: int) -> Tensor:
    return torch._efficientzerotensor(shape)


class Doubling(Tensor):
    """Its tanh is twice as large."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        return 2 * result if function is torch.tanh else result


def of_a_subclass(*shape: int) -> Tensor:
    return torch.randn(*shape).as_subclass(Doubling)


KINDS = {
    "plain": torch.randn,
    "negated": negated,
    "negated and contiguous": negated_and_contiguous,
    "without memory": without_memory,
    "of a subclass": of_a_subclass,
    "a parameter": lambda *shape: nn.Parameter(torch.randn(*shape)),
}


def assert_same_as_eager(step, xs, state, **options):
    ours = scan_quietly(step, xs, state, **options)
    theirs = scan_quietly(step, xs, state, engine="eager", **options)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("of_weight", KINDS)
def test_tensors_of_every_kind_one_after_the_other(of_weight):
    """Also where one of the same form that is plain came before."""
    torch.manual_seed(0)
    w = KINDS[of_weight](HIDDEN, HIDDEN)

    def step(x, h):
        h = torch.tanh(x @ w + h)
        return h, h

    with torch.no_grad():
        for _ in range(2):
            for of_inputs in KINDS.values():
                for of_state in KINDS.values():
                    xs, state = of_inputs(3, 2, HIDDEN), of_state(2, HIDDEN)
                    assert_same_as_eager(step, xs, state)
                    assert_same_as_eager(step, xs, state, lengths=torch.tensor([3, 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_cells_and_layers_that_hold_them(kind):
    torch.manual_seed(0)
    cell, layer = nn.GRUCell(HIDDEN, HIDDEN), unrolled.GRU(HIDDEN, HIDDEN)
    weight = KINDS[kind](3 * HIDDEN, HIDDEN)
    if not isinstance(weight, Doubling):
        cell.weight_ih = layer.weight_ih_l0 = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
    xs = torch.randn(3, 2, HIDDEN)
    with torch.no_grad():
        for _ in range(2):
            assert_same_as_eager(cell, xs, torch.zeros(2, HIDDEN))
            output = layer(xs)[0]
            torch.testing.assert_close(output, nn.GRU.forward(layer, xs)[0], rtol=1e-5, atol=1e-6)


def test_a_weight_whose_memory_was_freed_raises_as_the_loop_does():
    w = torch.ones(HIDDEN, HIDDEN)

    def step(x, h):
        h = torch.tanh(x @ w + h)
        return h, h

    xs, state = torch.randn(3, 2, HIDDEN), torch.zeros(2, HIDDEN)
    assert_same_as_eager(step, xs, state)
    w.untyped_storage().resize_(0)
    for engine in ("auto", "eager"):
        with pytest.raises(RuntimeError, match="not allocated"):
            unrolled.scan(step, xs, state, engine=engine)


READS = {
    "imag": lambda q: q.imag,
    "real": lambda q: q.real,
    "view_as_real": lambda q: torch.view_as_real(torch.resolve_conj(q))[..., 1],
    "conj": lambda q: q.conj().imag,
    "product": lambda q: (q * q[:1]).imag,
    "matmul": lambda q: (q @ q.mT @ q).imag,
    "angle": lambda q: q.angle(),
    "parts": lambda q: torch.stack([q.real, q.imag]).sum(0),
    "polar": lambda q: torch.polar(q.abs().double(), q.angle().double()).imag.to(q.real.dtype),
}


@pytest.mark.parametrize("read", READS)
def test_conjugated_tensors_that_a_step_reads(read):
    """Remembered too, and after one that is not conjugated."""
    numbers = torch.randn(2, HIDDEN, dtype=torch.complex64)
    held = [numbers.conj()]

    def step(x, h):
        h = torch.tanh(x + h + READS[read](held[0]))
        return h, h

    xs, state = torch.randn(3, 2, HIDDEN), torch.zeros(2, HIDDEN)
    for q in (numbers.conj(), numbers, numbers.conj(), numbers.flip(0).conj()):
        held[0] = q
        for _ in range(2):
            assert_same_as_eager(step, xs, state)
    numbers.mul_(0.5)
    assert_same_as_eager(step, xs, state)


def test_functions_of_one_code_with_other_globals():
    """As a notebook's cell, or a file, that is run in two dictionaries."""
    code = compile("def step(x, h):\n    h = torch.tanh(x + h) * rate\n    return h, h", "<cell>", "exec")
    spaces = [{"torch": torch, "rate": rate} for rate in (0.5, 0.25)]
    for space in spaces:
        exec(code, space)
    xs, state = torch.randn(3, 2, HIDDEN), torch.zeros(2, HIDDEN)
    for space in spaces + spaces:
        assert_same_as_eager(space["step"], xs, state)
    box = [spaces[0]["step"]]
    for space in spaces + spaces:
        box[0] = space["step"]
        assert_same_as_eager(lambda x, h: box[0](x, h), xs, state)
    other = types.FunctionType(spaces[0]["step"].__code__, {"torch": torch, "rate": 2.0})
    assert_same_as_eager(other, xs, state)


def test_two_functions_of_one_code_in_one_step():
    code = compile("def part(x, h):\n    return torch.tanh(x + h) * rate\n", "<cell>", "exec")
    spaces = [{"torch": torch, "rate": rate} for rate in (0.5, 0.25)]
    for space in spaces:
        exec(code, space)
    one, other = (space["part"] for space in spaces)

    def step(x, h):
        return one(x, h), other(x, h)

    xs, state = torch.randn(3, 2, HIDDEN), torch.zeros(2, HIDDEN)
    for _ in range(2):
        assert_same_as_eager(step, xs, state)
    reason = unrolled.explain(step, xs, state).reason
    assert reason == 'it calls two functions of one code that have different globals ("<cell>", line 1)'


@pytest.mark.parametrize(
    "read", [lambda t: t.sum(1, keepdim=True), lambda t: t.amax(1, keepdim=True), lambda t: t.softmax(1)[:, :1]]
)
def test_widths_of_a_tensor_by_sequence_that_change_often(read):
    """A graph that leaves sizes open serves each width by a plan of its own."""
    held = [torch.ones(1)]

    def step(x, h):
        h = torch.tanh(x + h * read(held[0] + h.mean(1, keepdim=True)))
        return h, h

    for n_rows, width in [(2, 5), (2, 7), (2, 5), (3, 7), (3, 6), (3, 1), (3, 7)]:
        held[0] = torch.randn(n_rows, width)
        assert_same_as_eager(step, torch.randn(3, n_rows, HIDDEN), torch.zeros(n_rows, HIDDEN))


@pytest.mark.parametrize("read", [lambda t: t.shape[0], len, lambda t: t.numel(), lambda t: t[-2:].sum().item() + 1])
def test_sizes_of_a_held_tensor_that_change_often(read):
    """Two steps of one form: what is learnt of one must not be taken for the other."""
    held = [torch.ones(3)]

    def one(x, h):
        h = torch.tanh(x + h) / read(held[0])
        return h, h

    def other(x, h):
        h = torch.sigmoid(x - h) / read(held[0])
        return h, h

    xs, state = torch.randn(3, 2, HIDDEN), torch.zeros(2, HIDDEN)
    for size in (3, 5, 7, 9, 3, 11):
        held[0] = torch.ones(size)
        for step in (one, other):
            assert_same_as_eager(step, xs, state)


def test_a_branch_on_what_a_single_row_is():
    """Strides, gradients and parameters matter with one row as with many."""

    def step(x, h):
        h = torch.tanh(x + h) * (2.0 if h.requires_grad else 0.5)
        return h, h

    for needs in (False, True):
        xs, state = torch.randn(3, 1, HIDDEN, requires_grad=needs), torch.zeros(1, HIDDEN)
        ours, theirs = (outcome(step, xs, state, engine=engine) for engine in ("auto", "eager"))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)
