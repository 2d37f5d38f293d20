"""One image drawn again is the one in its part, alone or with those it was drawn with."""

from pathlib import Path

import pytest
import torch
from micro import generator_config, synthesize_config
from sets import image_set

import fgds_core.synthesis.redraw
from fgds_core.classify.network import load_classifier
from fgds_core.diffusion.noise import stream
from fgds_core.feedback.load import load_feedback
from fgds_core.generators.load import load_generator
from fgds_core.images.table import image_table, read_table
from fgds_core.synthesis.models import LoadedModels
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.redraw import changes, redraw, row_of, unlike

NAMES = ("cat", "dog", "owl")
PART = Part(1, "dog", 3, 20, 7)


@pytest.fixture(scope="module")
def real():
    images = torch.rand(12, 3, 16, 16, generator=stream(0, "real")) * 2 - 1
    return image_set(images, torch.arange(12) % 3, NAMES)


@pytest.fixture(scope="module")
def models_for(tiny_unclip: Path, tiny_classifier: Path, real):
    generator = load_generator(generator_config(tiny_unclip))
    classifier = load_classifier(tiny_classifier)

    def load(config):
        feedback = load_feedback(
            config, [tiny_classifier], [classifier], [4, 4, 4], images=lambda split: real
        )
        return LoadedModels(generator, feedback, real)

    return load


@pytest.mark.parametrize(
    "how",
    [
        {"conditioning": "text", "feedback": "loss"},
        {"feedback": "none", "scheduler": "EulerAncestralDiscreteScheduler"},
        {"embedding_mix": "slerp", "eta": 0.7},
        {"feedback": "exemplar", "feedback_exemplars": 2},  # values a part's images together
    ],
    ids=lambda how: " ".join(map(str, how.values())),
)
def test_an_image_is_that_of_its_part(models_for, tmp_path: Path, how: dict) -> None:
    recipe = Recipe(generator_config("nowhere"), synthesize_config(**how), 7)
    models = models_for(recipe.synthesize)
    written = write_part(PART, recipe, models, "made so", tmp_path, batch_size=3)
    table = read_table(tmp_path / written.path)
    for index in (20, 24, 26):
        was = row_of(table, index)
        now = redraw(PART, index, was, recipe, models, batch_size=3)
        assert unlike(was, now) == []
        assert now == was


def test_where_an_image_alone_differs_its_batch_is_drawn_and_then_its_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def write(some: Part, *arguments, **options):
        asked.append(range(some.first_index, some.first_index + some.num_images))

        class Record:
            path = ""

        return Record

    def read(path: Path):
        pixel = torch.zeros(len(asked[-1]), 3, 2, 2)
        pixel[:, 0, 0, 0] = 1 / len(asked[-1])
        extra = {"index": list(asked[-1]), "criterion": [1 / len(asked[-1])] * len(asked[-1])}
        return image_table(pixel, [1] * len(asked[-1]), NAMES, extra)

    monkeypatch.setattr(fgds_core.synthesis.redraw, "write_part", write)
    monkeypatch.setattr(fgds_core.synthesis.redraw, "read_table", read)

    class Models:
        feedback = None

    def again(size: int, index: int, batch_size: int = 3) -> list[str]:
        asked.clear()
        asked.append(range(index, index + size))
        was = row_of(read(Path()), index)
        asked.clear()
        return unlike(was, redraw(PART, index, was, None, Models, batch_size=batch_size))

    assert again(1, 24) == []
    assert asked == [range(24, 25)]
    assert again(3, 24) == []
    assert asked == [range(24, 25), range(23, 26)]
    assert again(1, 26) == []
    assert again(7, 26) == []
    assert asked == [range(26, 27), range(20, 27)]
    differ = again(2, 24)  # by a batch of another size
    assert asked == [range(24, 25), range(23, 26), range(20, 27)]
    assert differ[0] == "8.33% of the pixels' values differ, by at most 45 of 255"
    assert differ[1] == "criterion was 0.5, is 0.142857143"


def test_only_what_decides_a_class_is_a_change() -> None:
    was = {
        "seed": 0,
        "synthesize": {"eta": 0.0, "noise_level": 3},
        "real": {"cat": "a", "dog": "b"},
        "inputs": {"assets/one": "x"},
        "guide": {"network": "1"},
    }
    now = {
        "seed": 1,
        "synthesize": {"eta": 0.5},
        "real": {"cat": "other", "dog": "b"},
        "inputs": {"assets/one": "y"},
        "guide": {"network": "2"},
        "feedback_factors": {"cat": 0.5},
    }
    of_dog = [
        "seed was 0, is 1",
        "synthesize.eta was 0, is 0.5",
        "synthesize.noise_level was 3, is its default",
        "assets/one has other content",
        "the classifier that guides is another one",
    ]
    assert list(changes(was, now, "dog")) == of_dog
    of_cat = list(changes(was, now, "cat"))
    assert "the real training images of cat are others" in of_cat
    assert "feedback_factors was null, is 0.5" in of_cat
    assert list(changes(was, was, "cat")) == []
