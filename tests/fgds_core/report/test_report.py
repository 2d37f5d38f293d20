"""The report, made from metrics that no run produced."""

import csv
import errno
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest
import torch

from fgds_core.classify.answers import ANSWERS_NAME, write_answers
from fgds_core.classify.groups import grouped, rows, train_counts
from fgds_core.classify.metrics import measure
from fgds_core.data.imbalance import long_tailed_counts, shot_bins
from fgds_core.data.meta import Meta, write_meta
from fgds_core.errors import InputError
from fgds_core.files import csv_text, write_json, write_text
from fgds_core.images.table import image_table, write_images
from fgds_core.report.config import ReportConfig
from fgds_core.report.page import LISTED, OUTPUTS, Line, chosen_classes, write_report
from fgds_core.report.summary import Row, gain_table, read_summary, shown
from tasks.workspace import Guide

GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CONFIG = ReportConfig(max_classes=12, images_per_class=3, neighbours_per_image=3)
PARAMS = {
    "seed": 0,
    "synthesize": {"feedback": "entropy", "feedback_scale": 0.02, "judge": None},
    "generator": {"path": "assets/tiny-unclip", "prompts": ["a photo of a {class} <now>"]},
    "compute": {"workers": 7},
    "store": {"address": "s3://secret"},
}


def make_workspace(
    folder,
    class_names=GARMENTS,
    counts=None,
    *,
    judge=True,
    timing=True,
    grid=True,
    size=28,
    num_test=50,
    groups=None,
    guided=True,
    sources=True,
    lifts=(0.0, 0.1, 0.4),
):
    """Writes what the other stages would have written, and answers (prepared, reports).

    `lifts` is what baseline, control and final add to the recall of few-shot classes; a lift of
    None is a classifier that guesses.
    """
    g = torch.Generator().manual_seed(0)
    prepared, reports = folder / "prepared", folder / "reports"
    counts = counts or long_tailed_counts(1000, 100, len(class_names))
    bins = dict(zip(class_names, shot_bins(counts), strict=True))
    of_split = {"train": counts, "val": [100] * len(counts), "test": [num_test] * len(counts)}
    write_meta(
        prepared,
        Meta(
            class_names=tuple(class_names),
            image_size=size,
            counts={name: tuple(split) for name, split in of_split.items()},
            bins=bins,
            groups=groups,
            duplicates=dict.fromkeys(of_split, 0),
            content_sha256=dict.fromkeys(of_split, "0" * 64),
        ),
    )
    num_classes = len(counts)
    labels = torch.arange(num_classes).repeat_interleave(num_test)  # [N]
    names = None if groups is None else [groups[i % len(groups)] for i in range(len(labels))]
    rare = torch.tensor([bins[name] == "few" for name in class_names])[labels]
    easy = 0.25 + 0.6 * torch.tensor(counts)[labels] / max(counts)
    luck = torch.rand(len(labels), generator=g)  # one image is hard for all classifiers
    for name, lift in zip(("baseline", "control", "final"), lifts, strict=True):
        if lift is None:
            predicted = torch.randint(num_classes, labels.shape, generator=g)
        else:
            right = luck + 0.1 * torch.randn(labels.shape, generator=g) < easy + lift * rare
            predicted = torch.where(right, labels, (labels + 1) % num_classes)
        confidence = torch.full(labels.shape, 0.6)
        cells = None
        if names is not None:
            of_train = train_counts(labels.tolist(), names, class_names)
            cells = grouped(labels.tolist(), names, class_names, of_train)
            per_group = rows(cells.hits((predicted == labels).numpy()), cells)
            write_text(reports / name / "per_group.csv", csv_text(per_group))
        metrics = measure(confidence, predicted, labels, class_names, bins, cells, seed=0)
        write_json(reports / f"{name}.json", metrics)
        write_answers(
            reports / name / ANSWERS_NAME,
            {
                "id": [f"{row}.png" for row in range(len(labels))],
                "actual": [class_names[k] for k in labels.tolist()],
                "predicted": [class_names[k] for k in predicted.tolist()],
                "confidence": confidence.tolist(),
            },
            names,
        )
        write_text(reports / name / "tradeoff.csv", csv_text(_trade_off(lift or 0, bins)))
    _write_assessment(reports, class_names, counts, judge=judge, guided=guided)
    if grid:
        _write_grid(reports, class_names, size, g, sources=sources)
    if timing:
        stages = {
            name: {"total_s": total, "work_s": 0.8 * total}
            for name, total in zip(
                ("prepare", "train_baseline", "synthesize", "assess", "retrain"),
                (9.0, 80.2, 230.5, 30.1, 95.0),
                strict=True,
            )
        }
        write_json(
            reports / "timing.json", {"stages": stages, "total_s": 450.6, "peak_rss_gb": 1.9}
        )
    return prepared, reports


