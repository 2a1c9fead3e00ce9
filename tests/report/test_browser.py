"""The pages in a real browser: what a person does, and that nothing goes wrong or leaves the machine meanwhile."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from potstill.report.audit import write_audit_page
from potstill.report.evaluate import write_evaluate_page

spec = importlib.util.spec_from_file_location("report_browser", Path(__file__).with_name("browser.py"))
browser_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(browser_module)

PROGRAM = browser_module.find_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome on PATH; set CHROMIUM to one"),
]
INK = (
    "(c => { const g = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});"
    "g.drawImage(c, 0, 0); const pixels = g.getImageData(0, 0, c.width, c.height).data;"
    "let n = 0; for (let k = 3; k < pixels.length; k += 4) n += pixels[k] > 0; return n })"
)


def browsers_of(path, folder):
    """Yield a function that opens a page: ``(width=…, dark=…)``; browsers end afterwards and asked for the page only."""
    browsers = []

    def start(*, dark=False, **screen):
        profile = folder / f"profile{len(browsers)}"
        browsers.append(browser_module.Browser(PROGRAM, profile, **screen))
        browsers[-1].open(path, dark=dark)
        return browsers[-1]

    yield start
    for browser in browsers:
        browser.close()
        assert browser.errors == []
        asked = [url for url in browser.requests if not url.startswith("data:")]
        assert asked == [path.resolve().as_uri()], "the page itself and nothing else"


@pytest.fixture
def opened(kit, mixed, tmp_path):
    """Open the page of a small dataset."""
    report, stats = kit.audited(mixed)
    path = tmp_path / "audit.html"
    write_audit_page(report, stats, mixed, path)
    yield from browsers_of(path, tmp_path)


@pytest.fixture
def run_page(kit, tmp_path):
    """Open the page of an evaluation with a trajectory."""
    path = tmp_path / "evaluate.html"
    write_evaluate_page(kit.make_evaluation([kit.molecule(0), kit.crystal(0)]), path)
    yield from browsers_of(path, tmp_path)


PLAYED = "document.querySelector('.player canvas')"


def test_a_trajectory_is_drawn_played_and_stopped(run_page):
    browser = run_page()
    browser.wait(f"{PLAYED}.dataset.frame === '0'")
    assert browser.run(f"{INK}({PLAYED})") > 500
    first = browser.run(f"{PLAYED}.toDataURL()")
    browser.run("document.querySelector('.player button').click()")
    browser.wait(f"Number({PLAYED}.dataset.frame) >= 2")
    assert browser.run(f"{PLAYED}.toDataURL()") != first
    browser.run("document.querySelector('.player button').click()")
    assert browser.run("document.querySelector('.player button').textContent") == "Play"
    browser.run("(s => { s.value = '4'; s.dispatchEvent(new Event('input')) })(document.querySelector('.player input'))")
    assert browser.run(f"{PLAYED}.dataset.frame") == "4"
    browser.run(f"{PLAYED}.focus()")
    before = browser.run(f"{PLAYED}.toDataURL()")
    browser.press("ArrowLeft")
    assert browser.run(f"{PLAYED}.toDataURL()") != before


@pytest.mark.parametrize("dark", [False, True])
def test_the_evaluation_fits_a_phone(run_page, dark):
    browser = run_page(width=400, height=800, mobile=True, dark=dark)
    browser.wait(f"{PLAYED}.dataset.frame === '0'")
    assert browser.run("document.documentElement.scrollWidth") <= 400


def ink(browser, canvas):
    return browser.run(f"{INK}(document.getElementById('{canvas}'))")


def shown(browser):
    return browser.run("document.getElementById('view').dataset.id")


def test_click_keys_and_filter(opened):
    browser = opened()
    assert ink(browser, "view") > 1000, "a structure is drawn from the start"
    before, first = ink(browser, "plane"), shown(browser)

    browser.run("document.getElementById('flagged').click()")
    places = browser.run(
        "(async () => { const text = document.getElementById('explorer-data').textContent.trim();"
        "const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));"
        "const raw = new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough("
        "new DecompressionStream('deflate'))).arrayBuffer());"
        "const n = new DataView(raw.buffer).getUint32(0, true);"
        "const header = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + n)));"
        "let at = 4 + n; for (const [name, kind, size] of header.arrays) { if (name === 'place') {"
        "return header.ids.map((id, k) => [id, ...[2 * k, 2 * k + 1].map(j =>"
        "new DataView(new Uint8Array([raw[at + j], raw[at + size + j]]).buffer).getInt16(0, true) / 32767)]) }"
        "at += size * Number(kind[1]) } })()"
    )
    width, height = browser.run("(c => [c.clientWidth, c.clientHeight])(document.getElementById('plane'))")
    target = next(row for row in places if row[0] != first and row[0].startswith("crystals"))
    x, y = (0.5 + target[1] * (width / 2 - 14) / width), (0.5 - target[2] * (height / 2 - 14) / height)
    browser.click("#plane", x, y)
    assert shown(browser) == target[0]
    assert target[0] in browser.run("document.getElementById('facts').textContent")
    assert target[0] in browser.run("document.getElementById('said').textContent"), "said aloud"
    assert browser.run("document.querySelectorAll('.spread .here').length") > 3

    browser.run("document.getElementById('plane').focus()")
    for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"):
        browser.press(key)
    assert shown(browser) != ""
    browser.run("document.getElementById('next').click()")
    assert shown(browser) != target[0]

    browser.run("document.querySelectorAll('.sources input')[0].click()")
    assert ink(browser, "plane") < before, "its points vanish"
    assert browser.run("[...document.querySelectorAll('.spread .row[data-source=\"0\"]')].every(r => r.hidden)")
    browser.run("document.querySelector('[data-all=\"0\"]').click()")
    assert ink(browser, "plane") == 0
    browser.run("document.querySelector('[data-all=\"1\"]').click()")
    assert browser.run("document.querySelectorAll('.spread .row[hidden]').length") == 0


def test_turning_colours_and_names(opened):
    browser = opened()
    before = browser.run("document.getElementById('view').toDataURL()")
    browser.run("document.getElementById('view').focus()")
    browser.press("ArrowLeft")
    assert browser.run("document.getElementById('view').toDataURL()") != before
    browser.press("0")
    assert browser.run("document.getElementById('view').toDataURL()") == before

    plane = browser.run("document.getElementById('plane').toDataURL()")
    browser.run("(s => { s.value = 'force'; s.dispatchEvent(new Event('change')) })(document.getElementById('colour'))")
    assert browser.run("document.getElementById('plane').toDataURL()") != plane
    assert "eV/Å" in browser.run("document.getElementById('scale').textContent")

    named = (
        "[...document.querySelectorAll('table button.id')]"
        ".find(b => b.textContent !== document.getElementById('view').dataset.id)"
    )
    name = browser.run(f"{named}.textContent")
    browser.run(f"{named}.click()")
    assert shown(browser) == name, "a structure named in the table of findings is shown in 3D"
    worst = browser.run("document.querySelectorAll('#worst option').length")
    assert worst > 2


def test_phone_in_the_dark(opened):
    browser = opened(width=390, height=844, mobile=True, dark=True)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 27)"
    assert ink(browser, "plane") > 100
    unnamed = (
        "[...document.querySelectorAll('button, select, input')].filter(e => !(e.getAttribute('aria-label') ||"
        "e.textContent.trim() || e.closest('label'))).length"
    )
    assert browser.run(unnamed) == 0, "each control has a name"


def test_print(opened):
    browser = opened()
    assert browser.pdf().startswith(b"%PDF")
