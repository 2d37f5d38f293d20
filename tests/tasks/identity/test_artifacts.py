"""What the UI shows beside the tasks, and that no run depends on it."""

import base64
import html
import io
import json
import re
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from PIL import Image
from prefect import flow, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from reported import CONFIG, GARMENTS, PARAMS, make_workspace

from fgds_core.data.meta import Meta, write_meta
from fgds_core.images.table import image_table, write_images
from fgds_core.report.page import write_report
from fgds_core.report.summary import read_summary, shown
from tasks.identity import artifacts
from tasks.watch.progress import bar
from tasks.workspace import FIRST


def progress_of(stage: str) -> list[float]:
    key = ArtifactFilterKey(any_=[f"{stage}-progress"])
    with get_client(sync_client=True) as client:
        return [a.data for a in client.read_artifacts(artifact_filter=ArtifactFilter(key=key))]


def test_a_bar_within_a_flow_is_a_progress_artifact(prefect_folder: Path) -> None:
    @flow
    def stage(total: int) -> None:
        with bar("warm_up", total, "steps", io.StringIO()) as advance:
            advance(3)

    stage(4)
    assert progress_of("warm-up") == [75.0]


def test_outside_of_a_run_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_: pytest.fail("made"))
    with bar("alone", 4, "steps", io.StringIO()) as advance:
        advance(4)


def test_the_table_of_accuracies_has_the_gain_over_the_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    Path("reports", "summary.csv").write_text(
        "bin,imbalanced,control,final,gain,low,high,num_images\n"
        "overall,0.662,0.771,0.805,0.034,0.025,0.043,10000\n"
        "many,,,,,,,0\n"
        "ece,0.1,0.08,0.07,-0.01,,,10000\n"
    )
    overall, many = artifacts.accuracies(FIRST)
    assert overall == {
        "test accuracy, %": "overall",
        "imbalanced": "66.2",
        "control": "77.1",
        "final": "80.5",
        "gain": "+3.4",
        "95 % interval": "+2.5 to +4.3",
        "images": "10,000",
    }
    assert many["gain"] == "-"


def test_a_run_shows_a_table_with_control_and_change_and_strips_that_fit(
    prefect_folder: Path,
) -> None:
    places = make_workspace(prefect_folder / "made", GARMENTS[:3], [500, 50, 5])
    write_report(places, PARAMS, CONFIG)
    (prefect_folder / "data").mkdir()
    places.prepared.rename(FIRST.prepared)
    places.reports.rename(FIRST.reports)

    @flow
    def whole() -> None:
        artifacts.show_results(FIRST)

    state = whole(return_state=True)
    mine = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=mine))
    data = {each.key: each.data for each in found}
    assert set(data) == {"accuracy", "synthetic-samples", "report"}
    rows = {row.bin: shown(row) for row in read_summary(FIRST.reports / "summary.csv")}
    for row in json.loads(data["accuracy"]):
        cells = rows[row.pop("test accuracy, %")]
        assert row == cells
        assert {"control", "gain", "95 % interval"} <= set(row)
    strips = re.findall(r"data:image/jpeg;base64,([^)]+)\)", data["synthetic-samples"])
    assert len(strips) == 3
    for strip in strips:
        with Image.open(io.BytesIO(base64.b64decode(strip))) as image:
            assert image.height == artifacts.THUMBNAIL
            assert image.width <= artifacts.ROW * artifacts.THUMBNAIL <= 320
            assert np.asarray(image).std() > 5  # a picture, not a blank


def test_many_pictures_of_a_class_wrap_into_rows() -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "PNG")
    widths = []
    for strip in artifacts._strips([file.getvalue()] * 12):
        with Image.open(io.BytesIO(base64.b64decode(strip))) as image:
            widths.append(image.width // artifacts.THUMBNAIL)
    assert widths == [5, 5, 2]


@pytest.mark.parametrize("broken", ["create_progress_artifact", "update_progress_artifact"])
def test_what_cannot_be_shown_stops_no_run(
    prefect_folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_: uuid4())
    monkeypatch.setattr(artifacts, broken, refuse)

    @flow
    def stage() -> str:
        with bar("broken", 4, "steps", io.StringIO()) as advance:
            advance(4)
        artifacts.show_results(FIRST)  # there are no reports
        return "done"

    assert stage() == "done"


@pytest.mark.parametrize(
    "name",
    [
        "t-shirt",
        "Größe 3 猫",
        "a|b",
        "<img src=x onerror=alert(1)>",
        "![x](https://host/pixel.png)",
        "[click](javascript:alert(1))",
        "https://host/a www.host.org a@host.org",
        "`code` **bold** _it_ ~~no~~ $x$",
        "a\n\n# heading\r\n- item\t|",
        "&lt;b&gt; &#60;b&#62;",
        "\u202egpj.exe \u2028 \x1b[31m",
        "\\| \\",
        ":smile: #1 @all",
    ],
)
def test_a_name_is_shown_as_it_is_and_means_nothing(name: str) -> None:
    text = artifacts.plain(name)
    rest = re.sub(r"&#\d+;", "", text)
    assert all(character.isalnum() or character == " " for character in rest)
    assert html.unescape(text) == "".join(c if c.isprintable() else " " for c in name)


def test_no_class_breaks_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a|b\n# c", "<script>", "![x](http://host/y)")
    splits = dict.fromkeys(("train", "val", "test"), (3, 3, 3))
    nothing = dict.fromkeys(splits, 0)
    digests = dict.fromkeys(splits, "0" * 64)
    bins = dict.fromkeys(names, "few")
    monkeypatch.chdir(tmp_path)
    workspace = FIRST
    write_meta(workspace.prepared, Meta(names, 8, splits, bins, None, nothing, digests))
    extra = {"of": [0, 1, 2], "role": ["synthetic"] * 3, "why": ["first"] * 3}
    table = image_table(torch.zeros(3, 3, 8, 8), [0, 1, 2], names, extra)
    write_images(workspace.reports / "assess" / "neighbours.parquet", table)
    paragraphs = artifacts.sample_grid(workspace).split("\n\n")
    assert len(paragraphs) == 2 * len(names)
    for name, title, strip in zip(names, paragraphs[::2], paragraphs[1::2], strict=True):
        assert title == f"**{artifacts.plain(name)}**, 3 real images"
        assert strip.startswith("![](data:image/jpeg;base64,")
        assert "\n" not in title
