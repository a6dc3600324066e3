"""Scans under a probe, and the plain loop that tells what it has to find."""

import torch
from torch import nn
from torch.utils import _pytree as pytree

import unrolled
from tests.strategies import INPUT

TIME, ROWS = 6, 4
LENGTHS = torch.tensor([6, 2, 5, 1])
RESETS = torch.rand(TIME, ROWS, generator=torch.Generator().manual_seed(3)) < 0.3
OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": LENGTHS},
    "lengths-reverse": {"lengths": LENGTHS, "reverse": True},
    "resets": {"resets": RESETS},
    "lengths-resets": {"lengths": LENGTHS, "resets": RESETS},
}


def loss_of(ys, last):
    """Reads outputs and last state, each step and row by itself."""
    leaves = [leaf for leaf in (*pytree.tree_leaves(ys), *pytree.tree_leaves(last)) if leaf.is_floating_point()]
    return sum(
        ((i + 1) * torch.linspace(-1, 2, leaf.numel()).view_as(leaf) * leaf).sum() for i, leaf in enumerate(leaves)
    )


def plain_loop(step, xs, state, *, lengths=None, resets=None, reverse=False):
    """The states of each step, with the gradients that `retain_grad` has of them: norms [time, batch] of each leaf."""
    n_steps, n_rows = xs.shape[:2]
    first = now = pytree.tree_leaves(state)
    form = pytree.tree_structure(state)
    ys, made = [None] * n_steps, [None] * n_steps
    for t in reversed(range(n_steps)) if reverse else range(n_steps):
        runs = torch.ones(n_rows, dtype=torch.bool) if lengths is None else t < lengths
        if resets is not None:
            starts = (resets[t] & runs).unsqueeze(1)
            now = [torch.where(starts, a, b) for a, b in zip(first, now, strict=True)]
        y, new = step(xs[t], pytree.tree_unflatten(now, form))
        # an alias, as a step may return what it was given
        new = [leaf if all(leaf is not old for old in now) else leaf.view_as(leaf) for leaf in pytree.tree_leaves(new)]
        for leaf in new:
            if leaf.is_floating_point():
                leaf.retain_grad()
        now = [torch.where(runs.unsqueeze(1), a, b) for a, b in zip(new, now, strict=True)]
        ys[t] = pytree.tree_map(lambda leaf, runs=runs: torch.where(runs.unsqueeze(1), leaf, 0), y)
        made[t] = new, runs
    ys = pytree.tree_map(lambda *leaves: torch.stack(leaves), *ys)
    loss_of(ys, now).backward()

    def over_time(value):
        return [torch.stack([value(new[i]) * runs for new, runs in made]) for i in range(len(first))]

    norms = over_time(
        lambda leaf: leaf.detach().to(torch.float64 if not leaf.is_floating_point() else leaf.dtype).norm(dim=1)
    )
    floats = [i for i, leaf in enumerate(first) if leaf.is_floating_point()]
    gradients = [torch.stack([new[i].grad.norm(dim=1) * runs for new, runs in made]) for i in floats]
    return norms, gradients


def probed(cell, xs, state, **options):
    with unrolled.probe(cell if isinstance(cell, nn.Module) else nn.Identity()) as record:
        loss_of(*unrolled.scan(cell, xs, state, **options)).backward()
    [scan] = record.scans
    assert record.trouble is None
    return scan


def batch_for(cell, dtype, seed=5):
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(TIME, ROWS, INPUT, generator=generator, dtype=torch.float64).to(dtype)
    state = pytree.tree_map(
        lambda leaf: torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(),
        cell.initial_state(ROWS),
    )
    return xs, state


class Net(nn.Module):
    def __init__(self, engine="auto"):
        super().__init__()
        self.rnn = unrolled.LSTM(3, 5, 2, bidirectional=True, engine=engine)
        self.top = unrolled.Recurrent(unrolled.cells.GRU(10, 4, reset="before"), engine=engine)
        self.head = nn.Linear(4, 1)

    def forward(self, xs):
        return self.head(self.top(self.rnn(xs)[0])[0])


def trained(net, xs, is_probed):
    net.zero_grad()
    if not is_probed:
        loss = net(xs).square().mean()
        loss.backward()
        return None, loss.detach(), [each.grad for each in net.parameters()]
    with unrolled.probe(net) as record:
        loss = net(xs).square().mean()
        loss.backward()
    return record, loss.detach(), [each.grad for each in net.parameters()]
