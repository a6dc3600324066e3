"""Charts as SVG: round numbers at the axes, all numbers in the picture, nothing of names that is no text."""

import base64
import re
import zlib

import numpy as np
import pytest
import torch

import unrolled
from tests.report.pages import Page
from unrolled.markup import Band, Line
from unrolled.pages import checked
from unrolled.report.comparison import collected_counts, compare
from unrolled.report.html import charts, elements
from unrolled.report.html.charts import Axis
from unrolled.report.html.page import STYLE, Section, document, policy

X, Y = Axis("step"), Axis("loss")


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-3, 7, ["-2", "0", "2", "4", "6"]),
        (0.001, 0.0031, ["0.0010", "0.0015", "0.0020", "0.0025", "0.0030"]),
        (1200, 9000, ["2,000", "4,000", "6,000", "8,000"]),
        (0, 3e7, ["0", "1e+07", "2e+07", "3e+07"]),
        (5, 5, []),
        (0, np.inf, []),
    ],
)
def test_ticks_are_round_numbers(low, high, names):
    assert [name for _, name in charts.ticks(low, high, 5)] == names


def test_of_counts_the_ticks_are_whole():
    assert [name for _, name in charts.ticks(1, 2, 5, is_counted=True)] == ["1", "2"]


def places(svg):
    return [
        (float(a), float(b))
        for a, b in re.findall(r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall('points="([^"]*)"', svg)))
    ]


@pytest.mark.parametrize("seed", range(20))
def test_all_points_lie_within_the_picture(seed):
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 900))
    x, y = (
        np.sort(draw.normal(size=n)) * 10.0 ** draw.integers(-9, 9),
        draw.normal(size=n) * 10.0 ** draw.integers(-9, 9),
    )
    y[draw.random(n) < 0.1] = draw.choice([np.nan, np.inf, -np.inf])
    svg = charts.curves(
        [Line("a", x, y)], X, Axis("loss", is_log=bool(seed % 2)), caption="c", band=Band("b", x, y - 1, y + 1)
    )
    if not np.isfinite(y).any():
        assert svg == ""
        return
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    found = places(svg)
    assert found
    assert all(0 <= a <= width and 0 <= b <= height for a, b in found)
    assert "nan" not in svg.lower().replace("nan, ", "")


def test_what_goes_up_is_drawn_up():
    [first, last] = places(charts.curves([Line("a", [0, 1], [1, 2])], X, Y, caption="c"))
    assert last[0] > first[0]
    assert last[1] < first[1]


def test_a_line_of_many_points_is_thinned_and_keeps_its_end():
    svg = charts.curves([Line("a", range(100_000), range(100_000))], X, Y, caption="c")
    assert len(svg) < 20_000
    assert "a from 0 to 99,999" in svg


def test_nothing_is_drawn_of_nothing():
    assert charts.curves([], X, Y, caption="c") == ""
    assert charts.curves([Line("a", [1.0], [np.nan])], X, Y, caption="c") == ""
    assert charts.points([], [], X, Y, caption="c") == ""


EVIL = "</svg><script>x</script>\"'&\x00\ud800"


def test_names_are_text_wherever_they_stand():
    made = [
        charts.curves([Line(EVIL, [0, 1], [1, 2])], Axis(EVIL, [(0, EVIL)]), Axis(EVIL), caption=EVIL),
        charts.points([1], [1], Axis(EVIL), Axis(EVIL), caption=EVIL, lines=[Line(EVIL, [0, 1], [0, 1])], label=EVIL),
        charts.grid([EVIL], [EVIL], np.ones((1, 1)), caption=EVIL, label=EVIL),
        charts.spectrogram(np.ones((9, 4)), 0.01, [(EVIL, 0, 1)], caption=EVIL, label=EVIL),
        elements.facts({EVIL: EVIL}, EVIL),
        elements.table([EVIL, EVIL], [[EVIL, EVIL]], EVIL),
        elements.counts({EVIL: {EVIL: 1}}, EVIL, EVIL, EVIL),
        elements.bars({EVIL: (0.5, 0.5, 1)}, EVIL, EVIL, EVIL),
        elements.details(EVIL, "x") + elements.preformatted([EVIL], EVIL) + elements.passage(EVIL),
        elements.paragraph(f"`{EVIL}`") + elements.heading(EVIL) + elements.commands([EVIL]),
        elements.marked(EVIL, [(0, 4, EVIL)], {}) + elements.weighted(EVIL, [(0, 4, 1.0)]),
        document(EVIL, "", [Section(EVIL, "x")], foot=EVIL),
    ]
    for each in made:
        assert "<script>x" not in each
        assert not re.search(r"""=["'][^"'>]*</svg>""", each)
        assert "\x00" not in each
        each.encode("utf-8")


