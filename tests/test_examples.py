"""What docs/architecture.md tells people to write works: a copy of the code gets and uses it."""

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns

import pytest
from micro import ROOT

DOCUMENT = ROOT / "docs" / "architecture.md"


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """The blocks of code that name a file in their first line: kind, file, the other lines."""
    yield from re.findall(r"^```(python|diff)\n# (\S+)\n(.*?)^```$", text, re.M | re.S)


def apply(kind: str, file: Path, lines: str) -> None:
    """Writes a new file, or changes one as a diff of one place says."""
    if kind == "python":
        assert not file.exists()
        file.write_text(lines)
        return
    before = "".join(line[1:] for line in lines.splitlines(True) if line[0] != "+")
    after = "".join(line[1:] for line in lines.splitlines(True) if line[0] != "-")
    text = file.read_text()
    assert text.count(before) == 1, f"{file} has no one place for\n{lines}"
    file.write_text(text.replace(before, after))


def a_generator_draws_what_it_is_told() -> None:
    """What is drawn follows the image it is told of, and no other image of the batch."""
    from tempfile import TemporaryDirectory

    import tiny
    import torch
    from diffusers import StableDiffusionImageVariationPipeline, UNet2DConditionModel
    from micro import generator_config, random_images

    from fgds_core.diffusion.guidance.look import plain
    from fgds_core.diffusion.noise import randn, stream
    from fgds_core.diffusion.sample import sample
    from fgds_core.diffusion.solver import make_scheduler
    from fgds_core.generators.load import load_generator

    def pipeline() -> StableDiffusionImageVariationPipeline:
        return StableDiffusionImageVariationPipeline(
            vae=tiny.vae(),
            image_encoder=tiny.image_encoder(),
            feature_extractor=tiny.feature_extractor(),
            unet=UNet2DConditionModel(cross_attention_dim=tiny.WIDTH, **tiny.UNET),
            scheduler=tiny.scheduler("epsilon"),
            safety_checker=None,
            requires_safety_checker=False,
        )

    with TemporaryDirectory() as folder:
        config = generator_config(tiny.save(pipeline, Path(folder)), kind="image-variation")
        generator = load_generator(config, dtype=torch.float64)
    embeddings = generator.embed_images(random_images(3, tiny.TINY_IMAGE_SIZE))  # [3, D]

    def draw(told: torch.Tensor) -> torch.Tensor:
        """Images from the same noise, [B, 3, H, W]."""
        noise = randn(generator.latent_shape, [stream(7, "noise") for _ in told]).double()
        image = generator.condition_on(told, 0, torch.zeros_like(told))
        denoiser = generator.denoiser([""] * len(told), image, guidance_scale=2.0)
        scheduler = make_scheduler("DDIMScheduler", generator.scheduler_config)
        return generator.decode(sample(plain(denoiser), scheduler, noise, 3))

    together = draw(embeddings)
    alone = torch.cat([draw(one[None]) for one in embeddings])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)
    assert not torch.allclose(together[0], together[1])


