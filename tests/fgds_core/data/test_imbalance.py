from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
