import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from micro import generator_config, synthesize_config
from pydantic import ValidationError
from sets import image_set

import fgds_core.synthesis.draw
from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.data.meta import Meta
from fgds_core.diffusion.noise import stream
from fgds_core.errors import InputError
from fgds_core.feedback.load import load_feedback
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator
from fgds_core.images.dataset import ImageDataset, read_images
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.embeddings import MIXTURES
from fgds_core.synthesis.finished import finished_part
from fgds_core.synthesis.models import LoadedModels, check_fit
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part, plan_of, plan_set
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.record import PartRecord
from fgds_core.synthesis.request import plan_images

NAMES = ("cat", "dog", "owl")
PROMPTS = ("a {class}", "one {class} outdoors", "the {class}")


@pytest.fixture(scope="module")
def generator(tiny_unclip: Path) -> Generator:
    settings = generator_config(tiny_unclip, prompts=list(PROMPTS))
    return load_generator(settings, dtype=torch.float64)


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Classifier:
    return load_classifier(tiny_classifier).double()


@pytest.fixture(scope="module")
def real() -> ImageDataset:
    images = torch.rand(12, 3, 16, 16, generator=stream(0, "real")) * 2 - 1
    groups = tuple("indoors" if i < 6 else "outdoors" for i in range(12))
    return image_set(images, torch.arange(12) % 3, NAMES, groups)


def recipe(**changes) -> Recipe:
    """The recipe of the tests, with changes of the section `synthesize`."""
    settings = generator_config("nowhere", prompts=list(PROMPTS))
    return Recipe(settings, synthesize_config(**changes), 7)


@pytest.fixture
def write(generator, classifier, real, tiny_classifier, tmp_path):
    def run(part: Part, settings: SynthesizeConfig, out: Path = tmp_path, **changes):
        feedback = load_feedback(settings, [tiny_classifier], [classifier], [4, 4, 4])
        models = LoadedModels(generator, feedback, changes.pop("real", real))
        its = dataclasses.replace(recipe(), synthesize=settings)
        return write_part(part, its, models, "made so", out, **{"batch_size": 3, **changes})

    return run


def rows(out: Path, record: PartRecord, folder: str = "") -> dict[str, list]:
    return pq.read_table(out / folder / record.path).to_pydict()


def test_parts_fill_every_class_to_the_target_and_no_further():
    parts = plan_set([9, 12, 0], NAMES, synthesize_config()).parts
    assert [(p.label, p.index, p.first_index, p.num_images) for p in parts] == [
        (2, 0, 0, 4),
        (2, 1, 4, 4),
        (2, 2, 8, 1),
    ]
    most = plan_set([9, 12, 0], NAMES, synthesize_config(target_per_class="max"))
    assert most.wanted == (3, 0, 12)
    assert sum(p.num_images for p in most.parts if p.label == 0) == 3
    assert sum(p.num_images for p in most.parts if p.label == 2) == 12
    assert most.parts[0].label == 2  # the class with most to draw goes first
    least = plan_set([9, 12, 0], NAMES, synthesize_config(min_per_class=2))
    assert least.wanted == (2, 2, 9)


def test_over_a_million_images_are_thousands_of_files():
    names = [f"class {k}" for k in range(1000)]
    config = synthesize_config(target_per_class=1200, images_per_part=1000)
    parts = plan_set([0] * 1000, names, config).parts
    assert sum(part.num_images for part in parts) == 1_200_000
    assert 2 * len({part.path for part in parts}) == 4000  # each with a sidecar


def test_a_target_that_wants_nothing_is_refused():
    with pytest.raises(InputError, match=r"is 9, and even the smallest class has 9 .* above 9,"):
        plan_set([9, 12, 10], NAMES, synthesize_config())


def test_images_follow_from_seed_class_and_index_alone():
    whole = plan_images(Part(1, "dog", 0, 0, 10), recipe(), 4)
    tail = plan_images(Part(1, "dog", 3, 6, 4), recipe(), 4)
    assert tail == whole[6:]
    assert {r.prompt for r in whole} <= {t.format(**{"class": "dog"}) for t in PROMPTS}
    assert len({r.prompt for r in whole}) > 1
    assert {r.conditioning_id for r in whole} <= {0, 1, 2, 3}
    # Another place among the classes changes neither seeds nor choices.
    moved = plan_images(Part(5, "dog", 0, 0, 10), recipe(), 4)
    assert [dataclasses.replace(r, label=1) for r in moved] == whole


