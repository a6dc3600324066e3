"""The conditional random field against the enumeration of all its paths."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.assertions import assert_as_exact_as, to_dtype
from unrolled.nn import crf as module
from unrolled.nn.crf import CRF


def made(n_tags, seed, *, forbidden=False):
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.ones(n_tags + 1, n_tags + 1, dtype=torch.bool)
    if forbidden:
        allowed[0, 1] = allowed[n_tags, 1] = allowed[2, n_tags] = False
    crf = CRF(n_tags, allowed).double()
    for parameter in crf.parameters():
        parameter.data.normal_(generator=generator)
    return crf, generator


def of_paths(crf, scores, paths):
    """The unnormalized log weights of paths [n_paths, time], of scores [time, tags]; forbidden ones are -inf."""
    transition, start, end = crf.potentials()
    paths = torch.as_tensor(paths)
    totals = start[paths[:, 0]] + end[paths[:, -1]] + scores.gather(1, paths.t()).sum(0)
    return totals + transition[paths[:, :-1], paths[:, 1:]].sum(1)


def enumerated(crf, scores, tags, lengths):
    """The log likelihood by the enumeration of all paths; allowed ones alone, so that each gradient is a number."""
    found = []
    for row, length in enumerate(lengths.tolist()):
        paths = torch.tensor(list(itertools.product(range(scores.shape[2]), repeat=length)))
        totals = of_paths(crf, scores[:length, row], paths)
        own = (paths == tags[:length, row]).all(1)
        if totals[own] == -torch.inf:
            found.append(scores.new_tensor(-torch.inf))
        else:
            found.append(totals[own].squeeze(0) - totals[totals != -torch.inf].logsumexp(0))
    return torch.stack(found)


def with_gradients(likelihood, crf, scores, tags, lengths):
    """Log likelihoods, and the gradients of their mixture: of the scores, and of all potentials."""
    scores = scores.detach().clone().requires_grad_()
    found = likelihood(crf, scores, tags, lengths)
    mixture = (
        torch.linspace(0.5, 1.5, len(found), dtype=found.dtype) * found.masked_fill(found == -torch.inf, 0)
    ).sum()
    wanted = [scores, *crf.parameters()]
    if not mixture.requires_grad:  # all rows are forbidden
        return [found.detach(), *map(torch.zeros_like, wanted)]
    gradients = torch.autograd.grad(mixture, wanted, allow_unused=True)
    return [found.detach(), *(torch.zeros_like(w) if g is None else g for g, w in zip(gradients, wanted, strict=True))]


def drawn(crf, generator, n_steps, n_rows, apart):
    n_tags = len(crf.start)
    scores = apart * (2 * torch.rand(n_steps, n_rows, n_tags, generator=generator, dtype=torch.float64) - 1)
    tags = torch.randint(0, n_tags, (n_steps, n_rows), generator=generator)
    return scores, tags, torch.randint(1, n_steps + 1, (n_rows,), generator=generator)


def assert_close(found, exact, rel):
    for a, b in zip(found, exact, strict=True):
        assert a.tolist() == b.tolist() or a.numpy() == pytest.approx(b.numpy(), rel=rel, abs=rel)


cases = given(
    st.integers(3, 4), st.integers(1, 5), st.integers(0, 10**6), st.booleans(), st.sampled_from([1, 30, 100, 1e3, 1e4])
)


@cases
def test_likelihood_and_gradients_are_those_of_all_paths(n_tags, n_steps, seed, forbidden, apart):
    crf, generator = made(n_tags, seed, forbidden=forbidden)
    draw = drawn(crf, generator, n_steps, 3, apart)
    exact = with_gradients(enumerated, crf, *draw)
    assert_close(with_gradients(CRF.log_likelihood, crf, *draw), exact, rel=1e-13 * max(apart, 100))


@cases
def test_both_ways_are_those_of_all_paths(n_tags, n_steps, seed, forbidden, apart):
    """Through products wherever they are exact, and over pairs of tags alone."""
    crf, generator = made(n_tags, seed, forbidden=forbidden)
    draw = drawn(crf, generator, n_steps, 3, apart)
    exact = with_gradients(enumerated, crf, *draw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_by_products", module._by_pairs)
        assert_close(with_gradients(CRF.log_likelihood, crf, *draw), exact, rel=1e-13 * max(apart, 100))


@pytest.mark.parametrize("apart", [1, 30, 100, 1e3, 1e4])
@pytest.mark.parametrize("forbidden", [False, True])
def test_float32_is_as_exact_as_the_log_domain(monkeypatch, apart, forbidden):
    """By the one rule: the yardstick is the eager loop over pairs of tags, the oracle the enumeration in float64."""
    crf, generator = made(4, 0, forbidden=forbidden)
    single = made(4, 0, forbidden=forbidden)[0].float()
    crf.load_state_dict(single.state_dict())
    draws = [drawn(crf, generator, 5, 4, apart) for _ in range(16)]
    draws = [(to_dtype(scores, torch.float32), tags, lengths) for scores, tags, lengths in draws]

    def results(likelihood, crf, dtype):
        each = [with_gradients(likelihood, crf, to_dtype(scores, dtype), *rest) for scores, *rest in draws]
        return [torch.stack(leaves) for leaves in zip(*each, strict=True)]

    oracle = results(enumerated, crf, torch.float64)
    ours = results(CRF.log_likelihood, single, torch.float32)
    monkeypatch.setattr(module, "_by_products", module._by_pairs)
    assert_as_exact_as(ours, results(CRF.log_likelihood, single, torch.float32), oracle)


@given(st.integers(2, 4), st.integers(1, 5), st.integers(0, 100), st.booleans())
def test_the_best_path_is_that_of_all_paths(n_tags, n_steps, seed, forbidden):
    crf, generator = made(n_tags, seed, forbidden=forbidden and n_tags > 2)
    scores, _, lengths = drawn(crf, generator, n_steps, 3, 2)
    potentials = crf.potentials()
    best = crf.best(scores.numpy(), lengths.numpy(), tuple(each.detach().numpy() for each in potentials))
    for row, length in enumerate(lengths.tolist()):
        of_row = scores[:length, row]
        totals = of_paths(crf, of_row, list(itertools.product(range(n_tags), repeat=length)))
        assert of_paths(crf, of_row, [best[row]]).item() == pytest.approx(totals.max().item())
        assert len(best[row]) == length


def test_gradients():
    crf, generator = made(3, 0)
    scores = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    tags, lengths = torch.randint(0, 3, (4, 2), generator=generator), torch.tensor([4, 2])

    def likelihood(scores, *_):
        return crf.log_likelihood(scores, tags, lengths)

    assert torch.autograd.gradcheck(likelihood, (scores, *crf.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [60, 80, 200, 1e4])
def test_a_tag_that_scores_bring_back(dtype, apart):
    """The best tag is forbidden to go on, so that the path is one that lay far below it."""
    allowed = torch.ones(3, 3, dtype=torch.bool)
    allowed[0, 1] = False  # the second tag follows itself alone
    crf = CRF(2, allowed).to(dtype)
    scores = torch.tensor([[[apart, 0.0]], [[0.0, apart + 1]]], dtype=dtype)
    tags = torch.tensor([[1], [1]])
    found = crf.log_likelihood(scores, tags, torch.tensor([2]))
    # paths: 0 0 has `apart`, 1 0 has 0, 1 1 has apart + 1
    assert found.item() == pytest.approx(
        -np.log1p(np.exp(-1) + np.exp(-apart - 1)), rel=1e-12 * apart if dtype is torch.float64 else 1e-7 * apart
    )


@pytest.mark.parametrize("apart", [0, 1e4])
def test_what_is_forbidden_has_a_likelihood_of_zero_and_no_gradient(apart):
    crf, _ = made(3, 0, forbidden=True)
    crf = crf.float()
    scores = torch.zeros(3, 3, 3)
    scores[:, :, 2] = apart
    scores.requires_grad_()
    # allowed; from 0 to 1; begins with 1
    tags = torch.tensor([[0, 0, 1], [0, 1, 0], [0, 0, 0]])
    found = crf.log_likelihood(scores, tags, torch.tensor([3, 3, 3]))
    found.sum().backward()
    assert found.isinf().tolist() == [False, True, True]
    assert bool((found < 0).all())
    assert bool(scores.grad[:, 0].any())
    assert not scores.grad[:, 1:].any()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in crf.parameters())
    assert crf.transition.grad[0, 1] == crf.start.grad[1] == crf.end.grad[2] == 0


def test_no_path_at_all():
    crf = CRF(2, torch.zeros(3, 3, dtype=torch.bool))
    scores = torch.zeros(4, 2, 2, requires_grad=True)
    found = crf.log_likelihood(scores, torch.zeros(4, 2, dtype=torch.int64), torch.tensor([4, 1]))
    found.sum().backward()
    assert found.tolist() == [-torch.inf, -torch.inf]
    assert not scores.grad.any()
    assert not crf.transition.grad.any()


def test_a_score_of_minus_infinity_forbids_a_tag():
    crf, generator = made(3, 0)
    scores, tags, lengths = drawn(crf, generator, 5, 4, 1)
    scores[2, :, 1] = -torch.inf
    tags[2] = 0
    apart = scores.masked_fill(scores == -torch.inf, -1e6)
    found, exact = (with_gradients(CRF.log_likelihood, crf, each, tags, lengths) for each in (scores, apart))
    assert_close(found, exact, rel=1e-12)


def test_not_a_number_stays_one():
    crf, _ = made(3, 0, forbidden=True)
    scores = torch.zeros(3, 2, 3, dtype=torch.float64)
    scores[1, 0, 2] = torch.nan
    found = crf.log_likelihood(scores, torch.zeros(3, 2, dtype=torch.int64), torch.tensor([3, 3]))
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("padding", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_padding_has_no_effect(padding):
    crf, generator = made(3, 0, forbidden=True)
    scores, _, _ = drawn(crf, generator, 5, 3, 1)
    tags, lengths = torch.zeros(5, 3, dtype=torch.int64), torch.tensor([5, 1, 3])
    is_there = torch.arange(5).unsqueeze(1) < lengths
    padded = scores.masked_fill(~is_there.unsqueeze(2), padding), tags.where(is_there, 99), lengths
    found = with_gradients(CRF.log_likelihood, crf, *padded)
    for a, b in zip(found, with_gradients(CRF.log_likelihood, crf, scores, tags, lengths), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("n_tags", [5, 17, 70])
def test_the_forward_algorithm_runs_in_the_compiled_loop(recwarn, monkeypatch, n_tags):
    crf, generator = made(n_tags, 1, forbidden=True)
    crf = crf.float()
    scores = torch.randn(6, 3, n_tags, generator=generator, requires_grad=True)
    monkeypatch.setattr(module, "_by_pairs", None)  # usual scores need it nowhere, also where tags are forbidden
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = crf.log_likelihood(scores, torch.zeros(6, 3, dtype=torch.int64), torch.tensor([6, 2, 4])).sum()
    loss.backward()
    assert not recwarn.list  # a step that ran eagerly would warn
    assert loss.dtype == torch.float32


def test_rows_whose_sums_underflow_alone_are_computed_again(monkeypatch):
    crf, generator = made(3, 0, forbidden=True)
    scores, tags, lengths = drawn(crf.float(), generator, 5, 4, 1)
    scores[0, 2] = torch.tensor([1e4, 0, 0])  # the second tag does not follow the first
    lengths[2] = 5
    rows, right = [], module._by_pairs
    monkeypatch.setattr(
        module,
        "_by_pairs",
        lambda potentials, scores, lengths: rows.append(scores) or right(potentials, scores, lengths),
    )
    crf.log_likelihood(scores.float(), tags, lengths)
    (again,) = rows
    assert torch.equal(again, scores[:, [2]].float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_parameters_are_computed_in_float32(dtype):
    crf, generator = made(3, 0, forbidden=True)
    scores, _, lengths = drawn(crf.to(dtype), generator, 5, 4, 1)
    tags = torch.zeros(5, 4, dtype=torch.int64)
    found = crf.log_likelihood(scores.to(dtype), tags, lengths)
    exact = crf.float().log_likelihood(scores.to(dtype).float(), tags, lengths)
    assert torch.equal(found, exact.to(dtype))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of shapes
@pytest.mark.parametrize("apart", [1, 1e4])
def test_under_transforms_and_tracing_nothing_is_decided_by_values(apart):
    crf, generator = made(3, 0, forbidden=True)
    draws = [drawn(crf, generator, 5, 4, size) for size in (1, apart)]
    tags, lengths = draws[0][1:]
    crf.requires_grad_(False)  # a trace of a function takes no parameters
    likelihood = lambda scores: crf.log_likelihood(scores, tags, lengths)
    scores = torch.stack([draw[0] for draw in draws])
    exact = [likelihood(each).detach() for each in scores]
    assert_close(torch.func.vmap(likelihood)(scores).detach(), exact, rel=1e-13 * max(apart, 100))
    traced = torch.jit.trace(likelihood, scores[0], check_trace=False)
    assert_close([traced(scores[1]).detach()], exact[1:], rel=1e-13 * max(apart, 100))
