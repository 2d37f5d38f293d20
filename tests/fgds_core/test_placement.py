"""Every stage puts its tensors where it computes: on a second device it gives the same."""

import re
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from far import far_device
from micro import CLASS_NAMES, MICRO, ROOT, generator_config, synthesize_config
from safetensors.torch import load_file
from sets import gather
from training import TRAIN, VAL, recipe, retraining, shaded

from fgds_core.assess.config import AssessConfig
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import TrainConfig, Treatment
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.data.imbalance import shot_bins
from fgds_core.data.meta import Meta, write_meta
from fgds_core.images.table import image_table, write_images
from fgds_core.stages.assess import assess
from fgds_core.stages.retrain import retrain
from fgds_core.stages.train_baseline import train_baseline
from fgds_core.stages.trial import try_training
from fgds_core.synthesis import shards
from fgds_core.synthesis.embeddings import MIXTURES
from fgds_core.synthesis.models import load_models
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe

COUNTS = {"train": (12, 8, 5), "val": (4, 4, 4), "test": (3, 3, 3)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    records = {}
    for seed, (split, counts) in enumerate(COUNTS.items()):
        images = shaded(counts, seed, CLASS_NAMES)
        table = image_table(gather(images), images.labels.tolist(), CLASS_NAMES)
        records[split] = write_images(folder / f"{split}.parquet", table)
    meta = Meta(
        class_names=CLASS_NAMES,
        image_size=16,
        counts=COUNTS,
        bins=dict(zip(CLASS_NAMES, shot_bins(COUNTS["train"]), strict=True)),
        groups=None,
        duplicates=dict.fromkeys(COUNTS, 0),
        content_sha256={split: record.sha256 for split, record in records.items()},
    )
    write_meta(folder, meta)
    return folder


def parameters(section: str) -> dict[str, object]:
    from flows.cli.params import read_params

    return read_params(ROOT / "params.yaml")[section].model_dump() | MICRO[section]


def draw_part(out: Path, prepared: Path, baseline: Path, device: str, settings, **changes):
    """Draws two images of the last class under feedback."""
    recipe = Recipe(settings, synthesize_config(**changes), 0)
    models = load_models(recipe, prepared, [baseline], device)
    part = Part(2, CLASS_NAMES[2], 0, 0, 2)
    return write_part(part, recipe, models, "made so", out, batch_size=2)


def run_stages(root: Path, prepared: Path, unclip: Path, device: str) -> Path:
    """All stages that compute."""
    baseline, reports, synthetic = root / "models/baseline", root / "reports", root / "synthetic"
    training = TrainConfig.model_validate(
        parameters("train_baseline") | {"model_kwargs": {"channels": [8, 8, 16, 16]}}
    )
    train_baseline(prepared, training, 0, baseline, reports, TrainingRun(device))
    record = draw_part(
        synthetic,
        prepared,
        baseline,
        device,
        generator_config(unclip),
        feedback="hardness",
        feedback_target="real",
        feedback_calibrated=True,
        feedback_augment=True,
    )
    shards.write_index(
        synthetic,
        [record],
        class_names=CLASS_NAMES,
        wanted=(0, 0, 2),
        fingerprint="made so",
        made_by={},
    )
    for features in ("clip", "classifier"):
        measures = AssessConfig.model_validate(
            parameters("assess") | {"features": features, "min_images": 2, "nearest_k": 1}
        )
        assess(
            prepared,
            synthetic,
            baseline,
            generator_config(unclip),
            measures,
            0,
            root / features,
            device=device,
        )
    retrain(
        prepared,
        synthetic,
        baseline,
        retraining(),
        0,
        root / "models/final",
        reports,
        TrainingRun(device),
    )
    return root


@pytest.fixture(scope="module")
def near(prepared, tiny_unclip, tmp_path_factory) -> Path:
    return run_stages(tmp_path_factory.mktemp("near"), prepared, tiny_unclip, "cpu")


@pytest.fixture(scope="module")
def far(prepared, tiny_unclip, tmp_path_factory) -> Path:
    with far_device() as device:
        return run_stages(tmp_path_factory.mktemp("far"), prepared, tiny_unclip, device)


def test_all_stages_give_the_same_on_another_device(near, far):
    files = {path.relative_to(near) for path in near.rglob("*") if path.is_file()}
    assert {path.relative_to(far) for path in far.rglob("*") if path.is_file()} == files
    for name in sorted(files):
        if name.suffix == ".safetensors":
            torch.testing.assert_close(load_file(far / name), load_file(near / name))
        elif name.suffix == ".parquet":
            same_tables(far / name, near / name)
        elif name.parts[0] != "synthetic":  # there are digests
            (words, numbers), (words_near, numbers_near) = (
                apart((root / name).read_text()) for root in (far, near)
            )
            assert words == words_near, name
            assert numbers == pytest.approx(numbers_near, rel=1e-3, abs=1e-3), name


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def apart(text: str) -> tuple[str, list[float]]:
    """A text without its numbers, and those."""
    return NUMBER.sub("#", text), [float(number) for number in NUMBER.findall(text)]


def same_tables(path: Path, other: Path) -> None:
    first, second = pq.read_table(path).to_pydict(), pq.read_table(other).to_pydict()
    assert first.keys() == second.keys()
    for name, values in first.items():
        for value, known in zip(values, second[name], strict=True):
            close = pytest.approx(known, rel=1e-4) if isinstance(known, float) else known
            assert value == close, name


KINDS = [
    "stable-unclip",
    "stable-diffusion",
    "stable-diffusion-xl",
    "stable-diffusion, ip-adapter",
    "stable-diffusion-xl, ip-adapter",
    "stable-diffusion-3",
]
WAYS = {
    "score": {"feedback_rule": "score"},
    "half": {"feedback_decoder": "half"},
    "no jacobian": {"feedback_jacobian": False},
    "ancestral": {"eta": 0.5},
    "noised": {"noise_level": 100},
    "DPM-Solver": {"scheduler": "DPMSolverMultistepScheduler"},
    **{mix: {"embedding_mix": mix} for mix in MIXTURES},
    **{name: {"feedback": name} for name in ("exemplar", "exemplar_loss", "influence")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_generator_draws_the_same_on_another_device(
    kind, tiny_generators, prepared, near, tmp_path
):
    settings = generator_config(**tiny_generators[kind])
    changes: dict[str, object] = {"feedback": "loss"}
    if "image" not in kind and kind.startswith("stable-diffusion"):
        changes["conditioning"] = "dual" if "adapter" in kind else "text"
    if kind == "stable-diffusion-3":
        changes["scheduler"] = "FlowMatchEulerDiscreteScheduler"
    same_part(tmp_path, prepared, near, settings, changes)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_guide_draws_the_same_on_another_device(
    way, tiny_unclip, prepared, near, tmp_path
):
    same_part(tmp_path, prepared, near, generator_config(tiny_unclip), WAYS[way])


def same_part(tmp_path, prepared, near, settings, changes):
    baseline = near / "models/baseline"
    here = draw_part(tmp_path / "near", prepared, baseline, "cpu", settings, **changes)
    with far_device() as device:
        draw_part(tmp_path / "far", prepared, baseline, device, settings, **changes)
    same_tables(tmp_path / "far" / here.path, tmp_path / "near" / here.path)


class Stop(Exception):
    pass


WAYS_TO_TRAIN = {
    "plain": ({}, {}),
    "micro-batches": ({"accumulate_steps": 2}, {}),
    "a scaled loss": ({"precision": "float16"}, {}),
    "channels last": ({}, {"channels_last": True}),
}


@pytest.mark.parametrize("way", WAYS_TO_TRAIN)
def test_a_training_goes_on_on_another_device(tmp_path, monkeypatch, way):
    changes, options = WAYS_TO_TRAIN[way]
    # Numbers in half are a CPU's own matter, which the far device does not have
    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())
    how = {"config": recipe(ema_decay=0.5, sampling="instance", **changes), "seed": 1}
    here = train_classifier(TRAIN, VAL, run=TrainingRun(**options), **how)
    clock = iter(range(100))
    checkpoint = Checkpoint(tmp_path / "state", "a", 1, lambda: float(next(clock)))

    def stop(number):
        raise Stop

    with far_device() as device:
        run = TrainingRun(device, advance=stop, checkpoint=checkpoint, **options)
        with pytest.raises(Stop):
            train_classifier(TRAIN, VAL, run=run, **how)
        run = TrainingRun(device, checkpoint=checkpoint, **options)
        there = train_classifier(TRAIN, VAL, run=run, **how).cpu()
        for a, b in zip(here.state_dict().values(), there.state_dict().values(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("mix", ["mixup", "cmo"])
def test_mixed_and_synthetic_images_are_learnt_from_on_another_device(mix):
    how = {
        "config": recipe(mix=mix, mix_probability=0.5, color_jitter=0.2),
        "seed": 1,
        "synthetic": shaded([4, 4, 4], seed=3),
        "real_share": 0.5,
        "treatment": Treatment(0.5, 0.3, split_batch_norm=True, mix_within_source=True),
    }
    here = train_classifier(TRAIN, VAL, **how)
    with far_device() as device:
        there = train_classifier(TRAIN, VAL, run=TrainingRun(device), **how).cpu()
        for a, b in zip(here.state_dict().values(), there.state_dict().values(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    "changes",
    [
        {"second_stage": "crt", "posthoc": "tau_normalization"},
        {"second_stage": "lws", "head": "cosine", "posthoc": "logit_adjustment"},
        {"second_stage": "dfr", "ema_decay": 0.5},
        {"second_stage": "last_layer_real", "tune": "head"},
        {"second_stage": "real", "tune": "lora"},
    ],
    ids=lambda changes: changes["second_stage"],
)
def test_the_last_layer_is_worked_on_on_another_device(changes):
    how = {"config": recipe(**changes), "seed": 1}
    here = train_classifier(TRAIN, VAL, **how)
    with far_device() as device:
        try_training(how["config"], TRAIN.class_names, TRAIN.size, device)
        there = train_classifier(TRAIN, VAL, run=TrainingRun(device), **how).cpu()
        for a, b in zip(here.state_dict().values(), there.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_the_far_device_refuses_what_a_gpu_refuses():
    with far_device() as device:
        x = torch.rand(3, device=device)
        assert x.device.type == device
        for mistake in (
            lambda: x + torch.rand(3),
            lambda: torch.rand(3)[x.long()],
            lambda: torch.cat([x, torch.rand(3)]),
            x.numpy,
        ):
            with pytest.raises(RuntimeError):
                mistake()
        assert torch.equal((x + torch.tensor(1.0)).cpu(), x.cpu() + 1)
        assert x[torch.tensor([0, 1])].device.type == device
