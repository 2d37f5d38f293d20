"""The page as a person has it: in headless Chromium, at a desk and on a phone."""

import json
import re

import pytest
from browser import Watched
from reported import CONFIG, PARAMS, make_workspace

from fgds_core.report.page import write_report

DESK = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    names = [f"bird <{k:03d}>" for k in range(12)]
    return make_workspace(tmp_path_factory.mktemp("page"), names, groups=("day", "night"))


@pytest.fixture(scope="module")
def page_path(places):
    return write_report(places, PARAMS, CONFIG)


@pytest.fixture
def opened(chrome, page_path):
    watched = Watched(chrome, page_path, **DESK)
    yield watched
    watched.context.close()
    assert watched.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in watched.requests)


def column(page, place):
    cells = page.locator(f"#class-table tbody tr > :nth-child({place})")
    return [re.split(r"\s", text.strip())[0] for text in cells.all_inner_texts()]


def numbers(texts):
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]


def test_every_chart_is_drawn_and_follows_the_page_s_colours(opened):
    page = opened.drawn()
    assert page.locator("[data-chart] svg").count() == page.locator("[data-chart]").count() >= 7
    marks = page.locator("[data-chart=trade_off] svg path[aria-roledescription=point]")
    assert marks.count() == 3 * 3
    fill = marks.last.evaluate("mark => getComputedStyle(mark).fill")
    page.emulate_media(color_scheme="dark")
    assert marks.last.evaluate("mark => getComputedStyle(mark).fill") != fill


