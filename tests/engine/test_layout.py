"""Rows that end, packed: by what torch's own sorting and indexing give."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.engine.backends import cpu
from unrolled.engine.backends.cpu import rows as module
from unrolled.engine.run.packed_rows import packed

steps_and_lengths = st.integers(1, 9).flatmap(
    lambda steps: st.tuples(st.just(steps), st.lists(st.integers(0, steps), min_size=1, max_size=9).filter(any))
)


def mask(steps, lengths):
    return torch.arange(steps).unsqueeze(1) < torch.tensor(lengths)


@given(steps_and_lengths)
def test_the_longest_rows_come_first(drawn):
    steps, lengths = drawn
    active = mask(steps, lengths)
    batch, order = packed(active, cpu, is_reversed=False), torch.tensor(lengths).argsort(descending=True, stable=True)
    time, row = active[:, order].nonzero(as_tuple=True)
    places = time * len(lengths) + order[row]
    assert batch.order.equal(order)
    assert batch.ranks.equal(order.argsort())
    assert batch.layout.counts.equal(active.sum(1))
    assert batch.layout.offsets.equal(active.sum(1).cumsum(0) - active.sum(1))
    assert batch.layout.total == sum(lengths)
    assert batch.places.equal(places)
    assert batch.packed_places.equal(torch.full((active.numel(),), -1).index_put((places,), torch.arange(len(places))))


@given(
    steps_and_lengths,
    st.sampled_from([(), (0,), (3,), (2, 5)]),
    st.sampled_from(["int64", "bool", "bfloat16", "float64"]),
)
def test_what_is_unpacked_is_what_was_packed(drawn, shape, dtype):
    steps, lengths = drawn
    active = mask(steps, lengths)
    batch = packed(active, cpu, is_reversed=True)
    leaf = torch.randn(steps, len(lengths), *shape).to(getattr(torch, dtype))
    rows = batch.pack(leaf)
    assert rows.equal(leaf[:, batch.order][active[:, batch.order]])
    assert batch.unpack(rows).equal(leaf * active.view(*active.shape, *(1 for _ in shape)))
    state = torch.arange(len(lengths))
    assert batch.unsorted(batch.sorted(state)).equal(state)


@given(steps_and_lengths)
def test_first_and_second_derivatives(drawn):
    steps, lengths = drawn
    batch = packed(mask(steps, lengths), cpu, is_reversed=False)
    leaf = torch.randn(steps, len(lengths), 2, dtype=torch.float64, requires_grad=True)
    again = lambda leaf: batch.unpack(batch.pack(leaf) ** 2)
    assert torch.autograd.gradcheck(again, leaf)
    assert torch.autograd.gradgradcheck(again, leaf)


@pytest.mark.parametrize("across", [False, True])
def test_large_rows_are_moved_by_several_threads(across):
    active = mask(300, [300, 0, 17, 299])
    leaf = torch.randn(300, 70, 4).transpose(1, 2) if across else torch.randn(300, 4, 70)
    assert leaf.nbytes > 2 * module._ALONE
    batch = packed(active.t().contiguous().t() if across else active, cpu, is_reversed=False)
    assert batch.unpack(batch.pack(leaf)).equal(leaf * active.unsqueeze(2))
