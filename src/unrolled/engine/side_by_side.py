"""Runs that ask for something on their way, answered together: several scans for their loops, several loops for their
kernels.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def side_by_side(
    runs: Sequence[Generator[Request, Answer, Result]], answer: Callable[[list[Request]], Sequence[Answer]]
) -> list[Result]:
    """What the runs return; each asks once, or not at all."""
    if len(runs) == 1:  # a short call is mostly Python
        try:
            [own] = answer([next(runs[0])])
            runs[0].send(own)
        except StopIteration as end:
            return [end.value]
        raise AssertionError("a run asks once")
    results: list[Any] = [None] * len(runs)
    requests: dict[int, Request] = {}
    for i, run in enumerate(runs):
        try:
            requests[i] = next(run)
        except StopIteration as end:
            results[i] = end.value
    answers = answer(list(requests.values())) if requests else []
    for i, each in zip(requests, answers, strict=True):
        try:
            runs[i].send(each)
        except StopIteration as end:
            results[i] = end.value
        else:
            raise AssertionError("a run asks once")
    return results
