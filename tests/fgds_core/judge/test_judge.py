"""A judge says of each image which class it shows, and knows how often it is right."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from micro import generator_config, random_images
from sets import gather, image_set

from fgds_core.classify.network import Classifier, create_classifier
from fgds_core.classify.save import save_classifier
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import Reading
from fgds_core.judge.calibrate import FEW, calibrated
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.cross_fitted import fold_folder, folds_of
from fgds_core.judge.judge import awake, load_judge, verdict
from fgds_core.judge.kinds import KINDS, load_kind
from fgds_core.judge.record import JudgeRecord, Recognised, read_record, write_record

NAMES = ("cat", "hot_dog")
SMALL: dict[str, Any] = {"stem_width": 8, "channels": [8, 8, 8, 8]}


def section(**changes: object) -> JudgeConfig:
    return JudgeConfig.model_validate({"kind": "cross_fitted", "path": None, "folds": 2} | changes)


def classifier(folder: Path, seed: int, names: tuple[str, ...] = NAMES) -> Classifier:
    """A classifier of random weights, saved."""
    made = create_classifier("resnet10t", SMALL, names, 16, seed).eval()
    made.network.fc.weight.data.mul_(50)  # else it holds all classes equally likely
    save_classifier(folder, made, real_counts=[1] * len(names), bins={})
    return made


def images(num_images: int = 6, seed: int = 0) -> ImageDataset:
    labels = [row % 2 for row in range(num_images)]
    return image_set(random_images(num_images, 16, seed), labels, NAMES)


def test_a_classifier_says_its_probabilities(tmp_path: Path) -> None:
    made = classifier(tmp_path / "witness", 1)
    record = JudgeRecord("classifier", str(tmp_path / "witness"), NAMES)
    write_record(tmp_path / "judge", record)
    found = load_judge(tmp_path / "judge", NAMES).probabilities(images())
    expected = made(gather(images())).softmax(dim=-1)
    torch.testing.assert_close(found, expected.detach())
    assert found.std() > 0.01


def test_the_temperature_of_a_classifier_counts(tmp_path: Path) -> None:
    made = create_classifier("resnet10t", SMALL, NAMES, 16, 0).eval()
    made.temperature = 0.25
    save_classifier(tmp_path, made, real_counts=[1, 1], bins={})
    judge = awake(tmp_path, JudgeRecord("classifier", str(tmp_path), NAMES), "cpu")
    expected = (made(gather(images())) * 4).softmax(dim=-1)
    torch.testing.assert_close(judge.probabilities(images()), expected.detach())


@pytest.mark.parametrize(("num_images", "num_folds"), [(40, 3), (7, 7), (11, 2)])
def test_folds_are_of_one_size_and_have_their_share_of_each_class(
    num_images: int, num_folds: int
) -> None:
    labels = (torch.arange(num_images) ** 2) % 5
    folds = folds_of(labels, num_folds, seed=3)
    sizes = torch.bincount(folds, minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1
    for label in labels.unique():
        of_class = torch.bincount(folds[labels == label], minlength=num_folds)
        assert of_class.max() - of_class.min() <= 1
    assert torch.equal(folds, folds_of(labels, num_folds, seed=3))
    assert num_images == num_folds or not torch.equal(folds, folds_of(labels, num_folds, 4))


def test_an_image_of_training_is_judged_by_the_fold_that_did_not_see_it(tmp_path: Path) -> None:
    folds = [classifier(fold_folder(tmp_path, fold), fold) for fold in range(3)]
    judge = awake(tmp_path, JudgeRecord("cross_fitted", None, NAMES, num_folds=3), "cpu")
    train = images(9)
    without = torch.tensor([0, 1, 2, 2, 2, 1, 0, 0, 0])
    each = torch.stack([made(gather(train)).softmax(dim=-1) for made in folds]).detach()
    found = judge.probabilities(train, folds=without, reading=Reading(4))
    torch.testing.assert_close(found, each[without, torch.arange(9)])
    torch.testing.assert_close(judge.probabilities(train), each.mean(dim=0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP model of random weights, as transformers saves it."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    text, vision = tiny.text_encoder(projected=True), tiny.image_encoder()
    parts = CLIPConfig(
        text_config=text.config.to_dict(),
        vision_config=vision.config.to_dict(),
        projection_dim=tiny.WIDTH,
        logit_scale_init_value=4.0,
    )
    tiny.save(lambda: CLIPModel(parts), folder)
    tiny.tokenizer().save_pretrained(folder)
    tiny.feature_extractor().save_pretrained(folder)
    return folder


def test_clip_says_what_transformers_says(clip: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    prompts = ["a photo of a {class}", "the {class}"]
    config = section(kind="clip", path=str(clip))
    generator = generator_config("no folder", prompts=prompts)
    load_kind("clip").check(config, generator, NAMES)
    record = load_kind("clip").who(config, generator, NAMES, ())
    found = awake(clip, record, "cpu").probabilities(images())

    model, tokenizer = CLIPModel.from_pretrained(clip), CLIPTokenizer.from_pretrained(clip)
    processor = CLIPImageProcessor.from_pretrained(clip)
    pixels = processor(list(images().__getitems__(range(6))), return_tensors="pt").pixel_values
    scores = []
    for name in ("cat", "hot dog"):  # as names of folders have an underscore for a blank
        lines = [prompt.replace("{class}", name) for prompt in prompts]
        tokens = tokenizer(lines, padding=True, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**tokens, pixel_values=pixels)
        mean = outputs.text_embeds.mean(dim=0)  # of unit embeddings
        scores.append(outputs.image_embeds @ (mean / mean.norm()))
    expected = (torch.stack(scores, dim=1) * torch.tensor(4.0).exp()).softmax(dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert found.std() > 0.01


def halves(folder: Path, *, projected: bool = True, width: int = tiny.WIDTH) -> Path:
    tiny.save(lambda: tiny.image_encoder(width), folder / "image_encoder")
    tiny.save(lambda: tiny.text_encoder(projected), folder / "text_encoder")
    tiny.tokenizer().save_pretrained(folder / "tokenizer")
    tiny.feature_extractor().save_pretrained(folder / "feature_extractor")
    return folder


def test_the_generators_own_tower_judges_where_it_has_both_halves(tmp_path: Path) -> None:
    folder = halves(tmp_path / "generator")
    generator = generator_config(folder)
    config = section(kind="clip")
    load_kind("clip").check(config, generator, NAMES)
    record = load_kind("clip").who(config, generator, NAMES, ())
    assert (record.path, record.revision) == (str(folder), None)
    prior = {"path": "owner/prior", "revision": "main", "num_inference_steps": 2}
    prior |= {"guidance_scale": 4.0, "text_share": 0.5}
    of_prior = generator_config("owner/decoder", kind="kandinsky-2.2", prior=prior)
    record_of_prior = load_kind("clip").who(config, of_prior, NAMES, ())
    assert (record_of_prior.path, record_of_prior.revision) == ("owner/prior", "main")
    found = awake(tmp_path, record, "cpu").probabilities(images())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))
    assert found.std() > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"projected": False}, "images and texts can be compared"), ({"width": 8}, "no two halves")],
)
def test_a_generator_without_both_halves_is_no_judge(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    generator = generator_config(halves(tmp_path / "generator", **changes))
    with pytest.raises(InputError, match=rf"judge\.path.*{said}.*cross_fitted"):
        load_kind("clip").check(section(kind="clip"), generator, NAMES)


def test_a_prompt_with_a_group_is_said_for_each_group(clip: Path) -> None:
    from fgds_core.judge.clip import texts

    generator = generator_config("no folder", prompts=["a {class} on {group}", "a {class}"])
    record = load_kind("clip").who(section(kind="clip"), generator, NAMES, ("land", "deep_water"))
    assert texts(record, "hot_dog") == [
        "a hot dog on land",
        "a hot dog on deep water",
        "a hot dog",
    ]


def test_recall_is_counted_on_real_validation_images(tmp_path: Path) -> None:
    names = ("cat", "hot_dog", "owl")
    classifier(tmp_path / "witness", 1, names)
    labels = [0] * 11 + [1] * 4
    val = image_set(random_images(15, 16), labels, names)
    record = JudgeRecord("classifier", str(tmp_path / "witness"), names)
    judge = awake(tmp_path, record, "cpu")
    seen = judge.probabilities(val).argmax(dim=1).tolist()
    right = [sum(s == k == label for s, label in zip(seen, labels, strict=True)) for k in range(3)]

    told: list[int] = []
    found = calibrated(judge, val, reading=Reading(4, 0, told.append))
    assert sum(told) == 15
    assert found.validation == tuple(map(Recognised, (11, 4, 0), right))
    said = " ".join(found.remarks)
    assert "no real validation image of owl" in said
    assert f"fewer than {FEW} real validation images of hot_dog" in said

    write_record(tmp_path / "judge", found)
    assert read_record(tmp_path / "judge") == found
    recall = load_judge(tmp_path / "judge", names).recall
    assert recall == {"cat": right[0] / 11, "hot_dog": right[1] / 4, "owl": None}


def test_a_judge_that_guesses_is_called_so(tmp_path: Path) -> None:
    classifier(tmp_path / "witness", 1)
    judge = awake(tmp_path, JudgeRecord("classifier", str(tmp_path / "witness"), NAMES), "cpu")
    found = calibrated(judge, images(40))
    assert any("guesses" in remark for remark in found.remarks)


def test_a_judge_of_other_classes_is_refused(tmp_path: Path) -> None:
    classifier(tmp_path / "witness", 1)
    record = JudgeRecord("classifier", str(tmp_path / "witness"), NAMES)
    write_record(tmp_path / "judge", record)
    with pytest.raises(InputError, match="run the stage judge again"):
        load_judge(tmp_path / "judge", NAMES[::-1])
    for names, said in (
        (("owl", "cat"), "knows 2 classes"),
        ((*NAMES, "owl"), "the data has 3"),
        (NAMES[::-1], "in another order"),
    ):
        with pytest.raises(InputError, match=rf"judge\.path.*{said}.*cross_fitted"):
            load_kind("classifier").check(
                section(kind="classifier", path=str(tmp_path / "witness")),
                generator_config("none"),
                names,
            )


def test_a_damaged_record_is_told_of(tmp_path: Path) -> None:
    write_record(tmp_path, JudgeRecord("cross_fitted", None, NAMES, num_folds=2))
    text = (tmp_path / "judge.json").read_text()
    (tmp_path / "judge.json").write_text(text.replace('"num_folds"', '"folds"'))
    with pytest.raises(InputError, match="run the stage judge again"):
        read_record(tmp_path)


def test_the_section_says_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match="needs path"):
        section(kind="classifier")
    with pytest.raises(ValueError, match="set it to null"):
        section(path="somewhere")


def test_a_verdict_is_the_best_class_and_its_lead() -> None:
    labels, probability, margin = verdict(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]))
    assert labels[0] == 1
    torch.testing.assert_close(probability, torch.tensor([0.7, 0.5]))
    torch.testing.assert_close(margin, torch.tensor([0.5, 0.0]))
    assert verdict(torch.ones(1, 1))[2] == 1


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_who_it_is(name: str) -> None:
    config = section(kind=name, path=None if name == "cross_fitted" else "folder")
    record = load_kind(name).who(config, generator_config("none"), NAMES, ())
    assert (record.kind, record.class_names) == (name, NAMES)
