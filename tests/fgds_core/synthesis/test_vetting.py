"""What follows from a judge: what is left out, at which scale others are drawn, when it ends."""

from pathlib import Path

import pytest
import torch
from micro import generator_config, synthesize_config

from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.record import Recognised
from fgds_core.synthesis.excluded import LeftOut
from fgds_core.synthesis.plan import Part, Plan
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.vetting import (
    Verdict,
    group_of,
    joined,
    judged,
    plans_again,
    read_verdicts,
    record_path,
    remove_foreign_records,
    vetted,
    weaker,
    write_verdicts,
)

NAMES = ("cat", "dog", "owl")
KNOWN = (Recognised(10, 10), Recognised(10, 5), Recognised(10, 2))  # the owls are not known


def config(least: float = 0.8, most: int = 2) -> JudgeConfig:
    return JudgeConfig(
        kind="cross_fitted", path=None, folds=2, min_agreement=least, max_redraws=most
    )


def said(number: int, unlike: range | tuple[int, ...] = (), **away: dict[int, str]) -> Verdict:
    return Verdict(number, dict.fromkeys(unlike, "the judge sees cat"), away)


def test_a_class_below_is_drawn_again_until_it_is_not() -> None:
    checks = [
        {0: said(10, range(2)), 1: said(10, range(7)), 2: said(10, range(10))},
        {1: said(7, range(10, 15))},
        {1: said(5, (17, 18))},
    ]
    first, second, third = vetted(checks, KNOWN, config())
    # 8 of 10 cats are enough; 3 of 10 dogs are 0.6 of what it knows; of owls it can say nothing
    assert [each.label for each in first.left_out] == [1] * 7
    assert first.standings[0].agreement == pytest.approx(0.8)
    assert first.standings[1].agreement == pytest.approx(0.6)
    assert first.standings[2].agreement is None
    assert dict(first.again) == {1: (1, ("",) * 7)}
    # of the seven new dogs two are right: 5 of 10 is 1.0 of the judge's recall
    assert second.standings[1].agreement == pytest.approx(1.0)
    assert not second.left_out
    assert not second.again
    assert list(vetted(checks[:2], KNOWN, config())) == [first, second]
    assert not third.again


def test_it_ends_after_the_stated_number_of_times_and_the_last_ones_stay() -> None:
    checks = [{0: said(4, range(4))}, {0: said(4, range(4, 8))}, {0: said(4, range(8, 12))}]
    first, second, third = vetted(checks, KNOWN, config())
    assert [first.again[0][0], second.again[0][0]] == [1, 2]
    assert third.standings[0].halvings == 2
    assert third.standings[0].agreement == 0
    assert not third.left_out
    assert not third.again
    (only,) = vetted(checks[:1], KNOWN, config(most=0))
    assert not only.left_out
    recipe = Recipe(generator_config("nowhere"), synthesize_config(feedback_scale=0.08), 0)
    scales = [weaker(recipe, times).synthesize.feedback_scale for times in (0, 1, 2)]
    assert scales == [0.08, 0.04, 0.02]
    unguided = Recipe(generator_config("nowhere"), synthesize_config(feedback="none"), 0)
    assert weaker(unguided, 2) is unguided


def test_what_another_check_finds_is_left_out_whatever_the_class_is_like() -> None:
    copy = {3: "copy of train 12"}
    first, second = vetted([{0: said(5, (2, 3), copies=copy)}, {0: said(1)}], KNOWN, config(0.5))
    assert first.left_out == (LeftOut(0, 3, "copies", "copy of train 12"),)
    assert first.standings[0].shown == Recognised(4, 3)
    assert dict(first.again) == {0: (0, ("",))}  # at the scale as it is
    assert second.standings[0].shown == Recognised(5, 4)
    assert not second.left_out
    # also the last time, but then nothing takes its place
    (last,) = vetted([{0: said(5, (), copies=copy)}], KNOWN, config(most=0))
    assert [each.index for each in last.left_out] == [3]
    assert not last.again
    # a class that falls below for want of its copies is drawn again with what was doubtful before
    first, second = vetted(
        [{0: said(5, (4,), copies=copy)}, {0: said(1, (5,))}], KNOWN, config(0.7)
    )
    assert [each.index for each in second.left_out] == [4, 5]
    assert second.again[0] == (1, ("", ""))


def test_those_that_take_a_place_have_the_next_indices_files_and_the_groups_of_it() -> None:
    snow, grass = "snow", "grass"
    parts = (
        Part(1, "dog", 0, 0, 3, (snow, grass, snow)),
        Part(1, "dog", 1, 3, 2, (grass, grass)),
        Part(0, "cat", 0, 0, 1, (snow,)),
    )
    whole = Plan(parts, NAMES, (9, 4, 4), (1, 5, 0))
    checks = [{0: said(1, (0,)), 1: said(5, (), copies={1: "a", 0: "b", 4: "c"})}]
    (found,) = vetted(checks, KNOWN, config(), group_of([whole]))
    plans = dict(plans_again(found, whole, [whole], images_per_part=2))
    assert plans[0].parts == (
        Part(1, "dog", 2, 5, 2, (grass, grass)),
        Part(1, "dog", 3, 7, 1, (snow,)),
    )
    assert plans[0].wanted == (0, 3, 0)
    assert plans[1].parts == (Part(0, "cat", 1, 1, 1, (snow,)),)
    nothing = Plan((), NAMES, (9, 4, 4), (0, 0, 0))
    later = dict(plans_again(found, whole, [whole, plans[0], nothing], images_per_part=9))
    assert later[0].parts[0].index == 4
    assert later[0].parts[0].first_index == 8


def test_what_a_check_has_said_is_known_again_by_what_decides_it(tmp_path: Path) -> None:
    probabilities = torch.tensor([[0.2, 0.7, 0.1], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7]])
    of_dogs = judged(1, [4, 5, 6], probabilities, NAMES)
    wrong = {5: "the judge sees cat (0.90)", 6: "the judge sees owl (0.70)"}
    assert of_dogs == Verdict(3, wrong, {})
    more = joined(of_dogs, said(1, (7,), copies={7: "x"}))
    assert (more.num_images, more.away) == (4, {"copies": {7: "x"}})
    assert sorted(more.unlike) == [5, 6, 7]
    assert joined(None, more) == more
    path = record_path(tmp_path, 1)
    write_verdicts(path, "made so", {1: more})
    assert read_verdicts(path, "made so") == {1: more}
    assert read_verdicts(path, "otherwise") is None
    assert read_verdicts(record_path(tmp_path, 2), "made so") is None
    path.write_text(path.read_text()[:-9])
    assert read_verdicts(path, "made so") is None
    write_verdicts(record_path(tmp_path, 2), "made so", {})
    remove_foreign_records(tmp_path, 1)
    assert [file.name for file in path.parent.iterdir()] == ["1.json"]
    remove_foreign_records(tmp_path, 0)
    assert not path.parent.exists()
