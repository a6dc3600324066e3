"""Outputs share memory with nothing else, and may be changed in place; missing memory is an exception."""

import ctypes
import itertools

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils import _pytree as pytree

import unrolled
from unrolled.engine.backends.cpu import large_products, library, memory, run
from unrolled.engine.backends.cpu.build import build
from unrolled.engine.backends.cpu.status import raising
from unrolled.engine.run import autograd, plan

T, B, N = 5, 3, 4
WEIGHT = (torch.randn(N, N, generator=torch.Generator().manual_seed(0)) / 2).double()


def new(x, h):
    return torch.tanh(h @ WEIGHT + x)


def both(h, outputs):
    return outputs(h), h


# what a step may return that is, or lies in, another tensor, or that a backward reads
STEPS = {
    "the input": lambda x, h: (x, new(x, h)),
    "a view of the input": lambda x, h: (x[:, 1:3], new(x, h)),
    "the input as the state": lambda x, h: (new(x, h), x),
    "the state it was given": lambda x, h: (torch.tanh(h * 2), h),
    "the state before": lambda x, h: (h, new(x, h)),
    "the new state": lambda x, h: both(new(x, h), lambda n: n),
    "the state twice": lambda x, h: both(new(x, h), lambda n: (n, n)),
    "views of the state": lambda x, h: both(new(x, h), lambda n: (n[:, :3], n.view(-1, 2, 2), n.unsqueeze(1))),
    "what a backward reads": lambda x, h: both(new(x, h), lambda n: torch.sigmoid(n)),
    "one output from another": lambda x, h: both(new(x, h), lambda n: (n.exp(), n.exp() * x, (n * 2).view(-1, 2, 2))),
    "a sum": lambda x, h: both(new(x, h), lambda n: n + x),
    "a feature, expanded": lambda x, h: both(new(x, h), lambda n: n[:, :1].expand(-1, N)),
    "transposed heads": lambda x, h: both(new(x, h), lambda n: n.view(-1, 2, 2).transpose(1, 2)),
    "what the loop alone reads": lambda x, h: (torch.tanh(x + h @ WEIGHT), torch.tanh(torch.sigmoid(h @ WEIGHT) * x)),
}
OPTIONS = {
    "plain": {},
    "lengths": {"lengths": torch.tensor([T, 2, 0])},
    "resets": {"resets": torch.rand(T, B, generator=torch.Generator().manual_seed(1)) < 0.3},
    "reverse": {"reverse": True},
    "recompute": {"recompute": True},
}


def tensors(n_steps, *, needs_grad):
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(*shape, N, generator=generator, dtype=torch.float64).requires_grad_(needs_grad)
        for shape in ((n_steps, B), (B,))
    ]


def assert_apart(step, n_steps, *, engine, needs_grad, **options):
    xs, h = tensors(n_steps, needs_grad=needs_grad)
    results = pytree.tree_leaves(unrolled.scan(step, xs, h, engine=engine, **options))
    storages = [each.untyped_storage().data_ptr() for each in (*results, xs, h, WEIGHT) if each.numel()]
    assert len(set(storages)) == len(storages)


