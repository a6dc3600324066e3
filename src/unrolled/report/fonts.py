"""A font for each character of a picture's labels, Chinese ones among them: found among those that are installed.

Inputs: a figure of matplotlib's. Outputs: the figure, whose texts fall back to such fonts; a note where there is none.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from unrolled import optional_libraries

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry

# looked at first, in this order: fonts that suit a picture, with Han characters in their simplified forms, or in others
PREFERRED = (
    re.compile(r"((Noto|Source Han) Sans (CJK )?SC|WenQuanYi|SimHei|Microsoft YaHei|PingFang SC|Heiti SC)"),
    re.compile(
        r"(Noto Sans CJK|Noto Sans (TC|JP|KR)|Source Han Sans|PingFang|Hiragino|Heiti|Droid Sans Fallback|Arial U)"
    ),
)
NOTE = (
    "note: no installed font has these characters of the picture's labels, drawn as boxes: {}. Install one, such as "
    "the package fonts-noto-cjk for Chinese, Japanese and Korean, and draw again.\n"
)
_SHOWN = 10  # characters that the note names


def fallbacks(characters: set[str]) -> tuple[list[str], set[str]]:
    """Families that have the characters which matplotlib's default font lacks, and the characters that none has."""
    manager = optional_libraries.library("matplotlib.font_manager", "pictures need", "pictures")
    missing = characters - _characters_of(manager, manager.findfont(manager.FontProperties()))
    families: list[str] = []
    for fonts in (lambda: manager.fontManager.ttflist, lambda: _new_fonts(manager)):
        for font in sorted(fonts() if missing else (), key=lambda font: (_rank(font.name), font.name)):
            if font.name.startswith("Last Resort"):  # matplotlib's own: a box for each character there is
                continue
            if font.name not in families and (found := missing & _characters_of(manager, font.fname)):
                families.append(font.name)
                missing -= found
    return families, missing


def _rank(name: str) -> int:
    """The place of a family's kind among those that are looked at."""
    return next((i for i, kind in enumerate(PREFERRED) if kind.match(name)), len(PREFERRED))


def _new_fonts(manager: ModuleType) -> "list[FontEntry]":
    """Fonts that were installed after matplotlib wrote its list of them, which it does once."""
    known = {font.fname for font in manager.fontManager.ttflist}
    n_known = len(manager.fontManager.ttflist)
    for path in sorted(set(manager.findSystemFonts()) - known):
        try:
            manager.fontManager.addfont(path)
        except (OSError, RuntimeError):
            continue  # no font that can be read
    return list(manager.fontManager.ttflist[n_known:])


def _characters_of(manager: ModuleType, path: str) -> set[str]:
    """What a font has glyphs for; nothing where its file cannot be read."""
    try:
        return set(map(chr, manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return set()


@contextmanager
def readable(figure: "Figure") -> Iterator[None]:
    """While it is drawn, a figure's texts have a font for each character, or a note is written to standard error."""
    text = optional_libraries.library("matplotlib.text", "pictures need", "pictures")
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