def _trade_off(lift, bins):
    return [
        {"tau": tau, "overall": 0.7}
        | {"many": 0.9 - tau / 5 if "many" in bins.values() else None}
        | {"medium": 0.8 if "medium" in bins.values() else None}
        | {"few": 0.2 + lift + tau / 5 if "few" in bins.values() else None}
        for tau in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]


def _write_assessment(reports, class_names, counts, *, judge, guided):
    def entry(value):
        return {
            "value": value,
            "low": value * 0.9,
            "high": value * 1.1,
            "num_real": 588,
            "num_synthetic": 1163,
            "feature_space": "clip",
        }

    def measures(few):
        found = {
            "fid": entry(0.0312),
            "kid": entry(0.00041),
            "precision": entry(0.86),
            "recall": entry(0.71),
            "density": entry(1.04),
            "coverage": entry(0.79),
            "copy_rate": entry(0.013),
            "label_agreement": entry(0.91) if judge else None,
        }
        if few:
            found["fid"] = {
                **entry(0.0),
                "value": None,
                "low": None,
                "high": None,
                "reason": "needs 500 real and 500 synthetic images, there are 100 and 180",
            }
        return found

    guidance = {
        "feedback": ["entropy"],
        "criterion_first": 0.31,
        "criterion_last": 0.62,
        "criterion_final": 0.58,
        "guided_steps": 9.7,
        "skipped_steps": 0.3,
        "nonfinite_steps": 0,
        "redrawn_images": 0,
    }
    if not guided:
        guidance |= {"feedback": ["none"], "guided_steps": 0.0}
        guidance |= dict.fromkeys(("criterion_first", "criterion_last", "criterion_final"))
    write_json(
        reports / "assess" / "measures.json",
        {
            **measures(few=False),
            "guidance": guidance,
            "num_synthetic": 1163,
            "feature_space": {"name": "clip", "num_features": 64},
            "shown": [
                {"name": name, "label": f"the {name}", "hint": "what it is"}
                for name in measures(few=False)
            ],
            "per_class": {
                name: {**measures(few=True), "num_synthetic": max(0, 200 - count)}
                for name, count in zip(class_names, counts, strict=True)
            },
        },
    )
    rows = []
    for k, name in enumerate(class_names):
        for criterion, source, mean in (
            ("entropy", "real", 0.3 + 0.07 * (k % 10)),
            ("entropy", "synthetic", 0.25 + 0.06 * (k % 10) if counts[k] < 200 else None),
            ("feedback", "synthetic first", 0.2 if guided and counts[k] < 200 else None),
            ("feedback", "synthetic final", 0.5 if guided and counts[k] < 200 else None),
        ):
            spread = {} if mean is None else {"q25": 0.5 * mean, "q75": 1.4 * mean}
            rows.append(
                {
                    "class": name,
                    "criterion": criterion,
                    "source": source,
                    "num_images": 0 if mean is None else 100,
                    "mean": mean,
                    "q25": spread.get("q25"),
                    "q75": spread.get("q75"),
                }
            )
    write_text(reports / "assess" / "criterion.csv", csv_text(rows))


def _write_grid(reports, class_names, size, g, *, sources):
    labels, extra = [], {"item": [], "of": [], "role": [], "rank": [], "distance": []}
    for k in range(len(class_names)):
        for item in range(4):
            roles = ("synthetic", "conditioning", "real", "real", "real", "real")
            for rank, role in zip((0, 0, 0, 1, 2, 3), roles, strict=True):
                if role == "conditioning" and not sources:
                    continue
                labels.append((k + 1) % len(class_names) if (role, rank) == ("real", 2) else k)
                distance = 0.1 * (rank + 1) if role == "real" else None
                for column, value in zip(
                    extra.values(), (item, k, role, rank, distance), strict=True
                ):
                    column.append(value)
    centre = torch.linspace(-1, 1, len(class_names))[torch.tensor(extra["of"])]
    ramp = torch.linspace(-1, 1, size)
    x = 0.5 * centre[:, None, None, None] + 0.5 * ramp[None, None, :, None]
    x = (x * ramp[None, None, None, :]).expand(-1, 3, -1, -1)
    x = (x + 0.1 * torch.randn(x.shape, generator=g)).clamp(-1, 1)
    table = image_table(x, labels, class_names, extra)
    write_images(reports / "assess" / "neighbours.parquet", table)


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
    return write_report(*make_workspace(tmp_path_factory.mktemp("plain")), PARAMS, CONFIG)


