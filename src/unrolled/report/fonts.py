"""A font for each character of a picture's labels, Chinese ones among them: found among those that are installed.

Inputs: a figure of matplotlib's. Outputs: the figure, whose texts fall back to such fonts; a note where there is none.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unrolled import optional_libraries

# looked at first: they have the characters of Chinese, Japanese and Korean, in a form that suits a picture
PREFERRED = re.compile(
    r"(Noto Sans CJK|Noto Sans (SC|TC|JP|KR)|Source Han Sans|WenQuanYi|SimHei|Microsoft YaHei|PingFang|Hiragino|Heiti"
    r"|Droid Sans Fallback|Arial Unicode)"
)
NOTE = (
    "note: no installed font has these characters of the picture's labels, drawn as boxes: {}. Install one, such as "
    "the package fonts-noto-cjk for Chinese, Japanese and Korean, and draw again.\n"
)
_SHOWN = 10  # characters that the note names


def fallbacks(characters: set[str]) -> tuple[list[str], set[str]]:
    """Families that have the characters which matplotlib's default font lacks, and the characters that none has."""
    manager: Any = optional_libraries.library("matplotlib.font_manager", "pictures need", "pictures")
    missing = characters - _characters_of(manager, manager.findfont(manager.FontProperties()))
    families: list[str] = []
    for font in sorted(manager.fontManager.ttflist, key=lambda font: (not PREFERRED.match(font.name), font.name)):
        if not missing:
            break
        if font.name in families:
            continue
        if found := missing & _characters_of(manager, font.fname):
            families.append(font.name)
            missing -= found
    return families, missing


def _characters_of(manager: Any, path: str) -> set[str]:
    """What a font has glyphs for; nothing where its file cannot be read."""
    try:
        return set(map(chr, manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return set()


@contextmanager
def readable(figure: Any) -> Iterator[None]:
    """While it is drawn, a figure's texts have a font for each character, or a note is written to standard error."""
    text: Any = optional_libraries.library("matplotlib.text", "pictures need", "pictures")
    texts = figure.findobj(text.Text)
    drawn = {character for each in texts for character in each.get_text() if character.isprintable()}
    families, missing = fallbacks({each for each in drawn if not each.isascii()})
    for each in texts if families else ():
        each.set_fontfamily(["sans-serif", *families])
    if missing:
        sys.stderr.write(NOTE.format(" ".join(sorted(missing)[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")))
    with warnings.catch_warnings():
        if missing:  # the note has said so
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
