"""Where each round puts what it makes."""

from typing import get_args

import pytest
from prefect.utilities.hashing import hash_objects

from tasks.identity.dvc_yaml import read_pipeline
from tasks.workspace import Guide, Workspace


def test_the_first_round_lies_where_dvc_looks() -> None:
    first = Workspace()
    assert first.synthetic.as_posix() == "data/synthetic"
    assert first.guides() == (first.baseline,)
    assert first.final.as_posix() == "models/final"
    assert first.reports.as_posix() == "reports"


def test_each_round_is_guided_by_the_one_before_and_shares_the_real_images() -> None:
    first = Workspace()
    second, third = first.next(), first.next().next()
    assert second.guides() == (first.final,)
    assert third.guides() == (second.final,)
    assert [each.makes(each.guides()[0]) for each in (first, second, third)] == [
        "dvc repro train_baseline",
        "dvc repro retrain",
        "python -m flows.retrain --round 2",
    ]
    for shared in ("prepared", "baseline", "control"):
        assert getattr(second, shared) == getattr(first, shared)


def test_a_control_guides_the_first_round_alone_and_is_of_every_committee() -> None:
    first, third = Workspace(), Workspace(3)
    assert first.guides("control") == (first.control,)
    assert first.guides("both") == (first.baseline, first.control)
    assert third.guides("control") == third.guides() == (Workspace(2).final,)
    assert third.guides("both") == (Workspace(2).final, third.control)
    assert first.makes(first.control) == third.makes(third.control)
    assert third.makes(third.control) == "python -m flows.train_control"


def test_dvc_makes_every_classifier_that_may_guide_before_it_draws() -> None:
    its_inputs = read_pipeline()["stages"]["synthesize"]["deps"]
    for which in get_args(Guide):
        assert {guide.as_posix() for guide in Workspace().guides(which)} <= set(its_inputs)


def test_no_round_writes_into_what_another_replaces() -> None:
    shared = {Workspace().prepared, Workspace().judge, Workspace().adapter}
    shared |= {Workspace().baseline, Workspace().control}
    shared |= {Workspace().reports / "baseline", Workspace().reports / "control"}
    own = [path for number in (1, 2, 12) for path in Workspace(number).outputs]
    places = [path for path in own if path not in shared] + sorted(shared)
    assert len(places) == 3 * 4 + 7
    for place in places:
        assert [other for other in places if other.is_relative_to(place)] == [place]


def test_a_cache_key_tells_rounds_apart() -> None:
    keys = [hash_objects({"workspace": Workspace(number)}) for number in (1, 1, 2)]
    assert keys[0] is not None
    assert keys[0] == keys[1] != keys[2]
    assert len({Workspace(1), Workspace(1), Workspace(2)}) == 2


def test_there_is_no_round_before_the_first() -> None:
    with pytest.raises(ValueError, match="round must be 1 or more, got 0"):
        Workspace(0)
