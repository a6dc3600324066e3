"""The large products outside the loop, and the memory that they are written to."""

import gc

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unrolled.engine.backends.cpu import large_products, memory


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def laid_out(shape, generator, is_transposed):
    values = torch.randn(shape, generator=generator)
    return values.t().contiguous().t() if is_transposed else values


@given(
    st.tuples(st.integers(1, 9) | st.integers(1, 140), st.integers(1, 140), st.sampled_from([1, 7, 128, 300, 600])),
    st.tuples(*[st.booleans()] * 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_products_of_every_layout(shape, transposed, has_bias, has_sums, seed):
    (m, n, k), generator = shape, torch.Generator().manual_seed(seed)
    a = laid_out((m, k), generator, transposed[0])
    w = laid_out((k, n), generator, transposed[1])
    bias = torch.randn(n, generator=generator) if has_bias and not transposed[2] else None
    sums = torch.ones(n) if has_sums else None
    result = large_products.multiply(a, w, bias, sums, is_transposed=transposed[2])
    exact = a.double() @ w.double() + (0 if bias is None else bias.double())
    assert (result - exact).abs().max() <= 4e-7 * k**0.5 * max(1, exact.abs().max())
    if has_sums:
        assert (sums - 1 - w.double().sum(0)).abs().max() <= 4e-7 * k**0.5 * 4
    if transposed[2]:
        assert result.t().is_contiguous()


@given(
    st.lists(st.tuples(st.integers(0, 40) | st.integers(1, 140), st.booleans()), min_size=1, max_size=2),
    st.integers(1, 140) | st.sampled_from([600, 1100]),
    st.sampled_from([1, 7, 128, 300, 600, 1100]),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 99),
)
@example([(1, True), (140, True)], 140, 1100, 0.5, True, 0)  # one number of the first a row, which needs no packing
@example([(140, True), (1, True)], 140, 1100, 0.5, True, 0)
@settings(max_examples=100, deadline=None)
def test_sums_over_time_of_one_or_two_lefts(shapes, n, k, part, has_sums, seed):
    """The last left goes on elsewhere after some rows; results lie by rows or by columns."""
    generator = torch.Generator().manual_seed(seed)
    right = torch.randn(k, n, generator=generator)
    lefts = [torch.randn(k, m, generator=generator) for m, _ in shapes]
    split = round(part * k)
    begin, rest = lefts[-1][:split].clone(), lefts[-1][split:].clone()
    splits = [*[(left.data_ptr(), 0, k) for left in lefts[:-1]], (begin.data_ptr(), rest.data_ptr(), split)]
    results = [laid_out((m, n), generator, is_across) for m, is_across in shapes]
    sums = torch.ones(n)
    calls = [
        (*at, m, result.data_ptr(), (1, m) if is_across else (n, 1))
        for at, (m, is_across), result in zip(splits, shapes, results, strict=True)
    ]
    large_products.run_sums(torch.float32, right.data_ptr(), n, k, calls, sums.data_ptr() if has_sums else 0)
    for left, result in zip(lefts, results, strict=True):
        exact = left.double().t() @ right.double()
        assert result.numel() == 0 or (result - exact).abs().max() <= 4e-7 * k**0.5 * max(1, exact.abs().max())
    assert (sums - 1 - right.double().sum(0) * has_sums).abs().max() <= 4e-7 * k**0.5 * 4


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(2000, 100, 64), (1100, 90, 700), (100, 700, 128), (90, 2100, 300)],
    ids=["rows", "rows, more than one block", "columns", "columns, more than one block"],
)
@pytest.mark.parametrize("is_transposed", [True, False])
def test_whoever_takes_which_piece_the_bits_are_the_same(m, n, k, is_transposed):
    generator = torch.Generator().manual_seed(0)
    a, w = laid_out((m, k), generator, is_transposed), torch.randn((k, n), generator=generator)
    sums = [torch.zeros(n) for _ in range(6)]
    first, *others = [large_products.multiply(a, w, None, each) for each in sums]
    exact = a.double() @ w.double()
    assert (first - exact).abs().max() <= 4e-7 * k**0.5 * exact.abs().max()
    assert (sums[0] - w.double().sum(0)).abs().max() <= 4e-7 * k**0.5 * 4
    for other, of_w in zip(others, sums[1:], strict=True):
        assert torch.equal(other, first)
        assert torch.equal(of_w, sums[0])


@pytest.mark.parametrize("m", [1, 5, 8, 9, 300])
@pytest.mark.parametrize("is_transposed", [True, False])
def test_rows_times_a_weight(m, is_transposed):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(m, 70, generator=generator).view(m, 1, 70)
    weight = torch.randn((90, 70) if is_transposed else (70, 90), generator=generator)
    bias = torch.randn(180, generator=generator)[::2]
    result = large_products.rows_times(rows, weight, bias, is_transposed=is_transposed)
    exact = rows.view(m, 70).double() @ (weight.t() if is_transposed else weight).double() + bias.double()
    assert result.shape == (m, 90)
    assert (result - exact).abs().max() <= 4e-7 * 70**0.5 * exact.abs().max()


def test_memory_of_a_tensor_that_died_is_lent_again():
    first = memory.new_tensor(torch.empty(0), 300, 1000)
    address = first.data_ptr()
    view = first[10:20].t()
    del first
    other = memory.new_tensor(torch.empty(0), 300, 1000)
    assert other.data_ptr() != address, "a view still holds it"
    del view
    gc.collect()
    again = memory.new_tensor(torch.empty(0), 1000, 299)  # another shape of nearly as many bytes
    assert again.data_ptr() == address
    again.fill_(1)
    assert again.sum() == 299_000


def test_no_more_is_kept_than_said(monkeypatch):
    monkeypatch.setattr(memory, "most_bytes", lambda: 3 << 20)
    tensors = [memory.new_tensor(torch.empty(0), 1 << 18) for _ in range(8)]
    assert len({tensor.data_ptr() for tensor in tensors}) == 8
    tensors.clear()
    gc.collect()
    assert 0 < memory.kept_bytes() <= 3 << 20


def test_a_lent_tensor_is_an_ordinary_one():
    tensor = memory.new_tensor(torch.empty(0), 100, 1000).fill_(2)
    assert tensor.clone().share_memory_().sum() == 200_000
    assert torch.equal(torch.stack([tensor, tensor])[1], tensor)
    assert tensor.numpy().sum() == 200_000
