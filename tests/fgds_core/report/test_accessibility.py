"""The page for those who cannot see it well or use no mouse, and on paper."""

import os
import re

import pytest
from browser import Watched
from contrast import LEAST, texts, too_faint
from reported import CONFIG, PARAMS, make_workspace

from fgds_core.report.experiments import Experiment, write_comparison
from fgds_core.report.inputs import read_inputs
from fgds_core.report.page import find, write_report

DESK = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}}
PAPER = {"viewport": {"width": 703, "height": 1000}}
"""A4 without its margins of 12 millimetres, in the pixels that browsers print by."""

NAMES = ["cat", "dog", "owl <x>", *(f"bird {k:02d}" for k in range(9))]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return make_workspace(folder, NAMES, groups=("day", "night"), evidence=True)


@pytest.fixture(scope="module")
def page_path(places):
    return write_report(places, PARAMS, CONFIG)


@pytest.fixture(scope="module")
def compared(places, tmp_path_factory):
    other = make_workspace(tmp_path_factory.mktemp("other"), NAMES, lifts=(0, 0, 0.1), grid=False)
    params = PARAMS | {"seed": 1}
    both = [
        Experiment("first", find(read_inputs(places, PARAMS))),
        Experiment("second", find(read_inputs(other, params))),
    ]
    return write_comparison(both, tmp_path_factory.mktemp("compared"), CONFIG)


@pytest.fixture
def opening(chrome):
    """Opens a page; all that were opened are closed at the end, and none may have complained."""
    opened = []

    def open_page(path, **options):
        opened.append(Watched(chrome, path, **options))
        return opened[-1].drawn()

    yield open_page
    for each in opened:
        each.context.close()
        assert each.complaints == []


def violations(page):
    """What axe finds: WCAG 2.2 up to AA, and good practice for headings and landmarks."""
    if not os.environ.get("CI"):  # where everything of the lock is installed
        pytest.importorskip("axe_playwright_python")
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    return [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]


def test_axe_finds_nothing_on_the_page_with_a_picture_open_and_on_a_comparison(
    opening, page_path, compared
):
    page = opening(page_path, **PHONE)
    page.locator("#copy-pairs summary").click()
    page.wait_for_selector("#copy-pairs .both")
    page.locator("#copy-pairs .tile").first.click()
    assert violations(page) == []
    assert violations(opening(compared, **DESK, color_scheme="dark")) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_the_charts_too(opening, page_path, compared, scheme):
    for path in (page_path, compared):
        page = opening(path, **DESK, color_scheme=scheme)
        for each in page.locator(".tall").all():
            each.scroll_into_view_if_needed()
        found = texts(page)
        assert sum(each["drawn"] for each in found) > 20
        assert sum(not each["drawn"] for each in found) > 100
        assert too_faint(page) == []


def test_a_number_on_a_coloured_cell_can_be_read_however_strong_the_colour(opening, tmp_path):
    places = make_workspace(tmp_path, NAMES[:2], [500, 5], lifts=(0, 0, 0.9), grid=False)
    page = opening(write_report(places, PARAMS, CONFIG), **DESK, color_scheme="dark")
    numbers = page.locator("[data-chart=confusion] .mark-text.role-mark text").all_text_contents()
    assert max(int(re.sub(r"\D", "", each)) for each in numbers) >= 50
    assert too_faint(page) == []


def test_the_check_of_contrast_sees_what_is_faint(opening, page_path):
    page = opening(page_path, **DESK)
    page.add_style_tag(content="h1 { color: #bbb } [data-chart=gains] text { fill: #bbb }")
    faint = [each["has"] for each in texts(page) if not each["enough"]]
    assert len(faint) > 5
    assert max(faint) < LEAST


def test_every_chart_says_in_words_what_it_shows(opening, page_path, compared):
    for path in (page_path, compared):
        page = opening(path, **DESK)
        charts = page.locator("figure [role=img]:has([data-chart])")
        assert charts.count() == page.locator("[data-chart]").count() >= 3
        for chart in charts.all():
            said = chart.get_attribute("aria-label")
            title, _, rest = said.partition(". ")
            assert title
            assert re.search(r"\d", rest), said