def a_criterion_climbs() -> None:
    """Guided by it, every image is valued higher than without."""
    import torch
    from guide import guide

    from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel
    from fgds_core.feedback.criterion import NOTHING, Seen
    from fgds_core.feedback.registry import load_criterion

    rng = torch.Generator().manual_seed(0)
    weights = torch.randn(48, 5, dtype=torch.float64, generator=rng)
    z = torch.randn(4, 3, 4, 4, dtype=torch.float64, generator=rng)
    labels, level = torch.arange(4), NoiseLevel(0.8, 0.6, torch.tensor(500))
    criterion = load_criterion("margin")

    def value(x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        features = x.flatten(1)
        return criterion(Seen(features @ weights, features), labels[which], NOTHING)

    def network(z: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z)

    denoiser = ClassifierFree(network, "epsilon", {}, {}, 1.0)
    everything = torch.arange(4)
    for rule in ("relative", "score"):
        looks = [guide(denoiser, lambda z0: z0, value, rule=rule, scale=s) for s in (0.0, 0.01)]
        values = [value(look(z, level).z0 + look(z, level).z, everything) for look in looks]
        assert (values[1] > values[0]).all(), values


def a_judge_sees() -> None:
    """It knows dark images from bright ones, and the stage finds that out."""
    from micro import generator_config
    from training import VAL

    from fgds_core.judge.calibrate import calibrated
    from fgds_core.judge.config import JudgeConfig
    from fgds_core.judge.judge import awake
    from fgds_core.judge.kinds import load_kind

    kind = load_kind("brightness")
    config = JudgeConfig.model_validate({"kind": "brightness", "path": None, "folds": 2})
    record = kind.who(config, generator_config("none"), VAL.class_names, ())
    found = calibrated(awake(Path(), record, "cpu"), VAL)
    assert min(each.recall or 0 for each in found.validation) > 0.6, found.validation


def a_loss_trains() -> None:
    """A training that lowers it tells classes apart."""
    from training import TRAIN, VAL, recipe

    from fgds_core.classify.predict import predict_logits
    from fgds_core.classify.run import TrainingRun
    from fgds_core.classify.train import train_classifier

    lowered: list[float] = []
    run = TrainingRun(on_epoch=lambda seen: lowered.append(seen["train_loss"]))
    config = recipe(loss="focal", num_steps=30, eval_every=10, label_smoothing=0.0)
    trained = train_classifier(TRAIN, VAL, config, 0, run=run)
    assert lowered[-1] < lowered[0] / 2, lowered
    seen = predict_logits(trained, VAL).argmax(dim=1)
    assert (seen == VAL.labels).double().mean() > 0.6


def a_second_stage_learns() -> None:
    """Of the weights before it, the offsets alone have changed."""
    from training import TRAIN, VAL, recipe

    from fgds_core.classify.train import train_classifier

    first, second = (
        train_classifier(TRAIN, VAL, recipe(second_stage=stage), 0).network.state_dict()
        for stage in ("none", "offsets")
    )
    assert [name for name in first if (first[name] != second[name]).any()] == ["fc.bias"]


def a_source_prepares() -> None:
    """The files of a folder are prepared to the same bytes where a table names them."""
    from tempfile import TemporaryDirectory

    from micro import contents, random_images
    from pydantic import TypeAdapter

    from fgds_core.data.config import DataConfig, PrepareConfig
    from fgds_core.data.prepare import prepare
    from fgds_core.images.formats import PNG
    from fgds_core.images.pixels import encode

    folders = {"train": "train", "validation": "val", "test": "test"}
    with TemporaryDirectory() as folder:
        root, lines = Path(folder, "raw"), ["split,path,label"]
        files = iter(encode(random_images(12), PNG))
        for split in folders.values():
            for name in ("cat", "dog"):
                for number in range(2):
                    path = root / split / name / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(next(files))
                    lines.append(f"{split},{split}/{name}/{number}.png,{name}")
        (root / "all.csv").write_text("\n".join(lines))
        sources = {
            "folder": {"split": {"by": "folders", **folders}, "groups": False},
            "table": {"table": "all.csv"},
        }
        config = PrepareConfig(image_size=8, interpolation="bicubic", crop="center")
        for kind, keys in sources.items():
            data = {"kind": kind, "root": str(root)} | keys
            prepare(TypeAdapter(DataConfig).validate_python(data), config, Path(folder, kind))
        assert contents(Path(folder, "table")) == contents(Path(folder, "folder"))


def a_metric_measures() -> None:
    """As many directions as the features have, so diverse they are; in whatever order."""
    import numpy as np
    from micro import ROOT

    from fgds_core.assess.measures import Sample, measured
    from fgds_core.assess.vectors import Features
    from flows.cli.params import read_params

    config = read_params(ROOT / "params.yaml")["assess"]
    for directions in (1, 3, 8):
        values = np.eye(8)[np.arange(24) % directions] * np.arange(1, 25)[:, None]
        features = Features.of(values)
        sample = Sample(
            features, features, None, {"copy": np.zeros(24)}, config, np.random.default_rng(0)
        )
        found = measured(sample, "toy", None)["vendi"]
        assert abs(found["value"] - directions) < 1e-9, found


LAWS: dict[str, Callable[[], None]] = {
    "A generator": a_generator_draws_what_it_is_told,
    "A criterion": a_criterion_climbs,
    "A kind of judge": a_judge_sees,
    "A loss": a_loss_trains,
    "A second stage": a_second_stage_learns,
    "A data source": a_source_prepares,
    "A metric": a_metric_measures,
}
"""By the heading of each example, what has to hold of what it adds."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What does not hold in a copy with all examples applied, by their headings."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("fgds_core", "tasks", "flows", "tests", "docs"):
        copytree(ROOT / folder, copy / folder, ignore=ignore_patterns("__pycache__"))
    for name in ("params.yaml", ".importlinter", "dvc.yaml"):
        copyfile(ROOT / name, copy / name)
    for kind, file, lines in blocks(DOCUMENT.read_text()):
        apply(kind, copy / file, lines)
    paths = os.pathsep.join([str(copy), str(copy / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "test_examples"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_example_has_a_law() -> None:
    text = DOCUMENT.read_text().partition("## How to add\n")[2]
    assert list(LAWS) == re.findall(r"^### (.*)$", text, re.M)


@pytest.mark.parametrize("example", LAWS)
def test_what_an_example_adds_works(example: str, broken: dict[str, str]) -> None:
    assert example not in broken, broken[example]


def test_examples_are_written_as_the_code_is(tmp_path: Path) -> None:
    for kind, file, lines in blocks(DOCUMENT.read_text()):
        if kind == "python":
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(lines)
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, "--config", ROOT / "pyproject.toml", "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def main() -> None:
    """Tries all laws and prints what does not hold."""
    from test_registries import REGISTRIES, test_the_parameters_offer_what_the_registry_has

    for path in REGISTRIES:
        test_the_parameters_offer_what_the_registry_has(path)
    broken = {}
    for name, law in LAWS.items():
        try:
            law()
        except Exception:
            broken[name] = traceback.format_exc()
    print(json.dumps(broken))


if __name__ == "__main__":
    main()
