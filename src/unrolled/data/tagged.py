"""Files of tagged sentences.

Inputs: CoNLL columns (a token a line with its tag in the last column, an empty line between sentences), or JSON lines:
a sentence a line, {"tokens": [...], "tags": [...]} or {"text": "...", "spans": [{"start": 0, "end": 5, "label":
"PER"}]}. Outputs: sentences with their tags.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.data import schemes
from unrolled.data.files import Faults, read_texts, shortened
from unrolled.data.schemes import Span
from unrolled.data.tokens import tokens_of
from unrolled.errors import DataError


@dataclass(frozen=True)
class Tagged:
    """Sentences with tags.

    Attributes:
        sentences: of tokens, none of them empty.
        tags: of each token, in `scheme`.
        scheme: one of `schemes.SCHEMES`.
        notes: what was noticed on reading, for the user.
        sha256: of the files.
    """

    sentences: list[list[str]]
    tags: list[list[str]]
    scheme: str
    notes: list[str]
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.sentences)

    def part(self, places: Sequence[int]) -> "Tagged":
        """The sentences at some places."""
        return Tagged([self.sentences[i] for i in places], [self.tags[i] for i in places], self.scheme, [])


def read_tagged(files: Sequence[Path | str], *, scheme: str = "auto", encoding: str = "utf-8") -> Tagged:
    """Reads files of tagged sentences.

    Args:
        files: CoNLL columns or JSON lines.
        scheme: of the tags; "auto" recognizes it.
        encoding: of the files.

    Raises:
        DataError: lines cannot be used; all such lines are told at once.
    """
    texts, sha256 = read_texts(files, encoding=encoding)
    faults = Faults()
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    lines: list[tuple[str, int]] = []
    for name, text in texts.items():
        reader = _json_lines if text.lstrip()[:1] == "{" else _columns
        for tokens, of_tokens, line in reader(name, text, faults):
            sentences.append(tokens)
            tags.append(of_tokens)
            lines.append((name, line))
    faults.stop()
    if not sentences:
        raise DataError(f"{', '.join(texts)}: holds no sentences")
    found = schemes.recognize(tags) if scheme == "auto" else scheme
    where = [f"{name}, sentence at line {line}" for name, line in lines]
    return Tagged(sentences, tags, found, noted(sentences, tags, found, where), sha256)


def noted(sentences: list[list[str]], tags: list[list[str]], scheme: str, where: list[str]) -> list[str]:
    """What the user should know of sentences that were read."""
    notes = [f"{len(sentences):,} sentences, {sum(map(len, sentences)):,} tokens, tags in the scheme {scheme}"]
    wrong = [(place, i) for place, each in enumerate(tags) for i in schemes.misfits(each, scheme)]
    if wrong:
        shown = ", ".join(f"{where[place]}, token {i + 1}" for place, i in wrong[:3])
        notes.append(f"{len(wrong):,} tags do not fit the scheme and are read as conlleval reads them ({shown} ...)")
    return notes


def _columns(name: str, text: str, faults: Faults) -> list[tuple[list[str], list[str], int]]:
    found: list[tuple[list[str], list[str], int]] = []
    tokens: list[str] = []
    tags: list[str] = []
    begin = n_columns = 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if not line.strip():
            if tokens:
                found.append((tokens, tags, begin))
            tokens, tags, n_columns = [], [], 0
            continue
        columns = line.rstrip("\n").split("\t") if "\t" in line else line.split()
        if columns[0] == "-DOCSTART-" or (
            line.startswith("# ") and "\t" not in line and not tokens and len(columns) > 2
        ):
            continue  # a document's begin, a comment of CoNLL-U
        if len(columns) < 2 or not columns[0].strip() or not columns[-1].strip():
            faults.add(
                f"{name}, line {number}: {shortened(line)} has no tag; expected a token, a space or tab, and its tag"
            )
            continue
        if n_columns and len(columns) != n_columns:
            faults.add(f"{name}, line {number}: has {len(columns)} columns, the sentence's lines before {n_columns}")
            continue
        n_columns = len(columns)
        begin = begin if tokens else number
        tokens.append(columns[0].strip())
        tags.append(columns[-1].strip())
    return found


def _json_lines(name: str, text: str, faults: Faults) -> list[tuple[list[str], list[str], int]]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as fault:
            faults.add(f"{where}: is no JSON: {fault}")
            continue
        pair = json_sentence(item, where, faults)
        if pair is not None and pair[0]:
            found.append((*pair, number))
    return found


def json_sentence(item: Any, where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    """Tokens and tags of a line's object; None where it has faults."""
    is_cut = isinstance(item, dict) and "tokens" in item
    return _of_tokens(item, where, faults) if is_cut else _of_text(item, where, faults)


def _of_tokens(item: dict[str, Any], where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    tokens, tags = item["tokens"], item.get("tags", ())
    for part, value in (("tokens", tokens), ("tags", tags)):
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            faults.add(f"{where}: {part!r} must be a list of texts, none of them empty")
            return None
    if len(tokens) != len(tags):
        faults.add(f"{where}: {len(tokens)} tokens and {len(tags)} tags; expected as many tags as tokens")
        return None
    return tokens, tags


def _of_text(item: Any, where: str, faults: Faults) -> tuple[list[str], list[str]] | None:
    if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not isinstance(item.get("spans"), list):
        faults.add(f'{where}: expected {{"tokens": [...], "tags": [...]}} or {{"text": ..., "spans": [...]}}')
        return None
    tokens = tokens_of(item["text"])
    begins = {token.start: i for i, token in enumerate(tokens)}
    ends = {token.end: i + 1 for i, token in enumerate(tokens)}
    spans: list[Span] = []
    n_before = len(faults.texts)
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
    if len(faults.texts) > n_before:
        return None
    return [token.text for token in tokens], schemes.tags_of(spans, len(tokens), "BIOES")