def test_conditioning_says_what_the_generator_is_told():
    part = Part(0, "cat", 0, 0, 5)
    text = plan_images(part, recipe(conditioning="text"), 2)
    image = plan_images(part, recipe(conditioning="image"), 2)
    assert all(r.conditioning_id is None and "cat" in r.prompt for r in text)
    assert all(r.conditioning_id in (0, 1) and r.prompt == "" for r in image)


CELLS = [
    {"indoors": 2, "outdoors": 0},
    {"indoors": 9, "outdoors": 9},
    {"indoors": 0, "outdoors": 1},
]


def test_with_a_target_for_groups_the_emptiest_are_drawn_first():
    plan = plan_set(
        [2, 18, 1], NAMES, synthesize_config(target_per_group=3, images_per_part=4), CELLS
    )
    assert plan.wanted == (4, 0, 5)
    assert [(part.class_name, part.first_index, part.groups) for part in plan.parts] == [
        ("owl", 0, ("indoors", "indoors", "outdoors", "indoors")),
        ("owl", 4, ("outdoors",)),
        ("cat", 0, ("outdoors", "outdoors", "indoors", "outdoors")),
    ]
    with pytest.raises(InputError, match="even the smallest group has 9 real"):
        plan_set([18], NAMES[:1], synthesize_config(target_per_group=9), CELLS[1:2])
    with pytest.raises(InputError, match="target_per_group: got 3, but the data have no groups"):
        plan_set([18], NAMES[:1], synthesize_config(target_per_group=3))


def test_a_group_without_images_is_conditioned_on_the_class_in_another_group():
    settings = generator_config("nowhere", prompts=["a {class} in {group}"])
    part = Part(2, "owl", 0, 0, 60, ("dim", "grass") * 30)
    its = Recipe(settings, synthesize_config(), 7)
    drawn = plan_images(part, its, 3, ["autumn", "grass", "autumn"])
    assert [r.prompt for r in drawn[:2]] == ["a owl in dim", "a owl in grass"]
    assert [r.group for r in drawn] == list(part.groups)
    assert {r.conditioning_id for r in drawn[1::2]} == {1}
    assert {r.conditioning_id for r in drawn[::2]} == {0, 1, 2}
    assert [r.seed for r in drawn] == [
        r.seed for r in plan_images(Part(2, "owl", 0, 0, 60), its, 3)
    ]
    text = Recipe(settings, synthesize_config(conditioning="text"), 7)
    without = plan_images(part, text, 0, ())
    assert [(r.prompt, r.group) for r in without] == [(r.prompt, r.group) for r in drawn]


def test_without_a_target_for_groups_an_image_has_that_of_its_conditioning_image():
    settings = generator_config("nowhere", prompts=["a {class} in {group}"])
    groups = ["autumn", "grass"]
    drawn = plan_images(
        Part(2, "owl", 0, 0, 20), Recipe(settings, synthesize_config(), 7), 2, groups
    )
    assert {(r.conditioning_id, r.group, r.prompt) for r in drawn} == {
        (0, "autumn", "a owl in autumn"),
        (1, "grass", "a owl in grass"),
    }


def test_a_class_without_real_images_is_drawn_from_text_alone():
    meta = Meta(NAMES, 16, {s: (9, 0, 3) for s in ("train", "val", "test")}, {}, None, {}, {})
    assert plan_of(meta, synthesize_config(conditioning="text")).wanted[1] > 0
    for conditioning in ("dual", "image"):
        with pytest.raises(
            InputError, match=r"conditioning: got .* classes dog have no real .* text"
        ):
            plan_of(meta, synthesize_config(conditioning=conditioning))


def test_a_part_holds_what_its_columns_say(write, real, tiny_classifier, tmp_path):
    done = []
    part = Part(2, "owl", 1, 4, 5)
    record = write(part, synthesize_config(), advance=done.append)
    columns = rows(tmp_path, record)
    assert done == [3, 2]
    assert record.path == "02-owl/part-00001.parquet"
    assert columns["label"] == [2] * 5
    assert columns["index"] == [4, 5, 6, 7, 8]
    assert columns["seed"] == list(record.seeds)
    owls = real.of_class(2)
    assert columns["group"] == [owls.groups[i] for i in columns["conditioning_id"]]
    assert columns["feedback"] == ["entropy"] * 5
    assert columns["guided_steps"] == [2] * 5
    assert columns["nonfinite_steps"] == [0] * 5
    for name in ("criterion_first", "criterion_last", "criterion_final"):
        assert all(0 < value < 1.1 for value in columns[name])  # at most log 3
    images = read_images(tmp_path / record.path)
    assert images.__getitems__(range(5)).shape == (5, 3, 16, 16)


