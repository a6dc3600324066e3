"""Tensors with a row for each sequence that a step captures: the compiled loop against the eager one in float64."""

import functools
import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.assertions import assert_as_exact_as, assert_equal, to_dtype, values_and_gradients
from torch.nn import functional as F

import unrolled
from unrolled.tasks.translate.net import NetSettings, TranslateNet

WIDTH, PLACES, SIZE = 9, 7, 12
WEIGHTS = {"U": (WIDTH, WIDTH), "R": (SIZE, WIDTH), "Q": (WIDTH, SIZE), "v": (1, SIZE), "M": (SIZE, SIZE)}
N_DRAWS = 4


def added(t, x, h):
    h = (x + h @ t["U"] + t["vector"]).tanh()
    return h, h


def scaled_and_joined(t, x, h):
    h = (torch.cat((x, t["vector"] * h, t["memory"][:, 0]), 1) @ torch.cat((t["U"], t["U"], t["R"]))).tanh()
    return h * t["vector"], h


def masked(t, x, h):
    """A dropout mask on the state, and a mask of truth values."""
    h = (x + (h * t["mask"]) @ t["U"]).tanh()
    return h.masked_fill(t["is_off"], 0.5), torch.where(t["is_off"], h, h.sin())


def timed(t, x, h):
    """An Euler step as long as each sequence's layout of time."""
    h = h + t["layout"] * ((x + h @ t["U"]).tanh() - h)
    return h, h


def before_in_and_after(t, x, h):
    x = x * t["vector"] + t["vector"].exp()
    h = (x + h @ t["U"] + t["vector"].sin()).tanh()
    return (h * t["vector"] + x.cos(), t["vector"].mean(0) + h), h


def given_out(t, x, h):
    h = (x + h @ t["U"] + t["vector"]).tanh()
    return (h, t["vector"]), h


def numbered(t, x, h):
    """An embedding of numbers by sequence, and a comparison of them."""
    h = (x + h @ t["U"] + F.embedding(t["number"], t["U"]) + (t["number"] > 1).to(x.dtype).unsqueeze(1)).tanh()
    return h, h


def becomes_the_state(t, x, h):
    return (x + h @ t["U"] + t["vector"]).tanh(), t["vector"].sin()


def _read(t, weights, x, h):
    read = (weights.unsqueeze(1) @ t["memory"]).squeeze(1)
    h = (x + h @ t["U"] + read @ t["R"]).tanh()
    return (h, weights), h


def dot(t, x, h):
    scores = (h @ t["Q"]).unsqueeze(1) @ t["memory"].transpose(1, 2) / SIZE**0.5
    weights = scores.masked_fill(t["is_padding"].unsqueeze(1), -torch.inf).softmax(2)
    return _read(t, weights.squeeze(1), x, h)


def general(t, x, h):
    """Keys made of the memory within the step."""
    keys = F.linear(t["memory"], t["M"])
    scores = torch.einsum("bpa,ba->bp", keys, h @ t["Q"]).masked_fill(t["is_padding"], -1e9)
    return _read(t, scores.softmax(1), x, h)


def additive(t, x, h):
    keys = F.linear(t["memory"], t["M"])
    scores = F.linear(((h @ t["Q"]).unsqueeze(1) + keys).tanh(), t["v"]).squeeze(2)
    return _read(t, scores.masked_fill(t["is_padding"], -torch.inf).softmax(1), x, h)


def additive_by_sums(t, x, h):
    scores = (
        (((h @ t["Q"]).unsqueeze(1) + t["memory"]).tanh() * t["v"]).sum(-1).masked_fill(t["is_padding"], -torch.inf)
    )
    weights = scores.softmax(1)
    h = (x + h @ t["U"] + (weights.unsqueeze(2) * t["memory"]).sum(1) @ t["R"]).tanh()
    return h, h


def asked_after(t, x, h):
    """The state does not depend on what is read."""
    h = (x + h @ t["U"]).tanh()
    weights = torch.bmm(t["memory"], (h @ t["Q"]).unsqueeze(2)).squeeze(2).softmax(1)
    return torch.bmm(weights.unsqueeze(1), t["memory"]).squeeze(1), h


def asked_of_inputs(t, x, h):
    weights = torch.bmm(t["memory"], (x @ t["Q"]).unsqueeze(2)).squeeze(2).softmax(1)
    return _read(t, weights, x, h)


def of_rows_apart(t, x, h):
    """What a memory gives only place by place: a maximum over the places."""
    most = ((h @ t["Q"]).unsqueeze(1) * t["memory"]).amax(1)
    h = (x + h @ t["U"] + most @ t["R"]).tanh()
    return h, h


