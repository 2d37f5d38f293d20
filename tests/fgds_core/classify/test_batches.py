"""Which images a training batch holds, by each way of sampling."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sets import image_set
from training import recipe, shaded

from fgds_core.classify.batches import BATCH_SOURCES, TrainingImages
from fgds_core.classify.slots import Rounds, stratified

REAL, SYNTHETIC = [24, 6, 2], [0, 4, 12]


def rows(sampling, training, seed=0, **changes):
    config = recipe(sampling=sampling, **{"num_steps": 12} | changes)
    rng = torch.Generator().manual_seed(seed)
    return list(BATCH_SOURCES[sampling](training, config, rng))


def with_groups(cells):
    """Images of some (class, group) cells, as many as it says."""
    pairs = [cell for cell, number in cells.items() for _ in range(number)]
    labels, groups = zip(*pairs, strict=True)
    return image_set(torch.zeros(len(pairs), 3, 16, 16), list(labels), "abc", groups)


GROUPED_REAL = {(0, "ice"): 9, (0, "sea"): 3, (1, "sea"): 4, (2, "ice"): 1}
GROUPED_SYNTHETIC = {(1, "ice"): 5, (2, "ice"): 6, (0, "sea"): 2}
MIXED = TrainingImages(shaded(REAL), shaded(SYNTHETIC, seed=1), 0.5)
GROUPED = TrainingImages(with_groups(GROUPED_REAL), with_groups(GROUPED_SYNTHETIC), 0.5)


def balanced(real, synthetic, *, seed=0, batch_size=8, real_share=0.5, num_batches=12):
    labels = torch.tensor(real + (synthetic or []))
    rng = torch.Generator().manual_seed(seed)
    classes = Rounds(labels.unique().tolist(), rng)
    return stratified(
        labels,
        len(real),
        lambda progress: classes.draw(),
        batch_size=batch_size,
        real_share=real_share,
        num_batches=num_batches,
        rng=rng,
    )


labels = st.lists(st.integers(0, 4), min_size=1, max_size=40)


@settings(deadline=None)
@given(labels, st.none() | labels, st.integers(1, 12), st.floats(0, 1), st.integers(0, 99))
def test_classes_are_equally_frequent_over_any_stretch(real, synthetic, size, share, seed):
    batches = balanced(real, synthetic, batch_size=size, real_share=share, seed=seed)
    all_labels = real + (synthetic or [])
    drawn = [all_labels[i] for batch in batches for i in batch]
    assert len(drawn) == 12 * size
    for end in range(1, len(drawn) + 1):
        seen = Counter(drawn[:end])
        frequencies = [seen[label] for label in set(all_labels)]
        assert max(frequencies) - min(frequencies) <= 1


@settings(deadline=None)
@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 99))
def test_share_of_real_images_is_exact_in_every_batch(size, share, seed):
    real, synthetic = [0] * 50 + [1] * 3, [0, 1, 1, 1]
    for batch in balanced(real, synthetic, batch_size=size, real_share=share, seed=seed):
        assert sum(i < len(real) for i in batch) == round(share * size)


def test_class_without_the_wanted_source_gives_the_other():
    real, synthetic = [0, 0, 0, 1], [1, 1]  # class 0 has no synthetic image
    drawn = [i for batch in balanced(real, synthetic, real_share=0.0) for i in batch]
    assert {i for i in drawn if i < 3} == {0, 1, 2}
    assert 3 not in drawn  # class 1 has synthetic images, and no real ones were asked for


def test_no_image_repeats_before_all_of_its_class_and_source_were_drawn():
    real = [0] * 7 + [1] * 2
    drawn = [i for batch in balanced(real, None, num_batches=40) for i in batch]
    of_class_0 = [i for i in drawn if i < 7]
    for start in range(0, len(of_class_0) - 6, 7):
        assert sorted(of_class_0[start : start + 7]) == list(range(7))


@pytest.mark.parametrize("sampling", BATCH_SOURCES)
def test_the_same_seed_gives_the_same_batches_and_another_gives_others(sampling):
    before = torch.random.get_rng_state()
    first = rows(sampling, GROUPED, seed=1)
    assert first == rows(sampling, GROUPED, seed=1)
    assert first != rows(sampling, GROUPED, seed=2)
    assert [len(batch) for batch in first] == [8] * 12
    assert torch.equal(before, torch.random.get_rng_state())


FIRST_DRAWS = {
    ("instance", "real"): [[12, 31, 25, 28, 19, 29, 9, 10], [6, 27, 4, 2, 3, 20, 24, 22]],
    ("square_root", "real"): [[31, 27, 19, 31, 25, 28, 7, 15], [24, 12, 19, 7, 15, 25, 20, 18]],
    ("class_balanced", "real"): [[7, 30, 26, 13, 29, 31, 28, 22], [30, 2, 31, 27, 25, 16, 30, 24]],
    ("class_balanced", "mixed"): [
        [7, 30, 33, 13, 31, 35, 22, 34],
        [30, 26, 2, 37, 31, 16, 32, 15],
    ],
}
"""The first two batches as they were drawn before there were other ways of sampling."""


@pytest.mark.parametrize("case", FIRST_DRAWS)
def test_draws_are_those_of_earlier_versions(case):
    sampling, training = case
    found = rows(sampling, {"real": TrainingImages(shaded(REAL)), "mixed": MIXED}[training])
    assert found[:2] == FIRST_DRAWS[case]


@pytest.mark.parametrize("sampling", BATCH_SOURCES)
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_every_batch_has_the_share_of_real_images(sampling, share):
    # Every cell has both sources, so that none has to give the other
    real, synthetic = ({cell: n for cell in GROUPED_REAL} for n in (3, 2))
    training = TrainingImages(with_groups(real), with_groups(synthetic), share)
    for batch in rows(sampling, training):
        assert sum(row < training.num_real for row in batch) == round(share * 8)


def drawn_classes(sampling, training=MIXED, **changes):
    drawn = [row for batch in rows(sampling, training, **changes) for row in batch]
    return training.images.labels[drawn]


def test_instance_sampling_follows_real_counts_whatever_is_synthetic():
    # 12 batches of 8 are three rounds of the 32 real images' classes
    assert drawn_classes("instance").bincount().tolist() == [3 * n for n in REAL]


def test_square_root_sampling_follows_real_counts_whatever_is_synthetic():
    share = drawn_classes("square_root", num_steps=600).bincount() / 4800
    roots = torch.tensor(REAL).sqrt()
    assert share.tolist() == pytest.approx((roots / roots.sum()).tolist(), abs=0.03)


@pytest.mark.parametrize("training", [MIXED, TrainingImages(shaded(REAL))])
def test_progressive_sampling_goes_from_images_to_classes(training):
    steps = 1200
    of_batch = drawn_classes("progressive", training, num_steps=steps).view(steps, 8)
    instance = torch.tensor(REAL) / sum(REAL)
    for first in range(0, steps, 300):
        t = (first + 149.5) / steps
        expected = (1 - t) * instance + t / 3
        share = of_batch[first : first + 300].flatten().bincount(minlength=3) / 2400
        assert share.tolist() == pytest.approx(expected.tolist(), abs=0.04)
    at_first = drawn_classes("progressive", training, num_steps=2, batch_size=32)[:32]
    assert at_first.bincount().tolist() == REAL


def test_group_balanced_sampling_takes_all_cells_alike():
    assert GROUPED.groups is not None
    drawn = [row for batch in rows("group_balanced", GROUPED, num_steps=50) for row in batch]
    labels, groups = GROUPED.images.labels, GROUPED.groups
    seen = Counter((int(labels[row]), int(groups[row])) for row in drawn)
    assert set(seen) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)}  # those with any image
    assert max(seen.values()) - min(seen.values()) <= 1


@pytest.mark.parametrize("sampling", BATCH_SOURCES)
def test_a_class_of_synthetic_images_alone_counts_as_one_with_one(sampling):
    real = with_groups({(0, "ice"): 9, (1, "sea"): 4})
    training = TrainingImages(real, with_groups({(0, "ice"): 2, (2, "sea"): 5}), 0.5)
    share = drawn_classes(sampling, training, num_steps=700).bincount(minlength=3) / 5600
    expected = {"instance": [9 / 14, 4 / 14, 1 / 14], "square_root": [3 / 6, 2 / 6, 1 / 6]}
    half = [(a + b) / 2 for a, b in zip(expected["instance"], [1 / 3] * 3, strict=True)]
    wanted = expected | {"progressive": half}
    assert share.tolist() == pytest.approx(wanted.get(sampling, [1 / 3] * 3), abs=0.03)
