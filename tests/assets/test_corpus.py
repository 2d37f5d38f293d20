"""The renderings depend on their seed only, and the target look is the pipeline's own."""

import numpy as np
import pytest
import torch
from PIL import Image

from assets.corpus import (
    CONTEXT_SHARES,
    CONTEXTS,
    GENERIC_SHARE,
    appearance_hash,
    as_target,
    fashion_lt_hashes,
    garment_masks,
    render,
    resize,
)
from assets.fashion_lt import CLASS_NAMES, FOLDER


@pytest.fixture(scope="module")
def garments():
    noise = np.random.default_rng(0).integers(60, 256, (12, 32, 32)).astype(np.uint8)
    noise[:, :6], noise[:, -6:], noise[:, :, :8], noise[:, :, -8:] = 0, 0, 0, 0
    return torch.from_numpy(noise), torch.arange(12) % 10


def rendered(garments, context, seed=0):
    images, labels = garments
    contexts = torch.full((len(images),), CONTEXTS.index(context))
    return render(images, labels, contexts, np.random.default_rng(seed))


@pytest.mark.parametrize("context", CONTEXTS)
def test_renderings_are_rgb_and_depend_on_the_seed_only(garments, context):
    first, second = rendered(garments, context), rendered(garments, context)
    assert first.images.shape == (12, 3, 32, 32)
    assert first.images.dtype == torch.uint8
    assert torch.equal(first.images, second.images)
    assert first.captions == second.captions


def test_target_look_is_the_garment_itself(garments):
    assert torch.equal(rendered(garments, "target").images, as_target(garments[0]))


def test_inverted_is_the_negative(garments):
    assert torch.equal(rendered(garments, "inverted").images, 255 - as_target(garments[0]))


def test_backgrounds_show_where_there_is_no_garment(garments):
    corner = rendered(garments, "background").images[:, :, 0, 0]
    assert (corner.amax(dim=1) > 60).all()
    assert (rendered(garments, "coloured").images[:, :, 0, 0] == 0).all()


def test_resize_is_pillows_bicubic_of_the_rgb_picture():
    image = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)
    rgb = Image.fromarray(image).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(rgb)[..., 0], resize(image))


def test_captions_name_the_class_and_often_nothing_else():
    num_images = 2000
    black = torch.zeros(num_images, 32, 32, dtype=torch.uint8)
    labels = torch.arange(num_images) % 10
    contexts = torch.arange(num_images) % len(CONTEXTS)
    captions = render(black, labels, contexts, np.random.default_rng(0)).captions
    assert all(CLASS_NAMES[k] in c for k, c in zip(labels.tolist(), captions, strict=True))
    photos = sum(c.startswith("a photo of a ") for c in captions) / num_images
    assert abs(photos - 0.75 * GENERIC_SHARE) < 0.05


def test_masks_close_holes():
    grey = torch.zeros(1, 1, 32, 32)
    grey[:, :, 8:24, 8:24] = 0.5
    grey[:, :, 15, 15] = 0
    masks = garment_masks(grey)
    assert masks[0, 0, 15, 15] == 1
    assert masks[0, 0, 2, 2] == 0


def test_appearance_ignores_mirror_and_negative():
    image = np.random.default_rng(2).integers(0, 256, (28, 28)).astype(np.uint8)
    same = {appearance_hash(v) for v in (image, image[:, ::-1], 255 - image, 255 - image[:, ::-1])}
    assert len(same) == 1
    assert appearance_hash(np.roll(image, 1)) not in same


def test_shares_are_a_distribution():
    assert len(CONTEXT_SHARES) == len(CONTEXTS)
    assert sum(CONTEXT_SHARES) == pytest.approx(1)


def test_every_picture_of_fashion_lt_is_excluded():
    assert len(fashion_lt_hashes(FOLDER)) == 1242 + 2000 + 10_000
