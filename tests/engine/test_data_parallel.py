"""A batch of empty sequences alone: its weights have no gradient, and DistributedDataParallel neither waits nor raises."""

import subprocess
import sys

import pytest
import torch

import unrolled

PROCESS = """
import sys, warnings
from datetime import timedelta
import torch
import torch.distributed as dist
from torch import nn
import unrolled

warnings.simplefilter("ignore")
torch.set_num_threads(1)
rank, store, engine, options = int(sys.argv[1]), sys.argv[2], sys.argv[3], eval(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out, self.scale = unrolled.cells.GRU(3, 4), nn.Linear(4, 2), nn.Parameter(torch.ones(4))

    def step(self, x, h):
        y, h = self.cell(x, h)
        return y * self.scale, h

    def forward(self, xs, lengths):
        state = torch.zeros(xs.shape[1], 4)
        return self.out(unrolled.scan(self.step, xs, state, lengths=lengths, engine=engine, **options)[0])


torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(Net())
for lengths in ([3, 2], [3, 2] if rank == 0 else [0, 0], [0, 0], [1, 3]):
    model.zero_grad()
    model(torch.randn(3, 2, 3), torch.tensor(lengths)).square().sum().backward()
    found = [0.0 if p.grad is None else p.grad.abs().sum().item() for p in model.parameters()]
    print(found if any(lengths) or rank == 1 else "", flush=True)
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("engine", "options"),
    [("auto", {}), pytest.param("eager", {}, marks=pytest.mark.slow), pytest.param("auto", {"recompute": True}, marks=pytest.mark.slow)],
)  # fmt: skip
def test_two_processes_of_which_one_has_empty_sequences_alone(engine, options, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store"), engine, repr(options)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        ends = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ends
    first, second = (end[0].splitlines() for end in ends)
    assert first[0] == second[0] != ""
    assert first[1] == second[1]  # the mean of a gradient and of none
    assert first[3] == second[3]


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_what_a_step_reads_has_no_gradient_where_no_row_runs(engine):
    """As in a loop that calls the step for none; inputs and state have zeros, as they are what the state comes of."""
    cell, xs, state = unrolled.cells.GRU(3, 4), torch.randn(5, 2, 3, requires_grad=True), torch.randn(2, 4)
    state.requires_grad_()
    ys, last = unrolled.scan(cell, xs, state, lengths=torch.tensor([0, 0]), engine=engine)
    (ys.sum() + last.sum()).backward()
    assert [parameter.grad for parameter in cell.parameters()] == [None] * 4
    assert torch.equal(xs.grad, torch.zeros_like(xs))
    assert torch.equal(state.grad, torch.ones_like(state))