STEPS = {
    each.__name__: each
    for each in (
        added, scaled_and_joined, masked, timed, before_in_and_after, given_out, numbered, becomes_the_state, dot, general,
        additive, additive_by_sums, asked_after, asked_of_inputs, of_rows_apart,
    )
}  # fmt: skip
SHORT = {"additive_by_sums", "of_rows_apart"}  # float32 alone: each dtype is compiled by itself
IN_ALL_DTYPES = {"added", "masked", "dot"}  # by default


def draw(n_steps, n_rows, seed):
    """Inputs, state, and what a step captures, in float64."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    captured = {name: normal(*shape) / shape[0] ** 0.5 for name, shape in WEIGHTS.items()}
    places = torch.randint(1, PLACES + 1, (n_rows, 1), generator=generator)
    captured |= {
        "vector": normal(n_rows, WIDTH), "memory": normal(n_rows, PLACES, SIZE), "layout": normal(n_rows, 1).sigmoid(),
        "mask": (normal(n_rows, WIDTH) > 0) * 2.0, "is_off": normal(n_rows, WIDTH) > 0,
        "is_padding": torch.arange(PLACES) >= places, "number": torch.randint(0, WIDTH, (n_rows,), generator=generator),
    }  # fmt: skip
    return normal(n_steps, n_rows, WIDTH), normal(n_rows, WIDTH), captured


def results(step, engine, drawn, dtype, **options):
    """Values and all gradients, of what is captured as well."""

    def run(given):
        xs, state, captured = given
        return unrolled.scan(functools.partial(step, captured), xs, state, engine=engine, **options)

    return values_and_gradients(run, to_dtype(drawn, dtype), [])


def assert_fused_is_eager(step, draws, dtype, **options):
    ways = [("fused", dtype), ("eager", dtype), ("eager", torch.float64)]
    ours, eager, exact = (
        [torch.stack(same) for same in zip(*[results(step, way, each, of, **options) for each in draws], strict=True)]
        for way, of in ways
    )
    if dtype != torch.float64:
        assert_as_exact_as(ours, eager, exact)
        return
    for mine, theirs in zip(ours, eager, strict=True):  # nothing is more exact than these: they differ by roundings
        assert (mine - theirs).abs().max() <= 32 * torch.finfo(dtype).eps * theirs.abs().max()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, marks=[] if dtype == torch.float32 or name in IN_ALL_DTYPES else pytest.mark.slow)
        for name in STEPS
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
        if dtype == torch.float32 or name not in SHORT
    ],
    ids=str,
)
def test_every_kind_of_step_in_every_dtype(name, dtype):
    draws = [draw(5, 4, seed) for seed in range(N_DRAWS)]
    lengths = torch.tensor([2, 5, 1, 4])
    for options in ({}, {"lengths": lengths}, {"reverse": True}, {"lengths": lengths, "reverse": True}):
        assert_fused_is_eager(STEPS[name], draws, dtype, **options)


@given(
    st.sampled_from(["added", "before_in_and_after", "dot", "additive"]), st.sampled_from([1, 2, 6]),
    st.sampled_from([1, 2, 5, 19]), st.integers(0, 1000), st.booleans(), st.booleans(), st.data(),
)  # fmt: skip
@settings(max_examples=20)
def test_sizes_lengths_and_resets(name, n_steps, n_rows, seed, reverse, recompute, data):
    # a captured tensor of one row is by sequence or the same for all, which a batch of one row does not tell: a memory
    # is refused there, with the reason (the translator, which declares it, is tested below)
    assume(n_rows > 1 or name in ("added", "before_in_and_after"))
    options = {"reverse": reverse, "recompute": recompute}
    if data.draw(st.booleans()):
        options["lengths"] = torch.tensor(
            data.draw(st.lists(st.integers(0, n_steps), min_size=n_rows, max_size=n_rows))
        )
    if data.draw(st.booleans()):
        options["resets"] = torch.rand(n_steps, n_rows, generator=torch.Generator().manual_seed(seed)) < 0.3
    draws = [draw(n_steps, n_rows, seed + i) for i in range(N_DRAWS)]
    assert_fused_is_eager(STEPS[name], draws, torch.float32, **options)


@pytest.mark.parametrize("name", ["added", "dot"])
def test_of_no_steps_the_state_stays(name):
    xs, state, captured = draw(0, 3, 0)
    step = functools.partial(STEPS[name], captured)
    ours, last = unrolled.scan(step, xs, state)
    assert_equal((ours, last), unrolled.scan(step, xs, state, engine="eager"))
    assert_equal(last, state)


@pytest.mark.parametrize("name", ["added", "dot", "additive"])
def test_what_needs_no_gradient_gets_none_and_the_rest_the_same(name):
    xs, state, captured = draw(4, 3, 0)
    found = []
    for wanted in ({"U"}, {"U", "vector", "memory"}):
        tensors = {key: each.clone().requires_grad_(key in wanted) for key, each in captured.items()}
        ys, _ = unrolled.scan(functools.partial(STEPS[name], tensors), xs, state, engine="fused")
        (ys[0] if isinstance(ys, tuple) else ys).sum().backward()
        assert all((each.grad is not None) <= (key in wanted) for key, each in tensors.items())
        found.append(tensors["U"].grad)
    assert_equal(*found)


@pytest.mark.parametrize("name", ["added", "dot"])
def test_rows_may_lie_anyhow_in_memory(name):
    xs, state, captured = draw(4, 3, 0)
    apart = dict(captured)
    for key in ("vector", "memory"):
        apart[key] = torch.stack([captured[key]] * 2, -1)[..., 1]
    both = [
        unrolled.scan(functools.partial(STEPS[name], each), xs, state, engine="fused") for each in (captured, apart)
    ]
    assert_equal(*both)


def test_the_gradient_of_a_gradient_is_the_eager_loops():
    xs, state, captured = draw(3, 2, 0)
    names = ("vector", "memory", "U")

    def run(engine):
        def of(*given):
            tensors = captured | dict(zip(names, given, strict=True))
            return (
                unrolled.scan(
                    functools.partial(_both, tensors), xs, state, engine=engine, lengths=torch.tensor([3, 2])
                )[0]
                .square()
                .sum()
            )

        given = [captured[name].clone().requires_grad_() for name in names]
        first = torch.autograd.grad(of(*given), given, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), given)

    for ours, theirs in zip(run("fused"), run("eager"), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def _both(t, x, h):
    (y, _), h = dot(t, x, h + t["vector"])
    return y, h


def test_threads_that_share_features_give_the_same():
    """Few rows of wide states, for which threads share the features and not the rows."""
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator) / shape[-1] ** 0.5
    weights, memory, vector = normal(256, 256), normal(2, 33, 256), normal(2, 256)
    xs, state = normal(20, 2, 256), normal(2, 256)

    def step(x, h):
        scores = torch.bmm((h.unsqueeze(1) + memory).tanh(), h.unsqueeze(2)).squeeze(2)
        h = (x + h @ weights + vector * torch.bmm(scores.softmax(1).unsqueeze(1), memory).squeeze(1)).tanh()
        return h, h

    found = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        tensors = [each.requires_grad_() for each in (weights, memory, vector)]
        ys, last = unrolled.scan(step, xs, state, engine="fused")
        found.append([ys, last, *torch.autograd.grad(ys.square().sum(), tensors)])
    torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_memory_of_any_number_of_places_is_one_program_of_the_same_size():
    """No place is emitted by itself."""
    n_lines = []
    for places in (5, 130):
        memory = torch.randn(2, places, 6)

        def step(x, h):
            read = torch.bmm(torch.bmm(memory, h.unsqueeze(2)).softmax(1).transpose(1, 2), memory).squeeze(1)  # noqa: B023
            return h, (x + h + read).tanh()

        found = unrolled.explain(step, torch.randn(3, 2, 6), torch.randn(2, 6), verbose=True)
        n_lines.append(found.stages["C++ of the forward"].count("\n"))
    assert n_lines[0] == n_lines[1]


SAMPLE = {("lstm", "additive", 0.3, 4), ("gru", "multiplicative", 0.0, 4), ("rnn", "additive", 0.3, 1)}  # by default


@pytest.mark.parametrize(
    ("cell", "attention", "dropout", "n_rows"),
    [
        pytest.param(*each, dropout, n_rows, marks=[] if (*each, dropout, n_rows) in SAMPLE else pytest.mark.slow)
        for each in itertools.product(("lstm", "gru", "rnn"), ("multiplicative", "additive"))
        for dropout, n_rows in ((0.0, 4), (0.3, 4), (0.3, 1))
    ],
)
def test_the_translators_fed_decoder_is_fused_and_the_eager_one(cell, attention, dropout, n_rows, monkeypatch):
    """At 9 places, of which the loop sees 16."""
    torch.manual_seed(0)
    options = NetSettings(hidden=6, words=8, cell=cell, attention=attention, decoder="fed", dropout=dropout)
    net = TranslateNet(30, 30, options, is_joint=True).double()
    sources, targets = torch.randint(4, 30, (9, n_rows)), torch.randint(4, 30, (6, n_rows))
    lengths = torch.tensor([9, 3, 5, 7][:n_rows])
    ways, found = [], []
    scan = unrolled.scan

    def watched(*args, engine, **kwargs):
        ways.append(engine)
        return scan(*args, engine={"auto": "fused"}.get(engine, engine), **kwargs)

    monkeypatch.setattr("unrolled.tasks.translate.net.scan", watched)
    for is_cpu in (True, False):  # what is not on the CPU runs eagerly
        if not is_cpu:
            monkeypatch.setattr("unrolled.tasks.translate.net._is_fused", lambda vectors: False)
        torch.manual_seed(1)
        net.zero_grad()
        loss = net(sources, lengths, targets, 0.0)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad.clone() for parameter in net.parameters())])
    assert ways == ["auto", "eager"]
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)
