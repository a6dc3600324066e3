"""Numbers of things in words, for messages.

Inputs: a number and words. Outputs: such as "1 text" and "2,000 texts". A file of its own, as all that tells a user
how many of something there are uses it.
"""

import re

_EITHER = re.compile(r"\[([^|\]]*)\|([^|\]]*)\]")


def counted(n: int, words: str) -> str:
    """A number of things in words.

    Args:
        n: how many.
        words: a noun, such as "text"; or words with what one of them and several need apart, such as
            "sound[|s] [is|are] clipped".
    """
    if "[" not in words:
        words += "[|es]" if words.endswith(("s", "x", "ch")) else "[|s]"
    return f"{n:,} {_EITHER.sub(lambda found: found[1 if n == 1 else 2], words)}"
