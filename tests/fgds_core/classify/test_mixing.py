"""Mixed images against the papers' formulas, and who is mixed with whom."""

import math

import numpy as np
import pytest
import torch
from sets import image_set
from training import TRAIN, VAL, recipe, shaded

from fgds_core.classify.batches import TrainingImages
from fgds_core.classify.mixing import MIXES, create_mixer
from fgds_core.classify.stream import training_batches
from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError

REAL, SYNTHETIC = [50, 10, 2], [0, 40, 48]
LABELS = torch.arange(3).repeat_interleave(torch.tensor(REAL))
LABELS = torch.cat([LABELS, torch.arange(3).repeat_interleave(torch.tensor(SYNTHETIC))])
NUM_REAL = sum(REAL)
GROUPS = torch.arange(len(LABELS)) % 4


def drawn(mix, rows, num_batches=1, within_source=False, labels=LABELS, **changes):
    config = recipe(mix=mix, **changes)
    mixer = create_mixer(config, labels, NUM_REAL, within_source, GROUPS[: len(labels)])
    rng = torch.Generator().manual_seed(5)
    return [mixer.draw(rows, rng) for _ in range(num_batches)]


def pictures(number, height=12, width=9):
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_mixup_is_the_weighted_mean_of_two_images_of_the_batch():
    rows = list(range(40, 60))
    (mixture,) = drawn("mixup", rows)
    x = pictures(20)
    mixed, share = mixture(x)
    assert sorted(mixture.partners) == rows
    for i, partner in enumerate(mixture.partners):
        other = x[rows.index(partner)]
        expected = share[i] * x[i] + (1 - share[i]) * other
        torch.testing.assert_close(mixed[i], expected)
    assert mixture.extra == []


def pasted_by_the_formula(image, other, share, centre):
    """CutMix: r_w = W sqrt(1 - share), r_h = H sqrt(1 - share) around a uniform centre."""
    _, height, width = image.shape
    half_height = int(height * math.sqrt(1 - share)) // 2
    half_width = int(width * math.sqrt(1 - share)) // 2
    row, column = int(centre[0] * height), int(centre[1] * width)
    mask = torch.ones(height, width)
    for i in range(height):
        for j in range(width):
            inside = row - half_height <= i < row + half_height
            if inside and column - half_width <= j < column + half_width:
                mask[i, j] = 0
    return mask * image + (1 - mask) * other, mask.mean()


@pytest.mark.parametrize("mix", ["cutmix", "cmo"])
def test_a_rectangle_is_pasted_and_labels_count_by_its_area(mix):
    rows = list(range(30))
    (mixture,) = drawn(mix, rows, mix_probability=0.8)
    x = pictures(30 + len(mixture.extra))
    mixed, share = mixture(x)
    for i, place in enumerate(mixture.places):
        expected, area = pasted_by_the_formula(
            x[i], x[place], mixture.shares[i], mixture.centres[:, i]
        )
        assert torch.equal(mixed[i], expected)
        assert share[i] == pytest.approx(area.item())
    assert share.min() < 0.5
    read = rows + mixture.extra
    assert [read[place] for place in mixture.places] == mixture.partners


def test_the_images_of_a_batch_that_is_read_show_what_their_labels_say():
    flat = torch.tensor([-1.0, 0.0, 1.0])
    labels = torch.arange(3).repeat_interleave(torch.tensor([20, 6, 2]))
    images = image_set(flat[labels].view(-1, 1, 1, 1).expand(-1, 3, 16, 16), labels, "abc")
    config = recipe(mix="cmo", shift=0, erase=0.0, mix_probability=0.7, num_steps=10)
    levels = torch.tensor([-1.0, 1 / 255, 1.0])
    seen = 0
    for batch in training_batches(TrainingImages(images), config, torch.Generator()):
        for x, own, share, other in zip(
            batch.x, batch.labels, batch.share, batch.partner.labels, strict=True
        ):
            if own != other:
                seen += 1
                shown = ((x[0] - levels[own]).abs() < 1e-2).double().mean()
                assert shown.item() == pytest.approx(share.item())
        assert batch.partner.x is batch.x
    assert seen > 10


def test_cmo_pastes_an_image_as_often_as_its_class_is_rare_among_real_images():
    mixtures = drawn("cmo", list(range(50)), num_batches=600)
    partners = torch.tensor([row for mixture in mixtures for row in mixture.partners])
    frequency = partners.bincount(minlength=len(LABELS)).double() / len(partners)
    weights = torch.tensor([1 / REAL[label] for label in LABELS]).double()
    expected = weights / weights.sum()
    assert (frequency - expected).abs().max() < 4 * (expected.max() / len(partners)).sqrt()
    of_class = torch.zeros(3).double().index_add(0, LABELS, frequency)
    assert (of_class * torch.tensor(REAL)).tolist() == pytest.approx([50 / 31] * 3, rel=0.1)


