"""Parts whose images are valued together: drawn towards real exemplars of their class."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from micro import generator_config, synthesize_config
from sets import image_set

import fgds_core.synthesis.draw
from fgds_core.classify.network import load_classifier
from fgds_core.diffusion.noise import stream
from fgds_core.feedback.load import load_feedback
from fgds_core.generators.load import load_generator
from fgds_core.synthesis.models import LoadedModels
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe

NAMES = ("cat", "dog", "owl")
PART = Part(0, "cat", 0, 0, 5)


@pytest.fixture(scope="module")
def generators(tiny_unclip: Path, tmp_path_factory: pytest.TempPathFactory):
    text = tiny.save(tiny.stable_diffusion, tmp_path_factory.mktemp("text") / "sd")
    settings = {
        "dual": generator_config(tiny_unclip),
        "text": generator_config(text, kind="text-to-image"),
    }
    return {
        name: (its, load_generator(its, dtype=torch.float64)) for name, its in settings.items()
    }


@pytest.fixture
def draw(generators, tiny_classifier: Path, tmp_path: Path):
    """Draws a part; its columns."""
    images = torch.rand(8, 3, 16, 16, generator=stream(0, "real")) * 2 - 1
    real = image_set(images, [0, 1] * 4, NAMES)  # no owl
    classifier = load_classifier(tiny_classifier).double()

    def run(part: Part = PART, conditioning: str = "dual", batch_size: int = 3, **changes):
        micro_batch = changes.pop("micro_batch", None)
        config = synthesize_config(
            conditioning=conditioning, **{"feedback": "exemplar", "feedback_every": 1} | changes
        )
        feedback = load_feedback(
            config,
            [tiny_classifier],
            [classifier],
            (4, 4, 0),
            images={"train": real, "val": real}.__getitem__,
            seed=7,
        )
        settings, generator = generators[conditioning]
        record = write_part(
            part,
            Recipe(settings, config, 7),
            LoadedModels(generator, feedback, real),
            "made so",
            tmp_path,
            batch_size=batch_size,
            micro_batch=micro_batch,
        )
        return pq.read_table(tmp_path / record.path).to_pydict()

    return run


@pytest.mark.parametrize("conditioning", ["dual", "text"])
@pytest.mark.parametrize("feedback", ["exemplar", "exemplar_entropy"])
def test_bytes_do_not_depend_on_what_goes_through_the_networks_together(
    draw, conditioning, feedback
) -> None:
    first = draw(conditioning=conditioning, feedback=feedback, eta=0.5)
    for batch_size, micro_batch in [(1, None), (2, 1), (100, None), (100, 2)]:
        again = draw(
            conditioning=conditioning,
            feedback=feedback,
            eta=0.5,
            batch_size=batch_size,
            micro_batch=micro_batch,
        )
        assert again["image"] == first["image"]
        assert again["criterion_final"] == pytest.approx(first["criterion_final"], abs=1e-10)


def test_an_image_depends_on_those_of_its_part(draw) -> None:
    whole, alone = draw(), draw(Part(0, "cat", 0, 0, 1))
    assert whole["seed"][0] == alone["seed"][0]
    assert whole["image"][0] != alone["image"][0]


@pytest.mark.parametrize("conditioning", ["dual", "text"])
@pytest.mark.parametrize("feedback", ["exemplar", "exemplar_loss", "influence"])
def test_pushing_raises_the_criterion(draw, conditioning, feedback) -> None:
    final = {}
    for scale in (1e-9, 0.02):
        columns = draw(
            conditioning=conditioning,
            feedback=feedback,
            feedback_scale=scale,
            num_inference_steps=5,
        )
        assert columns["feedback"] == [feedback] * 5
        assert columns["guided_steps"] == [5] * 5
        final[scale] = sum(columns["criterion_final"]) / 5
    assert final[0.02] > final[1e-9]


def test_a_class_without_real_images_is_drawn_without_guidance(draw) -> None:
    owls = Part(2, "owl", 0, 0, 2)
    columns = draw(owls, conditioning="text")
    assert columns["guided_steps"] == [0, 0]
    assert columns["image"] == draw(owls, conditioning="text", feedback="none")["image"]


def test_an_image_that_is_drawn_again_is_valued_alone(draw, monkeypatch) -> None:
    seen = []
    values_together = fgds_core.synthesis.draw.values_together

    def noted(see, among, x, size):
        seen.append(len(x))
        return values_together(see, among, x, size)

    once = fgds_core.synthesis.draw.draw

    def broken(generator, requests, *args, **kwargs):
        drawn = once(generator, requests, *args, **kwargs)
        if requests[0].attempt == 0:
            drawn.images[1] = torch.nan
        return drawn

    monkeypatch.setattr(fgds_core.synthesis.draw, "values_together", noted)
    monkeypatch.setattr(fgds_core.synthesis.draw, "draw", broken)
    columns = draw()
    assert seen == [5, 1]
    assert columns["attempt"] == [0, 1, 0, 0, 0]
