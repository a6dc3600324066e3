"""Pictures with Chinese labels: a font that is found is used; without one there is a note and no warning."""

import warnings

import pytest

from unrolled.report import fonts, pictures

matplotlib = pytest.importorskip("matplotlib.font_manager")
COUNTS = {"好评": {"好评": 3, "差评": 1}, "差评": {"好评": 0, "差评": 4}}


def test_without_a_font_there_is_one_note_and_no_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fonts, "installed", list)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pictures.confusion(COUNTS, tmp_path / "a.png").stat().st_size > 1000
    assert capsys.readouterr().err == fonts.NOTE


def test_labels_in_latin_need_no_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fonts, "installed", list)
    pictures.confusion({"up": {"up": 1}}, tmp_path / "a.png")
    assert capsys.readouterr().err == ""


def test_a_font_that_is_found_is_used(tmp_path, monkeypatch, capsys):
    from matplotlib.figure import Figure

    monkeypatch.setattr(fonts, "installed", lambda: ["DejaVu Sans Mono"])  # stands for one with such characters
    figure = Figure()
    title = figure.subplots().set_title("差评")
    with fonts.readable(figure):
        figure.savefig(tmp_path / "a.png")
    assert title.get_fontfamily() == ["sans-serif", "DejaVu Sans Mono"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["Noto Sans CJK SC", "WenQuanYi Zen Hei", "SimHei", "PingFang SC", "Microsoft YaHei"])
def test_fonts_are_known_by_their_names(name, monkeypatch):
    monkeypatch.setattr(
        matplotlib.fontManager, "ttflist", [matplotlib.FontEntry(name=name), matplotlib.FontEntry(name="DejaVu Sans")]
    )
    assert fonts.installed() == [name]
