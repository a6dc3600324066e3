"""Windows over time: their gradients reach exactly as far as they say, and memory does not grow with the sequence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unrolled
from unrolled.errors import SettingsError


def run(weight):
    def step(x, h):
        h = torch.tanh(weight * h + x)
        return h, h

    return lambda xs, state: unrolled.scan(step, xs, state)


@given(st.integers(0, 12), st.integers(1, 6), st.integers(0, 6))
def test_windows_cover_the_sequence_and_their_gradient_reaches_k2_steps_back(n_steps, k1, extra):
    k2 = k1 + extra
    xs = torch.randn(n_steps, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(0.9, dtype=torch.float64)
    whole, last = run(weight)(xs, torch.zeros(1, dtype=torch.float64))
    at = 0
    for window in unrolled.truncated_bptt(run(weight), xs, torch.zeros(1, dtype=torch.float64), k1=k1, k2=k2):
        assert window.start == at
        assert window.stop == min(at + k1, n_steps)
        at = window.stop
        torch.testing.assert_close(window.ys, whole[window.start : window.stop])
        (gradient,) = torch.autograd.grad(window.ys.sum(), xs, retain_graph=True)
        reached = gradient.flatten().nonzero().flatten()
        # the window begins k2 - k1 steps before its new ones
        assert reached.min() == max(0, window.start - (k2 - k1))
        assert reached.max() == window.stop - 1
        assert not window.state.requires_grad
    assert at == n_steps
    if n_steps:
        torch.testing.assert_close(window.state, last.detach())


def test_one_window_over_everything_is_backpropagation_through_time():
    weight = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    xs = torch.randn(9, 2, dtype=torch.float64)
    [window] = unrolled.truncated_bptt(run(weight), xs, torch.zeros(2, dtype=torch.float64), k1=9)
    (ours,) = torch.autograd.grad(window.ys.square().sum(), weight)
    ys, _ = run(weight)(xs, torch.zeros(2, dtype=torch.float64))
    (full,) = torch.autograd.grad(ys.square().sum(), weight)
    torch.testing.assert_close(ours, full)


@pytest.mark.parametrize("layer", [torch.nn.LSTM(3, 4), torch.nn.GRU(3, 4), unrolled.RNN(3, 4)])
def test_runs_torch_layers_with_updates_between_windows(layer):
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    before = layer.weight_hh_l0.detach().clone()
    for window in unrolled.truncated_bptt(layer, torch.randn(20, 2, 3), None, k1=4, k2=8):
        optimizer.zero_grad()
        window.ys.square().mean().backward()
        optimizer.step()
    assert not torch.equal(before, layer.weight_hh_l0)


def most_saved(n_steps):
    """The most bytes that autograd held at a time while going through a sequence."""
    alive, most = 0, 0

    class Saved:
        def __init__(self, tensor):
            nonlocal alive, most
            self.tensor = tensor
            alive += tensor.nbytes
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= self.tensor.nbytes

    weight = torch.tensor(0.9, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        for window in unrolled.truncated_bptt(run(weight), torch.randn(n_steps, 4), torch.zeros(4), k1=5, k2=10):
            window.ys.sum().backward()
    return most


def test_memory_is_flat():
    assert most_saved(400) == most_saved(100) > 0


def test_faults_are_told():
    with pytest.raises(SettingsError, match=r"^k1=0: the steps between updates must be at least 1\.$"):
        next(unrolled.truncated_bptt(run(1.0), torch.zeros(3, 1), torch.zeros(1), k1=0))
    with pytest.raises(SettingsError, match=r"^k2=2: the gradient must reach back at least k1=3 steps\."):
        next(unrolled.truncated_bptt(run(1.0), torch.zeros(3, 1), torch.zeros(1), k1=3, k2=2))
