"""Runs a selection of the engine's checks with other compiler flags: python -m tests.engine.with_flags FLAG..."""

import sys

import torch
from tests import strategies
from tests.engine.odd_steps import Node, Odd
from tests.engine.test_fused import assert_fused_is_eager

import unrolled
from unrolled.engine.backends.cpu import compilers, emit, large_products


def main(flags: list[str]) -> None:
    compilers.OF_GCC = (*(flag for flag in compilers.OF_GCC if flag != "-march=native"), *flags)
    checks()


def checks() -> None:
    emit.ALONE, emit.AWAKE, large_products.ALONE = "0", "0", 0  # small as the steps are
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name in sorted(strategies.CELLS):
            for steps, batch in ((1, 1), (4, 3), (3, 9)):
                cell = strategies.make_cell(name, 1, torch.float32)
                xs = strategies.make_inputs(steps, batch, 2, torch.float32)
                state = strategies.make_state(cell, batch, 3, torch.float32)
                assert_fused_is_eager(cell, xs, state, reverse=batch == 9)
        for hidden, batch in ((65, 30), (16, 1), (33, 7)):
            torch.manual_seed(0)
            cell = unrolled.cells.GRU(hidden - 3, hidden)
            # so many steps that a gradient's sum over time is shared out among threads
            assert_fused_is_eager(cell, torch.randn(5, batch, hidden - 3), torch.randn(batch, hidden))
        for hidden, batch in ((16, 9), (33, 3)):  # rows shared out anew where some end, or features
            torch.manual_seed(0)
            cell, lengths = unrolled.cells.LSTM(5, hidden), torch.tensor([7, 4, 4, 7, 1, 0, 5, 5, 2][:batch])
            for reverse in (False, True):
                state = tuple(torch.randn(batch, hidden) for _ in range(2))
                assert_fused_is_eager(cell, torch.randn(7, batch, 5), state, lengths=lengths, reverse=reverse)
        for name in ("softmax", "layer_norm", "halves", "ends", "cumsum", "flip", "less_largest", "atan"):
            torch.manual_seed(0)
            step = Odd((Node(name, 0, 0),), 1, returns_more=True)
            assert_fused_is_eager(step, torch.randn(2, 3, 3), (torch.randn(3, 6), torch.randn(3, 6)))


if __name__ == "__main__":
    main(sys.argv[1:])
