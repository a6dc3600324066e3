"""Lines as the files of ATIS have them: BOS, the words, EOS; a tab; a tag for each, the intent in the place of EOS's.

Inputs: lines. Outputs: sentences with their tags and intents. A file of its own, as taggers and models of intents both
read them.
"""

import itertools
from collections.abc import Iterable

from unrolled.data.counted import counted
from unrolled.data.files import Faults, shortened
from unrolled.data.tag_columns import OUTSIDE

BEGIN, END = "BOS", "EOS"
_LOOKED_AT = 100  # lines

#: tokens, tags, intent, number of the line
Sentence = tuple[list[str], list[str], str, int]


def are_atis(lines: Iterable[str]) -> bool:
    """Whether most of the first lines are of this form."""
    some = list(itertools.islice((line for line in lines if line.strip()), _LOOKED_AT))
    return bool(some) and 2 * sum(map(_fits, some)) > len(some)


def atis_sentences(name: str, text: str, faults: Faults, *, needs_intents: bool) -> list[Sentence]:
    """Sentences of all lines.

    Args:
        name: of the file, for faults.
        text: of the file.
        faults: gets lines that cannot be used.
        needs_intents: whether each must have an intent; else one that is missing is "".
    """
    found: list[Sentence] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        if not _fits(line):
            faults.add(f"{place}: {shortened(line)} is unlike the other lines: {BEGIN} words {END}, a tab, their tags")
            continue
        left, _, right = line.partition("\t")
        tokens, tags = left.split(), right.split()
        if len(tokens) != len(tags):
            faults.add(
                f"{place}: {counted(len(tokens), 'word')} with {BEGIN} and {END}, and {counted(len(tags), 'tag')}; "
                "expected as many, the intent the last"
            )
        elif len(tokens) < 3:
            faults.add(f"{place}: has no words between {BEGIN} and {END}")
        elif tags[-1] == OUTSIDE and needs_intents:
            faults.add(f"{place}: has no intent; expected it in the place of the tag of {END}")
        else:
            intent = "" if tags[-1] == OUTSIDE else tags[-1]
            found.append((tokens[1:-1], tags[1:-1], intent, number))
    return found


def _fits(line: str) -> bool:
    tokens, tab, _ = line.partition("\t")
    words = tokens.split()
    return bool(tab) and len(words) > 1 and words[0] == BEGIN and words[-1] == END
