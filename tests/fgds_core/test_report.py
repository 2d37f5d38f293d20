"""The report, made from metrics that no run produced."""

import csv
import json
from html.parser import HTMLParser

import pytest
import torch

from fgds_core.assess import csv_text
from fgds_core.config.report import ReportConfig
from fgds_core.errors import InputError
from fgds_core.files import write_json, write_text
from fgds_core.images import image_table, write_images
from fgds_core.imbalance import long_tailed_counts, shot_bins
from fgds_core.report import gain_table, write_report
from fgds_core.splits import Meta, write_meta
from fgds_core.summary import Row

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
    folder, class_names=GARMENTS, counts=None, *, judge=True, timing=True, grid=True, size=28
):
    """Writes what the other stages would have written, and answers (prepared, reports)."""
    g = torch.Generator().manual_seed(0)
    prepared, reports = folder / "prepared", folder / "reports"
    counts = counts or long_tailed_counts(1000, 100, len(class_names))
    bins = dict(zip(class_names, shot_bins(counts), strict=True))
    splits = {"train": tuple(counts), "val": (100,) * len(counts), "test": (50,) * len(counts)}
    write_meta(
        prepared,
        Meta(
            class_names=tuple(class_names),
            image_size=size,
            counts=splits,
            bins=bins,
            groups=None,
            duplicates=dict.fromkeys(splits, 0),
            content_sha256=dict.fromkeys(splits, "0" * 64),
        ),
    )
    for name, lift in (("baseline", 0.0), ("control", 0.1), ("final", 0.2)):
        recall = {}
        rows = []
        for k, class_name in enumerate(class_names):
            easy = 0.25 + 0.7 * counts[k] / max(counts)
            share = min(0.97, easy + lift * (bins[class_name] == "few"))
            wrong = (torch.rand(50, generator=g) >= share).tolist()
            rows += [
                {"actual": class_name, "predicted": class_names[(k + 1) % len(counts)]}
                if miss
                else {"actual": class_name, "predicted": class_name}
                for miss in wrong
            ]
            recall[class_name] = 1 - sum(wrong) / 50
        metrics = {"overall": sum(recall.values()) / len(recall), "worst_group": None}
        for shot_bin in ("many", "medium", "few"):
            chosen = [recall[name] for name in class_names if bins[name] == shot_bin]
            metrics[shot_bin] = sum(chosen) / len(chosen) if chosen else None
        metrics |= {
            "macro_f1": metrics["overall"] - 0.02,
            "ece": 0.12 - lift / 3,
            "num_images": 50 * len(counts),
            "seed": 0,
        }
        write_json(reports / f"{name}.json", metrics)
        write_text(reports / name / "predictions.csv", csv_text(rows))
        per_class = [{"class": c, "recall": r, "num_images": 50} for c, r in recall.items()]
        write_text(reports / name / "per_class.csv", csv_text(per_class))
    _write_assessment(reports, class_names, counts, judge=judge)
    if grid:
        _write_grid(reports, class_names, size, g)
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


def _write_assessment(reports, class_names, counts, *, judge):
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
    write_json(
        reports / "assess" / "measures.json",
        {
            **measures(few=False),
            "guidance": guidance,
            "num_synthetic": 1163,
            "feature_space": {"name": "clip", "num_features": 64},
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
            ("feedback", "synthetic first", 0.2 if counts[k] < 200 else None),
            ("feedback", "synthetic final", 0.5 if counts[k] < 200 else None),
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


def _write_grid(reports, class_names, size, g):
    labels, extra = [], {"item": [], "of": [], "role": [], "rank": [], "distance": []}
    for k in range(len(class_names)):
        for item in range(4):
            roles = ("synthetic", "conditioning", "real", "real", "real", "real")
            for rank, role in zip((0, 0, 0, 1, 2, 3), roles, strict=True):
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


def test_the_page_stands_alone_and_is_well_formed(tmp_path):
    path = write_report(*make_workspace(tmp_path), PARAMS, CONFIG)
    html, outline, _ = read(path)

    sources = [value for _, name, value in outline.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith("data:image/") for value in sources)
    assert "http" not in html
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html


def test_the_page_shows_the_numbers_of_the_files(tmp_path):
    prepared, reports = make_workspace(tmp_path)
    _, _, text = read(write_report(prepared, reports, PARAMS, CONFIG))
    before, after = (
        json.loads((reports / name).read_text())["few"] for name in ("baseline.json", "final.json")
    )
    assert f"{100 * before:.1f} {100 * after:.1f} +{100 * (after - before):.1f}" in text
    assert "0.031 [0.028, 0.034]" in text  # FID
    assert "feedback_scale 0.02" in text
    assert "7.51 minutes in all, at most 1.90 GB" in text
    assert "arXiv:2310.00158" in text


def test_same_inputs_same_bytes_and_only_times_differ(tmp_path):
    one = write_report(*make_workspace(tmp_path / "a"), PARAMS, CONFIG).read_bytes()
    two = write_report(*make_workspace(tmp_path / "b"), PARAMS, CONFIG).read_bytes()
    assert one == two


def test_settings_that_change_no_result_stay_out(tmp_path):
    html, _, _ = read(write_report(*make_workspace(tmp_path), PARAMS, CONFIG))
    assert "secret" not in html
    assert "workers" not in html


def test_text_from_users_is_escaped(tmp_path):
    names = ("<b>bold</b>", "a & b", "c")
    html, _, text = read(write_report(*make_workspace(tmp_path, names), PARAMS, CONFIG))
    assert "<b>" not in html
    assert "<b>bold</b>" in text
    assert "{class} <now>" in text


def test_absent_bins_judge_times_and_pictures_leave_dashes_not_holes(tmp_path):
    prepared, reports = make_workspace(
        tmp_path, counts=[500] * 10, judge=False, timing=False, grid=False
    )
    _, _, text = read(write_report(prepared, reports, PARAMS, CONFIG))
    dash = "\N{EN DASH}"
    assert f"Few-shot 0 classes {dash} {dash} {dash}" in text
    assert "no judge was asked" in text
    assert "minutes in all" not in text
    assert "grid_images" in text


def test_many_classes_show_the_rarest_and_say_so(tmp_path):
    names = [f"class {k:03d}" for k in range(100)]
    prepared, reports = make_workspace(tmp_path, names)
    path = write_report(prepared, reports, PARAMS, CONFIG)
    html, _, text = read(path)
    assert "12 rarest of 100" in text
    assert "class 099" in html
    assert "class 050" not in html
    assert path.stat().st_size < 3_000_000


def test_large_pictures_become_thumbnails(tmp_path):
    prepared, reports = make_workspace(tmp_path, GARMENTS[:2], size=120)
    path = write_report(prepared, reports, PARAMS, CONFIG)
    assert "data:image/jpeg" in path.read_text()
    assert path.stat().st_size < 1_000_000


def test_the_summary_has_fractions_and_empty_fields(tmp_path):
    prepared, reports = make_workspace(tmp_path, counts=[500] * 10)
    write_report(prepared, reports, PARAMS, CONFIG)
    with (reports / "summary.csv").open() as file:
        rows = {row["bin"]: row for row in csv.DictReader(file)}
    assert {rows["few"][name] for name in ("imbalanced", "control", "final", "gain")} == {""}
    overall = rows["overall"]
    gain = float(overall["final"]) - float(overall["control"])
    assert float(overall["gain"]) == pytest.approx(gain, abs=2e-6)


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
        ("assess/measures.json", "assess"),
        ("final/predictions.csv", "retrain"),
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