def test_marks_keep_the_text_and_leave_overlaps_out():
    shown = elements.marked("Ada met Bob", [(8, 11, "PER"), (0, 3, "PER"), (2, 6, "X")], {"PER": "var(--c2)"})
    assert re.sub(r"<small>[^<]*</small>|<[^>]*>", "", shown).replace(" ", "") == "AdametBob"
    assert shown.count("<mark") == 2


def test_a_spectrogram_is_a_picture_with_the_low_bands_below():
    frames = np.zeros((4, 3))
    frames[:, 0] = 1.0
    svg = charts.spectrogram(frames, 0.01, [("a", 0, 1)], caption="c")
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", svg)[1])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    at = picture.index(b"IDAT")
    lines = zlib.decompress(picture[at + 4 : at + 4 + int.from_bytes(picture[at - 4 : at], "big")])
    assert lines == b"\0\0\0\0\0" * 2 + b"\0" + b"\x3f" * 4  # 63 is the brightest of the palette


def test_the_policy_allows_nothing_but_styles_and_pictures_within():
    assert policy(is_watched=False) == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "script-src 'sha256-" in policy(is_watched=True)
    assert "<script" not in document("a", "", [])


def luminance(color):
    color = color * 2 if len(color) == 3 else color
    parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("place", [0, 1], ids=["light", "dark"])
def test_colors_can_be_told_from_the_page(place):
    colors = dict(re.findall(r"--([\w]+):#([0-9a-f]+)", re.findall(r":root\{[^}]*\}", STYLE)[place]))
    for name in ("text", "dim", "c1", "c2", "c3", "c4", "c5", "c6", "gray"):
        for below in ("bg", "soft"):
            assert contrast(colors[name], colors[below]) >= 4.5, (name, below)

    def mixed(tone, share):
        pairs = [[int((color * 2)[i : i + 2], 16) for color in (colors[tone], colors["bg"])] for i in (0, 2, 4)]
        return "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)

    for tone in ("c1", "c2", "c3", "c4", "c5", "c6", "gray"):  # the darkest shade behind text
        assert contrast(colors["text"], mixed(tone, 0.3)) >= 4.5, tone


def test_collected_counts_are_those_that_models_are_compared_by():
    model, baseline, other = (np.stack([np.arange(40) % n < 1, np.ones(40)], 1).astype(float) for n in (2, 4, 3))
    with collected_counts() as kept:
        compare(model, {"b": baseline}, metric="accuracy", of="texts")
        compare(other, {"b": baseline}, metric="accuracy", of="texts")
    first, second = kept
    assert first.beside(second, "c") == compare(model, {"c": other}, metric="accuracy", of="texts")
    assert first.beside(first, "itself").p == 1.0
    with collected_counts() as kept:
        compare(model[:9], {"b": baseline[:9]}, metric="accuracy", of="texts")
    assert first.beside(kept[0], "c") is None


def test_a_check_up_is_a_section_with_its_findings_and_pictures():
    torch.manual_seed(0)
    found = unrolled.checkup(unrolled.RNN(2, 8), torch.randn(80, 4, 2))
    shown = checked.section(found, "random numbers")
    page = Page(document("a", "", [shown]))
    assert page.faults == []
    assert shown.title == "Check-up"
    assert f"vanishing: {found.verdict[0]}" in page.words
    assert str(found).splitlines()[-1] in page.words
    names = [each["aria-label"].split(".")[0] for each in page.of("svg")]
    assert names == [
        "the last step's gradient on its way back", "what is lost of its output where it knows so few steps",
        "how long each unit remembers, in steps", "Lyapunov exponents, per step",
    ]  # fmt: skip
