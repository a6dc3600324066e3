"""Files of tagged sentences.

Inputs: CoNLL columns (a token a line with its tag in the last column, an empty line between sentences; CoNLL-U too);
JSON lines: a sentence a line, {"tokens": [...], "tags": [...]} or {"text": "...", "spans": [{"start": 0, "end": 5,
"label": "PER"}]}; or a table with a token a row. Outputs: sentences with their tags.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled.data import schemes
from unrolled.data.counted import counted
from unrolled.data.files import Faults, decode, in_place, json_lines, read_bytes, read_texts, refuse_array, shortened
from unrolled.data.items import Items, lines_of, opened_file
from unrolled.data.packed import unpacked
from unrolled.data.schemes import Span
from unrolled.data.table import NOTHING, Learnt, check_learnt, choose_column, is_table, read_table
from unrolled.data.tokens import tokens_of
from unrolled.errors import DataError
from unrolled.json_values import JsonObject, are_texts

_TOKEN_NAMES = ("token", "word", "tokens", "form", "text")
_TAG_NAMES = ("tag", "label", "ner", "ner_tag", "tags", "labels", "pos", "upos")
_SENTENCE_NAMES = ("sentence", "sentence #", "sentence_id", "sentence id", "sent_id", "sent", "sentence number")
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


Sentence = tuple[list[str], list[str], Sequence[int]]  # tokens, tags, and the line of each


def read_tagged(
    files: Sequence[Path | str], *, scheme: str = "auto", encoding: str = "utf-8", learnt: Learnt = NOTHING
) -> Tagged:
    """Reads files of tagged sentences.

    Args:
        files: CoNLL columns, JSON lines, or tables with a token a row.
        scheme: of the tags; "auto" recognizes it.
        encoding: of the files.
        learnt: how the data were read that a model learnt from.

    Raises:
        DataError: lines cannot be used; all such lines are told at once.
    """
    texts, sha256 = read_texts([file for file in files if not _is_sheet(Path(file))], encoding=encoding)
    faults, notes = Faults(), list[str]()
    found: list[tuple[str, Sentence]] = []
    read_as = dict(learnt)
    for name in map(str, files):
        if name in texts:
            refuse_array(name, texts[name])
            reader = _json_lines if texts[name].lstrip()[:1] == "{" else _columns
            found += [(name, each) for each in reader(name, texts[name], faults, notes, read_as)]
        else:
            read, digest = _of_table(name, encoding, read_as)
            sha256 += digest
            found += [(name, each) for each in read]
    faults.stop()
    if not found:
        raise DataError(f"{', '.join(map(str, files))}: holds no sentences")

    def where(sentence: int, token: int) -> str:
        name, (_, _, lines) = found[sentence]
        return f"{name}, line {lines[token]}"

    sentences, tags = [each[0] for _, each in found], [each[1] for _, each in found]
    scheme, more = settled(sentences, tags, scheme, where, learnt)
    read_as["scheme"] = scheme
    return Tagged(sentences, tags, scheme, [more[0], *notes, *more[1:]], sha256, read_as)


def settled(
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
    scheme = schemes.recognize(tags, learnt.get("scheme", "")) if scheme == "auto" else scheme
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
    return scheme, [*notes, *_unlike_text(sentences)]


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


def sentences_of(path: Path, encoding: str, tags: Sequence[str], learnt: Learnt = NOTHING) -> Items | None:
    """The tokens of tagged sentences in a file, to tag anew; None if it has another form.

    Args:
        path: of the file.
        encoding: of the file.
        tags: known ones, in any scheme: plain lines of text have none of them in a column.
        learnt: how the data were read that a model learnt from.
    """
    if not path.is_file():  # a folder; or a pipe, which can be read once
        return None
    faults = Faults()
    if _is_sheet(path):
        try:
            found, _ = _of_table(str(path), encoding, dict(learnt))
        except DataError:
            return None
    else:
        lines = [line for line in itertools.islice(lines_of(opened_file(path), str(path), encoding), 500) if line]
        begin = lines[0].lstrip()[:1] if lines else ""
        if begin == "[":
            refuse_array(str(path), decode(unpacked(read_bytes(path), str(path)), str(path), encoding))
        is_json = begin == "{"
        if not (all('"tokens"' in line for line in lines) if is_json else _are_columns(lines, tags)):
            return None
        text = decode(unpacked(read_bytes(path), str(path)), str(path), encoding)
        found = (_json_lines if is_json else _columns)(str(path), text, faults, [], dict(learnt))
        faults.stop()
    return Items(
        [(tokens, {}) for tokens, _, _ in found],
        f"{path}: {counted(len(found), 'tagged sentence')}; their tokens are read",
    )


def _are_columns(lines: Sequence[str], tags: Sequence[str]) -> bool:
    """Whether lines have a token and its tag, and are no text."""
    known = {"O", *(schemes.split_tag(tag)[1] or tag for tag in tags)}
    rows = [line.split("\t") if "\t" in line else line.split() for line in lines if line[:2] != "# " and line.strip()]
    columns = list(zip(*rows, strict=False))[1:]
    n_known = [sum((schemes.split_tag(each.strip())[1] or each.strip()) in known for each in row) for row in columns]
    return bool(n_known) and max(n_known) > 0.8 * len(rows)


def _is_sheet(path: Path) -> bool:
    """Whether a file is a table with a token a row, and not JSON, which has a form of its own here."""
    return is_table(path) and not any(each.lower() in (".jsonl", ".ndjson", ".json") for each in path.suffixes)


def _of_table(name: str, encoding: str, read_as: dict[str, Any]) -> tuple[list[Sentence], str]:
    """Sentences out of a table with a token a row: a column tells them apart, filled in each row or in first ones.

    `read_as` names the columns, or gets their names.
    """
    usual = {"sentence": _SENTENCE_NAMES, "token": _TOKEN_NAMES, "tag": _TAG_NAMES}

    def choose(name: str, head: list[str], _: list[list[str]]) -> list[str]:
        check_learnt(name, head, [read_as[option] for option in usual if option in read_as])
        for option, names in usual.items():
            try:
                read_as[option] = choose_column(name, head, read_as.get(option), names, option)
            except DataError:
                raise DataError(
                    f"{name}: has no column for each {option}; expected a table with a token a row and the columns "
                    "sentence, token and tag"
                ) from None
        return list(dict.fromkeys(read_as[option] for option in usual))

    table = read_table([name], encoding=encoding, has_option=False, choose=choose)
    found: list[tuple[list[str], list[str], list[int]]] = []
    last = None
    for i, (sentence, token, tag) in enumerate(zip(*(table.columns[read_as[each]] for each in usual), strict=True)):
        if last is None or (sentence.strip() and sentence != last):
            found.append(([], [], []))
            last = sentence
        if token.strip() and tag.strip():
            tokens, tags, lines = found[-1]
            tokens.append(token.strip())
            tags.append(tag.strip())
            lines.append(int(table.places[i].rsplit(" ", 1)[1]))
    return [each for each in found if each[0]], table.sha256


def _columns(name: str, text: str, faults: Faults, notes: list[str], read_as: dict[str, Any]) -> list[Sentence]:
    sentences: list[tuple[list[list[str]], list[int]]] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if not line.strip():
            if rows:
                sentences.append((rows, lines))
            rows, lines = [], []
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        if columns[0] == "-DOCSTART-" or (line.startswith("# ") and "\t" not in line and not rows and len(columns) > 2):
            continue  # a document's begin, a comment of CoNLL-U
        if len(columns) == _WIDTH_OF_CONLLU and re.fullmatch(r"\d+[-.]\d+", columns[0]):
            continue  # a word of several tokens, or an empty one
        if len(columns) < 2 or not columns[0].strip() or not columns[-1].strip():
            faults.add(
                f"{name}, line {number}: {shortened(line)} has no tag; expected a token, a space or tab, and its tag"
            )
        elif rows and len(columns) != len(rows[0]):
            faults.add(
                f"{name}, line {number}: has {counted(len(columns), 'column')}, the sentence's lines before "
                f"{len(rows[0])}"
            )
        else:
            rows.append(columns)
            lines.append(number)
    token, tag = _layout(name, [rows for rows, _ in sentences], notes, read_as)
    return [
        ([row[token].strip() for row in rows], [row[tag].strip() for row in rows], lines) for rows, lines in sentences
    ]


_WIDTH_OF_CONLLU = 10


def _layout(name: str, sentences: list[list[list[str]]], notes: list[str], read_as: dict[str, Any]) -> tuple[int, int]:
    """The columns of tokens and of tags: the first and the last, if the first does not count the tokens; or as a model
    learnt them from lines with as many columns.
    """
    some = sentences[:200]
    width, *learnt = read_as.get("layout", ("0",))
    if width == str(len(some[0][0]) if some else -1):
        token, tag = map(int, learnt)
        return token, tag
    token, tag = _guessed_layout(name, some, notes)
    if some:
        read_as["layout"] = [str(len(some[0][0])), str(token), str(tag)]
    return token, tag


def _guessed_layout(name: str, some: list[list[list[str]]], notes: list[str]) -> tuple[int, int]:
    are_counted = bool(some) and all(
        len(rows[0]) > 2 and [row[0] for row in rows] == [str(i + 1) for i in range(len(rows))] for rows in some
    )
    if not are_counted or max(map(len, some)) < 2:
        return 0, -1
    if all(len(row) == _WIDTH_OF_CONLLU for rows in some for row in rows):
        notes.append(f"{name}: CoNLL-U; tokens from column 2, tags from column 4, the universal part of speech")
        return 1, 3
    notes.append(f"{name}: the first column counts the tokens, which are in the second")
    return 1, -1


def _json_lines(name: str, text: str, faults: Faults, _: list[str], __: dict[str, Any]) -> list[Sentence]:
    found: list[Sentence] = []
    for number, where, item in json_lines(name, text, faults):
        pair = json_sentence(item, where, faults)
        if pair is not None and pair[0]:
            found.append((*pair, [number] * len(pair[0])))
    return found


def json_sentence(item: Any, where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    """Tokens and tags of a line's object; None where it has faults."""
    is_cut = isinstance(item, dict) and "tokens" in item
    return _of_tokens(item, where, faults) if is_cut else _of_text(item, where, faults)


