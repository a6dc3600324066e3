"""What is begun, asks for something and ends with the answer: several scans that ask for their loops, several loops for
their kernels, answered together.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def side_by_side(
    begun: Sequence[tuple[Request, Callable[[Answer], Result]]], answer: Callable[[list[Request]], Sequence[Answer]]
) -> list[Result]:
    """What each ends with; `answer` sees all requests at once."""
    if len(begun) == 1:  # a short call is mostly Python
        request, end = begun[0]
        return [end(answer([request])[0])]
    answers = answer([request for request, _ in begun])
    return [end(each) for (_, end), each in zip(begun, answers, strict=True)]