@pytest.mark.parametrize("needs_grad", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_outputs_are_contiguous_as_stacked_ones_are(name, needs_grad):
    for each in pytree.tree_leaves(unrolled.scan(STEPS[name], *tensors(T, needs_grad=needs_grad))):
        assert each.is_contiguous()


def changed(tensor):
    """In place, in the ways in which users do it."""
    tensor.mul_(2)
    tensor[0] = 1.0
    return tensor.relu_()


def as_if_changed(tensor):
    doubled = tensor * 2
    return torch.cat((torch.ones_like(doubled[:1]), doubled[1:])).relu()


def gradients(step, change, *, engine, **options):
    xs, h = tensors(T, needs_grad=True)
    results = pytree.tree_leaves(unrolled.scan(step, xs, h, engine=engine, **options))
    total = sum((change(each) ** 2).sum() for each in results if each.requires_grad)
    found = torch.autograd.grad(total, [xs, h], allow_unused=True)
    return [torch.zeros_like(leaf) if each is None else each for each, leaf in zip(found, (xs, h), strict=True)]


def assert_changes_in_place(step, *, engine, **options):
    found = gradients(step, changed, engine=engine, **options)
    torch.testing.assert_close(found, gradients(step, as_if_changed, engine="eager", **options))


@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", STEPS)
def test_outputs_share_no_memory_and_may_be_changed_in_place(name, options, engine):
    step, options = STEPS[name], OPTIONS[options]
    for needs_grad in (False, True):
        for n_steps in {T} if "lengths" in options or "resets" in options else {1, T}:
            assert_apart(step, n_steps, engine=engine, needs_grad=needs_grad, **options)
    assert_changes_in_place(step, engine=engine, **options)


@pytest.mark.parametrize("name", STEPS)
def test_the_state_after_no_steps_is_a_tensor_of_its_own(name):
    assert_apart(STEPS[name], 0, engine="auto", needs_grad=True)
    xs, h = tensors(0, needs_grad=True)
    _, last = unrolled.scan(STEPS[name], xs, h)
    assert torch.equal(last, h)
    [gradient] = torch.autograd.grad(last.mul_(3).sum(), h)
    assert torch.equal(gradient, torch.full_like(h, 3))


def test_a_tensor_that_the_step_holds_is_not_the_last_state():
    held = torch.ones(B, N)
    _, last = unrolled.scan(lambda x, h: (h, held), torch.zeros(2, B, N), torch.zeros(B, N), engine="eager")
    last.zero_()
    assert held.sum() == B * N


def test_a_copy_left_out_after_the_loop_is_noticed(monkeypatch):
    monkeypatch.setattr(plan, "copied", lambda tensor, _: tensor)
    for name in ("the input", "a view of the input", "the state twice"):
        with pytest.raises(AssertionError):
            assert_apart(STEPS[name], T, engine="fused", needs_grad=False)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        assert_changes_in_place(STEPS["what a backward reads"], engine="fused")


def test_a_copy_left_out_in_the_loop_is_noticed(monkeypatch):
    monkeypatch.setattr(autograd, "copy_of", lambda tensor, _: tensor)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        assert_changes_in_place(STEPS["the new state"], engine="fused")


def test_outputs_that_nothing_reads_are_not_copied(monkeypatch):
    def fail(*_):
        raise AssertionError("it is copied")

    monkeypatch.setattr(plan, "copied", fail)
    monkeypatch.setattr(autograd, "copy_of", fail)
    assert_apart(STEPS["the new state"], T, engine="fused", needs_grad=False)
    assert_apart(STEPS["a sum"], T, engine="fused", needs_grad=True)


def of_layer(layer, xs, change, *, is_packed):
    xs = xs.clone().requires_grad_()
    lengths = torch.tensor([T, 3, 2])
    given = pack_padded_sequence(xs, lengths, batch_first=layer.batch_first) if is_packed else xs
    output, states = layer(given)
    output = output.data if is_packed else output
    leaves = [change(each) for each in (output, *pytree.tree_leaves(states))]
    total = sum((each * torch.arange(each.numel()).view(each.shape)).sum() for each in leaves)
    return torch.autograd.grad(total, [xs, *layer.parameters()])


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_outputs_of_layers_may_be_changed_in_place_as_those_of_torch(kind, engine):
    for n_layers, *flags in itertools.product((1, 2), (False, True), (False, True), (False, True)):
        is_bidirectional, is_first, is_packed = flags
        options = {"bidirectional": is_bidirectional, "batch_first": is_first, "dtype": torch.float64}
        theirs = getattr(torch.nn, kind)(3, N, n_layers, **options)  # torch's own LSTM of float32 raises
        ours = getattr(unrolled, kind)(3, N, n_layers, engine=engine, **options)
        ours.load_state_dict(theirs.state_dict())
        xs = torch.randn(*((B, T) if is_first else (T, B)), 3, dtype=torch.float64)
        for change in (changed, changed_data):
            found = [of_layer(layer, xs, change, is_packed=is_packed) for layer in (ours, theirs)]
            torch.testing.assert_close(*found)


def changed_data(tensor):
    """As `changed`, but unseen by autograd: no gradient may depend on these numbers."""
    tensor.data.mul_(2)
    return tensor


MOST = 1 << 58  # more bytes than any address reaches
SCRATCH = """
#include "scratch.h"
extern "C" __attribute__((visibility("default"))) int64_t run(const int64_t* bytes) {
  for (long i = 0; i < 2; i++) {
    Scratch scratch(bytes[i]);
    if (!scratch.memory) return scratch.bytes;
  }
  return 0;
}
"""


def test_memory_for_a_call_that_is_missing_is_an_error_and_the_next_call_runs():
    allocate = raising(build(SCRATCH, "torch.float32"))
    for _ in range(2):
        allocate((ctypes.c_int64 * 2)(1 << 10, 1 << 20))
        with pytest.raises(MemoryError) as caught:
            allocate((ctypes.c_int64 * 2)(1 << 10, MOST))
        assert str(caught.value) == (
            f"scan: the compiled loop needs {MOST + (1 << 16):,} bytes beside its tensors, and there is no memory for "
            "them. Make the batch smaller."
        )


def test_loops_and_products_tell_of_missing_memory(monkeypatch):
    functions = []
    monkeypatch.setattr(run, "raising", lambda function: functions.append(raising(function)) or functions[-1])
    for needs_grad in (False, True):
        assert_apart(lambda x, h: (h, new(x, h.cos())), T, engine="fused", needs_grad=needs_grad)
    assert len(functions) == 3, "forward, training and backward"
    for function in functions:
        with pytest.raises(MemoryError, match="scan: the compiled loop needs"):
            function((ctypes.c_int64 * 64)(1, MOST >> 8, 1))
    rows = torch.zeros(99, 99)
    strides, n_threads = (99, 1), MOST >> 20
    right, left = (rows.data_ptr(), 0, 99, 99, 1, 99), (rows.data_ptr(), 0, 99, 99, *strides, rows.data_ptr(), *strides)
    with pytest.raises(MemoryError, match="scan: the compiled loop needs"):
        library.multiply(torch.float32)(
            large_products._pack(*right, 0, 0, 99, n_threads, 1, *left, *large_products._NO_LEFT)
        )


class Allocates:
    """What stands for a kernel: it allocates what it is told to."""

    run = staticmethod(raising(build(SCRATCH, "torch.float32")))


def test_missing_memory_of_one_of_several_loops_is_told():
    kernel = Allocates()
    enough, too_much = (ctypes.c_char_p(bytes((ctypes.c_int64 * 2)(1, size))) for size in (1 << 10, MOST))
    run.run_at_once([(kernel, enough)] * 2)
    with pytest.raises(MemoryError, match="scan: the compiled loop needs"):
        run.run_at_once([(kernel, enough), (kernel, too_much)])


def test_large_tensors_that_find_no_memory_raise_as_torchs_do():
    like = torch.empty(0)
    memory.new_tensor(like, memory.LEAST)
    assert memory.kept_bytes() > 0
    with pytest.raises(RuntimeError, match="can't allocate memory: you tried to allocate"):
        memory.new_tensor(like, MOST >> 8)
    assert memory.kept_bytes() == 0, "what is free is returned first"
    assert memory.new_tensor(like, memory.LEAST).fill_(1).sum() == memory.LEAST
