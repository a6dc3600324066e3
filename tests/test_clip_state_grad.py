"""`clip_state_grad`: the state's gradient is clamped at each step, in the compiled loop as in the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils import _pytree as pytree

import unrolled
from tests import strategies
from tests.engine.test_fused import assert_fused_is_eager_over, cell_draws
from unrolled.engine import dispatch as engine_dispatch
from unrolled.engine.cache import memory
from unrolled.engine.gradient_clip import CLIP
from unrolled.errors import ArgumentError, NotFusedError, SettingsError, ShapeError
from unrolled.tasks.translate.net import NetSettings, TranslateNet
from unrolled.training import loop as training_loop

STEPS, BATCH = 9, 4


def exploding(seed=0, dtype=torch.float32):
    cell = strategies.make_cell("elman", seed, dtype)
    with torch.no_grad():
        cell.weight_hh.mul_(3)
        cell.weight_ih.mul_(0.1)
    return cell


def gradients(run, xs, state, *, of_last=100.0):
    """Of inputs and first state, of a loss that reads the last step alone."""
    leaves = pytree.tree_map(lambda leaf: leaf.detach().clone().requires_grad_(), (xs, state))
    ys, _ = run(*leaves)
    (of_last * ys[-1]).sum().backward()
    return [leaf.grad for leaf in pytree.tree_leaves(leaves)]


def loop(cell, xs, state, limit, *, active=None, resets=None):
    """The definition, written down once more: hooks on what each step is given."""
    ys, first = [], state
    for t, x in enumerate(xs):
        if resets is not None:
            state = pytree.tree_map(lambda a, b, t=t: torch.where(resets[t, :, None], a, b), first, state)
        given = pytree.tree_map(lambda leaf: leaf.clone(), state)
        for leaf in pytree.tree_leaves(given):
            if leaf.requires_grad:
                leaf.register_hook(lambda gradient: gradient.clamp(-limit, limit))
        y, new = cell(x, given)
        if active is not None:
            y = y * active[t, :, None]
            new = pytree.tree_map(lambda a, b, t=t: torch.where(active[t, :, None], a, b), new, state)
        ys.append(y)
        state = new
    return torch.stack(ys), state


@given(strategies.cell_names, strategies.seeds, st.sampled_from([0.01, 0.3, 2.0]), st.booleans(), st.data())
@settings(max_examples=30)
def test_the_definition_is_a_hook_on_what_each_step_is_given(name, seed, limit, with_resets, data):
    cell = strategies.make_cell(name, seed)
    xs, state = strategies.make_inputs(5, 3, seed), strategies.make_state(cell, 3, seed)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=3, max_size=3)))
    active = torch.arange(5)[:, None] < lengths
    resets = None
    if with_resets:
        resets = torch.tensor(data.draw(st.lists(st.booleans(), min_size=15, max_size=15))).view(5, 3) & active
    found = gradients(
        lambda xs, state: unrolled.scan(
            cell, xs, state, lengths=lengths, resets=resets, clip_state_grad=limit, engine="eager"
        ), xs, state,
    )  # fmt: skip
    wanted = gradients(lambda xs, state: loop(cell, xs, state, limit, active=active, resets=resets), xs, state)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


ENDING = {"lengths": torch.tensor([9, 5, 1, 0]), "reverse": True}
STARTING = {"resets": torch.arange(STEPS * BATCH).view(STEPS, BATCH) % 7 == 3}


# a limit below most gradients would leave of them what rounding makes
@pytest.mark.parametrize(("name", "options"), [("elman", ENDING), ("gru", STARTING)])
def test_the_fused_loop_is_the_definition(name, options):
    cell = strategies.make_cell(name, 3, torch.float32)
    assert_fused_is_eager_over(cell, cell_draws(cell, STEPS, BATCH, 5), clip_state_grad=0.5, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_the_fused_loop_of_every_cell_is_the_definition(name):
    cell = strategies.make_cell(name, 3, torch.float32)
    assert_fused_is_eager_over(cell, cell_draws(cell, STEPS, BATCH, 5), clip_state_grad=0.5, **ENDING)


def test_steps_whose_output_is_of_the_state_before():
    """What reads the old state outside the loop adds to its gradient before the clamp."""
    weight = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))

    def moore(x, h):
        return torch.tanh(h @ weight) * x[:, :1], torch.tanh(h @ weight.t() + x.sum(1, keepdim=True))

    def kept(x, state):
        h, memory = state
        return h * memory, (torch.tanh(h + x[:, :1] * memory), memory)

    for step, state in ((moore, torch.randn(BATCH, 5)), (kept, (torch.randn(BATCH, 5), torch.randn(BATCH, 5)))):
        runs = [
            gradients(
                lambda xs, s, step=step, engine=engine: unrolled.scan(step, xs, s, clip_state_grad=0.1, engine=engine),
                torch.ones(STEPS, BATCH, 3), state,
            )
            for engine in ("fused", "eager")
        ]  # fmt: skip
        for one, other in zip(*runs, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_that_explodes_is_bounded_and_a_changed_limit_is_never_stale(dtype):
    cell = exploding(dtype=dtype)
    xs, state = strategies.make_inputs(40, BATCH, 1, dtype) * 0.01, torch.zeros(BATCH, 5, dtype=dtype)
    sizes = {}
    for limit in (None, 0.5, 2, 0.5, float("inf"), 1e30):
        run = lambda xs, s, c=limit: unrolled.scan(cell, xs, s, clip_state_grad=c, engine="fused")
        of_state = gradients(run, xs, state)[-1]
        again = gradients(run, xs, state)[-1]  # by way of what is cached
        memory.forget()
        from_disk = gradients(run, xs, state)[-1]
        assert torch.equal(of_state, again)
        assert torch.equal(of_state, from_disk)
        sizes.setdefault(limit, of_state.abs().max().item())
        assert sizes[limit] == of_state.abs().max().item()
    assert sizes[None] > 100
    assert sizes[float("inf")] == sizes[1e30] == sizes[None]
    assert sizes[0.5] == 0.5
    assert sizes[2] == 2


def test_results_are_those_without():
    cell, state = exploding(), torch.zeros(BATCH, 5)
    xs = strategies.make_inputs(STEPS, BATCH, 1, torch.float32)
    plain = unrolled.scan(cell, xs, state)
    for options in ({}, {"recompute": True}, {"engine": "eager"}, {"lengths": torch.full((BATCH,), STEPS)}):
        ys, last = unrolled.scan(cell, xs, state, clip_state_grad=1e-3, **options)
        torch.testing.assert_close((ys, last), plain)


def test_recomputed_and_cut_sequences():
    cell, state = exploding(), torch.randn(BATCH, 5)
    xs = strategies.make_inputs(STEPS, BATCH, 1, torch.float32)
    run = lambda xs, s, **o: unrolled.scan(cell, xs, s, clip_state_grad=0.3, **o)

    def cut(xs, s):
        first, middle = run(xs[:4], s)
        second, last = run(xs[4:], middle)
        return torch.cat((first, second)), last

    whole = gradients(run, xs, state)
    for other in (gradients(lambda xs, s: run(xs, s, recompute=True), xs, state), gradients(cut, xs, state)):
        torch.testing.assert_close(other, whole)


def test_under_transforms_of_torch_and_twice_differentiated():
    cell, state = exploding(dtype=torch.float64), torch.randn(BATCH, 5, dtype=torch.float64)
    xs = strategies.make_inputs(STEPS, BATCH, 1)
    run = lambda s: unrolled.scan(cell, xs, s, clip_state_grad=0.3)[0][-1].pow(2).sum()
    wanted = gradients(lambda xs, s: unrolled.scan(cell, xs, s, clip_state_grad=0.3), xs, state, of_last=1.0)
    found = torch.func.grad(lambda s: unrolled.scan(cell, xs, s, clip_state_grad=0.3)[0][-1].sum())(state)
    torch.testing.assert_close(found, wanted[-1])
    first = state.clone().requires_grad_()
    twice = []
    for forward in (
        lambda: loop(cell, xs, first, 0.3)[0],
        lambda: unrolled.scan(cell, xs, first, clip_state_grad=0.3, engine="eager")[0],
    ):
        [once] = torch.autograd.grad(forward()[-1].pow(2).sum(), first, create_graph=True)
        twice.append(torch.autograd.grad(once.pow(2).sum(), first)[0])
    torch.testing.assert_close(twice[0], twice[1])
    words = "scan: second derivatives with clip_state_grad are had of the eager loop alone. Pass engine='eager'."
    with pytest.raises(NotFusedError) as fault:
        torch.autograd.grad(run(first), first, create_graph=True)
    assert str(fault.value) == words
    assert torch.func.vmap(torch.func.grad(run))(state.expand(2, BATCH, 5)).shape == (2, BATCH, 5)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_clip_and_never_train_as_torchs_own_does(kind):
    torch.manual_seed(0)
    layers = {
        engine: getattr(unrolled, kind)(3, 5, 2, bidirectional=True, engine=engine, clip_state_grad=0.01)
        for engine in ("auto", "fused", "eager")
    }
    plain = getattr(unrolled, kind)(3, 5, 2, bidirectional=True)
    for layer in (*layers.values(), plain):
        layer.load_state_dict(layers["auto"].state_dict())
    xs = strategies.make_inputs(STEPS, BATCH, 1, torch.float32)

    def trained(layer, xs):
        layer.zero_grad()
        (100 * layer(pack_padded_sequence(xs, torch.tensor([9, 6, 2, 1])))[0].data).sum().backward()
        of_packed = [weight.grad.clone() for weight in layer.parameters()]
        (100 * layer(xs)[0]).sum().backward()
        return of_packed + [weight.grad.clone() for weight in layer.parameters()]

    found = {engine: trained(layer, xs) for engine, layer in layers.items()}
    torch.testing.assert_close(found["fused"], found["eager"], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found["auto"], found["fused"])
    others = trained(plain, xs)
    assert not any(torch.allclose(a, b) for a, b in zip(found["auto"], others, strict=True) if a.dim() == 2)
    with torch.autocast("cpu"):
        layers["auto"](xs)[0].sum().backward()
    assert layers["auto"].explain(xs).path == "fused"
    report = unrolled.unswap(torch.nn.ModuleDict({"a": layers["auto"], "b": plain}))
    reason = "it clips the gradient of its state, which torch's layer cannot; set its clip_state_grad to None first"
    assert report.kept == {"a": reason}


def test_recurrent_shows_its_limit_and_two_cells_get_it():
    cell = exploding()
    layer = unrolled.Recurrent(cell, layers=2, bidirectional=True, clip_state_grad=2)
    assert "clip_state_grad=2.0" in repr(layer)
    assert "clip" not in repr(unrolled.Recurrent(cell, clip_state_grad=float("inf")))
    xs, state = torch.randn(STEPS, BATCH, 3) * 0.01, layer.initial_state(BATCH)
    bounded = gradients(lambda xs, s: layer(xs, s), xs, state, of_last=1e4)[-1].abs().amax((1, 2)).tolist()
    assert bounded == pytest.approx([2, 2, bounded[2], 2])  # the upper layer's forward has forgotten by then
    assert 0 < bounded[2] < 2


@pytest.mark.parametrize(("limit", "kind", "text"), [
    (0, SettingsError, "scan: clip_state_grad=0. Expected a number above 0, or None to clip nothing."),
    (-1.5, SettingsError, "scan: clip_state_grad=-1.5. Expected a number above 0, or None to clip nothing."),
    (float("nan"), SettingsError, "scan: clip_state_grad=nan. Expected a number above 0, or None to clip nothing."),
    ("1", ArgumentError,
     "scan: clip_state_grad is a value of type str. Expected a number above 0, or None to clip nothing."),
    (True, ArgumentError,
     "scan: clip_state_grad is a value of type bool. Expected a number above 0, or None to clip nothing."),
    (torch.ones(()), ArgumentError,
     "scan: clip_state_grad is a value of type Tensor. Expected a number above 0, or None to clip nothing."),
])  # fmt: skip
def test_faults(limit, kind, text):
    with pytest.raises(kind) as fault:
        unrolled.scan(exploding(), torch.zeros(2, 4, 3), torch.zeros(4, 5), clip_state_grad=limit)
    assert str(fault.value) == text
    with pytest.raises(kind) as fault:
        unrolled.GRU(3, 5, clip_state_grad=limit)
    assert str(fault.value) == text.replace("scan:", "GRU:")
    with pytest.raises(kind) as fault:
        unrolled.Recurrent(exploding(), clip_state_grad=limit)
    assert str(fault.value) == text.replace("scan:", "Recurrent:")


def test_a_probe_sees_the_clamped_gradient():
    cell, xs, state = exploding(), torch.randn(STEPS, BATCH, 3) * 0.01, torch.zeros(BATCH, 5)
    records = {}
    for engine in ("fused", "eager"):
        with unrolled.probe(cell) as record:
            ys, _ = unrolled.scan(cell, xs, state, clip_state_grad=0.1, engine=engine)
            (100 * ys[-1]).sum().backward()
        records[engine] = record.scans[0]
    assert records["fused"].path == "fused"
    torch.testing.assert_close(records["fused"].gradients["h"], records["eager"].gradients["h"])
    assert records["fused"].gradients["h"][:-1].max() <= 0.1 * 5**0.5 + 1e-6  # five numbers


def test_inside_torch_compile():
    torch._dynamo.reset()
    cell, xs, state = exploding(), torch.randn(STEPS, BATCH, 3) * 0.01, torch.zeros(BATCH, 5)
    run = lambda xs, s, c: unrolled.scan(cell, xs, s, clip_state_grad=c)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for limit in (0.1, 3):
        found = gradients(lambda xs, s, c=limit: compiled(xs, s, c), xs, state)
        torch.testing.assert_close(found, gradients(lambda xs, s, c=limit: run(xs, s, c), xs, state))
    torch.library.opcheck(CLIP, (torch.randn(3, requires_grad=True), 0.5))


@given(strategies.cell_names, strategies.seeds, st.sampled_from([0.01, 0.3, 2.0]), st.booleans())
@settings(max_examples=15)
def test_a_probe_of_any_cell_sees_and_changes_what_the_plain_loop_does(name, seed, limit, reverse):
    cell = strategies.make_cell(name, seed)
    xs, state = strategies.make_inputs(5, 3, seed), strategies.make_state(cell, 3, seed)
    found = {}
    for engine in ("fused", "eager"):
        with unrolled.probe(cell) as record:
            given = gradients(
                lambda xs, s, engine=engine: unrolled.scan(
                    cell, xs, s, clip_state_grad=limit, reverse=reverse, engine=engine
                ), xs, state, of_last=5.0,
            )  # fmt: skip
        found[engine] = given, record.scans[0].gradients, record.scans[0].terms
    torch.testing.assert_close(found["fused"], found["eager"], rtol=1e-7, atol=1e-9)


@given(strategies.cell_names, strategies.seeds, st.integers(1, 4), st.integers(0, 4), st.sampled_from([0.01, 0.3]))
@settings(max_examples=15)
def test_windows_of_truncated_backpropagation_are_clamped_at_each_of_their_steps(name, seed, k1, more, limit):
    """Also where a window is run in two parts, as the next one begins within it."""
    cell = strategies.make_cell(name, seed)
    xs, first = strategies.make_inputs(7, 3, seed), strategies.make_state(cell, 3, seed)
    given = xs.clone().requires_grad_()
    run = lambda xs, state: unrolled.scan(cell, xs, state, clip_state_grad=limit)
    for window in unrolled.truncated_bptt(run, given, first, k1=k1, k2=k1 + more):
        begin = max(0, window.start - more)
        [found] = torch.autograd.grad(5 * window.ys[-1].sum(), given, retain_graph=True)
        before = unrolled.scan(cell, xs[:begin], first, engine="eager")[1] if begin else first
        part = xs[begin : window.stop].clone().requires_grad_()
        (5 * loop(cell, part, pytree.tree_map(torch.Tensor.detach, before), limit)[0][-1].sum()).backward()
        torch.testing.assert_close(found[begin : window.stop], part.grad, rtol=1e-7, atol=1e-9)
        assert not found[:begin].any()


@pytest.mark.parametrize("limit", [0.5, 2, 1e-3])
def test_explain_names_the_limit(limit):
    line = f"in the backward: the state's gradient is clipped to ±{limit:g} at each step"
    cell, xs, state = exploding(), torch.randn(STEPS, BATCH, 3), torch.zeros(BATCH, 5)
    kinds = {
        "fused step": unrolled.explain(cell, xs, state, clip_state_grad=limit),
        "eager step": unrolled.explain(lambda x, h: (h, h.sort(1)[0]), xs, state, clip_state_grad=limit),
        "GRU": unrolled.explain(unrolled.GRU(3, 5, clip_state_grad=limit), xs),
        "eager GRU": unrolled.explain(unrolled.GRU(3, 5, clip_state_grad=limit, engine="eager"), xs),
        "Recurrent": unrolled.explain(unrolled.Recurrent(cell, clip_state_grad=limit), xs),
        "eager Recurrent": unrolled.explain(unrolled.Recurrent(cell, clip_state_grad=limit, engine="eager"), xs),
    }
    for name, told in kinds.items():
        assert str(told).splitlines().count(line) == 1, name
        assert told.clip_state_grad == limit, name
        assert f"clipped to ±{limit:g} at each step" in told._repr_html_(), name
    both = unrolled.explain(unrolled.Recurrent(cell, bidirectional=True, clip_state_grad=limit), xs)
    assert str(both).splitlines().count(line) == 2
    assert both.clip_state_grad == limit
    assert "clipped" not in str(unrolled.explain(cell, xs, state))
    assert "clipped" not in str(unrolled.explain(unrolled.GRU(3, 5), xs))
    with pytest.raises(ShapeError) as fault:
        unrolled.explain(unrolled.GRU(3, 5), xs, clip_state_grad=limit)
    assert str(fault.value) == "explain: clip_state_grad is for a step; a layer has its own, set where it is made."
    with pytest.raises(SettingsError) as fault:
        unrolled.explain(cell, xs, state, clip_state_grad=-limit)
    text = f"explain: clip_state_grad={-limit}. Expected a number above 0, or None to clip nothing."
    assert str(fault.value) == text


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("decoder", ["fed", "deep"])
def test_a_run_clips_both_decoders_of_a_translation(decoder, kind, monkeypatch):
    """`--clip-state-gradient` reaches every scan of the model; one that it misses has another gradient here."""
    torch.manual_seed(0)
    made = NetSettings(hidden=4, words=6, decoder=decoder, cell=kind, dropout=0.0, word_dropout=0.0)
    net = TranslateNet(12, 12, made, is_joint=True)
    limits = set()
    real = engine_dispatch.run_scan

    def seen(arguments, **options):
        limits.add(arguments.clip)
        return real(arguments, **options)

    monkeypatch.setattr(engine_dispatch, "run_scan", seen)
    monkeypatch.setattr(engine_dispatch, "again", lambda *_, **__: None)
    batch = torch.randint(4, 12, (5, 3)), torch.tensor([5, 3, 1]), torch.randint(4, 12, (4, 3))
    found = {}
    for limit in (None, 1e-4):
        training_loop._clip_states(net, limit)
        limits.clear()
        net.zero_grad()
        net(*batch, 0.0).backward()
        found[limit] = [weight.grad.clone() for weight in net.parameters()]
        assert limits <= {limit}
    assert not all(torch.allclose(a, b, rtol=1e-3) for a, b in zip(found[None], found[1e-4], strict=True))
    if decoder == "fed":
        assert limits == {1e-4}
        recurrent = dict(net.named_parameters())
        i = list(recurrent).index("cell.weight_hh")
        assert not torch.allclose(found[None][i], found[1e-4][i], rtol=1e-3)