def test_the_page_stands_alone_and_is_well_formed(plain_page):
    html, outline, _ = read(plain_page)

    sources = [value for _, name, value in outline.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith("data:image/") for value in sources)
    assert "://" not in html
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html


def test_the_page_shows_the_numbers_of_the_files(plain_page):
    _, _, text = read(plain_page)
    few = next(row for row in read_summary(plain_page.parent / "summary.csv") if row.bin == "few")
    cells = [shown(few)[name] for name in ("imbalanced", "control", "final", "gain")]
    assert f"2 classes, 100 images {' '.join(cells)} " in text
    assert f"95 % interval {shown(few)['95 % interval']}, 100 images" in text
    assert "0.031 [0.028, 0.034]" in text  # FID
    assert "588 real, 1,163 synthetic images" in text  # what it rests on
    assert "feedback_scale 0.02" in text
    assert "7.51 minutes in all, at most 1.90 GB" in text
    assert "arXiv:2310.00158" in text


def test_the_headline_is_the_gain_over_the_control_of_one_seed(tmp_path):
    prepared, reports = make_workspace(tmp_path, lifts=(0.0, 0.3, 0.3), grid=False)
    html, _, text = read(write_report(prepared, reports, PARAMS, CONFIG))
    assert "Overall accuracy, final minus control" in text
    assert "one run, of seed 0" in text
    assert "500 images: within noise" in text
    # The final classifier is far ahead of the baseline, and that is no gain of the images.
    assert colours(html) == {"same"}


def colours(html):
    """What the changes on the page are coloured by: gain, loss or same."""
    return set(re.findall(r'<b class="change (\w+)"', html))


def test_a_true_gain_is_green_and_a_few_images_are_not(plain_page, tmp_path):
    assert "gain" in colours(plain_page.read_text(encoding="utf-8"))
    few = make_workspace(tmp_path, GARMENTS[:2], [500, 5], num_test=2, lifts=(0, 0, 0.9))
    html, _, text = read(write_report(*few, PARAMS, CONFIG))
    assert "+50.0" in text or "+100.0" in text
    assert colours(html) == {"same"}


def test_nothing_is_green_for_a_classifier_that_guesses(tmp_path):
    for name, lifts in {"both": (None, None, None), "final": (0.0, -0.2, None)}.items():
        workspace = make_workspace(tmp_path / name, lifts=lifts, grid=False)
        html, _, text = read(write_report(*workspace, PARAMS, CONFIG))
        assert "gain" not in colours(html)
        assert 'class="link gain' not in html
        assert "Nothing below counts as a gain" in text


def test_the_worst_group_is_named_with_its_images(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], [500, 50, 5], groups=("indoors", "<out>"))
    html, _, text = read(write_report(*workspace, PARAMS, CONFIG))
    assert re.search(
        r"Worst group (T-shirt/top|Trouser|Pullover), (indoors|<out>): 25 images, "
        r"exact 95 % interval of it [\d.]+ to [\d.]+",
        text,
    )
    assert "<out>" not in html
    for name in ("Worst group of 10 images or more", "Worst tenth", "weighted as in training"):
        assert name in text


def test_a_text_only_unguided_run_is_called_what_it_is(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], guided=False, sources=False)
    _, outline, text = read(write_report(*workspace, PARAMS, CONFIG))
    assert "What synthetic images add" in text
    assert "eedback-guided" not in text.replace("Feedback-guided Data Synthesis", "")
    assert " from " not in " ".join(t for t in outline.text if t.strip() in ("made", "from"))
    assert "conditioned" not in text
    assert "First step" not in text
    assert "No image was guided" in text


