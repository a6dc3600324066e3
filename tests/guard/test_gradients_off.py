"""What torch computes without gradients within an operation has the plain loop's gradient, or is refused."""

import pytest
import torch
from tests.guard.changes import plain_step
from tests.guard.checks import HIDDEN, Case, assert_as_eager, scan_quietly
from torch import nn
from torch.nn import functional as F

import unrolled
from unrolled.engine.step import interpreter

FORMS = {
    "rows": lambda y, eps: F.cosine_similarity(y, y.roll(1, 1), 1, eps).unsqueeze(1),
    "module": lambda y, eps: nn.CosineSimilarity(dim=-1, eps=eps)(y * 3, 1 - y).unsqueeze(1),
    "one": lambda y, eps: torch.cosine_similarity(y, torch.ones(HIDDEN, dtype=y.dtype), eps=eps).unsqueeze(1),
    "heads": lambda y, eps: F.cosine_similarity(y.view(-1, 2, 2), 1 - y.view(-1, 2, 2), 2, eps).sum(1, keepdim=True),
    "zeros": lambda y, eps: F.cosine_similarity(y * 0, y, eps=eps).unsqueeze(1),
    "of_two_dtypes": lambda y, eps: F.cosine_similarity(y, torch.ones(1, HIDDEN), eps=eps).unsqueeze(1),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("eps", [1e-8, 0.5, 10.0])
def test_cosine_similarity_of_short_rows(form, eps):
    step, wanted = plain_step(lambda y: y * FORMS[form](y, eps))
    assert_as_eager(Case(step, wanted=wanted))
    xs, state = Case(step).arguments()
    assert unrolled.explain(step, xs, state).path == ("eager" if form == "of_two_dtypes" else "fused")
    with torch.no_grad():
        ours, theirs = (scan_quietly(step, xs, state, engine=engine)[0] for engine in ("auto", "eager"))
    torch.testing.assert_close(ours, theirs)


def test_others_are_refused(monkeypatch, by_guards_alone):
    monkeypatch.setattr(interpreter, "_WRITTEN_OTHERWISE", {})
    step, wanted = plain_step(lambda y: y * F.cosine_similarity(y, y.roll(1, 1), 1, 10.0).unsqueeze(1))
    case = Case(step, wanted=wanted)
    assert_as_eager(case, words=r"^it calls an operation within which torch turns gradients off \(")
    with torch.no_grad():
        assert unrolled.explain(step, *case.arguments()).path == "fused"