def test_without_feedback_nothing_is_guided_and_no_criterion_noted(write, tmp_path):
    columns = rows(tmp_path, write(Part(0, "cat", 0, 0, 2), synthesize_config(feedback="none")))
    assert columns["feedback"] == ["none"] * 2
    assert columns["feedback_scale"] == [0.0] * 2
    assert columns["guided_steps"] == [0] * 2
    assert columns["criterion_first"] == columns["criterion_final"] == [None] * 2


def test_an_image_depends_on_neither_part_nor_batch(write, tmp_path):
    first = write(Part(0, "cat", 0, 0, 5), synthesize_config(eta=0.5), tmp_path / "whole")
    whole = rows(tmp_path / "whole", first)
    last = write(
        Part(0, "cat", 1, 3, 2), synthesize_config(eta=0.5), tmp_path / "tail", batch_size=1
    )
    tail = rows(tmp_path / "tail", last)
    assert tail["image"] == whole["image"][3:]
    assert tail["seed"] == whole["seed"][3:]
    assert tail["criterion_last"] == pytest.approx(whole["criterion_last"][3:], abs=1e-10)


@pytest.mark.parametrize("mix", MIXTURES)
def test_a_mixed_image_depends_on_neither_part_nor_batch(write, tmp_path, mix):
    settings = synthesize_config(feedback="none", embedding_mix=mix)
    whole = rows(tmp_path / "a", write(Part(0, "cat", 0, 0, 5), settings, tmp_path / "a"))
    part = Part(0, "cat", 1, 3, 2)
    tail = rows(tmp_path / "b", write(part, settings, tmp_path / "b", batch_size=1))
    assert tail["image"] == whole["image"][3:]
    plain = rows(tmp_path / "c", write(part, synthesize_config(feedback="none"), tmp_path / "c"))
    assert tail["conditioning_id"] == plain["conditioning_id"]
    assert all(a != b for a, b in zip(tail["image"], plain["image"], strict=True))


def test_the_same_part_has_the_same_bytes(write, tmp_path):
    first = write(Part(1, "dog", 0, 0, 4), synthesize_config(), tmp_path / "first")
    again = write(Part(1, "dog", 0, 0, 4), synthesize_config(), tmp_path / "again")
    assert first.sha256 == again.sha256


def test_a_finished_part_is_known_by_fingerprint_and_bytes(write, tmp_path):
    part = Part(1, "dog", 0, 0, 2)
    assert finished_part(part, "made so", tmp_path) is None
    record = write(part, synthesize_config(feedback="none"))
    assert finished_part(part, "made so", tmp_path) == record
    assert finished_part(part, "made otherwise", tmp_path) is None
    file = tmp_path / record.path
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert finished_part(part, "made so", tmp_path) is None


@pytest.mark.parametrize("conditioning", ["text", "image", "dual"])
@pytest.mark.parametrize("feedback", ["none", "loss", "hardness"])
def test_every_conditioning_works_with_every_feedback(write, tmp_path, conditioning, feedback):
    settings = synthesize_config(
        conditioning=conditioning,
        feedback=feedback,
        feedback_rule="score",
        feedback_target="none" if feedback == "none" else "real",
        scheduler="DPMSolverMultistepScheduler",
    )
    columns = rows(tmp_path, write(Part(0, "cat", 0, 0, 2), settings))
    steps = zip(columns["guided_steps"], columns["skipped_steps"], strict=True)
    assert [a + b for a, b in steps] == [0 if feedback == "none" else 2] * 2
    without_image = conditioning == "text"
    assert [row is None for row in columns["conditioning_id"]] == [without_image] * 2


def test_images_take_the_size_of_the_real_ones(write, real, tmp_path):
    larger = image_set(torch.zeros(12, 3, 24, 20), real.labels, NAMES)
    record = write(Part(0, "cat", 0, 0, 2), synthesize_config(feedback="none"), real=larger)
    assert read_images(tmp_path / record.path).size == (24, 20)