def _of_tokens(item: JsonObject, where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    tokens = _words(item, "tokens", where, faults)
    tags = None if tokens is None else _words(item, "tags", where, faults)
    if tokens is None or tags is None:
        return None
    if len(tokens) != len(tags):
        faults.add(
            f"{where}: {counted(len(tokens), 'token')} and {counted(len(tags), 'tag')}; expected as many tags as tokens"
        )
        return None
    return tokens, tags


def _words(item: JsonObject, part: str, where: str, faults: Faults) -> list[str] | None:
    value = item.get(part)
    if are_texts(value) and all(map(str.strip, value)):
        return value
    found = "" if part in item else f"; {in_place(item)}"
    faults.add(f"{where}: {part!r} must be a list of texts, none of them empty{found}")
    return None


def _of_text(item: object, where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not isinstance(item.get("spans"), list):
        expected = '{"tokens": [...], "tags": [...]} or {"text": ..., "spans": [...]}'
        faults.add(f"{where}: expected {expected}; {in_place(item)}")
        return None
    tokens = tokens_of(item["text"])
    begins = {token.start: i for i, token in enumerate(tokens)}
    ends = {token.end: i + 1 for i, token in enumerate(tokens)}
    spans: list[Span] = []
    n_before = faults.n_faults
    for span in item["spans"]:
        match span:
            case {"start": int(start), "end": int(end), "label": str(label)} if label:
                if start not in begins or end not in ends or begins[start] >= ends[end]:
                    piece = item["text"][start:end]
                    faults.add(
                        f"{where}: the span {start} to {end}, {shortened(piece)}, does not begin and end with tokens"
                    )
                else:
                    spans.append(Span(begins[start], ends[end], label))
            case _:
                faults.add(
                    f'{where}: a span must be {{"start": ..., "end": ..., "label": ...}}; got {shortened(str(span))}'
                )
    spans.sort(key=lambda span: span.start)
    if any(a.end > b.start for a, b in zip(spans, spans[1:], strict=False)):
        faults.add(f"{where}: spans overlap, which tags cannot mark")
    if faults.n_faults > n_before:
        return None
    return [token.text for token in tokens], schemes.tags_of(spans, len(tokens), "BIOES")
