"""Random changes at rest: what they do, and that they depend on their seeds alone."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training import TRAIN, VAL, recipe, same_weights

from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.classify.transforms import Transform, check_policy, create_transform
from fgds_core.images import dataset

ALL = {"crop_scale": 0.3, "rand_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4}


def transform(size=(32, 32), **changes):
    off = {"crop_scale": None, "rand_augment": None, "color_jitter": 0.0}
    return Transform(SimpleNamespace(**{**off, **changes}), size)


def picture(size=(32, 32), seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, *size), dtype=torch.uint8, generator=rng)


def test_what_is_off_is_nothing():
    assert create_transform(recipe(), (16, 16)) is None
    for name, value in ALL.items():
        assert create_transform(recipe(**{name: value}), (16, 16)) is not None


@pytest.mark.parametrize("name", ALL)
def test_an_image_depends_on_its_seed_alone_and_no_state_is_touched(name):
    change, image = transform(**{name: ALL[name]}), picture()
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    first = [change(image, seed) for seed in range(12)]
    assert random.getstate() == states[0]
    assert str(np.random.get_state()) == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(9)
    torch.manual_seed(9)
    again = [change(image, seed) for seed in reversed(range(12))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({image.numpy().tobytes() for image in first}) > 4
    for changed in first:
        assert changed.dtype == torch.uint8
        assert changed.shape == image.shape


def test_a_crop_keeps_the_area_that_it_shall_and_is_enlarged_to_the_whole():
    change, size = transform((64, 64), crop_scale=0.25), 64
    ramp = torch.linspace(0, 252, size).round().to(torch.uint8)
    image = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)] * 2)[:3]
    areas = []
    for seed in range(200):
        cut = change(image, seed).double()
        across, down = (
            (cut[0].amax() - cut[0].amin()) / 252,
            (cut[1].amax() - cut[1].amin()) / 252,
        )
        areas.append(float(across * down))
    assert 0.2 < min(areas) < 0.35
    assert 0.85 < max(areas) <= 1


def test_jitter_changes_a_grey_image_by_no_more_than_its_strength():
    change, grey = transform(color_jitter=0.4), torch.full((3, 32, 32), 100, dtype=torch.uint8)
    levels = {change(grey, seed).unique().item() for seed in range(60)}
    assert 58 <= min(levels) < 75
    assert 125 < max(levels) <= 142


def test_a_policy_that_never_acts_changes_nothing_and_one_that_acts_does():
    image = picture()
    for policy, changed in (("rand-m9-n2-p0", False), ("rand-m9-n3-p1", True)):
        change = transform(rand_augment=policy)
        assert any(not torch.equal(change(image, seed), image) for seed in range(8)) == changed


@pytest.mark.parametrize("policy", ["rand-m10-n9-p1-inc1", "rand-m0-n9-p1"])
def test_the_largest_magnitude_leaves_something_of_an_image(policy):
    change, image = transform(rand_augment=policy), picture()
    for seed in range(40):  # posterising was asked for 0 bits, which Pillow refuses
        assert change(image, seed).shape == image.shape


@pytest.mark.parametrize("policy", ["rand", "rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.4-mmax15-t3aw"])
def test_policies_of_timm_are_taken(policy):
    check_policy(policy)


@pytest.mark.parametrize(
    "policy", ["", "augmix-m5", "rand-m9-foo", "rand-m9.5", "rand-tfoo", "m9", "rand-n99-tweights"]
)
def test_other_policies_are_refused_with_how_one_is_written(policy):
    with pytest.raises(ValueError, match=r"such as rand-m9|than"):
        check_policy(policy)


@pytest.mark.parametrize("kept", [True, False])
def test_processes_that_read_and_change_images_ahead_change_no_weight(monkeypatch, kept):
    if not kept:
        monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    config = recipe(**ALL, mix="cmo")
    here = train_classifier(TRAIN, VAL, config, seed=2)
    ahead = train_classifier(TRAIN, VAL, config, seed=2, run=TrainingRun(loader_workers=2))
    assert same_weights(here, ahead)
    assert not same_weights(here, train_classifier(TRAIN, VAL, recipe(mix="cmo"), seed=2))
