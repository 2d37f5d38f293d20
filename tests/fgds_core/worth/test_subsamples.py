"""What the trainings of an estimate see, and what real images are counted of."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from sets import image_set

from fgds_core.worth.subsamples import SHARES, kept_rows, num_kept, planned
from fgds_core.worth.units import units_of

UNITS = np.repeat([0, 1, 2], [40, 8, 1])


def test_a_smaller_share_of_a_seed_is_part_of_a_larger_one() -> None:
    rows = [set(kept_rows(UNITS, [0, 1, 2], share, seed=3).tolist()) for share in SHARES]
    assert all(less < more for less, more in pairwise(rows))
    assert rows[-1] == set(range(len(UNITS)))


def test_of_thinned_units_a_share_is_kept_and_of_the_others_everything() -> None:
    rows = kept_rows(UNITS, [1, 2], 0.25, seed=0)
    assert Counter(UNITS[rows].tolist()) == {0: 40, 1: 2, 2: 1}
    assert rows.tolist() == sorted(rows.tolist())


def test_another_seed_keeps_other_images_and_the_same_seed_the_same() -> None:
    first, again, other = (kept_rows(UNITS, [0], 0.5, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("count", "share", "kept"), [(0, 0.5, 0), (1, 0.25, 1), (5, 0.25, 1), (14, 0.5, 7), (3, 1, 3)]
)
def test_a_share_is_rounded_and_leaves_one_image(count: int, share: float, kept: int) -> None:
    assert num_kept(count, share) == kept


def test_a_plan_has_each_share_of_both_kinds_once_for_each_seed() -> None:
    plan = planned(7, 4)
    assert len(plan) == len(set(plan)) == 4 * 2 * len(SHARES)
    counts = Counter((each.real, each.synthetic) for each in plan)
    wanted = [*((share, 0.0) for share in SHARES), *((1.0, share) for share in SHARES)]
    assert counts == dict.fromkeys(wanted, 4)
    # More seeds keep the trainings of fewer; another run has none of them
    assert plan[: len(planned(7, 2))] == planned(7, 2)
    assert not {each.seed for each in plan} & {each.seed for each in planned(8, 4)}


def test_a_class_in_a_group_counts_by_itself() -> None:
    labels = torch.tensor([0] * 21 + [1] * 3)
    groups = ("by sea",) * 2 + ("on land",) * 19 + ("by sea",) * 3
    train = image_set(torch.zeros(24, 3, 4, 4), labels, ("bird", "dog"), groups)
    units = units_of(train)
    assert units.names == ("bird, by sea", "bird, on land", "dog, by sea")
    assert units.counts == (2, 19, 3)
    assert units.bins == ("few", "few", "few")
    labels, groups = torch.tensor([1, 1, 0]), ("on land", "by sea", "on land")
    val = image_set(torch.zeros(3, 3, 4, 4), labels, ("bird", "dog"), groups)
    assert units.of(val).tolist() == [-1, 2, 1]


def test_without_groups_a_class_is_a_unit_and_only_few_images_are_rare() -> None:
    labels = torch.arange(3).repeat_interleave(torch.tensor([101, 20, 19]))
    units = units_of(image_set(torch.zeros(140, 3, 4, 4), labels, ("a", "b", "c")))
    assert units.bins == ("many", "medium", "few")
    assert units.rare.tolist() == [1, 2]
