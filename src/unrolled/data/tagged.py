"""Files of tagged sentences.

Inputs: CoNLL columns (a token a line with its tag in the last column, an empty line between sentences; CoNLL-U too);
JSON lines: a sentence a line, {"tokens": [...], "tags": [...]} or {"text": "...", "spans": [{"start": 0, "end": 5,
"label": "PER"}]}; or a table with a token or a sentence a row. Outputs: sentences with their tags.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unrolled.data import schemes
from unrolled.data.alike import told_alike
from unrolled.data.atis import are_atis, atis_sentences
from unrolled.data.counted import counted
from unrolled.data.files import Faults, decode, read_bytes, read_texts, refuse_array, shortened
from unrolled.data.items import ItemForm, Items, lines_of, of_table, opened_file
from unrolled.data.packed import unpacked
from unrolled.data.table import NOTHING, Learnt
from unrolled.data.tag_columns import (
    OUTSIDE,
    Sentence,
    TagColumns,
    TagsOfSpans,
    are_lists,
    are_wholes,
    keep_columns,
    no_table,
)
from unrolled.data.tagged_lines import NO_COLUMNS, conll_sentences, json_sentences
from unrolled.data.tagged_table import has_words, is_tagged_table, read_tagged_table
from unrolled.errors import DataError

_LONGEST_TOKEN = 10_000  # characters
_MOST_ODD = 0.1  # share of tags that may be of no scheme
MOST_TAGS = 3000  # kinds: the work of a tagger grows with their square
#: tokens that plain text does not have, what they do, and the share of them that tells
_UNLIKE_TEXT = (
    (re.compile(r"\D*[^\W\d_]\d"), "end with a digit", 0.5),
    (re.compile(r".+[/_|][A-Z$]{1,6}\d?"), "end with a tag", 0.5),
    (re.compile(r"[\u2581\u0120].*|##.+"), "have the marks of subwords", 0.1),
    (re.compile(r"\d+"), "are numbers", 0.8),
)


@dataclass(frozen=True)
class Tagged:
    """Sentences with tags.

    Attributes:
        sentences: of tokens, none of them empty.
        tags: of each token, in `scheme`.
        scheme: one of `schemes.SCHEMES`.
        notes: what was noticed on reading, for the user.
        sha256: of the files.
        read_as: what reading files found out by itself: "scheme"; the columns "sentence", "token" and "tag" of a table,
            or the "layout" of columns in lines.
    """

    sentences: list[list[str]]
    tags: list[list[str]]
    scheme: str
    notes: list[str]
    sha256: str = ""
    read_as: Learnt = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sentences)

    def part(self, places: Sequence[int]) -> "Tagged":
        """The sentences at some places."""
        return Tagged([self.sentences[i] for i in places], [self.tags[i] for i in places], self.scheme, [])


def read_tagged(
    files: Sequence[Path | str],
    *,
    scheme: str = "auto",
    columns: TagColumns = NO_COLUMNS,
    encoding: str = "utf-8",
    learnt: Learnt = NOTHING,
) -> Tagged:
    """Reads files of tagged sentences.

    Args:
        files: CoNLL columns, JSON lines, or tables with a token or a sentence a row.
        scheme: of the tags; "auto" recognizes it.
        columns: that a user named.
        encoding: of the files.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: lines cannot be used; all such lines are told at once.
    """
    tables = {str(file) for file in files if is_tagged_table(Path(file), encoding, columns)}
    texts, sha256 = read_texts([file for file in files if str(file) not in tables], encoding=encoding)
    faults, notes = Faults(), list[str]()
    found: list[tuple[str, Sentence]] = []
    of_tables, of_lines = dict[str, str](), dict(learnt)
    for name in map(str, files):
        if name in tables:
            read, table, roles = read_tagged_table(name, encoding, columns, learnt, faults, notes)
            keep_columns(of_tables, name, roles.names, faults)
            sha256 += table.sha256
        elif texts[name].lstrip()[:1] == "{":
            read = json_sentences(name, texts[name], faults, columns)
        elif are_atis(texts[name].split("\n")):
            of_atis = atis_sentences(name, texts[name], faults, needs_intents=False)
            read = [(tokens, tags, [line] * len(tokens)) for tokens, tags, _, line in of_atis]
            notes.append(f"{name}: lines as those of ATIS, BOS words EOS and their tags; intents are left out")
        else:
            refuse_array(name, texts[name])
            read = conll_sentences(name, texts[name], faults, notes, of_lines, columns)
        if name not in tables and columns.sentence is not None:
            notes.append(no_table(name))
        found += [(name, each) for each in read]
    faults.stop()
    if not found:
        raise DataError(f"{', '.join(map(str, files))}: holds no sentences")

    def where(sentence: int, token: int) -> str:
        name, (_, _, lines) = found[sentence]
        return f"{name}, line {lines[token]}"

    sentences, tags = [each[0] for _, each in found], [each[1] for _, each in found]
    scheme, more = settle_scheme(sentences, tags, scheme, where, learnt)
    read_as = {**of_lines, **of_tables, "scheme": scheme}
    return Tagged(sentences, tags, scheme, [more[0], *notes, *more[1:]], sha256, read_as)


def settle_scheme(
    sentences: list[list[str]],
    tags: list[list[str]],
    scheme: str,
    where: Callable[[int, int], str],
    learnt: Learnt = NOTHING,
) -> tuple[str, list[str]]:
    """The scheme of tags, those that are none of it made "O"; and what the user should know of the sentences.

    Args:
        sentences: of tokens.
        tags: of each token; changed in place.
        scheme: of the tags; "auto" recognizes it.
        where: takes the numbers of a sentence and of a token, returns the token's place.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: many tags are of no scheme, or there are more kinds than a tagger can tell apart.
    """
    if scheme == "auto":
        as_tags = [each for each in tags if not isinstance(each, TagsOfSpans) and {*each} != {OUTSIDE}]
        scheme = schemes.recognize(as_tags or tags, learnt.get("scheme", ""))
    for i, each in enumerate(tags):
        if isinstance(each, TagsOfSpans) and scheme != "plain":
            tags[i] = schemes.tags_of(schemes.spans_of(each, "BIOES"), len(each), scheme)
    for i, tokens in enumerate(sentences):
        for j, token in enumerate(tokens):
            if len(token) > _LONGEST_TOKEN:
                raise DataError(
                    f"{where(i, j)}: a token has {len(token):,} characters; expected at most {_LONGEST_TOKEN:,}"
                )
    kinds = Counter(tag for each in tags for tag in each)
    if len(kinds) > MOST_TAGS:
        shown = ", ".join(map(shortened, list(kinds)[:3]))
        raise DataError(f"there are {len(kinds):,} kinds of tags, such as {shown}; expected at most {MOST_TAGS:,}")
    n_tokens = sum(map(len, sentences))
    notes = [f"{counted(len(sentences), 'sentence')}, {counted(n_tokens, 'token')}, tags in the scheme {scheme}"]
    odd = {tag: count for tag, count in kinds.items() if schemes.is_odd(tag, scheme)}
    if odd:
        n, n_marked = sum(odd.values()), kinds.total() - kinds["O"]
        at = [(i, j, tag) for i, each in enumerate(tags) for j, tag in enumerate(each) if tag in odd]
        shown = ", ".join(f"{tag!r} in {where(i, j)}" for i, j, tag in at[:3]) + (" ..." if n > 3 else "")
        if n > max(1, _MOST_ODD * n_marked):
            raise DataError(
                f"{n:,} of {n_marked:,} tags are not of the scheme {scheme}: {shown}. Pass another --scheme"
            )
        how = ("tag is", "counts") if n == 1 else ("tags are", "count")
        notes.append(f"{n:,} {how[0]} not of the scheme {scheme} and {how[1]} as O: {shown}")
        for i, j, _ in at:
            tags[i][j] = "O"
    wrong = [(i, j) for i, each in enumerate(tags) for j in schemes.misfits(each, scheme)]
    if wrong:
        shown = ", ".join(f"{tags[i][j]!r} in {where(i, j)}" for i, j in wrong[:3]) + (" ..." if len(wrong) > 3 else "")
        what = "tag does not fit the scheme and is" if len(wrong) == 1 else "tags do not fit the scheme and are"
        notes.append(f"{len(wrong):,} {what} read as conlleval reads them: {shown}")
    alike = told_alike((schemes.split_tag(tag)[1] or tag for each in tags for tag in each), "tags", "kinds")
    return scheme, [*notes, *alike, *_unlike_text(sentences)]


def _unlike_text(sentences: list[list[str]]) -> list[str]:
    """A note on tokens that no plain text has, if many are such."""
    tokens = [token for sentence in sentences[:2000] for token in sentence]
    notes = []
    for pattern, words, share in _UNLIKE_TEXT:
        fitting = [token for token in tokens if pattern.fullmatch(token)]
        if len(fitting) > share * len(tokens):
            shown = ", ".join(map(repr, list(dict.fromkeys(fitting))[:3]))
            percent = 100 * len(fitting) / len(tokens)
            notes.append(
                f"the tokens look unlike plain text: {percent:.0f} % {words}, such as {shown}. "
                "In a text as people write it the model will find little; take away what is no part of the words"
            )
    return notes


def sentences_of(
    path: Path, form: ItemForm, tags: Sequence[str], learnt: Learnt = NOTHING, columns: TagColumns = NO_COLUMNS
) -> Items | None:
    """The tokens of tagged sentences in a file, to tag anew; None if it has another form.

    Args:
        path: of the file.
        form: how the file is written; texts, where the user says so.
        tags: known ones, in any scheme: plain lines of text have none of them in a column.
        learnt: how the data were read that a model learnt from.
        columns: that a user named.

    Raises:
        DataError: a column that the user named is not there.
    """
    if not path.is_file() or form.text is not None or form.header is not None:  # or a folder, a pipe
        return None
    faults, encoding = Faults(), form.encoding
    if is_tagged_table(path, encoding, columns):
        return _of_table(path, encoding, learnt, columns)
    lines = [line for line in itertools.islice(lines_of(opened_file(path), str(path), encoding), 500) if line]
    begin = lines[0].lstrip()[:1] if lines else ""
    if begin == "[":
        refuse_array(str(path), decode(unpacked(read_bytes(path), str(path)), str(path), encoding))
    is_json, is_atis = begin == "{", are_atis(lines)
    key = f'"{columns.token or "tokens"}"'
    if not (all(key in line for line in lines) if is_json else is_atis or _are_columns(lines, tags)):
        return None
    text = decode(unpacked(read_bytes(path), str(path)), str(path), encoding)
    if is_atis:
        of_atis = atis_sentences(str(path), text, faults, needs_intents=False)
        found: list[Sentence] = [(tokens, tags, [line]) for tokens, tags, _, line in of_atis]
    elif is_json:
        found = json_sentences(str(path), text, faults, columns, needs_tags=False)
    else:
        found = conll_sentences(str(path), text, faults, [], dict(learnt), replace(columns, tag=None))
    faults.stop()
    return Items([(tokens, {}) for tokens, _, _ in found], _told(path, len(found)))


def _of_table(path: Path, encoding: str, learnt: Learnt, columns: TagColumns) -> Items | None:
    """The sentences of a table with tokens; None where it may have texts, as columns are neither named nor learnt, nor
    is there one that tells sentences apart.

    Raises:
        DataError: a column that the user named now, and not for the training, is not there; or it holds tokens, of
            which sentences are not known.
    """
    faults, named = Faults(), {role: columns.of(role) for role in ("sentence", "token")}
    is_known = columns.token is not None or "token" in learnt
    is_named = any(name and not name.isdecimal() and role not in learnt for role, name in named.items())
    try:
        found, table, roles = read_tagged_table(str(path), encoding, columns, learnt, faults, [], needs_tags=False)
    except DataError:
        if is_named or has_words(str(path), encoding, columns.token or learnt.get("token", "")):
            raise
        return None
    if roles.tag is None and not is_known and (roles.sentence is None or are_wholes(table.columns[roles.sentence])):
        return None
    if faults.n_faults and not is_known and not are_lists(table.columns[roles.token]):
        return None  # texts beside lists of another kind, such as labels of texts
    faults.stop()
    if not roles.is_whole:
        return Items([(tokens, {}) for tokens, _, _ in found], _told(path, len(found)))
    if roles.tag is None and not are_lists(table.columns[roles.token]):
        return of_table(path, ItemForm(roles.token, encoding=encoding))
    beside = (dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True))
    rows = dict(zip(table.lines, beside, strict=True))
    return Items([(tokens, rows[lines[0]]) for tokens, _, lines in found], _told(path, len(found)))


def _told(path: Path, n: int) -> str:
    return f"{path}: {counted(n, 'tagged sentence')}; their tokens are read"


def _are_columns(lines: Sequence[str], tags: Sequence[str]) -> bool:
    """Whether lines have a token and its tag, and are no text."""
    known = {"O", *(schemes.split_tag(tag)[1] or tag for tag in tags)}
    rows = [line.split("\t") if "\t" in line else line.split() for line in lines if line[:2] != "# " and line.strip()]
    columns = list(zip(*rows, strict=False))[1:]
    n_known = [sum((schemes.split_tag(each.strip())[1] or each.strip()) in known for each in row) for row in columns]
    return bool(n_known) and max(n_known) > 0.8 * len(rows)
