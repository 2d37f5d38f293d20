"""The check on pictures: yes to garments, no to letters, to random weights and to noise."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from micro import ROOT, generator_config, random_images, synthesize_config
from PIL import Image, ImageDraw, ImageFont
from sets import gather, image_set
from torch.nn import functional as F

from fgds_core.ability.check import ENOUGH, MAX_REAL, Checked, Witnesses, check, reference_of
from fgds_core.ability.evidence import FAR, Evidence, Verdict
from fgds_core.ability.record import Ability, findings, read_ability, refusal, write_ability
from fgds_core.ability.spaces import network_space, pixels, spectrum
from fgds_core.data.splits import RealImages
from fgds_core.generators.load import load_generator
from fgds_core.images.dataset import ImageDataset, joined, read_images
from fgds_core.synthesis.models import LoadedModels
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe

EMBEDDED = ROOT / "assets" / "tiny-unclip"
GARMENTS = ROOT / "assets" / "fashion-lt"
LETTERS = "ABDEGHKMRSTX"
CHECKED = 12
"""Images of a class that are drawn here."""


def real_images(train: ImageDataset, val: ImageDataset) -> RealImages:
    return RealImages(Path(), None, train, val)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def garments() -> RealImages:
    """The embedded data: 40 validation images of each class, and 5 that train."""
    table = pq.read_table(GARMENTS / "validation.parquet", columns=["image", "label"])
    names = read_images(GARMENTS / "validation.parquet").class_names
    labels = np.array(table["label"].to_pylist())

    def some(first: int, last: int) -> ImageDataset:
        rows = np.concatenate([np.flatnonzero(labels == k)[first:last] for k in range(len(names))])
        files = table["image"].take(rows).to_pylist()
        opened = [Image.open(io.BytesIO(each["bytes"])).convert("RGB") for each in files]
        x = torch.from_numpy(np.stack([np.asarray(each.resize((32, 32))) for each in opened]))
        return image_set(x.permute(0, 3, 1, 2).float() / 127.5 - 1, labels[rows].tolist(), names)

    return real_images(some(40, 45), some(0, 40))


@pytest.fixture(scope="module")
def letters() -> RealImages:
    """Twelve letters, white on black, of several sizes, places and slants."""
    rng = np.random.default_rng(0)

    def letter(name: str) -> torch.Tensor:
        picture = Image.new("L", (32, 32))
        font = ImageFont.load_default(rng.uniform(20, 28))
        place = tuple(16 + rng.uniform(-2, 2, 2))
        light = int(rng.integers(180, 256))
        ImageDraw.Draw(picture).text(place, name, fill=light, font=font, anchor="mm")
        turned = picture.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(turned)).expand(3, 32, 32).float() / 127.5 - 1

    def some(number: int) -> ImageDataset:
        labels = [label for label in range(len(LETTERS)) for _ in range(number)]
        return image_set(torch.stack([letter(LETTERS[k]) for k in labels]), labels, tuple(LETTERS))

    return real_images(some(5), some(15))


def checked(
    generator: Path, real: RealImages, out: Path, steps: int = 20, number: int = CHECKED
) -> list[Checked]:
    """Draws some images of each class as a run would, and checks them."""
    config = synthesize_config(
        feedback="none", embedding_dropout=0.9, guidance_scale=1.5, num_inference_steps=steps
    )
    kind = generator_config(generator, prompts=["a photo of a {class}"])
    recipe = Recipe(kind, config, 0)
    models = LoadedModels(load_generator(kind), None, real.train)
    files = {}
    for label, name in enumerate(real.val.class_names):
        part = Part(label, name, 0, 10**9, number)
        files[label] = out / write_part(part, recipe, models, "", out, batch_size=60).path
    spaces = [*network_space(generator_config(EMBEDDED), Path("none"), "cpu"), pixels(real.val)]
    classes, groups, cells = check(
        lambda label: read_images(files[label]), real, Witnesses(spaces, None), 0
    )
    assert not groups
    assert not cells
    return classes


def test_the_embedded_generator_can_draw_all_ten_garments(
    garments: RealImages, tmp_path: Path
) -> None:
    found = checked(EMBEDDED, garments, tmp_path)
    assert {each.name: each.verdict.can_draw for each in found} == dict.fromkeys(
        garments.val.class_names, True
    )


def test_it_can_draw_no_letter(letters: RealImages, tmp_path: Path) -> None:
    found = checked(EMBEDDED, letters, tmp_path)
    assert {each.name: each.verdict.can_draw for each in found} == dict.fromkeys(LETTERS, False)
    assert all(FAR in each.verdict.reasons for each in found)


def test_random_weights_can_draw_nothing(garments: RealImages, tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    folder = tmp_path / "random"
    shutil.copytree(EMBEDDED, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = UNet2DConditionModel.load_config(EMBEDDED / "unet")
        UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    found = checked(folder, garments, tmp_path, steps=5, number=20)
    able = {each.name: each.evidence.far for each in found if each.verdict.can_draw}
    assert not able


def test_noise_and_empty_pictures_stand_out_without_any_network(garments: RealImages) -> None:
    space = pixels(garments.val)
    real = [gather(garments.val.of_class(label)) for label in range(10)]
    for nothing in (random_images(12, 32), torch.zeros(12, 3, 32, 32)):
        names = garments.val.class_names
        drawn = image_set(nothing, [0] * 12, names)
        classes, *_ = check(lambda _, drawn=drawn: drawn, garments, Witnesses([space], None), 0)
        able = {each.name: each.evidence.far for each in classes if each.verdict.can_draw}
        assert not able
    # Real images of another half pass
    halves = real_images(
        garments.train,
        image_set(torch.cat([x[:20] for x in real]), sorted([*range(10)] * 20), names),
    )
    other = {k: image_set(x[20:], [k] * 20, names) for k, x in enumerate(real)}
    classes, *_ = check(other.get, halves, Witnesses([space], None), 0)
    assert all(each.verdict.can_draw for each in classes)


@pytest.mark.parametrize("wrong", ["noise", "of the other group"])
def test_a_class_that_cannot_be_drawn_in_one_group_alone_is_named_there(wrong: str) -> None:
    names, groups = ("cat", "dog"), ("grass", "snow")

    def some(number: int, label: int, wrong: str = "") -> ImageDataset:
        """Images of one brightness for each class and one colour for each group."""
        x = 0.1 * random_images(2 * number, 16, seed=number + label)
        x[:, 2, :8] += 0.4 * label
        x[:number, 0] += 0.5
        if wrong == "noise":
            x[number:] = random_images(number, 16)
        elif wrong:
            x[number:, 0] += 0.5
        of_image = [group for group in groups for _ in range(number)]
        return image_set(x.clamp(-1, 1), [label] * 2 * number, names, of_image)

    val = joined(some(20, 0), some(20, 1))
    drawn = {0: some(10, 0), 1: some(10, 1, wrong)}
    witnesses = Witnesses([pixels(val)], None)
    found = check(drawn.get, real_images(val, val), witnesses, 0)
    classes, of_groups, cells = ({each.name: each.verdict for each in kind} for kind in found)
    assert {name: each.can_draw for name, each in (classes | of_groups).items()} == dict.fromkeys(
        (*names, *groups), True
    )
    assert {name: each.can_draw for name, each in cells.items()} == {
        "cat, grass": True,
        "cat, snow": True,
        "dog, grass": True,
        "dog, snow": False,
    }
    assert "10 of 10 are farther from 20 real images of the class in this group" in str(
        cells["dog, snow"].reasons
    )
    # Without real images of the class in that group nothing is said of it there
    few = val.select(list(range(60)))
    *_, unknown = check(drawn.get, real_images(few, few), witnesses, 0)
    assert {each.name: each.verdict.can_draw for each in unknown}["dog, snow"] is None


def test_the_record_says_what_was_found_and_what_is_in_doubt(tmp_path: Path) -> None:
    evidence = Evidence(8, 9, 9, {"pixels": 7}, {}, None, (0, 0))
    found = [
        Checked("cat", evidence, Verdict(True, {}, (), ("perhaps far from real: 7 of 8",))),
        Checked("dog", evidence, Verdict(True, {}, ("there is no judge",))),
    ]
    cell = Checked("dog, snow", evidence, Verdict(False, {FAR: "8 of 8"}))
    asked = Ability(8, "mine", "refuse", "f" * 64)
    write_ability(tmp_path / "ability.json", asked, found, (), [cell])
    ability = read_ability(tmp_path / "ability.json")
    assert ability.in_doubt == ("cat",)
    assert [each.name for each in ability.failing] == ["dog, snow"]
    said = "\n".join(findings(ability))
    assert "mine can draw 2 of 2 classes" in said
    assert "and 0 of 1 pairs of these classes and a group" in said
    assert "it cannot draw 'dog, snow': far from real (8 of 8)" in said
    assert "note on 'dog': there is no judge" in said  # what it cannot tell
    assert "in doubt: 'cat'; 'cat': perhaps far from real: 7 of 8" in said
    refused = refusal(ability)
    assert "mine cannot draw 1 group or pair of class and group, and nothing" in refused
    # Data without groups, and without doubts, have no such entries
    write_ability(tmp_path / "ability.json", asked, found[1:])
    assert not {"cells", "doubts"} & set((tmp_path / "ability.json").read_text().split('"'))


def test_the_spectrum_of_a_wave_is_in_its_band() -> None:
    wave = torch.cos(torch.arange(32) * torch.pi / 2).expand(1, 1, 32, 32)  # a quarter of a cycle
    powers = spectrum(wave.double())[0]
    assert powers.argmax() == len(powers) - 2  # two bands are an octave, and the last ends at 0.5
    longer = F.interpolate(wave, scale_factor=2, mode="bilinear").double()
    assert spectrum(longer)[0].argmax() < powers.argmax()


def test_few_validation_images_are_joined_by_training_images() -> None:
    def some(number: int) -> ImageDataset:
        return image_set(random_images(number, 8), [0] * number, ("cat", "dog"))

    for num_val, num_real in ((ENOUGH - 1, ENOUGH - 1 + 4), (ENOUGH, ENOUGH), (150, MAX_REAL)):
        found = reference_of(real_images(some(4), some(num_val)), 0)
        assert (len(found.images), found.num_validation) == (num_real, min(num_val, num_real))
