"""Tags and spans on their way in and out of a network: what the tasks that mark tokens share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.data import schemes
from unrolled.data.counted import counted
from unrolled.data.files import shortened
from unrolled.data.schemes import SpanCounts, count_spans, spans_of, tags_of
from unrolled.data.tokens import Token, is_without_spaces, joined, tokens_of, words_of
from unrolled.data.vocabulary import TokenVocabulary
from unrolled.errors import DataError

MarksOf = Callable[[Sequence[str]], list[set[tuple[int, int, str]]]]
LONGEST = 2000  # tokens that are read at once: what bounds memory


def in_parts(sentences: Sequence[Sequence[str]]) -> list[tuple[int, Sequence[str]]]:
    """Sentences in parts of at most `LONGEST` tokens, none of them empty, each with the number of its sentence."""
    return [
        (i, sentence[start : start + LONGEST])
        for i, sentence in enumerate(sentences)
        for start in range(0, len(sentence), LONGEST)
    ]


def short_enough(sentences: Sequence[Sequence[str]], notes: list[str]) -> list[int]:
    """The places of the sentences that training reads; what is left out is noted.

    Raises:
        DataError: none is left.
    """
    kept = [i for i, sentence in enumerate(sentences) if len(sentence) <= LONGEST]
    if not kept:
        raise DataError(
            f"all sentences have more than {LONGEST:,} tokens; expected an empty line, or a line end, after each "
            "sentence"
        )
    if len(kept) < len(sentences):
        notes.append(
            counted(
                len(sentences) - len(kept),
                f"sentence[|s] of more than {LONGEST:,} tokens [is|are] left out of training",
            )
        )
    return kept


def padded(rows: Sequence[np.ndarray]) -> Tensor:
    """int64 [time, batch] from rows of numbers."""
    whole = np.zeros((max(map(len, rows)), len(rows)), dtype=np.int64)
    for i, row in enumerate(rows):
        whole[: len(row), i] = row
    return torch.from_numpy(whole)


def complete(tags: list[str], scheme: str) -> list[str]:
    """The tags that there are, and in a scheme the one of tokens outside all spans."""
    return tags if scheme == "plain" else ["O", *(tag for tag in tags if tag != "O")]


def rewritten(tags: Sequence[Sequence[str]], scheme: str, wanted: str) -> list[list[str]]:
    """The same spans in another scheme; tags without spans as they are.

    Raises:
        DataError: one of both schemes has spans, the other has none.
    """
    marked = next((tag for each in tags for tag in each if tag != "O"), None)
    if scheme == wanted or marked is None:
        return [list(each) for each in tags]
    if "plain" in (scheme, wanted):
        kinds = "tag of a span, such as B-city", "plain tag, such as city"
        here, there = kinds if wanted == "plain" else kinds[::-1]
        raise DataError(f"{shortened(marked)} is a {here}; expected each to be a {there}, as in the training part")
    return [tags_of(spans_of(each, scheme), len(each), wanted) for each in tags]


def scores(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]], scheme: str) -> dict[str, Any]:
    """Precision, recall, F1 of spans as conlleval counts them, in all and by label; for plain tags their accuracy."""
    pairs = [(a, b) for tags, others in zip(gold, found, strict=True) for a, b in zip(tags, others, strict=True)]
    accuracy = sum(a == b for a, b in pairs) / len(pairs)
    if scheme == "plain":
        return {"accuracy": accuracy}
    counts = count_spans([spans_of(tags, scheme) for tags in gold], [spans_of(tags, scheme) for tags in found])
    return {**_shares(counts.pop("")), "accuracy": accuracy, "labels": {k: _shares(counts[k]) for k in sorted(counts)}}


def sentence_counts(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]], scheme: str) -> np.ndarray:
    """What each sentence adds to the figure that decides [sentences, 2]: the first count over the second is F1 of
    spans, or the accuracy of plain tags.
    """
    counts = []
    for tags, others in zip(gold, found, strict=True):
        if scheme == "plain":
            counts.append([sum(a == b for a, b in zip(tags, others, strict=True)), len(tags)])
        else:
            each = count_spans([spans_of(tags, scheme)], [spans_of(others, scheme)])[""]
            counts.append([2 * each.right, each.gold + each.found])
    return np.array(counts, dtype=float)


def _shares(counts: SpanCounts) -> dict[str, float]:
    return {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1, "n": counts.gold}


def located(text: str, tokens: Sequence[Token], spans: Sequence[schemes.Span]) -> list[schemes.LocatedSpan]:
    """Spans of tokens as places in the text."""
    found: list[schemes.LocatedSpan] = []
    for span in spans:
        start, end = tokens[span.start].start, tokens[span.end - 1].end
        found.append({"start": start, "end": end, "label": span.label, "text": text[start:end]})
    return found


def laid_out(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Tokens as plain text, with spaces as people set them, and the place of each in it."""
    letters = "".join(filter(str.isalpha, "".join(tokens)))
    text = joined(tokens, is_spaced=not is_without_spaces(letters))
    places, at = [], 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0:  # spaces before a mark within a token are gone
            text, start = text + " " + token, len(text) + 1
        at = start + len(token)
        places.append((start, at))
    return text, places


def text_scores(
    sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]], scheme: str, marks_of: MarksOf
) -> dict[str, float]:
    """F1 of spans, or accuracy of plain tags, where sentences are given as plain text.

    Args:
        sentences: of tokens.
        tags: of each token, in `scheme`.
        scheme: of the tags.
        marks_of: takes texts; returns for each what is marked: start and end in characters, and the label or tag.
    """
    texts, places = zip(*map(laid_out, sentences), strict=True)
    n_right = n_gold = n_found = 0
    for at, of_tokens, found in zip(places, tags, marks_of(texts), strict=True):
        if scheme == "plain":
            gold = {(*place, tag) for place, tag in zip(at, of_tokens, strict=True)}
        else:
            gold = {(at[span.start][0], at[span.end - 1][1], span.label) for span in spans_of(of_tokens, scheme)}
        n_right, n_gold, n_found = n_right + len(gold & found), n_gold + len(gold), n_found + len(found)
    if scheme == "plain":
        return {"accuracy": n_right / n_gold}
    return {"f1": 2 * n_right / (n_gold + n_found) if n_gold + n_found else 0.0}


def refined(text: str, vocabulary: TokenVocabulary) -> list[Token]:
    """Words between spaces; those that training never saw are cut at punctuation."""
    tokens: list[Token] = []
    for word in words_of(text):
        if word.text.lower() in vocabulary.words.ids:
            tokens.append(word)
        else:
            pieces = tokens_of(word.text)
            tokens += [Token(each.text, word.start + each.start, word.start + each.end) for each in pieces]
    return tokens
