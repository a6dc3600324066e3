"""Pictures with labels in any script: a font that has the characters is used; without one there is a note."""

import warnings

import pytest

from unrolled.report import fonts, pictures

matplotlib = pytest.importorskip("matplotlib")
manager = pytest.importorskip("matplotlib.font_manager")


@pytest.fixture(autouse=True)
def nothing_is_new(monkeypatch):
    """What this machine has is of no effect."""
    monkeypatch.setattr(manager, "findSystemFonts", list)


def drawn(label, folder):
    """What standard error is told is what the caller reads; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pictures.confusion({label: {label: 1}}, folder / "a.png")


def characters(path):
    return set(map(chr, manager.get_font(path).get_charmap()))


def only_elsewhere():
    """A family that matplotlib ships, and printable characters that its default font lacks and that family has."""
    default = characters(manager.findfont(manager.FontProperties()))
    (font,) = [
        each
        for each in manager.fontManager.ttflist
        if each.name == "STIXGeneral" and each.style == "normal" and each.weight in (400, "normal")
    ][:1]
    return font, sorted(each for each in characters(font.fname) - default if each.isprintable())


def test_a_font_that_has_the_characters_is_used(tmp_path, monkeypatch, capsys):
    font, [first, *_] = only_elsewhere()
    monkeypatch.setattr(manager.fontManager, "ttflist", [font, *manager.fontManager.ttflist])
    families, missing = fonts.fallbacks({first, "a", "é"})
    assert (len(families), missing) == (1, set())
    assert drawn(first + "aé", tmp_path).stat().st_size > 1000
    assert capsys.readouterr().err == ""


def test_a_character_that_no_font_has_is_told_and_gives_no_warning(tmp_path, monkeypatch, capsys):
    shipped = [each for each in manager.fontManager.ttflist if each.fname.startswith(matplotlib.get_data_path())]
    assert any(each.name.startswith("DejaVu Sans") for each in shipped)  # and "Last Resort", of boxes, since 3.11
    monkeypatch.setattr(manager.fontManager, "ttflist", shipped)
    assert drawn("好评", tmp_path).stat().st_size > 1000
    assert capsys.readouterr().err == (
        "note: no installed font has these characters of the picture's labels, drawn as boxes: 好 评. Install one, such as "
        "the package fonts-noto-cjk for Chinese, Japanese and Korean, and draw again.\n"
    )
    assert drawn("ก" + "".join(map(chr, range(0x4E00, 0x4E0C))), tmp_path)  # Thai, and more than the note names
    assert " ก 一 " in capsys.readouterr().err


def test_a_font_without_the_characters_is_not_taken_for_its_name(monkeypatch):
    default = [each for each in manager.fontManager.ttflist if each.name == "DejaVu Sans"]
    named = [manager.FontEntry(name="SimHei", fname=default[0].fname)]
    monkeypatch.setattr(manager.fontManager, "ttflist", [*named, *default])
    assert fonts.fallbacks({"好"}) == ([], {"好"})


def test_a_font_that_cannot_be_read_is_passed_over(monkeypatch, tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    monkeypatch.setattr(
        manager.fontManager, "ttflist", [manager.FontEntry(name="SimHei", fname=str(tmp_path / "bad.ttf"))]
    )
    assert fonts.fallbacks({"好"}) == ([], {"好"})


def test_labels_in_latin_need_no_note(tmp_path, capsys):
    drawn("up", tmp_path)
    assert capsys.readouterr().err == ""


def test_a_font_that_was_installed_after_matplotlib_looked_is_found(monkeypatch):
    font, [first, *_] = only_elsewhere()
    known = [each for each in manager.fontManager.ttflist if each.name == "DejaVu Sans"]
    monkeypatch.setattr(manager.fontManager, "ttflist", known)
    monkeypatch.setattr(manager, "findSystemFonts", lambda: [font.fname, known[0].fname, "/nowhere.ttf"])
    assert fonts.fallbacks({first}) == (["STIXGeneral"], set())


def test_simplified_forms_come_first(monkeypatch):
    font, [first, *_] = only_elsewhere()
    names = ("Noto Sans CJK HK", "A font", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans CJK SC")
    shuffled = [manager.FontEntry(name=name, fname=font.fname) for name in names]
    default = [each for each in manager.fontManager.ttflist if each.name == "DejaVu Sans"]
    for expected in ("Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans CJK HK", "Noto Sans CJK JP", "A font"):
        monkeypatch.setattr(manager.fontManager, "ttflist", [*shuffled, *default])
        assert fonts.fallbacks({first}) == ([expected], set())
        shuffled = [each for each in shuffled if each.name != expected]
