"""Which column of a table has the texts, and which the answers: as asked, by name, or by what the cells hold.

Inputs: names and first rows. Outputs: two names, and what was guessed. A file of its own, as classes and numbers are
read from the same tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unrolled.data.files import shortened
from unrolled.data.flags import are_flags, columns_named
from unrolled.data.in_memory import as_list
from unrolled.data.numbers import is_number
from unrolled.data.table import Learnt, check_learnt, choose_column, names_shown, of_usual_name
from unrolled.data.tokens import is_without_spaces
from unrolled.errors import DataError

TEXT_NAMES = ("text", "review", "sentence", "content", "comment", "message", "body", "tweet", "document", "title")
_LOOKED_AT = 1000  # rows of a frame
_MOST_CELLS = 200_000  # looked at
ROWS = "row"  # in place of a column's name: each row by itself


@dataclass(frozen=True)
class Roles:
    """The columns that are read.

    Attributes:
        text: with the texts.
        answer: with the classes, or numbers; several with commas between, as the user named them.
        notes: what was guessed from the cells, for the user.
        several: the columns that `answer` names, if it names several.
    """

    text: str
    answer: str
    notes: tuple[str, ...] = ()
    several: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns with the answers."""
        return self.several or (self.answer,)

    def in_head(self, name: str, head: Sequence[str]) -> list[str]:
        """The columns of a table of that name that are read, each once.

        Raises:
            DataError: one is not there.
        """
        return [choose_column(name, head, each, (), "text") for each in dict.fromkeys((self.text, *self.answers))]


@dataclass(frozen=True)
class Wanted:
    """What a user said of the columns.

    Attributes:
        text: the column with the texts; None to guess it.
        answer: the column with the answers, likewise.
        option: the name of the option for answers, such as "label".
        usual: names that answers often have.
        are_numbers: whether answers are numbers.
        learnt: the columns that a model learnt from, and the user did not name, by their options.
    """

    text: str | None
    answer: str | None
    option: str
    usual: Sequence[str]
    are_numbers: bool = False
    learnt: Mapping[str, str] = field(default_factory=dict)

    def like(self, learnt: Learnt) -> "Wanted":
        """The same, with the columns that a model learnt from where the user named none."""
        text, answer = learnt.get("text"), learnt.get(self.option)
        both = (("text", self.text, text), (self.option, self.answer, answer))
        taken = {option: each for option, own, each in both if own is None and each is not None}
        return replace(self, text=self.text or text, answer=self.answer or answer, learnt=taken)