def test_the_table_is_sorted_by_a_header_and_by_the_keyboard(opened):
    page = opened.page
    header = page.locator("#class-table thead th").nth(7)  # final
    header.locator("button").click()
    values = numbers(column(page, 8))
    assert values == sorted(values, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    header.locator("button").focus()
    page.keyboard.press("Enter")
    values = numbers(column(page, 8))
    assert values == sorted(values)
    assert header.get_attribute("aria-sort") == "ascending"
    assert page.locator("#sort").input_value() == "7 ascending"
    page.select_option("#sort", "0 descending")
    names = page.locator("#class-table tbody th").all_inner_texts()
    assert names == sorted(names, reverse=True)


def test_the_search_finds_classes_and_says_how_many(opened):
    page = opened.page
    page.fill("#search", "<00")
    assert page.locator("#class-table tbody tr:visible").count() == 10
    assert page.inner_text("#found") == "10 of 12 classes"
    page.fill("#search", "BIRD")
    page.select_option("#bin", "few")
    shown = page.locator("#class-table tbody tr:visible .tag").all_inner_texts()
    assert set(shown) == {"few"}
    page.fill("#search", "no such bird")
    assert page.inner_text("#found") == "0 of 12 classes"


def test_a_click_on_a_class_opens_its_pictures_and_on_a_picture_its_row(opened, page_path):
    page = opened.page
    page.locator("#class-table tbody th a").nth(3).click()
    number = page.evaluate("location.hash").removeprefix("#class-")
    page.wait_for_selector(f"#open-class[data-open='{number}']")
    titles = page.locator("#open-class h4").all_inner_texts()
    assert titles == [
        "Real training images",
        "Synthetic, the first of them",
        "Worst by the judge",
        "Best by the judge",
    ]
    assert page.locator("#open-class img").count() == 2 + 3 + 2 + 1
    assert page.evaluate("document.activeElement.id") == "open-class"
    name = page.inner_text("#open-class h3")
    page.locator("#open-class .tile.wrong").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    row = dict(
        zip(
            dialog.locator("dt").all_inner_texts(),
            dialog.locator("dd").all_inner_texts(),
            strict=True,
        )
    )
    assert (row["class"], row["index"], row["seed"]) == (name, "1", str(2**62 + 1))
    assert row["prompt"] == "a <b>photo</b>"
    assert row["criterion"] == "entropy: 0.250 at first, 0.500 at the end"
    assert "another class" in row["judge"]
    assert dialog.locator("code").all_inner_texts() == [
        f"python -m flows.redraw --class '{name}' --index 1",
        f"python -m flows.exclude --class '{name}' --index 1",
    ]
    assert dialog.locator("img").evaluate_all("all => all.every(i => i.alt)")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert "tile" in page.evaluate("document.activeElement.className")


def test_a_phone_needs_no_scrolling_to_the_side(chrome, page_path):
    watched = Watched(chrome, page_path, **PHONE)
    page = watched.drawn()
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide == [390, 390]
    beyond = page.evaluate(
        "[...document.querySelectorAll('.card table')].filter(t => !t.closest('.scroll') && "
        "t.getBoundingClientRect().right > t.closest('.card').getBoundingClientRect().right - 8)"
        ".map(t => t.id || t.textContent.slice(0, 40))"
    )
    assert beyond == []  # no table is wider than its card
    assert page.locator("#class-table tbody td").nth(7).is_visible()
    page.select_option("#sort", "8 descending")
    page.locator("#class-table tbody th a").first.click()
    page.wait_for_selector("#open-class[data-open]")
    page.locator("#open-class .tile").first.click()
    assert page.locator("dialog").bounding_box()["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert watched.complaints == []
    watched.context.close()


def test_without_javascript_all_tables_are_there_and_it_prints(chrome, page_path):
    watched = chrome.new_context(java_script_enabled=False)
    page = watched.new_page()
    page.goto(page_path.as_uri())
    assert page.locator("#class-table tbody tr").count() == 12
    assert "need JavaScript" in page.inner_text("body")
    assert page.pdf(format="A4").startswith(b"%PDF")
    watched.close()


def test_a_thousand_classes_open_in_no_time_with_their_pictures_beside(chrome, tmp_path_factory):
    names = [f"class {k:04d}" for k in range(1000)]
    folder = tmp_path_factory.mktemp("thousand")
    places = make_workspace(folder, names, num_test=5, grid=[3, 500, 999], size=8)
    config = CONFIG.model_copy(update={"max_classes": 1000, "max_page_mb": 0.0})
    path = write_report(places, PARAMS, config)
    assert path.stat().st_size < 3_000_000
    watched = Watched(chrome, path, **DESK)
    page = watched.drawn()
    assert watched.busy_s() < 2.0
    assert page.locator("#class-table tbody tr").count() == 1000
    page.fill("#search", "class 0999")
    page.locator("#class-table tbody tr:visible a").click()
    page.wait_for_selector("#open-class[data-open='999'] img")
    page.wait_for_function("document.querySelector('#open-class img').naturalWidth === 8")
    assert [url for url in watched.requests if url.endswith("/pictures/00999.js")]
    assert watched.complaints == []
    (path.parent / "pictures" / "00500.js").unlink()
    page.goto(f"{path.as_uri()}#class-500")
    page.wait_for_function("document.querySelector('#open-class').innerText.includes('folder')")
    watched.context.close()


def test_charts_hold_no_names_of_users_as_code(page_path):
    html = page_path.read_text(encoding="utf-8")
    text = re.search(r'id="charts">(.*?)</script>', html).group(1)
    assert "<" not in text
    assert "bird <003>" in json.dumps(json.loads(text))


@pytest.fixture(scope="module")
def with_evidence(tmp_path_factory):
    places = make_workspace(
        tmp_path_factory.mktemp("evidence"), ["cat", "dog", "owl <x>"], evidence=True
    )
    return write_report(places, PARAMS, CONFIG)


def dialog_rows(page):
    dialog = page.locator("dialog[open]")
    keys, values = (dialog.locator(name).all_inner_texts() for name in ("dt", "dd"))
    return dict(zip(keys, values, strict=True))


def test_a_picture_stands_beside_its_twin_without_feedback(chrome, with_evidence):
    watched = Watched(chrome, with_evidence, **DESK)
    page = watched.page
    page.select_option("#class", "1")
    page.wait_for_selector("#open-class[data-open='1']")
    assert "With feedback and without, from the same seed" in page.inner_text("#open-class")
    twins = page.locator("#open-class .both")
    assert twins.count() == 2
    assert twins.first.locator("img").last.get_attribute("alt") == (
        "the same dog without feedback, image 0"
    )
    twins.first.locator("button").click()
    captions = page.locator("dialog[open] figcaption").all_inner_texts()
    assert captions[:2] == ["with feedback", "without feedback, same seed"]
    row = dialog_rows(page)
    assert row["criterion by step"] == "0.250, 0.400, 0.500"
    assert row["its gradient's norm"] == "2, 1.50, 0.800"
    page.keyboard.press("Escape")
    # a class also has what is left out of it, with why
    titles = page.locator("#open-class h4").all_inner_texts()
    assert titles[-1] == "Left out of training"
    page.locator("#open-class .tile").last.click()
    assert dialog_rows(page)["why"] == "the judge sees cat (0.91)"
    assert watched.complaints == []
    watched.context.close()


def test_suspected_copies_stand_beside_what_they_may_copy(chrome, with_evidence):
    watched = Watched(chrome, with_evidence, **PHONE)
    page = watched.page
    counts = page.locator("#copy-counts tbody tr").last.inner_text().split("\t")
    assert counts == ["test images", "1", "0.400", "0", "2 of 500"]
    told = page.locator("#copies + p").inner_text()
    assert "By the whole picture or a part of the picture no image was taken for a copy" in told
    assert "Suspects by its features are kept (synthesize.copies_by)." in told
    page.locator("#copy-pairs summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#copy-pairs .both")
    page.locator("#copy-pairs button").click()
    row = dialog_rows(page)
    assert row["may copy"] == "test image 41 of dog"
    assert row["alike in"] == "a part of the picture, mirrored"
    assert row["kept because"] == "it was none when the set was checked"
    assert page.locator("dialog[open] code").all_inner_texts() == [
        "python -m flows.redraw --class cat --index 3",
        "python -m flows.exclude --class cat --index 3 --reason 'a copy'",
    ]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert watched.complaints == []
    watched.context.close()


def test_the_check_the_vetting_and_the_health_of_guidance_are_told_whole(chrome, with_evidence):
    watched = Watched(chrome, with_evidence, **DESK)
    page = watched.drawn()
    page.locator("#able").scroll_into_view_if_needed()  # what is far from sight is not laid out
    page.wait_for_function("document.querySelector('#able tbody tr').innerText !== ''")
    able = [text.split("\t") for text in page.locator("#able tbody tr").all_inner_texts()]
    assert [line[1] for line in able] == ["no", "cannot tell", "yes"]
    assert "wrong label (the judge sees it in 1 of 8)" in able[0][0]
    assert able[0][3:6] == ["1 of 8", "90.0", "clip 2 of 8, pixels 1 of 8"]
    page.locator("#away").scroll_into_view_if_needed()
    away = page.locator("#away tbody tr").first.inner_text()
    assert "judge: the judge sees cat (1)" in away
    assert away.split("\t")[1:] == ["1", "1", "0.01"]
    for name in ("criterion", "gradient"):
        assert page.locator(f"[data-chart={name}] svg path").count()
    page.locator("[aria-label='Guidance by class']").scroll_into_view_if_needed()
    guidance = page.locator("[aria-label='Guidance by class'] tbody tr").first.inner_text()
    assert "3 ran away" in guidance
    assert "97.0" in guidance
    assert "2 to 0.800" in guidance
    assert watched.complaints == []
    watched.context.close()
