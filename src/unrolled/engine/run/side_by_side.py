"""What asks for something once and ends with the answer, a generator each: several scans that ask for their loops,
several loops for their kernels, answered together.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def side_by_side(
    asking: Sequence[Generator[Request, Answer, Result]], answer: Callable[[list[Request]], Sequence[Answer]]
) -> list[Result]:
    """What each ends with; `answer` sees all requests at once."""
    answers = answer([next(each) for each in asking])
    return [_end(each, its) for each, its in zip(asking, answers, strict=True)]


def _end(asking: Generator[Request, Answer, Result], answer: Answer) -> Result:
    try:
        asking.send(answer)
    except StopIteration as end:
        return end.value
    raise AssertionError("it asks once")
