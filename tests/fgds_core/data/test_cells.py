from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from fgds_core.data.cells import cell_quota, filling

COUNTS = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 30), min_size=1)


@given(COUNTS, st.integers(1, 40))
def test_filling_up_to_the_target_gives_each_group_what_it_lacks(counts, target):
    drawn = Counter(islice(filling(counts), cell_quota(counts, target)))
    assert {group: counts[group] + drawn[group] for group in counts} == {
        group: max(count, target) for group, count in counts.items()
    }


@given(COUNTS, st.integers(1, 40))
def test_the_next_image_goes_to_an_emptiest_group(counts, number):
    there = dict(counts)
    for group in islice(filling(counts), number):
        assert there[group] == min(there.values())
        there[group] += 1


def test_a_higher_target_leaves_the_first_images_their_groups():
    counts = {"autumn": 7, "dim": 0, "grass": 2}
    few = list(islice(filling(counts), cell_quota(counts, 3)))
    assert few == ["dim", "dim", "dim", "grass"]
    more = list(islice(filling(counts), cell_quota(counts, 4)))
    assert more == [*few, "dim", "grass"]
