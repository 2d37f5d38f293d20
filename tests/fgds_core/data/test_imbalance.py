from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgds_core.classify.batches import BalancedBatchSampler
from fgds_core.data.imbalance import check_target, long_tailed_counts, quotas, shot_bins
from fgds_core.errors import InputError

counts_lists = st.lists(st.integers(0, 1300), min_size=1, max_size=20)


def test_bins_at_their_borders():
    assert shot_bins([0, 19, 20, 100, 101]) == ["few", "few", "medium", "medium", "many"]


def test_profile_of_cifar10_lt():
    # The counts everyone reports for 10 classes, 5000 images, imbalance factor 100.
    expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tailed_counts(5000, 100, 10) == expected


@given(st.integers(1, 5000), st.floats(1, 1000), st.integers(1, 60))
def test_profile_falls_from_the_largest_to_the_smallest(largest, factor, num_classes):
    counts = long_tailed_counts(largest, factor, num_classes)
    assert len(counts) == num_classes
    assert counts[0] == largest
    assert all(a >= b >= 1 for a, b in pairwise(counts))
    if num_classes > 1:
        assert counts[-1] == pytest.approx(max(largest / factor, 1), abs=1)


@pytest.mark.parametrize("arguments", [(0, 10, 3), (10, 0.5, 3), (10, float("inf"), 3), (9, 2, 0)])
def test_profile_refuses_senseless_numbers(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        long_tailed_counts(*arguments)


@given(counts_lists, st.integers(0, 2000))
def test_quotas_fill_up_to_the_target_and_never_cut(counts, target):
    filled = [count + quota for count, quota in zip(counts, quotas(counts, target), strict=True)]
    assert filled == [max(count, target) for count in counts]


@given(counts_lists)
def test_target_max_makes_all_classes_as_large_as_the_largest(counts):
    filled = [count + quota for count, quota in zip(counts, quotas(counts, "max"), strict=True)]
    assert set(filled) == {max(counts)}


@given(counts_lists, st.integers(0, 2000), st.integers(0, 50))
def test_a_minimum_gives_images_to_classes_that_have_the_target(counts, target, least):
    plain, wanted = quotas(counts, target), quotas(counts, target, least)
    assert wanted == [max(quota, least) for quota in plain]
    assert quotas(counts, target, 0) == plain


def test_negative_target_is_refused():
    with pytest.raises(ValueError, match="target_per_class"):
        quotas([3], -1)


@pytest.mark.parametrize(
    ("counts", "target", "message"),
    [
        (
            [6, 6, 6],
            "max",
            "is max, the largest class's count, and all 3 classes have 6 real training images: no"
            " class needs a synthetic one; set it to a number above 6",
        ),
        ([6, 6], 6, "is 6, and all 2 classes have 6 real .* set it to a number above 6"),
        (
            [2000, 30],
            20,
            r"is 20, and even the smallest class has 30 real .* above 30, or to max \(2,000\)",
        ),
        ([12, 9], 9, r"is 9, and even the smallest class has 9 .* above 9, or to max \(12\)"),
        ([7], "max", "the one class has 7 real training images: .* set it to a number above 7"),
        ([7], 5, "is 5, and the one class has 7 .*"),
    ],
)
def test_a_target_that_no_class_is_below_says_what_would_be(counts, target, message):
    with pytest.raises(InputError, match=rf"{message}$"):
        check_target(counts, target)


@pytest.mark.parametrize(("counts", "target"), [([7], 8), ([5, 6, 6], "max"), ([0, 0], 1)])
def test_a_target_that_some_class_is_below_is_fine(counts, target):
    check_target(counts, target)


def test_a_minimum_is_something_to_draw_where_all_have_the_target():
    check_target([6, 6], 6, 1)


def sampler(real, synthetic, *, seed=0, **settings):
    settings = {"batch_size": 8, "real_share": 0.5, "num_batches": 12} | settings
    return BalancedBatchSampler(
        torch.tensor(real),
        None if synthetic is None else torch.tensor(synthetic),
        rng=torch.Generator().manual_seed(seed),
        **settings,
    )


labels = st.lists(st.integers(0, 4), min_size=1, max_size=40)


@settings(deadline=None)
@given(labels, st.none() | labels, st.integers(1, 12), st.floats(0, 1), st.integers(0, 99))
def test_classes_are_equally_frequent_over_any_stretch(real, synthetic, size, share, seed):
    batches = sampler(real, synthetic, batch_size=size, real_share=share, seed=seed)
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
    for batch in sampler(real, synthetic, batch_size=size, real_share=share, seed=seed):
        assert sum(i < len(real) for i in batch) == round(share * size)


def test_class_without_the_wanted_source_gives_the_other():
    real, synthetic = [0, 0, 0, 1], [1, 1]  # class 0 has no synthetic image
    drawn = [i for batch in sampler(real, synthetic, real_share=0.0) for i in batch]
    assert {i for i in drawn if i < 3} == {0, 1, 2}
    assert 3 not in drawn  # class 1 has synthetic images, and no real ones were asked for


def test_no_image_repeats_before_all_of_its_class_and_source_were_drawn():
    real = [0] * 7 + [1] * 2
    batches = sampler(real, None, num_batches=20)
    drawn = [i for _ in range(2) for batch in batches for i in batch]  # goes on across epochs
    of_class_0 = [i for i in drawn if i < 7]
    for start in range(0, len(of_class_0) - 6, 7):
        assert sorted(of_class_0[start : start + 7]) == list(range(7))


def test_same_generator_seed_gives_same_batches_and_another_gives_others():
    real, synthetic = [0] * 9 + [1] * 9, [1] * 5
    first = list(sampler(real, synthetic, seed=1))
    assert first == list(sampler(real, synthetic, seed=1))
    assert first != list(sampler(real, synthetic, seed=2))


def test_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    list(sampler([0, 1], None))
    assert torch.equal(before, torch.random.get_rng_state())


def test_serves_a_data_loader():
    images = torch.arange(6.0)
    loader = torch.utils.data.DataLoader(images, batch_sampler=sampler([0, 0, 0, 1], [1, 1]))
    assert [len(batch) for batch in loader] == [8] * 12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"num_batches": -1}, "num_batches"),
        ({"real_share": 1.5}, "real_share"),
    ],
)
def test_senseless_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sampler([0, 1], None, **wrong)


def test_no_images_at_all_are_refused():
    with pytest.raises(ValueError, match="no image"):
        sampler([], None)
