"""The report, made from metrics that no run produced."""

import csv
import errno
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reported import CONFIG, GARMENTS, PARAMS, make_workspace

from fgds_core.classify.answers import ANSWERS_NAME
from fgds_core.errors import InputError
from fgds_core.files import write_json
from fgds_core.report import charts, copies, left_out, pictures
from fgds_core.report.accuracy import Line, chosen_classes
from fgds_core.report.inputs import read_inputs
from fgds_core.report.numbers import points, typeset
from fgds_core.report.page import OUTPUTS, write_report
from fgds_core.report.summary import Row, gain_table, read_summary, shown
from tasks.workspace import Guide


class Outline(HTMLParser):
    """Collects what the tests ask about, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "rect", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID or tag == "rect":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    outline = Outline()
    html = path.read_text(encoding="utf-8")
    outline.feed(html)
    assert not outline.open
    return html, outline, " ".join(" ".join(outline.text).split())


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory):
    """The page of ten garments, written once."""
    return write_report(make_workspace(tmp_path_factory.mktemp("plain")), PARAMS, CONFIG)


def test_the_page_stands_alone_and_is_well_formed(plain_page):
    html, outline, _ = read(plain_page)
    sources = [value for _, name, value in outline.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith(("data:", "#")) for value in sources)
    written = html.replace(charts.runtime(), "").replace("http://www.w3.org/", "")
    assert "://" not in written
    assert len(written) < 850_000
    assert "prefers-color-scheme: dark" in html


def test_the_page_has_five_parts_and_says_first_what_came_of_it(plain_page):
    html, outline, text = read(plain_page)
    parts = [v for tag, name, v in outline.attributes if (tag, name) == ("section", "id")]
    assert parts == ["verdict", "accuracy", "pictures", "cost", "provenance"]
    verdict = json.loads((plain_page.parent / "verdict.json").read_text())
    first = html[html.index("<h1") : html.index("</h1>")]
    assert typeset(verdict["headline"]) in first
    assert "Synthetic images helped few-shot classes" in first
    for heading in ("Who paid", "Worth in real images", "What to do next", "Warnings"):
        assert heading in text
    for step in verdict["next"]:
        assert typeset(step["do"]) in text
    assert "certain: p < 0.001, n = 100" in text
    assert "not distinguishable from none: n = 250" in text


def test_names_numbers_and_rounding_agree_everywhere(plain_page):
    """A gain is the same on the page, on the console, in CSV and in JSON."""
    _, _, text = read(plain_page)
    reports = plain_page.parent
    rows = read_summary(reports / "summary.csv")
    console = gain_table(rows)
    metrics = {
        name: json.loads((reports / f"{name}.json").read_text())
        for name in ("baseline", "control", "final")
    }
    verdict = json.loads((reports / "verdict.json").read_text())
    with (reports / "paired.csv").open() as file:
        paired = {
            row["name"]: row
            for row in csv.DictReader(file)
            if (row["second"], row["of"]) != ("control", "class") and row["first"] == "control"
        }
    for row in rows:
        cells = shown(row)
        if row.bin in ("overall", "many", "medium", "few"):
            line = next(line for line in console.splitlines() if line.startswith(row.bin))
            assert line.split()[1:5] == [
                cells[name] for name in ("imbalanced", "control", "final", "gain")
            ]
            claim = next(each for each in verdict["claims"] if each["of"] == row.bin)
            assert claim["change"] == pytest.approx(row.gain, abs=1e-5)
            assert claim["change"] == pytest.approx(float(paired[row.bin]["difference"]))
            assert claim["p_holm"] == pytest.approx(float(paired[row.bin]["p_holm"]))
            assert claim["num_images"] == row.num_images
            low, high = (typeset(points(claim[end])) for end in ("low", "high"))
            assert f"{typeset(cells['gain'])} points {claim['words']}" in text
            assert f"95 % interval {low} to {high}" in text
        if row.final is not None:
            assert row.final == pytest.approx(metrics["final"][row.bin], abs=1e-6)
            printed = [cells[name] for name in ("imbalanced", "control", "final", "gain")]
            assert typeset(" ".join(printed)) in text
    with (reports / "pictures" / "pictures.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 10 * 5


def test_the_page_shows_the_numbers_of_the_files(plain_page):
    _, _, text = read(plain_page)
    few = next(row for row in read_summary(plain_page.parent / "summary.csv") if row.bin == "few")
    cells = [shown(few)[name] for name in ("imbalanced", "control", "final", "gain")]
    assert f"2 classes, 100 images {' '.join(cells)} {shown(few)['95 % interval']}" in text
    assert "0.031 [0.028, 0.034]" in text  # FID
    assert "588 real, 1,163 synthetic images" in text  # what it rests on
    assert "feedback_scale 0.02" in text
    assert "7.5 min in all, 0.099 device-hours of work, at most 1.90 GB" in text
    assert "synthesize 3.8 min 3.1 min 0.16 s" in text  # an image
    assert "arXiv:2310.00158" in text
    # measures without a number for the same reason are told together
    assert text.count("needs 500 real and 500 synthetic images") == 1


def test_the_headline_is_the_gain_over_the_control_of_one_seed(tmp_path):
    places = make_workspace(tmp_path, lifts=(0.0, 0.3, 0.3), grid=False)
    html, _, text = read(write_report(places, PARAMS, CONFIG))
    assert "No effect of the synthetic images can be told from chance on 500 test images" in text
    assert "One run, of seed 0" in text
    # The final classifier is far ahead of the baseline, and that is no gain of the images.
    assert colours(html) == {"same"}


def colours(html):
    """What the changes on the page are coloured by: gain, loss or same."""
    return set(re.findall(r'<b class="change (\w+)"', html))


def test_a_true_gain_is_green_and_a_few_images_are_not(plain_page, tmp_path):
    assert "gain" in colours(plain_page.read_text(encoding="utf-8"))
    few = make_workspace(tmp_path, GARMENTS[:2], [500, 5], num_test=2, lifts=(0, 0, 0.9))
    html, _, text = read(write_report(few, PARAMS, CONFIG))
    assert "+50.0" in text or "+100.0" in text
    assert colours(html) == {"same"}


def test_nothing_is_green_for_a_classifier_that_guesses(tmp_path):
    for name, lifts in {"both": (None, None, None), "final": (0.0, -0.2, None)}.items():
        workspace = make_workspace(tmp_path / name, lifts=lifts, grid=False)
        html, _, text = read(write_report(workspace, PARAMS, CONFIG))
        assert "gain" not in colours(html)
        assert "could be guessing, so nothing here is a gain" in text


def test_the_worst_group_is_named_with_its_images(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], [500, 50, 5], groups=("indoors", "<out>"))
    html, _, text = read(write_report(workspace, PARAMS, CONFIG))
    assert "Class within group" in text
    assert re.search(
        r"Worst group (T-shirt/top|Trouser|Pullover), (indoors|<out>): 25 images, "
        r"exact 95 % interval of it [\d.]+ to [\d.]+",
        text,
    )
    assert "<out>" not in html
    for name in ("Worst group of 10 images or more", "Worst tenth", "weighted as in training"):
        assert name in text


def test_a_text_only_unguided_run_is_called_what_it_is(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3], guided=False, sources=False)
    html, _, text = read(write_report(places, PARAMS, CONFIG))
    assert "What synthetic images add" in text
    assert "eedback-guided" not in text.replace("Feedback-guided Data Synthesis", "")
    assert '"from":null' in html
    assert '"from":"data' not in html
    assert "First step" not in text
    assert "No image was guided" in text


def test_the_page_says_which_classifier_guided(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    said = {}
    for guide in get_args(Guide):
        params = PARAMS | {"synthesize": {"guide": guide}}
        _, _, text = read(write_report(workspace, params, CONFIG))
        said[guide] = " ".join(text.split())
    assert "criterion of the baseline on the predicted" in said["baseline"]
    assert "criterion of the control on the predicted" in said["control"]
    assert "criterion of the committee of baseline and control on the predicted" in said["both"]


def test_a_recipe_that_is_not_class_balancing_is_called_what_it_is(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    training = {"loss": "balanced_softmax", "loss_kwargs": {"tau": 1.0}}
    recipe = {"train_baseline": {"sampling": "instance"}, "retrain": {"training": training}}
    _, _, text = read(write_report(workspace, PARAMS | recipe, CONFIG))
    assert "recipe of the final classifier (loss: balanced_softmax, loss_kwargs.tau: 1.0)" in text
    assert "class-balanced" not in text
    assert "balanced batches" not in text
    assert "Recipe: control minus imbalanced" in text
    recipe["retrain"] = {"training": {"sampling": "class_balanced"}}
    _, _, text = read(write_report(workspace, PARAMS | recipe, CONFIG))
    assert "both in class-balanced batches" in text


def test_classes_beyond_chance_are_counted_for_both_comparisons(tmp_path):
    places = make_workspace(tmp_path, lifts=(0, 0.5, 0.2), num_test=200, grid=False)
    _, _, text = read(write_report(places, PARAMS, CONFIG))
    balancing, images = re.findall(r"Of 10 classes, (\d+) gained and (\d+) lost", text)
    assert int(balancing[0]) >= 2 > int(balancing[1])
    assert int(images[1]) >= 2 > int(images[0])
    assert "Imbalanced alone is right" in text
    assert "Confused more often" in text
    assert "Synthetic images harmed few-shot classes" in text
    assert "Stop: use the control" in text


def test_warnings_of_the_assessment_are_shown(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    path = places.reports / "assess" / "measures.json"
    measures = json.loads(path.read_text())
    write_json(path, measures | {"warnings": ["hardly any image looks like a <real> one"]})
    _, _, text = read(write_report(places, PARAMS, CONFIG))
    assert "Hardly any image looks like a <real> one." in text


def test_classes_that_real_images_fill_are_named_beside_the_pictures(plain_page, tmp_path):
    _, _, text = read(plain_page)
    assert "Real training images, drawn again" not in text
    places = make_workspace(tmp_path, GARMENTS[:3])
    path = places.reports / "assess" / "measures.json"
    measures = json.loads(path.read_text())
    write_json(path, measures | {"resampled": {GARMENTS[0]: 186}})
    html, _, text = read(write_report(places, PARAMS, CONFIG))
    assert f"Real training images, drawn again, fill {GARMENTS[0]} (186 images)" in text
    assert html.count("Real images drawn again, the first of them") == 1
    assert "a real training image, drawn again" in html


def test_a_picture_that_is_near_another_class_stands_in_a_row_of_its_own(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3])
    inputs = read_inputs(places, PARAMS)
    _, before = next(pictures.of_classes(inputs, GARMENTS[:3], CONFIG))
    title = "Nearest to a real image of another class"
    strips = {strip["title"]: strip for strip in before["strips"]}
    assert strips[title]["items"] == []  # the nearest of each is of its own class
    path = places.reports / "assess" / "neighbours.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    labels = [
        (row["label"] + 1) % 3
        if (row["of"], row["role"], row["item"], row["rank"]) == (0, "real", 1, 0)
        else row["label"]
        for row in rows
    ]
    field = table.schema.field("label")
    place = table.schema.get_field_index("label")
    pq.write_table(table.set_column(place, field, pa.array(labels, field.type)), path)
    _, found = next(pictures.of_classes(inputs, GARMENTS[:3], CONFIG))
    strips = {strip["title"]: strip for strip in found["strips"]}
    (shown,) = strips[title]["items"]
    item = found["items"][shown]
    assert item["index"] == 1
    assert item["near"][0] == {**item["near"][0], "class": GARMENTS[1], "other": True}


def test_copies_of_one_split_are_left_out_for_one_reason():
    said = "copy of test image 7, mirrored (part: 0.100 of the distance of real neighbours)"
    assert left_out._kind(said) == "copy of a test image"
    assert left_out._kind("the judge sees coat (0.93)") == "the judge sees coat"


def test_same_inputs_same_bytes(plain_page, tmp_path):
    again = write_report(make_workspace(tmp_path), PARAMS, CONFIG)
    for name in (*OUTPUTS[:-1], "pictures/pictures.csv"):
        assert (again.parent / name).read_bytes() == (plain_page.parent / name).read_bytes()


def test_settings_that_change_no_result_stay_out(plain_page):
    html, _, _ = read(plain_page)
    assert "secret" not in html
    assert "workers" not in html


def test_text_from_users_is_escaped(tmp_path):
    names = ("<i>bold</i>", "a & b", '"x" onload="alert(1)', "![](x)\n# c", "=1+1", "{{ 7 * 7 }}")
    names += ("\u202egpj.exe", "\x1b[31mred\x00", "猫 \U0001f469\u200d\U0001f52c")
    html, outline, text = read(write_report(make_workspace(tmp_path, names), PARAMS, CONFIG))
    assert "<i>bold" not in html
    assert "<i>bold</i>" in text
    assert "onload" not in {name for _, name, _ in outline.attributes}
    assert html.count("</script>") == 3 + len(names)
    assert "{{ 7 * 7 }}" in text
    assert "=1+1" in text
    assert "{class} <now>" in text
    assert not set(html) & {"\u202e", "\x1b", "\x00"}
    assert "\ufffdgpj.exe" in text
    assert names[-1] in text


def test_absent_bins_judge_times_and_pictures_leave_dashes_not_holes(tmp_path):
    places = make_workspace(tmp_path, counts=[500] * 10, judge=False, timing=False, grid=False)
    _, _, text = read(write_report(places, PARAMS, CONFIG))
    dash = "\N{EN DASH}"
    assert f"Few-shot 0 classes, 0 images {dash} {dash} {dash} {dash}" in text
    assert "a bin without classes shows a dash" in text
    assert "no judge was asked" in text
    assert "No times were noted" in text
    assert "shot accuracy" not in text  # of one bin there is no trade
    assert "grid_images" in text


def test_the_table_has_all_of_many_classes_and_the_pictures_of_those_that_matter(tmp_path):
    names = [f"class {k:03d}" for k in range(100)]
    path = write_report(make_workspace(tmp_path, names), PARAMS, CONFIG)
    html, _, _ = read(path)
    table = html[html.index('id="class-table"') :]
    table = table[: table.index("</table>")]
    assert table.count('<th scope="row">') == 100
    assert table.count('href="#class-') == 12
    assert html.count('id="pictures-') == 12 + 1  # and the heading


def test_of_many_classes_those_are_shown_that_matter():
    def line(name, gain, width=0.05):
        row = Row(name, 0.5, 0.5, 0.5 + gain, gain, gain - width, gain + width, 50)
        return Line(row, name, "same")

    counts = {f"a{k}": 5 for k in range(6)} | {f"b{k}": 100 for k in range(20)}
    gains = {"a3": -0.4, "a5": 0.3, "b7": 0.3, "b8": 0.35, "b2": -0.2, "b4": -0.1}
    lines = [line(name, gains.get(name, 0.0)) for name in counts]
    lines.append(line("few images", 1.0, width=1.0))
    counts["few images"] = 100
    assert chosen_classes(lines, counts, 8) == ["a3", "a5", "a0", "a1", "b8", "b7", "b2", "b4"]
    for most in range(1, 28):
        chosen = chosen_classes(lines, counts, most)
        assert len(chosen) == len(set(chosen)) == most


def test_another_measure_is_on_the_page_without_further_ado(tmp_path):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    path = places.reports / "assess" / "measures.json"
    found = json.loads(path.read_text())
    found["shown"].append({"name": "toy", "label": "Toys", "hint": "more is better"})
    entry = {"value": 0.125, "low": None, "high": None, "num_real": 0, "num_synthetic": 9}
    for place in (found, *found["per_class"].values()):
        place["toy"] = entry
    write_json(path, found)
    _, _, text = read(write_report(places, PARAMS, CONFIG))
    assert "Toys 0.125 more is better 9 synthetic images" in text
    assert text.count("Toys") == 2  # and over its column
    del found["shown"]
    write_json(path, found)
    with pytest.raises(InputError, match="earlier version; run the stage assess again"):
        write_report(places, PARAMS, CONFIG)


def test_the_summary_has_fractions_and_empty_fields(tmp_path):
    places = make_workspace(tmp_path, counts=[500] * 10)
    write_report(places, PARAMS, CONFIG)
    with (places.reports / "summary.csv").open() as file:
        rows = {row["bin"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["overall", "many", "medium", "few", "worst_group", "macro_f1", "ece"]
    assert {rows["few"][name] for name in ("imbalanced", "control", "final", "gain", "low")} == {
        ""
    }
    assert rows["few"]["num_images"] == "0"
    for name in ("overall", "many", "macro_f1", "ece"):
        row = {key: float(value) for key, value in rows[name].items() if key != "bin"}
        assert row["gain"] == pytest.approx(row["final"] - row["control"], abs=1e-9)
        assert row["low"] <= row["gain"] <= row["high"]
        assert row["num_images"] == 500


def test_the_page_and_the_summary_are_replaced_when_both_are_whole(tmp_path, monkeypatch):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    path = write_report(places, PARAMS, CONFIG)
    files = [*OUTPUTS[:-1], "pictures/pictures.csv"]
    before = {(places.reports / name): (places.reports / name).read_bytes() for name in files}
    assert path in before
    (places.reports / "final" / ANSWERS_NAME).write_bytes(b"no table")
    with pytest.raises(InputError, match=r"damaged .* run the stage retrain again"):
        write_report(places, PARAMS, CONFIG)
    make_workspace(tmp_path, GARMENTS[:3], lifts=(0, 0, 0), grid=False)

    write = Path.write_text

    def full(self, *arguments, **options):
        if self.name == "paired.csv.part":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(places, PARAMS, CONFIG)
    assert {file: file.read_bytes() for file in before} == before
    assert not list(places.reports.glob("*.part"))


def test_the_table_of_a_run_lines_up_and_signs_its_gains():
    rows = [
        Row("overall", 0.7523, 0.771, 0.7791, 0.0081, 0.0023, 0.0139, 10_000),
        Row("medium", None, None, None, None, None, None, 0),
        Row("few", 0.271, 0.507, 0.401, -0.106, -0.124, -0.088, 300),
    ]
    assert gain_table(rows).splitlines() == [
        "test accuracy, %  imbalanced  control   final    gain   95 % interval   images",
        "overall                 75.2     77.1    77.9    +0.8    +0.2 to +1.4   10,000",
        "medium                     -        -       -       -               -        0",
        "few                     27.1     50.7    40.1   -10.6   -12.4 to -8.8      300",
    ]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("baseline.json", "train_baseline"),
        ("final.json", "retrain"),
        ("control.json", "train_control"),
        ("assess/measures.json", "assess"),
        ("control/predictions.parquet", "train_control"),
        ("final/predictions.parquet", "retrain"),
        ("final/tradeoff.csv", "retrain"),
        ("assess/criterion.csv", "assess"),
    ],
)
def test_a_missing_or_damaged_report_names_the_stage_to_run(tmp_path, name, stage):
    places = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    (places.reports / name).unlink()
    with pytest.raises(InputError, match=stage):
        write_report(places, PARAMS, CONFIG)
    if name.endswith(".json"):
        (places.reports / name).write_text("{")
        with pytest.raises(InputError, match="damaged"):
            write_report(places, PARAMS, CONFIG)


@pytest.mark.parametrize(
    ("synthesize", "told", "why"),
    [
        ({}, "By the whole picture or a part of the picture 2 images were", "not name features"),
        ({"copies_by": ["part"]}, "by the whole picture or its features are kept", "not name"),
        ({"copies": "keep"}, "All of them were kept, as synthesize.copies is keep", "is keep"),
        (
            {"copies_by": ["picture", "part", "features"]},
            "or its features 2 images were taken for a copy and left out before.",
            "none when the set was checked",
        ),
    ],
)
def test_the_page_says_which_copies_were_dropped_and_why_others_were_not(
    monkeypatch, synthesize, told, why
):
    rows = [{"by": "copies"}, {"by": "person"}, {"by": "copies"}]
    monkeypatch.setattr(copies, "read_rows", lambda *_: iter(rows))
    inputs = SimpleNamespace(params={"synthesize": synthesize}, excluded="there")
    assert told in copies.what_was_done(inputs)
    assert why in copies._kept_because(synthesize, "features")