def test_the_page_says_which_classifier_guided(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    said = {}
    for guide in get_args(Guide):
        params = PARAMS | {"synthesize": {"guide": guide}}
        _, _, text = read(write_report(*workspace, params, CONFIG))
        said[guide] = " ".join(text.split())
    assert "criterion of the baseline on the predicted" in said["baseline"]
    assert "criterion of the control on the predicted" in said["control"]
    assert "criterion of the committee of baseline and control on the predicted" in said["both"]


def test_the_trade_of_frequent_for_rare_classes_is_a_line_for_each_classifier(plain_page):
    html, outline, text = read(plain_page)
    assert html.count('<polyline class="curve') == 2 * 3  # and one for their calibration
    assert "Few-shot over many-shot accuracy" in text
    assert "final, tau 1: many 70.0, few 80.0 %" in text
    assert "tau 2" not in text
    places = [float(value) for _, name, value in outline.attributes if name in ("cx", "cy")]
    assert all(0 <= place <= 340 for place in places)


def test_a_recipe_that_is_not_class_balancing_is_called_what_it_is(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    training = {"loss": "balanced_softmax", "loss_kwargs": {"tau": 1.0}}
    recipe = {"train_baseline": {"sampling": "instance"}, "retrain": {"training": training}}
    _, _, text = read(write_report(*workspace, PARAMS | recipe, CONFIG))
    assert "final classifier (loss: balanced_softmax, loss_kwargs.tau: 1.0)" in text
    assert "class-balanced" not in text
    assert "balanced batches" not in text
    assert "Recipe: control minus imbalanced" in text
    recipe["retrain"] = {"training": {"sampling": "class_balanced"}}
    _, _, text = read(write_report(*workspace, PARAMS | recipe, CONFIG))
    assert "in class-balanced batches, which is the control" in text


def test_without_two_bins_there_is_no_trade(tmp_path):
    workspace = make_workspace(tmp_path, GARMENTS[:3], [500] * 3, grid=False)
    html, _, text = read(write_report(*workspace, PARAMS, CONFIG))
    assert "shot accuracy" not in text
    assert html.count('<polyline class="curve') == 3


def test_classes_beyond_chance_are_listed_for_both_comparisons(tmp_path):
    workspace = make_workspace(tmp_path, lifts=(0, 0.5, 0.2), num_test=200, grid=False)
    html, _, text = read(write_report(*workspace, PARAMS, CONFIG))
    balancing, images = re.findall(r"Of 10 classes, (\d+) gained and (\d+) lost", text)
    assert int(balancing[0]) >= 2 > int(balancing[1])
    assert int(images[1]) >= 2 > int(images[0])
    assert "Imbalanced alone is right" in text
    assert "Mistakes that the final classifier makes more often" in text
    assert len(html) < 200_000


def test_warnings_of_the_assessment_are_shown(tmp_path):
    prepared, reports = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    path = reports / "assess" / "measures.json"
    measures = json.loads(path.read_text())
    write_json(path, measures | {"warnings": ["hardly any image looks like a <real> one"]})
    _, _, text = read(write_report(prepared, reports, PARAMS, CONFIG))
    assert "hardly any image looks like a <real> one" in text


def test_same_inputs_same_bytes_and_only_times_differ(plain_page, tmp_path):
    again = write_report(*make_workspace(tmp_path), PARAMS, CONFIG)
    assert again.read_bytes() == plain_page.read_bytes()


def test_settings_that_change_no_result_stay_out(plain_page):
    html, _, _ = read(plain_page)
    assert "secret" not in html
    assert "workers" not in html


def test_text_from_users_is_escaped(tmp_path):
    names = ("<i>bold</i>", "a & b", '"x" onload="alert(1)', "![](x)\n# c", "=1+1", "{{ 7 * 7 }}")
    names += ("\u202egpj.exe", "\x1b[31mred\x00", "猫 \U0001f469\u200d\U0001f52c")
    html, outline, text = read(write_report(*make_workspace(tmp_path, names), PARAMS, CONFIG))
    assert "<i>bold" not in html
    assert "<i>bold</i>" in text
    assert "onload" not in {name for _, name, _ in outline.attributes}
    assert "{{ 7 * 7 }}" in text
    assert "=1+1" in text
    assert "{class} <now>" in text
    assert not set(html) & {"\u202e", "\x1b", "\x00"}
    assert "\ufffdgpj.exe" in text
    assert names[-1] in text


def test_absent_bins_judge_times_and_pictures_leave_dashes_not_holes(tmp_path):
    prepared, reports = make_workspace(
        tmp_path, counts=[500] * 10, judge=False, timing=False, grid=False
    )
    _, _, text = read(write_report(prepared, reports, PARAMS, CONFIG))
    dash = "\N{EN DASH}"
    assert f"Few-shot 0 classes, 0 images {dash} {dash} {dash} {dash}" in text
    assert "a bin without classes shows a dash" in text
    assert "no judge was asked" in text
    assert "minutes in all" not in text
    assert "grid_images" in text


def test_many_classes_show_the_rarest_and_say_so(tmp_path):
    names = [f"class {k:03d}" for k in range(100)]
    prepared, reports = make_workspace(tmp_path, names)
    path = write_report(prepared, reports, PARAMS, CONFIG)
    html, _, text = read(path)
    assert "12 of 100 classes are shown" in text
    assert "The 6 rarest" in text
    assert "The 3 largest gains among the others" in text
    assert "The 3 largest losses among the others" in text
    assert "class 099" in html
    assert re.search(r"Of 100 classes, \d+ gained and \d+ lost beyond chance", text)
    rows = re.findall(r'<th scope="row">class', html)
    assert 3 * 12 <= len(rows) <= 3 * 12 + 3 * 2 * LISTED
    assert path.stat().st_size < 3_000_000


def test_of_many_classes_those_are_shown_that_matter():
    def line(name, gain, width=0.05):
        row = Row(name, 0.5, 0.5, 0.5 + gain, gain, gain - width, gain + width, 50)
        return Line(row, name, "same")

    counts = {f"a{k}": 5 for k in range(6)} | {f"b{k}": 100 for k in range(20)}
    gains = {"a3": -0.4, "a5": 0.3, "b7": 0.3, "b8": 0.35, "b2": -0.2, "b4": -0.1}
    lines = [line(name, gains.get(name, 0.0)) for name in counts]
    lines.append(line("few images", 1.0, width=1.0))
    counts["few images"] = 100
    rarest, won, lost = chosen_classes(lines, counts, 8)
    assert [each.label for each in rarest.lines] == ["a3", "a5", "a0", "a1"]
    assert [each.label for each in won.lines] == ["b8", "b7"]
    assert [each.label for each in lost.lines] == ["b2", "b4"]
    (everything,) = chosen_classes(lines, counts, 27)
    assert len(everything.lines) == 27
    for most in range(1, 27):
        chosen = [
            each.label for part in chosen_classes(lines, counts, most) for each in part.lines
        ]
        assert len(chosen) == len(set(chosen)) == most


def test_another_measure_is_on_the_page_without_further_ado(tmp_path):
    prepared, reports = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    path = reports / "assess" / "measures.json"
    found = json.loads(path.read_text())
    found["shown"].append({"name": "toy", "label": "Toys", "hint": "more is better"})
    entry = {"value": 0.125, "low": None, "high": None, "num_real": 0, "num_synthetic": 9}
    for place in (found, *found["per_class"].values()):
        place["toy"] = entry
    write_json(path, found)
    _, outline, text = read(write_report(prepared, reports, PARAMS, CONFIG))
    assert "Toys 0.125 more is better 9 synthetic images" in text
    assert outline.attributes.count(("td", "data-of", "Toys")) == 3
    del found["shown"]
    write_json(path, found)
    with pytest.raises(InputError, match="earlier version; run the stage assess again"):
        write_report(prepared, reports, PARAMS, CONFIG)


def test_of_the_pictures_only_those_shown_are_read(tmp_path, monkeypatch):
    prepared, reports = make_workspace(tmp_path, [f"class {k}" for k in range(60)])
    path = reports / "assess" / "neighbours.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows, path, row_group_size=rows.num_rows // 60)
    whole = []
    read = pq.ParquetFile.read_row_group

    def noted(self, group, columns=None, **options):
        whole.extend([group] * (columns is None))
        return read(self, group, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    config = ReportConfig(max_classes=4, images_per_class=2, neighbours_per_image=1)
    page = write_report(prepared, reports, PARAMS, config).read_text()
    assert len(whole) == 4
    assert page.count("<img ") == 4 * 2 * 3


def test_the_summary_has_fractions_and_empty_fields(tmp_path):
    prepared, reports = make_workspace(tmp_path, counts=[500] * 10)
    write_report(prepared, reports, PARAMS, CONFIG)
    with (reports / "summary.csv").open() as file:
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
    prepared, reports = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    path = write_report(prepared, reports, PARAMS, CONFIG)
    before = {(reports / name): (reports / name).read_bytes() for name in OUTPUTS}
    assert path in before
    (reports / "final" / ANSWERS_NAME).write_bytes(b"no table")
    with pytest.raises(InputError, match=r"damaged .* run the stage retrain again"):
        write_report(prepared, reports, PARAMS, CONFIG)
    make_workspace(tmp_path, GARMENTS[:3], lifts=(0, 0, 0), grid=False)

    write = Path.write_text

    def full(self, *arguments, **options):
        if self.name == "paired.csv.part":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(prepared, reports, PARAMS, CONFIG)
    assert {file: file.read_bytes() for file in before} == before
    assert not list(reports.glob("*.part"))


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
    prepared, reports = make_workspace(tmp_path, GARMENTS[:3], grid=False)
    (reports / name).unlink()
    with pytest.raises(InputError, match=stage):
        write_report(prepared, reports, PARAMS, CONFIG)
    if name.endswith(".json"):
        (reports / name).write_text("{")
        with pytest.raises(InputError, match="damaged"):
            write_report(prepared, reports, PARAMS, CONFIG)