def test_a_class_without_real_images_is_as_rare_as_one_with_a_single_image():
    labels = torch.tensor([0] * NUM_REAL + [1] * 10)
    mixtures = drawn("cmo", list(range(50)), num_batches=100, labels=labels)
    rows = [row for mixture in mixtures for row in mixture.partners]
    share = np.mean([row >= NUM_REAL for row in rows])
    assert share == pytest.approx(10 / 11, abs=0.02)


def test_lisa_mixes_one_class_of_two_groups_or_one_group_of_two_classes():
    mixtures = drawn("lisa", list(range(len(LABELS))), num_batches=200)
    counts = torch.zeros(len(LABELS), len(LABELS))
    for mixture in mixtures:
        counts[range(len(LABELS)), mixture.partners] += 1
    same_class = LABELS[:, None] == LABELS
    same_group = GROUPS[:, None] == GROUPS
    fits = same_class ^ same_group
    assert counts[~fits].sum() == 0
    share = (counts * same_class).sum() / counts.sum()
    assert share.item() == pytest.approx(0.5, abs=0.02)
    for kind in (same_class & fits, same_group & fits):  # all that fit an image are as likely
        num = kind.sum(1, keepdim=True)
        expected = (kind / num)[kind]
        assert (counts[kind] / 100).mean() == pytest.approx(expected.mean().item(), rel=0.02)
        assert ((counts[kind] / 100 - expected) / (expected / 100).sqrt()).std() < 1.2


def test_lisa_leaves_an_image_alone_that_nothing_fits():
    labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 2])
    mixer = create_mixer(recipe(mix="lisa"), labels, 4, False, groups)
    rng = torch.Generator().manual_seed(0)
    partners = {tuple(mixer.draw([0, 1, 2, 3], rng).partners) for _ in range(60)}
    assert partners == {(a, b, 2, 3) for a in (0, 1) for b in (0, 1)}


def test_lisa_needs_groups():
    with pytest.raises(InputError, match="mix: got lisa, but the training images have no groups"):
        train_classifier(TRAIN, VAL, recipe(mix="lisa"), seed=0)


@pytest.mark.parametrize("mix", MIXES)
def test_within_a_source_real_images_are_mixed_with_real_ones_alone(mix):
    rows = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(2)).tolist()
    for within_source in (True, False):
        mixtures = drawn(mix, rows, num_batches=5, within_source=within_source)
        same = [
            (own < NUM_REAL) == (partner < NUM_REAL)
            for mixture in mixtures
            for own, partner in zip(rows, mixture.partners, strict=True)
        ]
        assert all(same) == within_source


@pytest.mark.parametrize("mix", MIXES)
def test_as_many_are_mixed_as_the_probability_says_and_the_others_stay(mix):
    rows = list(range(100))
    for probability in (0.0, 0.3):
        mixtures = drawn(mix, rows, num_batches=20, mix_probability=probability)
        shares = np.concatenate([mixture.shares for mixture in mixtures])
        assert np.mean(shares < 1) == pytest.approx(probability, abs=0.03)
        x = pictures(100 + len(mixtures[0].extra))
        mixed, share = mixtures[0](x)
        stays = torch.from_numpy(mixtures[0].shares == 1)
        assert torch.equal(mixed[stays], x[:100][stays])
        assert share[stays].eq(1).all()
        assert [row for row, s in zip(rows, stays, strict=True) if s] == [
            row for row, s in zip(mixtures[0].partners, stays, strict=True) if s
        ]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_drawn_from_the_beta_distribution(alpha):
    mixtures = drawn("mixup", list(range(100)), num_batches=100, mix_alpha=alpha)
    shares = np.concatenate([mixture.shares for mixture in mixtures])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


@pytest.mark.parametrize("mix", ["mixup", "cutmix", "cmo"])
def test_a_batch_is_told_of_partners_where_it_is_mixed_and_of_none_elsewhere(mix):
    training = TrainingImages(TRAIN, shaded([2, 3, 4], seed=4), 0.5)
    mixed, plain = (
        next(iter(training_batches(training, config, torch.Generator().manual_seed(3))))
        for config in (recipe(mix=mix), recipe())
    )
    assert mixed.labels.tolist() == plain.labels.tolist()
    assert plain.share is None
    assert plain.partner is None