def test_images_that_are_not_finite_are_named_and_nothing_is_written(write, generator, tmp_path):
    bias = generator.pipeline.vae.decoder.conv_out.bias
    before = bias.data.clone()
    bias.data.fill_(float("nan"))
    try:
        with pytest.raises(
            FloatingPointError, match=r"'dog' are not finite after 3 attempts: index 4 \(seed"
        ):
            write(Part(1, "dog", 1, 4, 2), synthesize_config(feedback="none"))
    finally:
        bias.data.copy_(before)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("failures", [1, 2])
def test_an_image_that_is_not_finite_is_drawn_again_from_other_noise_at_a_lower_scale(
    write, tmp_path, monkeypatch, failures
):
    part, settings = Part(1, "dog", 0, 0, 5), synthesize_config(images_per_part=5)
    undisturbed = rows(tmp_path, write(part, settings))
    draw = fgds_core.synthesis.draw.draw

    def spoiling(generator, requests, *arguments, **options):
        drawn = draw(generator, requests, *arguments, **options)
        for image, request in zip(drawn.images, requests, strict=True):
            if request.index == 1 and request.attempt < failures:
                image[0, 0, 0] = float("nan")
        return drawn

    monkeypatch.setattr(fgds_core.synthesis.draw, "draw", spoiling)
    again = rows(tmp_path, write(part, settings, out=tmp_path / "again"), "again")
    assert again["index"] == [0, 1, 2, 3, 4]
    assert again["attempt"] == [0, failures, 0, 0, 0]
    assert again["feedback_scale"][1] == settings.feedback_scale / 2**failures
    assert again["seed"][1] != undisturbed["seed"][1]
    for name in ("prompt", "conditioning_id"):
        assert again[name] == undisturbed[name]
    others = [0, 2, 3, 4]
    for name in undisturbed:
        assert [again[name][i] for i in others] == [undisturbed[name][i] for i in others]


def test_a_factor_is_of_the_scale_in_the_classes_of_its_bin(write, tmp_path):
    part, plain = Part(1, "dog", 0, 0, 3), synthesize_config(feedback_scale=0.25)  # of 4 images

    def drawn(name: str, scale: float = 0.25, **factors: float) -> dict[str, list]:
        settings = synthesize_config(feedback_scale=scale, feedback_factors=factors)
        return rows(tmp_path, write(part, settings, out=tmp_path / name), name)

    doubled = rows(tmp_path, write(part, synthesize_config(feedback_scale=0.5)))
    assert drawn("twice", few=2.0) == doubled
    other = drawn("other", many=2.0, medium=0.0)
    assert other == rows(tmp_path, write(part, plain, out=tmp_path / "plain"), "plain")
    assert other["image"] != doubled["image"]
    off = drawn("off", few=0.0)
    unguided = rows(tmp_path, write(part, synthesize_config(feedback="none")))
    assert off["image"] == unguided["image"]
    assert off["feedback"] == ["none"] * 3


def test_a_class_without_real_images_needs_text(write, real, tmp_path):
    lonely = real.of_class(0)
    part = Part(1, "dog", 0, 0, 1)
    with pytest.raises(InputError, match="'dog' has no real training image"):
        write(part, synthesize_config(), real=lonely)
    assert write(part, synthesize_config(conditioning="text"), real=lonely).num_rows == 1


def test_a_classifier_of_other_classes_is_refused(classifier):
    check_fit(NAMES, classifier, Path("models/some"))
    with pytest.raises(InputError, match="classifier in models/some knows the classes"):
        check_fit(("dog", "cat", "owl"), classifier, Path("models/some"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feedback_start": 0.5, "feedback_end": 0.5}, "must be below"),
        ({"eta": 0.5, "scheduler": "EulerDiscreteScheduler"}, "DDIMScheduler only"),
        ({"embedding_dropout": 1.0}, "embedding_dropout"),
        ({"noise_level": 1000}, "noise_level"),
        ({"feedback": "boredom"}, "feedback"),
        ({"scheduler": "PNDMScheduler"}, "scheduler"),
        ({"target_per_class": 0}, "target_per_class"),
        ({"target_per_class": "most"}, "target_per_class"),
        ({"feedback_scal": 0.1}, "feedback_scal"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        synthesize_config(**changes)


def test_prompts_say_underscores_in_names_as_blanks():
    part = Part(0, "hot_air_balloon", 0, 0, 2)
    config = synthesize_config(conditioning="text")
    recipe = Recipe(generator_config("nowhere", prompts=["a photo of a {class}"]), config, 0)
    assert {r.prompt for r in plan_images(part, recipe, 1)} == {"a photo of a hot air balloon"}
