"""The pages in headless Chromium: at two widths, light and dark, with no errors, no requests, and no accessibility fault.

Accessibility is judged by axe-core where npm has brought it (`npm install --no-save axe-core@4`); what can be said
without a browser is in `pages.faults_of` and test_charts.py.
"""

import json
import shutil
import time

import pytest

from tests.report import samples
from tests.report.chromium import PROGRAM, WHY_NOT, Chromium
from tests.report.test_watch import serving
from tests.tasks.test_folder import ROOT
from unrolled.pages import of_run, of_runs
from unrolled.pages.source import source

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
OPEN = "document.querySelectorAll('details').forEach(each => { each.open = true; })"
WIDTHS, SCHEMES = (390, 1280), (False, True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return samples.all_runs(tmp_path_factory)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Chromium(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture(scope="module", params=[*samples.FILES, "several", "cut off"])
def page(request, runs, tmp_path_factory):
    """The address of a page of each kind."""
    if request.param in samples.FILES:
        return samples.page_of(runs, request.param).as_uri()
    if request.param == "several":
        text = of_runs.page([source(runs / name) for name in ("classify", "classify-2", "classify-3")])
    else:
        found = source(runs / "tag")
        found.model.fitted.metrics.clear()
        text = of_run.page(found, is_checked=False)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


def test_it_is_shown_without_errors_or_requests_and_fits_the_screen(browser, page):
    for width in WIDTHS:
        for is_dark in SCHEMES:
            browser.show(page, width=width, is_dark=is_dark)
            assert browser.said == []
            assert [each for each in browser.asked if not each.startswith("data:")] == [page]
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value("document.title") != "run", "a label ran as a script"
            background = browser.value("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(15, 18, 22)" if is_dark else "rgb(255, 255, 255)")


def test_pictures_and_texts_are_large_enough_on_a_phone(browser, page):
    browser.show(page, width=390)
    small = browser.value(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height).filter(h => h && h < 10)"
    )
    assert small == []
    assert browser.value("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 60)")


@pytest.mark.skipif(not AXE.exists(), reason="accessibility is judged by axe-core: npm install --no-save axe-core@4")
def test_it_has_no_accessibility_fault(browser, page):
    for width, is_dark in zip(WIDTHS, SCHEMES, strict=True):  # the two widths differ in layout, the schemes in color
        browser.show(page, width=width, is_dark=is_dark)
        browser.value(OPEN)
        browser.value(AXE.read_text("utf-8"))
        found = browser.value(
            "axe.run().then(r => r.violations.map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))]))"
        )
        assert found == [], json.dumps(found, indent=1)


def test_all_that_folds_and_scrolls_is_reached_by_keyboard(browser, page):
    browser.show(page, width=390)
    browser.value(OPEN)
    wide = """[...document.querySelectorAll('main *')].filter(each => each.scrollWidth > each.clientWidth + 1
        && getComputedStyle(each).overflowX === 'auto' && each.tabIndex !== 0).map(each => each.outerHTML.slice(0, 99))"""
    assert browser.value(wide) == []
    places = "[...document.querySelectorAll('a, summary, [tabindex=\"0\"]')]"
    visited = []
    for _ in range(n := browser.value(f"{places}.length")):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        visited.append(browser.value(f"{places}.indexOf(document.activeElement)"))
    assert visited == list(range(n))


def test_a_watched_page_puts_in_what_has_changed(browser, runs, tmp_path):
    folder = tmp_path / "run"
    aside = shutil.copytree(runs / "regress", tmp_path / "aside")
    with serving(folder) as server:
        browser.show(server.address)
        assert "Waiting for the run" in browser.value("document.body.innerText")
        aside.rename(folder)
        wait = "new Promise(done => setTimeout(() => done(document.body.innerText), 250))"
        end = time.monotonic() + 60
        while "Do it again" not in (text := browser.value(wait)) and time.monotonic() < end:
            pass
        assert "Predicted against true" in text
        assert browser.said == []
        assert {each for each in browser.asked if not each.startswith("data:")} == {server.address}
