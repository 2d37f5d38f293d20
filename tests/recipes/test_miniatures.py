"""Every recipe, end to end on its data in miniature, by the functions that the stages call.

Without Prefect and DVC, for which other tests stand: each recipe takes some seconds.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from micro import ROOT
from miniatures import MINIATURES, NICO, OVERRIDES, SMALL
from ruamel.yaml import YAML

from fgds_core.classify.config import final_recipe
from fgds_core.data.meta import Meta, read_meta
from fgds_core.data.prepare import prepare
from fgds_core.images.dataset import ImageDataset
from fgds_core.report.inputs import Places
from fgds_core.report.page import write_report
from fgds_core.stages.assess import assess
from fgds_core.stages.retrain import retrain
from fgds_core.stages.train_baseline import train_baseline
from fgds_core.stages.train_control import train_control
from fgds_core.synthesis.models import load_models
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import plan_of
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.shards import read_synthetic, write_index
from flows import plan
from flows.cli.params import dump_params, read_params
from flows.cli.recipes import use_recipe
from flows.cli.stage import run_stage
from flows.synth_pipeline import STAGES, stage_flow
from tasks.workspace import FIRST


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the recipes."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parameters(name: str, generator: Path) -> dict[str, Any]:
    """Writes the data and params.yaml: the recipe, as small as its data."""
    MINIATURES[name](Path("raw", name))
    use_recipe(name, f"raw/{name}", str(generator))
    small = read_params(overrides=SMALL | OVERRIDES[name])
    Path("params.yaml").write_text(dump_params(small))
    return small


def train(params: dict[str, Any]) -> None:
    """Prepares the data and trains baseline and control."""
    prepare(params["data"], params["prepare"], FIRST.prepared, workers=0)
    baseline, seed = params["train_baseline"], params["seed"]
    train_baseline(FIRST.prepared, baseline, seed, FIRST.baseline, FIRST.reports)
    final = final_recipe(baseline, params["retrain"].training)
    train_control(FIRST.prepared, final, baseline, seed, FIRST.control, FIRST.reports)


def synthesize(params: dict[str, Any], meta: Meta) -> ImageDataset:
    """Draws the synthetic set."""
    recipe = Recipe(params["generator"], params["synthesize"], params["seed"])
    planned = plan_of(meta, recipe.synthesize)
    models = load_models(recipe, FIRST.prepared, FIRST.guides())
    out, size = FIRST.synthetic, params["compute"].batch_size
    write_index(
        out,
        [write_part(part, recipe, models, "x", out, batch_size=size) for part in planned.parts],
        class_names=planned.class_names,
        wanted=planned.wanted,
        fingerprint="x",
        made_by={},
    )
    images, _ = read_synthetic(out)
    num_classes = len(planned.class_names)
    assert tuple(images.labels.bincount(minlength=num_classes).tolist()) == planned.wanted
    if (target := recipe.synthesize.target_per_group) is not None:
        drawn = Counter(zip(images.labels.tolist(), images.groups, strict=True))
        for label, cells in enumerate(meta.cells):
            for group, real in cells.items():
                assert drawn[label, group] == max(target - real, 0)
    return images


def use(params: dict[str, Any]) -> dict[str, Any]:
    """Measures the set, trains the final classifier and writes the page."""
    seed, generator = params["seed"], params["generator"]
    places = FIRST.prepared, FIRST.synthetic, FIRST.baseline
    assess(*places, generator, params["assess"], seed, FIRST.reports)
    metrics = retrain(*places, params["retrain"], seed, FIRST.final, FIRST.reports)
    shown = YAML(typ="safe", pure=True).load(dump_params(params))
    pages = Places(FIRST.prepared, FIRST.reports, FIRST.real_reports, FIRST.synthetic)
    write_report(pages, shown, params["report"])
    return metrics


@pytest.mark.parametrize("name", MINIATURES)
def test_a_recipe_runs_from_raw_images_to_the_page(
    name: str, place: Path, tiny_unclip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = parameters(name, tiny_unclip)
    train(params)
    meta = read_meta(FIRST.prepared)
    capsys.readouterr()
    assert plan.main(["--probe", "0"]) == 0
    told = capsys.readouterr().out
    images = synthesize(params, meta)
    last = next(line for line in told.splitlines() if line.startswith("all")).split()
    wanted = [len(meta.class_names), sum(meta.counts["train"]), len(images)]
    assert last[1:4] == list(map(str, wanted))
    metrics = use(params)
    assert metrics["num_images"] == sum(meta.counts["test"])
    assert (metrics["worst_group"] is None) == (meta.groups is None)
    page = (FIRST.reports / "index.html").read_text()
    assert all(name in page for name in meta.class_names)


@pytest.mark.parametrize("name", MINIATURES)
def test_every_stage_checks_a_recipe_without_running(
    name: str,
    place: Path,
    tiny_unclip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parameters(name, tiny_unclip)
    yaml = YAML(typ="safe", pure=True)
    whole = yaml.load(Path("params.yaml").read_text())
    monkeypatch.setattr(sys, "argv", ["a stage", "--dry-run"])
    for stage in STAGES:
        with pytest.raises(SystemExit) as ended:
            run_stage(stage_flow(stage), "")
        told = capsys.readouterr()
        assert ended.value.code == 0, told.err
        shown = yaml.load(told.out)
        assert shown == {section: whole[section] for section in shown}
    assert not FIRST.prepared.exists()


def test_a_context_of_nico_trains_no_image_of_a_class(place: Path, tiny_unclip: Path) -> None:
    params = parameters("nico", tiny_unclip)
    meta = prepare(params["data"], params["prepare"], FIRST.prepared, workers=0)
    table = pq.read_table(FIRST.prepared / "train.parquet", columns=["group", "label"])
    labels = table["label"].to_pylist()
    classes = [meta.class_names[label] for label in labels]
    trained = Counter(zip(table["group"].to_pylist(), classes, strict=True))
    assert trained == {cell: images - 6 for cell, images in NICO.items() if images > 6}
    assert ("autumn", "hot air balloon") not in trained
