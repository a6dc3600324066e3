"""Rows that have ended, or that never run, add nothing to any gradient, whatever the padding holds.

The steps have functions whose derivatives are infinite or NaN at some numbers, as 0 · NaN is NaN. The oracle runs each
row by itself over the steps that it has.
"""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import unrolled

pytestmark = pytest.mark.filterwarnings(
    "ignore::unrolled.errors.NotFusedWarning",  # a few of the functions do not fuse
    "ignore:The .grad attribute of a Tensor:UserWarning",  # torch's own tracing looks at it
)
WIDTH = 3
FILLS = (0.0, 1.0, -1.0, math.nan, math.inf, 1e30)
#: functions of a row of numbers whose derivatives are not finite at zeros, at ones, at equal numbers or at what the
#: padding holds
STEEP = {
    "norm": lambda z: z / z.norm(dim=-1, keepdim=True),
    "norm squared": lambda z: z / z.square().sum(-1, keepdim=True).sqrt(),
    "normalize": lambda z: F.normalize(z, dim=-1, eps=0.0),
    "sum": lambda z: z / z.sum(-1, keepdim=True),
    "largest": lambda z: z / z.abs().amax(-1, keepdim=True),
    "deviation": lambda z: z / z.std(-1, keepdim=True),
    "variance": lambda z: z * z.var(-1, keepdim=True).rsqrt(),
    "layer norm": lambda z: F.layer_norm(z, (WIDTH,), eps=0.0),
    "logarithm": lambda z: z.abs().log(),
    "root": lambda z: z.abs().sqrt(),
    "cube root": lambda z: z.abs().pow(1 / 3),
    "reciprocal": lambda z: z.reciprocal(),
    "one less": lambda z: 1 / (1 - z),
    "angle": lambda z: torch.atan2(z, z.flip(-1)),
    "arc cosine": lambda z: torch.acos(z.tanh()),
    "arc tangent": lambda z: torch.atanh(z.tanh()),
    "entropy": lambda z: -torch.special.entr(z.sigmoid()) + z.softmax(-1).log(),
    "similarity": lambda z: z * F.cosine_similarity(z, z.flip(-1), dim=-1, eps=0.0).unsqueeze(-1).acos(),
    "distance": lambda z: z / (z - z.flip(-1)).norm(dim=-1, keepdim=True),
}
ARGUMENTS = {
    "input": lambda x, h, w: x,
    "projected": lambda x, h, w: x @ w,
    "state": lambda x, h, w: h,
    "difference": lambda x, h, w: x - h,
    "difference of products": lambda x, h, w: x @ w - h,
    "product": lambda x, h, w: x * h,
}
#: the next state; in "given" it is the input, so that x - h would be 0 in a row that reads its last input once more
NEXT = {
    "activated": lambda x, h, w, z: torch.tanh(h @ w + x + z),
    "added": lambda x, h, w, z: h / 2 + torch.tanh(z) @ w,
    "kept": lambda x, h, w, z: x @ w,
    "given": lambda x, h, w, z: x + 0 * h,
}


class Steep(nn.Module):
    """A step that returns a steep function of an argument."""

    def __init__(self, function, argument, following, w):
        super().__init__()
        self.function, self.argument, self.following, self.w = function, argument, following, w

    def forward(self, x, h):
        z = STEEP[self.function](ARGUMENTS[self.argument](x, h, self.w))
        return z, NEXT[self.following](x, h, self.w, z)


def gradients(run, xs, state, w):
    """Of one number of outputs and last state, to inputs, first state and weights; zeros where there is none."""
    leaves = [*(leaf.clone().requires_grad_() for leaf in (xs, state)), w]
    ys, last = run(*leaves[:2])
    loss = (ys * torch.arange(1, 1 + ys.shape[0], dtype=ys.dtype).view(-1, 1, 1)).sum() + last.square().sum()
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [
        ys.detach(),
        last.detach(),
        *(torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True)),
    ]


def by_itself(step, lengths, *, reverse, resets):
    """Each row by itself over the steps that it has, in a plain loop."""

    def run(xs, state):
        rows, lasts = [], []
        for row, length in enumerate(lengths):
            h, ys = state[row : row + 1], [xs.new_zeros(1, WIDTH)] * xs.shape[0]
            for t in reversed(range(length)) if reverse else range(length):
                if resets is not None and resets[t, row]:
                    h = state[row : row + 1]
                ys[t], h = step(xs[t, row : row + 1], h)
            rows.append(torch.stack(ys))
            lasts.append(h)
        return torch.cat(rows, 1), torch.cat(lasts)

    return run


