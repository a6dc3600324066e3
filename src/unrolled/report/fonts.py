"""A font for labels in Chinese, Japanese and Korean: found among those that are installed.

Inputs: a figure of matplotlib's. Outputs: the figure, whose texts fall back to that font; a note where there is none.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unrolled import optional_libraries

FAMILIES = re.compile(
    r"(Noto (Sans|Serif)( Mono)? CJK|Noto Sans (SC|TC|JP|KR)|Source Han|WenQuanYi|SimHei|SimSun|Microsoft YaHei"
    r"|PingFang|Hiragino|Heiti|STHeiti|Songti|AR PL|Droid Sans Fallback|IPA|Nanum|Malgun)"
)
WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
NOTE = (
    "note: no installed font has the Chinese, Japanese or Korean characters of the picture's labels, drawn as "
    "boxes. Install one, such as the package fonts-noto-cjk, and draw again.\n"
)


def installed() -> list[str]:
    """The families that have such characters, sorted."""
    manager: Any = optional_libraries.library("matplotlib.font_manager", "pictures need", "pictures")
    return sorted({font.name for font in manager.fontManager.ttflist if FAMILIES.match(font.name)})


@contextmanager
def readable(figure: Any) -> Iterator[None]:
    """While it is drawn, a figure's texts have a font for each character, or a note is written to standard error."""
    text: Any = optional_libraries.library("matplotlib.text", "pictures need", "pictures")
    texts = figure.findobj(text.Text)
    wide = any(WIDE.search(each.get_text()) for each in texts)
    families = installed() if wide else []
    for each in texts if families else ():
        each.set_fontfamily(["sans-serif", families[0]])
    if wide and not families:
        sys.stderr.write(NOTE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
