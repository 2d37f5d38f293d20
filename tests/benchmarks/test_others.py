"""Other generators and SMOTE, on pictures of a few pixels, after a few steps."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from micro import random_images, synthesize_config

from benchmarks.controls import gan, smote, vae
from benchmarks.controls.conditions import balanced_batches, conditions_of, real_of
from benchmarks.controls.written import Asked, asked, write_set
from fgds_core.classify.network import create_classifier
from fgds_core.data.meta import Meta
from fgds_core.images.dataset import read_images
from fgds_core.images.formats import Encoding
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis.plan import plan_set
from fgds_core.synthesis.shards import read_synthetic

NAMES = ("cat", "dog", "owl")
LABELS = [0] * 9 + [1] * 4 + [2]
GROUPS = ["snow"] * 6 + ["rock"] * 7 + ["snow"]  # no dog before snow, no owl before rock
METHODS = (vae, gan)


def image_set(folder, groups, seed=0):
    extra = {} if groups is None else {"group": groups}
    images = random_images(len(LABELS), seed=seed)
    write_images(folder / f"{seed}.parquet", image_table(images, LABELS, NAMES, extra))
    return read_images(folder / f"{seed}.parquet")


@pytest.fixture(params=[None, GROUPS], ids=["no groups", "groups"])
def real(request, tmp_path):
    return image_set(tmp_path, request.param)


def wanted_of(real, seed=0, **changes):
    """What fills the classes up to 9 images, or as the changes to the parameters have it."""
    counts = real.labels.bincount().tolist()
    cells = None
    if changes.get("target_per_group") is not None:
        found = Counter(zip(real.labels.tolist(), real.groups, strict=True))
        cells = [{g: found[k, g] for g in sorted(set(real.groups))} for k in range(len(NAMES))]
    return asked(plan_set(counts, NAMES, synthesize_config(**changes), cells), real, seed)


def meta_of(real):
    counts = tuple(real.labels.bincount().tolist())
    groups = None if real.groups is None else tuple(sorted(set(real.groups)))
    return Meta(NAMES, 8, {"train": counts}, {}, groups, {}, {})


def test_as_many_are_asked_for_as_the_plan_wants_each_with_a_seed_of_its_own(real):
    wanted = wanted_of(real, target_per_group=None)
    assert wanted.labels.tolist() == [1] * 5 + [2] * 8
    assert len(set(wanted.seeds)) == 13
    more = wanted_of(real, target_per_group=None, target_per_class=10)
    assert more.seeds[1:6] == wanted.seeds[:5], "the same images whatever else is wanted"


def test_where_no_group_is_wanted_an_image_has_that_of_a_real_one_of_its_class(tmp_path):
    real = image_set(tmp_path, GROUPS)
    wanted = wanted_of(real, target_per_group=None, target_per_class=40)
    told = set(zip(wanted.labels.tolist(), wanted.groups, strict=True))
    assert told == set(zip(LABELS, GROUPS, strict=True))


def test_groups_that_are_wanted_are_asked_for(tmp_path):
    wanted = wanted_of(image_set(tmp_path, GROUPS), target_per_group=5)
    found = Counter(zip(wanted.labels.tolist(), wanted.groups, strict=True))
    assert found == {
        (0, "rock"): 2,
        (1, "rock"): 1,
        (1, "snow"): 5,
        (2, "rock"): 5,
        (2, "snow"): 4,
    }


def test_a_written_set_is_read_like_any_other(real, tmp_path):
    wanted = wanted_of(real, target_per_group=None)
    images = torch.randint(0, 256, (13, 3, 8, 8), dtype=torch.uint8)
    write_set(images, wanted, tmp_path / "set", meta_of(real), "made by a test")
    found, table = read_synthetic(tmp_path / "set")
    assert torch.equal(found.__getitems__(range(13)), images)
    assert torch.equal(found.labels, wanted.labels)
    assert found.groups == wanted.groups
    assert table["seed"].to_pylist() == list(wanted.seeds)
    assert set(table["feedback"].to_pylist()) == {"none"}


def test_a_set_is_encoded_like_the_real_images(real, tmp_path):
    wanted = wanted_of(real, target_per_group=None)
    meta = replace(meta_of(real), encoding=Encoding("jpeg", 88))
    images = torch.zeros(13, 3, 8, 8, dtype=torch.uint8)
    write_set(images, wanted, tmp_path / "set", meta, "made by a test")
    assert read_synthetic(tmp_path / "set")[0].file(0).startswith(b"\xff\xd8")  # JPEG's mark


@pytest.mark.parametrize("method", METHODS)
def test_images_follow_from_the_seed_alone(real, method):
    wanted = wanted_of(real, target_per_group=None)
    state = torch.random.get_rng_state()
    fitted = method.fit(real, 0, num_steps=2)
    images = method.sample(fitted, wanted)
    assert images.shape == (13, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert torch.equal(method.sample(method.fit(real, 0, num_steps=2), wanted), images)
    assert not torch.equal(method.sample(method.fit(real, 1, num_steps=2), wanted), images)
    assert torch.equal(torch.random.get_rng_state(), state)
    groups = None if wanted.groups is None else wanted.groups[4:6]
    alone = method.sample(fitted, Asked(wanted.labels[4:6], groups, wanted.seeds[4:6]))
    assert (alone.int() - images[4:6].int()).abs().max() <= 1  # sums in another order


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_without_an_image_can_be_drawn(tmp_path, method):
    fitted = method.fit(image_set(tmp_path, GROUPS), 0, num_steps=1)
    pairs = Asked(torch.tensor([1, 1]), ("snow", "rock"), (5, 5))
    unseen, seen = method.sample(fitted, pairs)
    assert not torch.equal(unseen, seen)
    with pytest.raises(ValueError, match="sand"):
        method.sample(fitted, Asked(torch.tensor([1]), ("sand",), (5,)))


def test_batches_have_all_pairs_alike_often(real):
    conditions = real_of(real).conditions
    rows = next(balanced_batches(conditions, 20_000, torch.Generator().manual_seed(0)))
    pairs = Counter(map(tuple, conditions[rows].tolist()))
    assert len(pairs) == len(set(map(tuple, conditions.tolist())))
    for number in pairs.values():
        assert number == pytest.approx(20_000 / len(pairs), rel=0.05)


def test_conditions_are_numbers_of_class_and_group():
    labels = torch.tensor([2, 0])
    assert conditions_of(labels, ["b", "a"], ("a", "b")).tolist() == [[2, 1], [0, 0]]
    assert conditions_of(labels, None, ("",)).tolist() == [[2, 0], [0, 0]]


def test_the_bound_is_that_of_normal_distributions():
    rng = np.random.default_rng(0)
    x, decoded = rng.normal(size=(2, 5, 3, 8, 8))
    m, p = rng.normal(size=(2, 5, 4))
    s, q = rng.uniform(0.2, 2, size=(2, 5, 4))
    divergence = (np.log(q / s) + (s**2 + (m - p) ** 2) / (2 * q**2) - 0.5).sum() / 5
    # -log of the density at its best variance, less log(2 pi e) / 2
    plain = 0.5 * np.log(((x - decoded) ** 2).mean()) + divergence / (3 * 8 * 8)
    posterior, prior = (
        torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(scale))
        for mean, scale in ((m, s), (p, q))
    )
    bound = vae.negative_elbo(*map(torch.from_numpy, (x, decoded)), posterior, prior)
    assert bound.item() == pytest.approx(plain)


def test_what_differs_as_much_as_its_latents_has_a_sameness_of_1():
    z = torch.randn(6, 12)
    x = z.view(6, 3, 2, 2)
    assert gan.sameness(x, z).item() == pytest.approx(1, abs=1e-3)
    assert gan.sameness(x / 2, z).item() == pytest.approx(2, abs=1e-3)
    assert gan.sameness(x[:3].repeat(2, 1, 1, 1), z) > 1000


@pytest.mark.parametrize("augmentation", gan.AUGMENTATIONS)
def test_augmentation_is_differentiable(augmentation):
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    fixed = lambda x: augmentation(x, torch.Generator().manual_seed(3))  # noqa: E731
    assert torch.autograd.gradcheck(fixed, x)


def test_translation_moves_and_cutout_cuts():
    rng = torch.Generator().manual_seed(0)
    x = torch.zeros(200, 3, 16, 16)
    x[:, :, 8, 8] = 1
    places = gan.translation(x, rng)[:, 0].nonzero()[:, 1:]
    assert len(places) == 200
    assert set(map(tuple, places.tolist())) == {(i, j) for i in range(6, 11) for j in range(6, 11)}
    left = gan.cutout(torch.ones(200, 3, 16, 16), rng).mean(dim=(1, 2, 3))  # [200]
    assert left.min() == 1 - 1 / 4
    assert left.max() < 1


def test_the_discriminator_is_of_bounded_slope():
    discriminator = gan.Discriminator(3, 2, 8)
    conditions = torch.tensor([[0, 1], [2, 0]])
    for _ in range(200):  # a step of the power iteration each
        discriminator(torch.randn(2, 3, 8, 8), conditions)
    layers = [discriminator.score, discriminator.told.of_class, discriminator.body[0]]
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert largest == pytest.approx(1, abs=0.01)


def test_mixtures_lie_between_an_image_and_one_of_its_nearest():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4))
    nearest = np.linalg.norm(x[:, None] - x[None], axis=-1).argsort(axis=1)[:, 1:4]
    segments = [(x[i], x[j]) for i in range(9) for j in nearest[i]]
    mixed = smote.mixtures(x, 50, rng, num_neighbours=3)
    for point in mixed:
        detours = [
            np.linalg.norm(point - a) + np.linalg.norm(point - b) - np.linalg.norm(a - b)
            for a, b in segments
        ]
        assert min(detours) < 1e-9
    assert len(np.unique(mixed, axis=0)) == 50


def test_cells_are_filled_up_to_the_largest_and_one_image_is_repeated():
    x = np.arange(10.0)[:, None] ** 2
    labels = np.array([0] * 6 + [1] * 3 + [2])
    filled, of_filled = smote.balanced(x, labels, labels, seed=0)
    assert np.bincount(of_filled).tolist() == [6, 6, 6]
    assert np.array_equal(filled[:10], x)
    new = filled[10:13]
    assert ((new >= 36) & (new <= 64)).all()  # the second class has 3, so 2 neighbours each
    assert (filled[13:] == 81).all()
    again, _ = smote.balanced(x, labels, labels, seed=0)
    assert np.array_equal(again, filled)


def test_only_the_last_layer_is_refitted(real, tmp_path):
    kwargs = {"stem_width": 8, "channels": [8, 8, 16, 16]}
    classifier = create_classifier("resnet10t", kwargs, NAMES, 16, 0).eval()
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    val = image_set(tmp_path, real.groups, seed=1)
    found = smote.refitted(classifier, real, val, seed=0)
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(found.features(x), classifier.features(x))
        assert not torch.allclose(found(x), classifier(x))
    for name, t in classifier.state_dict().items():
        assert torch.equal(t, before[name])