@st.composite
def cases(draw):
    names = (draw(st.sampled_from(sorted(each))) for each in (STEEP, ARGUMENTS, NEXT))
    longest = draw(st.sampled_from((5, 5, 5, 0)))
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=4))
    options = {name: draw(st.booleans()) for name in ("reverse", "recompute")}
    fills = draw(st.lists(st.sampled_from(FILLS), min_size=len(lengths), max_size=len(lengths)))
    return *names, lengths, fills, draw(st.integers(0, 99)), draw(st.booleans()), options


def _both(case, engine, compiled=lambda run: run, state_of=lambda xs, state, w: state):
    function, argument, following, lengths, fills, seed, has_resets, options = case
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    xs, state = drawn(5, len(lengths), WIDTH), drawn(len(lengths), WIDTH)
    step = Steep(function, argument, following, nn.Parameter(drawn(WIDTH, WIDTH)))
    state = state_of(xs, state, step.w.detach())
    resets = torch.rand(5, len(lengths), generator=generator) < 0.3 if has_resets else None
    for row, (length, fill) in enumerate(zip(lengths, fills, strict=True)):
        xs[length:, row] = fill

    def run(xs, state):
        more = {"lengths": torch.tensor(lengths), "resets": resets, **options}
        return unrolled.scan(step, xs, state, engine=engine, **more)

    exact = gradients(by_itself(step, lengths, reverse=options["reverse"], resets=resets), xs, state, step.w)
    return gradients(compiled(run), xs, state, step.w), exact


def _assert_equal(found, exact):
    torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-9)


def _are_finite(exact):
    return all(each.isfinite().all() for each in exact)  # a row may have a NaN of its own, as of 0/0


@settings(max_examples=150)
@given(cases())
def test_rows_that_do_not_run_give_nothing_to_gradients(case):
    found, exact = _both(case, "eager")
    assume(_are_finite(exact))
    _assert_equal(found, exact)


@settings(max_examples=40)
@given(cases())
def test_nor_where_the_loop_is_fused(case):
    found, exact = _both(case, "auto")
    assume(_are_finite(exact))
    _assert_equal(found, exact)


@pytest.mark.parametrize("has_resets", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("function", "argument", "following", "reverse"),
    [
        ("norm", "input", "activated", False),
        ("norm", "projected", "activated", False),
        ("deviation", "input", "added", True),
        ("root", "state", "given", False),
        ("logarithm", "difference", "given", True),
        ("reciprocal", "difference of products", "kept", False),
    ],
)
def test_nor_within_torch_compile(function, argument, following, reverse, recompute, has_resets):
    """There the loop runs all rows over all steps, with a mask of those that have ended. What is tried is the graph that
    torch gets of it; one function in each direction also goes through Inductor, which takes seconds each time.
    """
    torch.compiler.reset()
    options = {"reverse": reverse, "recompute": recompute}
    lengths = [1, 0, 1] if following == "kept" else [3, 0, 5, 1]  # its second step is 0/0
    fills = [0.0, math.nan, 0.0, math.inf][: len(lengths)]
    case = function, argument, following, lengths, fills, 1, has_resets, options
    is_of_inductor = (function, argument) in {("norm", "projected"), ("logarithm", "difference")}
    backend = "inductor" if is_of_inductor else "aot_eager"
    found, exact = _both(case, "auto", lambda run: torch.compile(run, backend=backend, fullgraph=True))
    assert _are_finite(exact)
    _assert_equal(found, exact)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("compiles", [False, True])
def test_a_row_that_ends_takes_the_step_that_it_begins_with(compiles, recompute):
    """Reversed, that is its last one: of its first input and first state, log(x w - h) has no derivative."""
    torch.compiler.reset()
    options = {"reverse": True, "recompute": recompute}
    case = "logarithm", "difference of products", "kept", [3, 0, 5, 2], [0.0] * 4, 1, False, options
    compiled = (lambda run: torch.compile(run, fullgraph=True)) if compiles else lambda run: run
    found, exact = _both(case, "auto" if compiles else "eager", compiled, lambda xs, state, w: xs[0] @ w)
    assert _are_finite(exact)
    _assert_equal(found, exact)
