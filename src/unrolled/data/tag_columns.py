"""Which columns of a table have sentences, tokens and tags: as asked, as learnt, by name, or by what the cells hold.

Inputs: names and first rows. Outputs: names, and what was guessed. A file of its own, as taggers and models of intents
read the same tables.
"""

import ast
import contextlib
import itertools
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unrolled.data.files import Faults, shortened
from unrolled.data.table import Learnt, check_learnt, names_shown, no_column
from unrolled.errors import DataError

TOKEN_NAMES = ("token", "word", "tokens", "words", "form", "text")
TAG_NAMES = ("tag", "label", "ner", "ner_tag", "tags", "labels", "ner_tags", "slots", "seq.out", "pos", "upos")
_SENTENCE_NAMES = ("sentence", "sentence #", "sentence_id", "sentence id", "sent_id", "sent", "sentence number")
_WHOLE_NAMES = ("seq.in", "sentence", "utterance", "query")  # of columns with whole sentences
_USUAL = {"sentence": _SENTENCE_NAMES, "token": TOKEN_NAMES, "tag": TAG_NAMES}
_WHAT = {"sentence": "tells sentences apart", "token": "has the tokens", "tag": "has the tags"}

_ELEMENT = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[+-]?\d+)(?:\s*,\s*|\s+|\Z|(?=['"]))""", re.DOTALL)

#: a name in brackets, a text between brackets that stand apart, or one with brackets at both of its ends
_IN_BRACKETS = re.compile(
    r"""\[(?!(?:None|nan|null|True|False|[-+.\d]+)\])[^\s,'"\[\]]+\]|\[\s[^,'"]*\s\]|\[[^,'"\[\]]*\].*\[[^,'"\[\]]*\]""",
    re.DOTALL,
)

OUTSIDE = "O"  # in place of tags that are not there
Sentence = tuple[list[str], list[str], Sequence[int]]  # tokens, tags, and the line of each


class TagsOfSpans(list[str]):
    """Tags of a sentence whose spans were given, in BIOES: they follow the scheme of the other sentences."""


@dataclass(frozen=True)
class TagColumns:
    """The columns that a user names, None where not: names of a table or of JSON, numbers from 1 of lines without any.

    Attributes:
        sentence: that tells the sentences of a table apart.
        token: with the tokens.
        tag: with the tags.

    Raises:
        DataError: one is named for two roles.
    """

    sentence: str | None = None
    token: str | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        named = [(role, column) for role in _USUAL if (column := self.of(role)) is not None]
        for (one, column), (other, same) in itertools.combinations(named, 2):
            if column == same:
                raise DataError(f"--{one} and --{other} both name the column {shortened(column)}; expected two columns")

    def of(self, role: str) -> str | None:
        """The one that is named for a role."""
        return {"sentence": self.sentence, "token": self.token, "tag": self.tag}[role]


@dataclass(frozen=True)
class TagRoles:
    """The columns that are read.

    Attributes:
        token, tag: with them; without a column of tags, as a file to predict may be, None.
        sentence: that tells sentences apart; None where each row is one, or where none is known.
        is_whole: whether each row is a sentence.
        notes: what was guessed, for the user.
    """

    token: str
    tag: str | None
    sentence: str | None
    is_whole: bool
    notes: tuple[str, ...]

    @property
    def names(self) -> dict[str, str]:
        """The columns by their roles."""
        found = {"sentence": self.sentence, "token": self.token, "tag": self.tag}
        return {role: name for role, name in found.items() if name is not None}


def tag_roles(
    name: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    asked: TagColumns,
    learnt: Learnt,
    *,
    taken: str | None = None,
    needs_tags: bool = True,
) -> TagRoles:
    """The columns of sentences, tokens and tags.

    Args:
        name: of the table, for faults.
        head: names of its columns.
        rows: its first rows.
        asked: what the user named.
        learnt: the columns of a training, by role.
        taken: a column that has none of these.
        needs_tags: whether there must be tags.

    Raises:
        DataError: a column is not there, or none is known for a role; the option that names it is told.
    """
    for role in _USUAL:
        if asked.of(role) is None and role in learnt and (role != "tag" or needs_tags):
            check_learnt(name, head, [learnt[role]], option=role)
    known = {role: found for role in _USUAL if (found := asked.of(role) or learnt.get(role))}
    if not needs_tags and known.get("tag") not in head:
        known.pop("tag", None)
    for role, column in known.items():
        if column not in head:
            told = no_column(name, head, column)
            raise DataError(told if told.endswith("?") else f"{told}; pass --{role} with the one that is meant")
    wholes = {column for i, column in enumerate(head) if are_wholes([row[i] for row in rows])}
    free = [each for each in head if each != taken and each not in known.values()]
    tag = known.get("tag") or next(iter(_named(free, TAG_NAMES)), None)
    usual = (*TOKEN_NAMES, *(_WHOLE_NAMES if tag is None or tag in wholes else ()))
    free = [each for each in free if each != tag]
    token = known.get("token") or next(iter(_named(free, usual)), None)
    if token is None or (tag is None and needs_tags):
        raise DataError(_unknown(name, head, {"token": token, "tag": tag if needs_tags else ""}))
    free = [each for each in free if each != token]
    is_whole = "sentence" not in known and token in wholes and (tag is None or tag in wholes)
    sentence = None if is_whole else known.get("sentence") or next(iter(_named(free, _SENTENCE_NAMES)), None)
    found = {"token": token, "tag": tag} | ({} if is_whole else {"sentence": sentence})
    others = {
        role: [each for each in _named(free, _USUAL[role]) if each != sentence]
        for role, column in found.items()
        if column is not None and role not in known
    }
    return TagRoles(token, tag, sentence, is_whole, _notes(name, found, others, is_whole=is_whole))


def _unknown(name: str, head: Sequence[str], found: dict[str, str | None]) -> str:
    """What is asked for where no column is known for a role."""
    roles = [role for role, column in found.items() if column is None]
    return (
        f"{name}: which column {' and which '.join(_WHAT[role] for role in roles)}? Pass "
        f"{' and '.join(f'--{role}' for role in roles)} with one of {names_shown(head)}"
    )


def cells(column: Sequence[str]) -> list[list[str] | None]:
    """The words of each cell with several: between spaces; or in a list as Python, NumPy or JSON write it, if most
    cells are lists. None for a cell that is no list where most are.
    """
    return [_elements(each.strip()) for each in column] if are_lists(column) else [each.split() for each in column]


def are_lists(column: Sequence[str]) -> bool:
    """Whether most cells of a column are lists, also such as cannot be read."""
    filled = [stripped for each in column if (stripped := each.strip())]
    in_brackets = [each for each in filled if each[0] == "[" and each[-1] == "]"]
    if not filled or 2 * len(in_brackets) < len(filled):
        return False
    lists = [each for each in in_brackets if not _IN_BRACKETS.fullmatch(each) or _elements(each) is not None]
    return 2 * len(lists) >= len(filled)


def _elements(text: str) -> list[str] | None:
    """Texts and whole numbers of a list, between commas or, as NumPy writes them, between spaces; None if it has others
    or is none. A cell without anything has none.
    """
    if not text:
        return []
    if len(text) < 2 or text[0] != "[" or text[-1] != "]":
        return None
    found, at, end = list[str](), 1, len(text) - 1
    while at < end:
        element = _ELEMENT.match(text, at, end)
        word = None if element is None else _unquoted(element[1])
        if element is None or word is None or not word.strip():
            return None
        found.append(word)
        at = element.end()
    return found


def _unquoted(element: str) -> str | None:
    """The text of an element; None where its quotation has no meaning."""
    if element[0] not in "'\"":
        return element
    if "\\" not in element:
        return element[1:-1]
    for read in (json.loads, ast.literal_eval):  # JSON has signs of its own, as for what takes two numbers in UTF-16
        with contextlib.suppress(ValueError, SyntaxError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that means nothing
            return str(read(element))
    return None


def keep_columns(kept: dict[str, str], name: str, names: Mapping[str, str], faults: Faults) -> None:
    """Notes by which columns a table is read; that those of another file have other names is a fault, as a model keeps
    one name for each.
    """
    before = {role: kept.setdefault(role, column) for role, column in names.items()}
    if before != names:
        faults.add(
            f"{name}: is read by the columns {names_shown([*names.values()])}, the file before by "
            f"{names_shown([*before.values()])}; give the columns of both the same names"
        )


def no_sentences(name: str, head: Sequence[str]) -> str:
    """What is said of a table without a column, or empty rows, that tell sentences apart."""
    return (
        f"{name}: which column tells sentences apart? Pass --sentence with one of {names_shown(head)}, or leave a row "
        "empty after each sentence"
    )


def no_table(name: str) -> str:
    """What is said of a file without columns, where --sentence names one."""
    return f"{name}: is no table, so --sentence makes no difference in it"


def are_wholes(column: Sequence[str]) -> bool:
    """Whether most cells of a column have several words, or are lists."""
    n_words = [len(each.split()) for each in column]
    return are_lists(column) or 2 * sum(n > 1 for n in n_words) > sum(map(bool, n_words))


def _named(head: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The columns with one of the usual names, in any case, in the order of those."""
    lowered = [(each.strip().lower(), each) for each in head]
    return [each for name in usual for lower, each in lowered if lower == name]


def _notes(name: str, roles: dict[str, str | None], others: dict[str, list[str]], *, is_whole: bool) -> tuple[str, ...]:
    """How a table is read, and for which role there are other columns of a usual name."""
    said = ", ".join(f"{found!r} {_WHAT[role]}" for role, found in roles.items() if found is not None)
    notes = [f"{name}: a {'sentence' if is_whole else 'token'} a row; {said}"]
    for role, found in others.items():
        if found:
            meant = " or ".join(map(repr, found))
            notes.append(f"{name}: {meant} may be the column that {_WHAT[role]}; if so, pass --{role}")
    return tuple(notes)