def roles_of(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], wanted: Wanted) -> Roles:
    """The columns of texts and of answers.

    Args:
        name: of the table, for faults.
        head: names of its columns.
        rows: its first rows.
        wanted: what the user said.

    Raises:
        DataError: a column is not there, or several may be meant.
    """
    for option, column in wanted.learnt.items():
        is_label = option == wanted.option and not wanted.are_numbers
        check_learnt(name, head, columns_named(head, column) if is_label else [column], option=option)
    text = wanted.text or of_usual_name(head, TEXT_NAMES)
    some = rows[: max(2, _MOST_CELLS // max(1, len(head)))] if text is None else []
    cells = {column: [row[i].strip() for row in some if row[i].strip()] for i, column in enumerate(head)}
    if text is None and len(head) == 2:
        if (guessed := _guessed(cells, wanted)) is not None:
            return guessed
    elif text is None and (hint := _of_texts(cells, wanted) + _of_numbers(cells, wanted)):
        raise DataError(f"{name}: which column is the text? Pass --text with one of {names_shown(head)}.{hint}")
    text = choose_column(name, head, text, TEXT_NAMES, "text")
    several = columns_named(head, wanted.answer) if wanted.answer and not wanted.are_numbers else []
    if len(several) > 1:
        for each in several:
            choose_column(name, head, each, (), wanted.option)
        return Roles(text, str(wanted.answer), several=tuple(several))
    if (
        wanted.answer is None
        and of_usual_name(head, wanted.usual) is None
        and len(flags := _flags(head, rows, wanted)) > 1
    ):
        raise DataError(
            f"{name}: which column is the {wanted.option}? Pass --{wanted.option} with one of "
            f"{names_shown([each for each in head if each != text])}, or with several whose 1 says that a text has the "
            f"label: --{wanted.option} {_quoted(','.join(flags))}"
        )
    rest = [each for each in head if each != text]
    only = rest[0] if len(rest) == 1 else None
    return Roles(text, choose_column(name, head, wanted.answer or only, wanted.usual, wanted.option))


def roles_of_frame(frame: Any, wanted: Wanted) -> Roles:
    """The same of a data frame."""
    head = [str(name) for name in frame.columns]
    some = frame.head(_LOOKED_AT)
    columns = [as_list(some[name]) for name in frame.columns]
    return roles_of("the frame", head, [list(map(_text, row)) for row in zip(*columns, strict=True)], wanted)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)


def _guessed(cells: dict[str, list[str]], wanted: Wanted) -> Roles | None:
    """Of two columns the one with the texts, by what their cells hold; None where both may have them."""
    fitting = [
        Roles(text, answer)
        for text, answer in (tuple(cells), tuple(cells)[::-1])
        if wanted.answer in (None, answer) and _fit(cells[text], cells[answer], wanted)
    ]
    if len(fitting) != 1:
        return None
    text, answer = fitting[0].text, fitting[0].answer
    note = (
        f"column {text!r} is taken for the text and {answer!r} for the {wanted.option}, by what they hold; else pass "
        f"--text and --{wanted.option}"
    )
    return Roles(text, answer, (note,))


def _fit(texts: Sequence[str], answers: Sequence[str], wanted: Wanted) -> bool:
    """Whether cells can be texts with these answers: longer ones, most of them once, of few classes."""
    if not texts or not answers or _are_numbers(texts):
        return False
    if wanted.are_numbers:
        return _are_numbers(answers)
    n_texts, n_classes = len(set(texts)), len(set(answers))
    length = [sum(map(len, each)) / len(each) for each in (texts, answers)]
    are_apart = 2 * n_texts > len(texts) and n_texts >= 2 * n_classes
    return are_apart and length[0] > length[1] and 2 <= n_classes <= len(answers) / 2


def _flags(head: Sequence[str], rows: Sequence[Sequence[str]], wanted: Wanted) -> list[str]:
    """The columns of 0 and 1 that may be labels of texts."""
    if wanted.are_numbers:
        return []
    return [column for i, column in enumerate(head) if are_flags(row[i] for row in rows)]


def _of_texts(cells: dict[str, list[str]], wanted: Wanted) -> str:
    """How texts are read, where one column alone holds them; else ""."""
    texts = [name for name, found in cells.items() if _are_texts(found)]
    if len(texts) != 1:
        return ""
    answer = wanted.answer or of_usual_name(list(cells), wanted.usual)
    flags = [name for name, found in cells.items() if not wanted.are_numbers and are_flags(found)]
    answer = answer or (",".join(flags) if flags else "COLUMN")
    way = f"--text {_quoted(texts[0])} --{wanted.option} {_quoted(answer)}"
    return f" {shortened(texts[0])} holds texts; to learn from them: {way}."


def _are_texts(cells: Sequence[str]) -> bool:
    """Whether cells hold texts: most of them once, of several words, or long in a script without blanks."""
    if not cells or 2 * len(set(cells)) <= len(cells) or _are_numbers(cells):
        return False
    return 2 * sum(len(cell.split()) > 2 or (is_without_spaces(cell) and len(cell) > 5) for cell in cells) > len(cells)


def _of_numbers(cells: dict[str, list[str]], wanted: Wanted) -> str:
    """How rows of numbers are read, where a table has such columns and none of texts; else ""."""
    answer = wanted.answer or of_usual_name(list(cells), wanted.usual)
    numbers = [name for name, found in cells.items() if name != answer and found and _are_numbers(found)]
    if (
        not wanted.are_numbers
        and any(map(_are_texts, cells.values()))
        and all(are_flags(cells[name]) for name in numbers)
    ):
        return ""  # they are labels
    known = set(numbers)
    rest = [name for name, found in cells.items() if name not in known and not _are_texts(found)]
    if not numbers:
        return ""
    if answer is None and wanted.are_numbers and len(numbers) > 1:
        numbers, answer = numbers[:-1], numbers[-1]
    answer = answer or (rest[-1] if rest else "COLUMN")
    given = ",".join(numbers[:20]) + (",..." if len(numbers) > 20 else "")
    is_one = len(numbers) == 1
    return (
        f" {names_shown(numbers)} {'holds' if is_one else 'hold'} numbers; to learn from them, each row by itself: "
        f"--values {_quoted(given)} --series {ROWS} --{wanted.option} {_quoted(answer)}; or --series COLUMN, which "
        "tells windows of rows apart"
    )


def _quoted(text: str) -> str:
    """A text as an argument of a command."""
    return text if all(each.isalnum() or each in "_,.-" for each in text) else repr(text)


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(map(is_number, cells))
