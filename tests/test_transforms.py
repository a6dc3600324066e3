"""Layers and scans under the transforms of torch.func and in forward mode: the definition, held to a loop over samples."""

import copy
import re

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import unrolled

LAYERS = [
    (kind, options)
    for kind in ("RNN", "LSTM", "GRU")
    for options in ({}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True})
] + [("LSTM", {"proj_size": 2})]
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


def layers(kind, options):
    """The layer, and its definition in double, which has every rule of torch; both on the same numbers."""
    layer = getattr(unrolled, kind)(3, 5, **options, dtype=torch.float64)
    definition = getattr(unrolled, kind)(3, 5, **options, dtype=torch.float64, engine="eager")
    definition.load_state_dict(layer.state_dict())
    return layer, definition, torch.randn(6, 4, 2, 3, dtype=torch.float64)


def assert_close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_vmap_is_a_loop_over_samples(kind, options, is_enabled):
    layer, definition, xs = layers(kind, options)
    with torch.set_grad_enabled(is_enabled):
        assert_close(vmap(lambda x: layer(x)[0])(xs), torch.stack([definition(x)[0] for x in xs]))
        single = xs[:, :, 0]
        assert_close(vmap(lambda x: layer(x)[0])(single), torch.stack([definition(x)[0] for x in single]))


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_gradients_of_single_samples(kind, options):
    layer, definition, xs = layers(kind, options)
    found = vmap(grad(lambda p, x: functional_call(layer, p, (x,))[0].square().sum()), (None, 0))(
        dict(layer.named_parameters()), xs
    )
    for i, x in enumerate(xs):
        wanted = torch.autograd.grad(definition(x)[0].square().sum(), list(definition.parameters()))
        assert_close([found[name][i].detach() for name, _ in layer.named_parameters()], list(wanted))


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_derivatives_of_every_kind(kind, options):
    layer, definition, xs = layers(kind, options)
    x, direction = xs[0], xs[1]
    wanted = torch.autograd.functional.jacobian(lambda x: definition(x)[0], x)
    along = torch.einsum("abcdef,def->abc", wanted, direction)
    output = lambda x: layer(x)[0]
    assert_close(jacrev(output)(x).detach(), wanted)
    assert_close(jacfwd(output)(x).detach(), wanted)
    assert_close(jvp(output, (x,), (direction,))[1].detach(), along)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(output(forward_ad.make_dual(x, direction))).tangent
    assert_close(tangent.detach(), along)
    second = torch.autograd.functional.hessian(lambda x: definition(x)[0].square().sum(), x[:1, :1])
    assert_close(hessian(lambda x: layer(x)[0].square().sum())(x[:1, :1]).detach(), second)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_an_ensemble_by_vmap_over_its_weights(kind):
    members = [getattr(unrolled, kind)(3, 5) for _ in range(3)]
    parameters, buffers = stack_module_state(members)
    base, x = copy.deepcopy(members[0]).to("meta"), torch.randn(4, 2, 3)
    found = vmap(lambda p, b: functional_call(base, (p, b), (x,))[0])(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([member(x)[0] for member in members]))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_packed_sequences_and_weights_of_another_dtype(kind):
    layer, definition, xs = layers(kind, {})
    packed = pack_padded_sequence(xs[0], torch.tensor([4, 2]))

    def loss(data):
        return layer(PackedSequence(data, packed.batch_sizes))[0].data.square().sum()

    data = packed.data.clone().requires_grad_()
    wanted = torch.autograd.grad(definition(PackedSequence(data, packed.batch_sizes))[0].data.square().sum(), data)
    assert_close((grad(loss)(packed.data),), wanted)
    several = torch.stack([packed.data, 2 * packed.data])
    assert_close(vmap(loss)(several), torch.stack([loss(data) for data in several]))
    halved = {name: each.float() for name, each in layer.named_parameters()}
    assert functional_call(layer, halved, (xs[0].float(),))[0].dtype == torch.float32


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_under_autocast_the_definition_runs_in_the_weights_dtype(kind):
    layer, xs = getattr(unrolled, kind)(3, 5), torch.randn(6, 4, 2, 3)
    wanted = vmap(lambda x: layer(x)[0])(xs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(vmap(lambda x: layer(x)[0])(xs), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_fused_says_why_it_cannot(kind):
    layer, xs = getattr(unrolled, kind)(3, 5, engine="fused"), torch.randn(6, 4, 2, 3)
    text = "scan: the step cannot run fused: it runs under a transform of torch.func."
    with pytest.raises(unrolled.errors.NotFusedError, match=f"^{re.escape(text)}$"):
        vmap(layer)(xs)
    text = "scan: the step cannot run fused: it runs in forward-mode differentiation."
    with forward_ad.dual_level(), pytest.raises(unrolled.errors.NotFusedError, match=f"^{re.escape(text)}$"):
        layer(forward_ad.make_dual(xs[0], xs[1]))


WEIGHT = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def step(x, hidden):
    hidden = torch.tanh(x + hidden @ WEIGHT)
    return hidden, hidden


SCANS = {
    "plain": lambda x, lengths, resets: {},
    "reverse": lambda x, lengths, resets: {"reverse": True},
    "lengths": lambda x, lengths, resets: {"lengths": lengths},
    "resets": lambda x, lengths, resets: {"resets": resets},
    "recompute": lambda x, lengths, resets: {"recompute": True, "lengths": lengths},
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_a_loop_over_samples(name):
    xs = torch.randn(6, 4, 2, 5, dtype=torch.float64)
    lengths, resets = torch.randint(0, 5, (6, 2)), torch.rand(6, 4, 2) > 0.5
    state = torch.randn(2, 5, dtype=torch.float64)

    def run(engine):
        return lambda *one: unrolled.scan(step, one[0], state, engine=engine, **SCANS[name](*one))[0]

    samples = list(zip(xs, lengths, resets, strict=True))
    wanted = torch.stack([run("eager")(*one) for one in samples])
    for engine in ("auto", "eager"):
        assert_close(vmap(run(engine))(xs, lengths, resets), wanted)
        loss = lambda *one, engine=engine: run(engine)(*one).square().sum()
        gradients = vmap(grad(loss))(xs, lengths, resets)
        for one, found in zip(samples, gradients, strict=True):
            leaf = one[0].clone().requires_grad_()
            assert_close((found,), torch.autograd.grad(run("eager")(leaf, *one[1:]).square().sum(), leaf))
    text = "scan: the step cannot run fused: it runs under a transform of torch.func."
    with pytest.raises(unrolled.errors.NotFusedError, match=f"^{re.escape(text)}$"):
        vmap(run("fused"))(xs, lengths, resets)


def test_lengths_whose_numbers_can_be_read_are_still_checked():
    def loss(x):
        return unrolled.scan(step, x, x.new_zeros(2, 5), lengths=torch.tensor([1, 9]))[0].sum()

    with pytest.raises(unrolled.errors.ShapeError, match="lengths holds 1 to 9; expected 0 to 4"):
        grad(loss)(torch.randn(4, 2, 5, dtype=torch.float64))


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_several_gradients_at_once(engine):
    """What `is_grads_batched` and a vectorized jacobian ask for."""
    torch.manual_seed(0)
    xs, state = torch.randn(3, 2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)

    def run(xs):
        return unrolled.scan(_decay, xs, state, engine=engine)[0]

    whole = torch.autograd.functional.jacobian(run, xs, vectorize=True)
    one_by_one = torch.autograd.functional.jacobian(run, xs)
    torch.testing.assert_close(whole, one_by_one)
    given = xs.clone().requires_grad_()
    cotangents = torch.randn(5, *xs.shape, dtype=torch.float64)
    [batched] = torch.autograd.grad(run(given), given, cotangents, is_grads_batched=True)
    torch.testing.assert_close(batched, torch.einsum("ntbd,tbdsce->nsce", cotangents, one_by_one))


def _decay(x, h):
    h = torch.tanh(x + 0.5 * h)
    return h, h


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("reads", ["state", "product"])
def test_several_gradients_at_once_are_those_one_by_one(reads, ends, recompute):
    """With `is_grads_batched`; an output that is a product is made after the loop."""
    cell = unrolled.cells.GRU(3, 5, dtype=torch.float64)
    out = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def step(x, h):
        y, h = cell(x, h)
        return (y if reads == "state" else y @ out), h

    xs, state = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True), torch.zeros(4, 5, dtype=torch.float64)
    lengths = torch.tensor([6, 2, 0, 5]) if ends else None
    ys, _ = unrolled.scan(step, xs, state, lengths=lengths, recompute=recompute, engine="fused")
    wanted = [xs, *cell.parameters(), *([out] if reads == "product" else [])]
    directions = torch.randn(3, *ys.shape, dtype=torch.float64)
    found = torch.autograd.grad(ys, wanted, directions, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(ys, wanted, each, retain_graph=True) for each in directions]
    assert_close(found, tuple(map(torch.stack, zip(*single, strict=True))))


def test_several_gradients_at_once_of_a_clamped_state_need_the_loop():
    cell, xs = unrolled.cells.GRU(3, 5), torch.randn(6, 4, 3)
    ys, _ = unrolled.scan(cell, xs, torch.zeros(4, 5), clip_state_grad=0.1)
    with pytest.raises(unrolled.errors.NotFusedError) as fault:
        torch.autograd.grad(ys, list(cell.parameters()), torch.ones(2, *ys.shape), is_grads_batched=True)
    assert str(fault.value) == (
        "scan: several gradients at once (is_grads_batched) with clip_state_grad are had of the eager loop alone. Pass "
        "engine='eager'."
    )