def focused(page):
    return page.evaluate(
        "() => { const e = document.activeElement; return [e.tagName, e.id || "
        "e.textContent.trim() || e.getAttribute('aria-label') || e.title, "
        "getComputedStyle(e).outlineStyle]; }"
    )


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(opening, page_path):
    page = opening(page_path, **DESK)
    visited = []
    for _ in range(60):
        page.keyboard.press("Tab")
        visited.append(focused(page))
    names = [name for _, name, _ in visited]
    parts = ["Skip to the verdict", "Verdict", "Accuracy", "Pictures", "Cost", "Provenance"]
    assert names[:6] == parts
    start = names.index("search")
    header = ["search", "bin", "sort", "Class", "Bin", "Real", "Synthetic", "Test"]
    assert names[start : start + 8] == header
    assert names.index("class") < names.index("before") < names.index("after")
    assert names.index("after") > names.index("Judge agrees")
    of_elements = [each for each in visited if each[0] != "BODY"]  # after the last of them
    assert [name for _, name, outline in of_elements if outline == "none"] == []
    assert all(name for name in names)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#verdict"


def test_a_class_that_is_opened_is_told(opening, page_path):
    page = opening(page_path, **DESK)
    assert page.inner_text("#opened") == ""  # not by itself
    page.locator("#after").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#opened').textContent !== ''")
    name = page.inner_text("#open-class h3")
    num = page.locator("#open-class img").count()
    assert page.inner_text("#opened") == f"{name}: {num} pictures"


def on_paper(opening, path):
    """The page as it is laid out for paper, from a dark screen."""
    page = opening(path, **PAPER, color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    return page


def test_on_paper_all_parts_are_there_whole_and_light(opening, page_path, compared):
    for path in (page_path, compared):
        page = on_paper(opening, path)
        for part in ("verdict", "accuracy", "pictures", "cost", "provenance"):
            assert page.locator(f"#{part}-title").is_visible()
        for gone in ("nav", ".tools", ".skip"):
            assert not any(each.is_visible() for each in page.locator(gone).all())
        colours = page.evaluate(
            "[...document.querySelectorAll('body, .card')].map(e => "
            "getComputedStyle(e).backgroundColor)"
        )
        assert set(colours) <= {"rgb(255, 255, 255)"}
        assert too_faint(page) == []
        # nothing is cut, at the side or below
        wide, cut = page.evaluate(
            "[document.documentElement.scrollWidth, [...document.querySelectorAll("
            "'table, .scroll, .tall, svg')].filter(e => e.getBoundingClientRect().right > 704 "
            "|| e.scrollHeight > e.clientHeight + 2 && getComputedStyle(e).overflowY !== "
            "'visible').map(e => e.outerHTML.slice(0, 80))]"
        )
        assert wide <= 703
        assert cut == []
        table = page.locator("#class-table thead")
        assert table.is_visible()  # a table, not the blocks of a phone
        page.evaluate("dispatchEvent(new Event('afterprint'))")


def test_on_paper_the_parameters_are_open_and_what_was_closed_is_left_out(opening, page_path):
    page = on_paper(opening, page_path)
    parameters = page.locator("#parameters")
    assert parameters.locator("table").first.is_visible()
    assert not page.locator("#copy-pairs").is_visible()
    assert "On paper there is one class" in page.inner_text("#pictures")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not parameters.locator("table").first.is_visible()
    assert page.locator("#copy-pairs").is_visible()


def test_paper_has_the_pictures_and_few_pages(opening, page_path):
    page = opening(page_path, **DESK)
    num = page.locator("#open-class img").count()
    pdf = page.pdf(format="A4")
    assert pdf.count(b"/Subtype /Image") >= num / 2  # one that is shown twice is there once
    assert 4 <= len(re.findall(rb"/Type /Page\b", pdf)) <= 14
