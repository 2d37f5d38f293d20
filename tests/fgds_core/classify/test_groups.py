"""Classes within their contexts, by hand."""

import numpy as np
import pytest

from fgds_core.classify import groups as of_groups
from fgds_core.classify.groups import grouped, train_counts

NAMES = ("landbird", "waterbird")
LAND, WATER = "land", "water"


def birds(num_train=None):
    """Test images: 20 + 12 landbirds, 4 + 15 waterbirds, and whether each is recognised."""
    cells = [(0, LAND, 20, 18), (0, WATER, 12, 6), (1, LAND, 4, 1), (1, WATER, 15, 12)]
    labels, contexts, right = [], [], []
    for label, context, num, hits in cells:
        labels += [label] * num
        contexts += [context] * num
        right += [True] * hits + [False] * (num - hits)
    groups = grouped(labels, contexts, NAMES, num_train or {})
    return groups, groups.hits(np.array(right))


TRAIN = {
    ("landbird", LAND): 3498,
    ("landbird", WATER): 184,
    ("waterbird", LAND): 56,
    ("waterbird", WATER): 1057,
}


def test_measures_of_groups_by_hand():
    groups, hits = birds(TRAIN)
    found = {name: of_groups.measured(name, hits, groups) for name in of_groups.MEASURES}
    assert found["worst_group"] == 1 / 4  # four images: hardly known
    assert found["worst_group_10"] == 6 / 12
    assert found["worst_tenth"] == 1 / 4  # one of four groups
    assert found["mean_group"] == pytest.approx((0.9 + 0.5 + 0.25 + 0.8) / 4)
    by_hand = (3498 * 0.9 + 184 * 0.5 + 56 * 0.25 + 1057 * 0.8) / 4795
    assert found["adjusted_mean"] == pytest.approx(by_hand)


def test_the_worst_tenth_is_a_mean_of_groups():
    labels = [k for k in range(15) for _ in range(10)]
    names = [f"class {k}" for k in range(15)]
    groups = grouped(labels, ["here"] * 150, names, {})
    hits = np.arange(15) % 11
    assert of_groups.measured("worst_tenth", hits, groups) == 0  # of two groups, 0 and 11
    assert of_groups.measured("worst_tenth", np.arange(1, 16) % 11, groups) == 0.05


def test_what_has_no_test_images_is_in_no_measure():
    groups, hits = birds(TRAIN | {("waterbird", "sky"): 10**6})
    assert len(groups.names) == 4
    assert of_groups.measured("adjusted_mean", hits, groups) < 1
    assert of_groups.measured("worst_group", hits, groups) == 1 / 4


def test_groups_that_training_lacks_weigh_nothing_and_of_none_there_is_no_number():
    groups, hits = birds({("landbird", LAND): 5})
    assert of_groups.measured("adjusted_mean", hits, groups) == pytest.approx(0.9)
    groups, hits = birds()
    assert of_groups.measured("adjusted_mean", hits, groups) is None
    assert of_groups.interval("adjusted_mean", hits, groups, np.random.default_rng(0)) is None
    small = grouped([0, 1], [LAND, WATER], NAMES, {})
    assert of_groups.measured("worst_group_10", np.array([0, 0]), small) is None


def test_intervals_hold_their_numbers():
    groups, hits = birds(TRAIN)
    for name in of_groups.MEASURES:
        found = of_groups.interval(name, hits, groups, np.random.default_rng(0))
        assert found.low < of_groups.measured(name, hits, groups) < found.high


def test_rows_name_the_worst_group_with_its_exact_interval():
    groups, hits = birds(TRAIN)
    worst, *others = of_groups.rows(hits, groups)
    assert (worst["class"], worst["group"], worst["recall"]) == ("waterbird", LAND, 0.25)
    assert (worst["num_images"], worst["num_train"]) == (4, 56)
    assert (worst["low"], worst["high"]) == pytest.approx((0.0063, 0.8059), abs=5e-5)
    assert [row["recall"] for row in others] == [0.5, 0.8, 0.9]


def test_of_equally_bad_groups_the_larger_comes_first():
    groups = grouped([0, 1, 1], [LAND] * 3, NAMES, {})
    rows = of_groups.rows(np.array([0, 0]), groups)
    assert [(row["class"], row["num_images"]) for row in rows] == [
        ("waterbird", 2),
        ("landbird", 1),
    ]


def test_training_images_are_counted_by_class_and_context():
    counts = train_counts([0, 0, 1], [LAND, LAND, WATER], NAMES)
    assert counts == {("landbird", LAND): 2, ("waterbird", WATER): 1}
