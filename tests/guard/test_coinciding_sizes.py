"""Time, batch and features are of one size: what fits for so many rows alone must not be taken for a fit of any."""

import pytest
import torch
from tests.guard.checks import Case, assert_as_eager, scan_quietly

import unrolled
from unrolled.engine.reasons import ROWS_MATTER

N = 5
#: a matrix that may be taken for features by features, or for rows by features
W = torch.linspace(-1, 1.3, N * N, dtype=torch.float64).view(N, N)
ONE, FIRST = torch.tensor([1]), torch.zeros(N, 1, N, dtype=torch.long)


def set_item(x):
    x = x.clone()
    x[:, 1] = W
    return x


#: operations on x [batch, features, features] whose sizes may be taken for each other
OPERATIONS = {
    "set_item": set_item,
    **{f"select_scatter {dim}": lambda x, dim=dim: torch.select_scatter(x, W, dim, 1) for dim in range(3)},
    **{
        f"slice_scatter {dim}": lambda x, dim=dim: torch.slice_scatter(x, W.unsqueeze(dim), dim, 1, 2)
        for dim in range(3)
    },
    **{
        f"diagonal_scatter {dims}": lambda x, dims=dims: torch.diagonal_scatter(x, W, 0, *dims)
        for dims in [(0, 1), (0, 2), (1, 2)]
    },
    "select_scatter of its own": lambda x: torch.select_scatter(x, x[:, 0], 1, 1),
    "slice_scatter of its own": lambda x: torch.slice_scatter(x, x[:, 1:3], 1, 2, 4),
    "as_strided_scatter": lambda x: torch.as_strided_scatter(x, W, (N, N), (N * N, 1)),
    "index_copy": lambda x: x.index_copy(1, ONE, W[:, None]),
    "index_add": lambda x: x.index_add(1, ONE, W[:, None]),
    "index_put": lambda x: x.index_put((torch.arange(N), torch.arange(N)), W),
    "masked_scatter": lambda x: x.masked_scatter(x > 0, W[0].expand(N * N, N)),
    "scatter": lambda x: x.scatter(1, FIRST, W[:, None]),
    "gather": lambda x: x.gather(1, FIRST),
    "take_along_dim": lambda x: torch.take_along_dim(x, FIRST, 1),
    "put": lambda x: x.put(torch.arange(N), W[0]),
    "bmm": lambda x: torch.bmm(x, W.expand(N, N, N)),
    "baddbmm": lambda x: torch.baddbmm(W.expand(N, N, N), x, x),
    "where": lambda x: torch.where(W[:, None] > 0, x, 0.0),
    "matmul": lambda x: x @ W,
    "cat": lambda x: torch.cat([x, W[:, None]], 1),
    "stack": lambda x: torch.stack([x[:, 0], W], 1),
    "view": lambda x: x.view(N, N * N),
    "permute": lambda x: x.permute(2, 1, 0),
    "transpose": lambda x: x.transpose(0, 1).transpose(0, 2).transpose(0, 1),
    "diagonal": lambda x: x.diagonal(0, 0, 1),
    "index": lambda x: x[torch.arange(N)],
    "einsum": lambda x: torch.einsum("bij,bj->bi", x, W),
    "rot90": lambda x: torch.rot90(x, 1, (0, 1)),
    "expand": lambda x: W[:, None].expand(N, N, N) + x,
}


def step_of(name):
    use = OPERATIONS[name]
    return lambda x, h: (use(x), torch.tanh(h + 0.5))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_right_where_sizes_coincide(name):
    assert_as_eager(Case(step_of(name), inputs=(N, N, N, N), state=(N, 2)))


@pytest.mark.parametrize("name", ["select_scatter 1", "slice_scatter 2", "diagonal_scatter (1, 2)"])
def test_what_fits_for_so_many_rows_alone_runs_eagerly_with_that_reason(name):
    step, state = step_of(name), torch.zeros(N, 2, dtype=torch.float64)
    assert unrolled.explain(step, torch.zeros(N, N, N, N, dtype=torch.float64), state).reason.startswith(ROWS_MATTER)
    with pytest.raises(RuntimeError, match="expected src to have a size equal to the slice of self"):
        scan_quietly(step, torch.zeros(N, N - 1, N, N, dtype=torch.float64), state[1:])
