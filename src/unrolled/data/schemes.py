"""Tags of tokens ↔ spans.

Inputs: tags of any scheme. Outputs: spans, and tags of one internal scheme, BIOES.

    BIO    B-PER I-PER O            a span begins with B (also called IOB2)
    IOB1   I-PER I-PER O            B only where a span follows another of its kind
    BIOES  B-PER E-PER S-LOC O      the last token and single tokens are marked too
    BILOU  the same with L and U;  BMES  the same with M for I
    plain  NOUN VERB                no spans: a label for each token

Spans are read as conlleval reads them: a tag that does not fit its scheme begins a new span.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

SCHEMES = ("BIO", "IOB1", "BIOES", "BILOU", "BMES", "plain")
_PREFIXES = {"BIO": "BI", "IOB1": "BI", "BIOES": "BIES", "BMES": "BMES", "BILOU": "BILU"}
_MOST_STRAYS = 0.1  # share of tags of no scheme beside those of one
_LOOKED_AT = 5000  # sentences with spans that tell the scheme
_TO_BIOES = {"BIO": {}, "IOB1": {}, "BIOES": {}, "BILOU": {"L": "E", "U": "S"}, "BMES": {"M": "I"}}


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `end` (exclusive) that are one thing of kind `label`."""

    start: int
    end: int
    label: str


class LocatedSpan(TypedDict):
    """A span of a text: its place in characters, its label, and what stands there."""

    start: int
    end: int
    label: str
    text: str


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and label of a tag: "B-PER" → ("B", "PER")."""
    prefix, _, label = tag.partition("-")
    return prefix, label


def recognize(sentences: Sequence[Sequence[str]], learnt: str = "") -> str:
    """The scheme that most tags are written in: the one with the fewest tags that do not fit.

    Args:
        sentences: their tags.
        learnt: the scheme of the sentences that a model learnt from, taken where all tags fit it; "" for none.
    """
    if learnt not in ("", "plain") and not any(misfits(tags, learnt) for tags in sentences):
        return learnt
    counts = Counter(tag for sentence in sentences for tag in sentence if tag != "O")
    n_formed = sum(count for tag, count in counts.items() if _is_formed(tag))
    n_others = counts.total() - n_formed
    if n_formed <= n_others or n_others > max(1, _MOST_STRAYS * counts.total()):
        return "plain"
    some = list(itertools.islice((each for each in sentences if any(tag != "O" for tag in each)), _LOOKED_AT))
    return min(_PREFIXES, key=lambda scheme: sum(len(misfits(tags, scheme)) for tags in some))


def _is_formed(tag: str) -> bool:
    prefix, label = split_tag(tag)
    return bool(label) and len(prefix) == 1 and prefix in "BIESLUM"


def is_odd(tag: str, scheme: str) -> bool:
    """Whether a tag is none of a scheme, such as E-PER in BIO."""
    if tag == "O" or scheme == "plain":
        return False
    prefix, label = split_tag(tag)
    return not label or len(prefix) != 1 or prefix not in _PREFIXES[scheme]


def misfits(tags: Sequence[str], scheme: str) -> list[int]:
    """Places of tags that are none of this scheme, cannot follow the tag before them, or end a sentence."""
    if scheme == "plain":
        return []
    changes = _TO_BIOES[scheme]
    found = []
    is_open, of = False, ""
    marks_end = scheme not in ("BIO", "IOB1")
    for i, tag in enumerate(tags):
        is_strange = is_odd(tag, scheme)
        prefix, label = ("O", "") if is_strange else split_tag(tag)
        prefix = changes.get(prefix, prefix)
        if scheme == "IOB1":
            fits = prefix != "B" or (is_open and of == label)
        elif prefix in ("I", "E"):
            fits = is_open and of == label
        else:
            fits = not (is_open and marks_end)
        if is_strange or not fits:
            found.append(i)
        is_open, of = prefix in ("B", "I"), label
    if is_open and marks_end:
        found.append(len(tags) - 1)
    return found


def spans_of(tags: Sequence[str], scheme: str) -> list[Span]:
    """The spans that tags mark, as conlleval reads them (E. Tjong Kim Sang, CoNLL-2000)."""
    if scheme == "plain":
        return []
    changes = _TO_BIOES[scheme]
    spans: list[Span] = []
    start, of, ended = -1, "", True
    for i, tag in enumerate([*tags, "O"]):
        prefix, label = split_tag(tag)
        prefix = changes.get(prefix, prefix)
        is_out = prefix not in ("B", "I", "E", "S")
        begins = prefix in ("B", "S") or (not is_out and (start < 0 or label != of or ended))
        if start >= 0 and (begins or is_out or ended):
            spans.append(Span(start, i, of))
            start = -1
        if begins:
            start, of = i, label
        ended = prefix in ("E", "S")
    return spans


def to_bioes(tags: Sequence[str], scheme: str) -> list[str]:
    """The same spans in BIOES; plain tags as they are."""
    if scheme == "plain":
        return list(tags)
    return tags_of(spans_of(tags, scheme), len(tags), "BIOES")


def tags_of(spans: Sequence[Span], length: int, scheme: str) -> list[str]:
    """Tags that mark spans, which do not overlap, in a scheme."""
    tags = ["O"] * length
    back = {new: old for old, new in _TO_BIOES[scheme].items()}
    last: Span | None = None
    for span in sorted(spans, key=lambda span: span.start):
        prefixes = ["B", *"I" * (span.end - span.start - 1)]
        if scheme == "IOB1":
            follows = last is not None and last.end == span.start and last.label == span.label
            prefixes[0] = "B" if follows else "I"
        elif scheme != "BIO":
            prefixes = ["S"] if len(prefixes) == 1 else [*prefixes[:-1], "E"]
        tags[span.start : span.end] = [f"{back.get(prefix, prefix)}-{span.label}" for prefix in prefixes]
        last = span
    return tags


def follows(before: str, after: str) -> bool:
    """Whether a BIOES tag may follow another; "" stands for the sentence's begin and end."""
    prefix, label = split_tag(before)
    is_open = prefix in ("B", "I")
    next_prefix, next_label = split_tag(after)
    if next_prefix in ("I", "E"):
        return is_open and label == next_label
    return not is_open


@dataclass
class SpanCounts:
    """Spans marked, found, and found rightly, of one kind or of all."""

    gold: int = 0
    found: int = 0
    right: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.gold + self.found) if self.gold + self.found else 0.0


def count_spans(gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]]) -> dict[str, SpanCounts]:
    """Counts by label, and of all under "". A span is right when its place and label are."""
    counts: dict[str, SpanCounts] = {"": SpanCounts()}
    for marked, predicted in zip(gold, found, strict=True):
        both = set(marked) & set(predicted)
        for name, spans in (("gold", marked), ("found", predicted), ("right", both)):
            for span in spans:
                for key in ("", span.label):
                    each = counts.setdefault(key, SpanCounts())
                    setattr(each, name, getattr(each, name) + 1)
    return counts
