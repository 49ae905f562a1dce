"""The report in a real browser: no error, no request, all pictures, a phone's width, dark mode and print."""

from __future__ import annotations

import pytest
from tests.support.waiting import PATIENCE_S

pytest.importorskip("matplotlib")

from recsmith.report import write_report

PHONE = {"width": 360, "height": 740}
SMALLEST_TEXT = 9.0  # CSS pixels, in pictures


@pytest.fixture(scope="module")
def report(runs, audit_folder, ab_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("browser") / "report.html"
    return write_report(runs, out, audit=audit_folder, ab=ab_file, maps=())


@pytest.fixture
def page(browser, report):
    """The page, which must leave nothing in the console and ask for nothing but itself."""
    said, asked = [], []
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.page.as_uri())
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.page.as_uri()]
    page.close()


def test_all_pictures_are_there(page, report):
    sizes = page.locator("figure svg").evaluate_all(
        "all => all.map(s => [s.getBoundingClientRect().width, s.getBoundingClientRect().height])"
    )
    assert len(sizes) == len(report.pictures)
    assert min(min(size) for size in sizes) > 80
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("width", [360, 768, 1280, 2560])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pictures_are_readable_on_a_phone(page):
    page.set_viewport_size(PHONE)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('figure svg text')].map(text => {
            const svg = text.ownerSVGElement
            const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width
            return parseFloat(getComputedStyle(text).fontSize) * scale
        })"""
    )
    assert len(sizes) > 100
    assert min(sizes) >= SMALLEST_TEXT


def test_no_text_of_a_picture_is_cut_off(page):
    cut = page.evaluate(
        """() => [...document.querySelectorAll('figure svg text')].filter(text => {
            const own = text.getBoundingClientRect(), all = text.ownerSVGElement.getBoundingClientRect()
            return own.width && (own.left < all.left - 2 || own.right > all.right + 2
                || own.top < all.top - 2 || own.bottom > all.bottom + 2)
        }).map(text => text.textContent)"""
    )
    assert cut == []


def luminance(page, selector: str, what: str) -> float:
    text = page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{what}")
    parts = [float(part) / 255 for part in text[text.index("(") + 1 :].rstrip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page, selector: str, what: str) -> float:
    low, high = sorted([luminance(page, "body", "backgroundColor"), luminance(page, selector, what)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert (luminance(page, "body", "backgroundColor") < 0.2) == (scheme == "dark")
    for selector, what in (
        ("p", "color"),
        ("figure svg text", "fill"),
        (".note", "color"),
        ("nav a", "color"),
    ):
        assert contrast(page, selector, what) >= 4.5, selector


def test_print_is_black_on_white_and_shows_all(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert luminance(page, "body", "backgroundColor") > 0.95
    assert contrast(page, "p", "color") > 15
    assert not page.locator("nav").is_visible()
    assert page.locator("figure").first.evaluate("node => getComputedStyle(node).breakInside") == "avoid"
