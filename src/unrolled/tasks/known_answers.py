"""Whether a model knows any of the answers that data have.

Inputs: names of labels, tags or intents. Outputs: none, or an error. A file of its own, as several tasks ask it.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from unrolled.data.files import shortened
from unrolled.errors import DataError

_MOST_SHOWN = 5


@runtime_checkable
class KnowsAnswers(Protocol):
    """A model whose answers are of a list."""

    def check_answers(self, data: object) -> None:
        """Refuses data whose answers are all strange to the fitted model.

        Raises:
            DataError: it knows none of their labels, tags or intents.
        """


def check_known(known: Iterable[str], given: Iterable[str], what: str) -> None:
    """Refuses data that have answers, of which the model knows none: metrics on them would say nothing.

    Args:
        known: the answers of the model.
        given: those in the data.
        what: they are, such as "labels".

    Raises:
        DataError: none of them is known.
    """
    strange, own = dict.fromkeys(given), dict.fromkeys(known)
    if strange and not strange.keys() & own.keys():
        raise DataError(
            f"the model knows none of the {what} of these data: {_shown(strange)}; it knows {_shown(own)}. Name files "
            "with the answers that it was trained for"
        )


def kinds_of(tags: Iterable[str]) -> list[str]:
    """What tags are of, without their B-, I- and the like; none of "O"."""
    return [tag.partition("-")[2] or tag for tag in tags if tag != "O"]


def _shown(names: dict[str, None]) -> str:
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(shortened(name) for name in list(names)[:_MOST_SHOWN]) + more
