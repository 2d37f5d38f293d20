"""Which images each round draws: the same number in all, by quota or by error."""

import pytest
from micro import synthesize_config

from fgds_core.errors import InputError
from fgds_core.synthesis.plan import Plan, plan_set
from fgds_core.synthesis.rounds import (
    MOST,
    apportion,
    certain_rounds,
    check_rounds,
    error_rates,
    plan_round,
    planned,
    quotas_by_error,
    sizes,
)

NAMES = ("cat", "dog", "owl", "yak")
REAL = (40, 11, 3, 20)
CELLS = [
    {"dim": 9, "rock": 0},
    {"dim": 1, "rock": 4},
    {"dim": 0, "rock": 0},
    {"dim": 2, "rock": 30},
]


def whole_of(grouped: bool = False, **changes: object) -> Plan:
    config = synthesize_config(target_per_class=33, **changes)
    if grouped:
        config = config.model_copy(update={"target_per_group": 12})
    return plan_set(REAL, NAMES, config, CELLS if grouped else None)


def rounds_of(whole: Plan, rates: tuple[float, ...] = (0.5,) * 4, **changes: object) -> list[Plan]:
    """All rounds, with these errors of the classes after each of them."""
    config = synthesize_config(**changes)
    errors = [dict.fromkeys(own, rate) for own, rate in zip(planned(whole), rates, strict=True)]
    plans: list[Plan] = []
    for _ in range(config.rounds):
        plans.append(plan_round(whole, plans, config, errors))
    return plans


def total(plans: list[Plan]) -> list[int]:
    return [sum(own) for own in zip(*(plan.wanted for plan in plans), strict=True)]


def images(plans: list[Plan]) -> dict[tuple[int, int], str]:
    """The group of each image, by class and place."""
    return {
        (part.label, part.first_index + place): part.groups[place] if part.groups else ""
        for plan in plans
        for part in plan.parts
        for place in range(part.num_images)
    }


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("grouped", [False, True])
def test_one_round_is_the_plan_itself(grouped: bool, size: int) -> None:
    whole = whole_of(grouped, images_per_part=size)
    for rule in ("even", "by_error"):
        assert rounds_of(whole, round_quotas=rule, images_per_part=size) == [whole]


@pytest.mark.parametrize("rounds", [2, 3, 7])
@pytest.mark.parametrize("grouped", [False, True])
def test_even_rounds_draw_the_images_of_one(grouped: bool, rounds: int) -> None:
    whole = whole_of(grouped)
    plans = rounds_of(whole, rounds=rounds, round_quotas="even", images_per_part=4)
    assert images(plans) == images([whole])
    assert [sum(plan.wanted) for plan in plans] == list(sizes(sum(whole.wanted), rounds))
    for plan in plans:  # each class has its share of each round, to one image
        for drawn, wanted in zip(plan.wanted, whole.wanted, strict=True):
            assert abs(drawn - wanted / rounds) <= 1


@pytest.mark.parametrize("rounds", [2, 4])
@pytest.mark.parametrize("grouped", [False, True])
def test_rounds_by_error_draw_as_many_images_from_one_place_on(grouped: bool, rounds: int) -> None:
    whole = whole_of(grouped)
    plans = rounds_of(whole, (0.0, 0.9, 0.3, 0.1), rounds=rounds, images_per_part=4)
    assert [sum(plan.wanted) for plan in plans] == list(sizes(sum(whole.wanted), rounds))
    assert plans[0] == rounds_of(whole, rounds=rounds, round_quotas="even", images_per_part=4)[0]
    drawn = total(plans)
    assert set(images(plans)) == {(k, i) for k in range(4) for i in range(drawn[k])}
    paths = [part.path for plan in plans for part in plan.parts]
    assert len(set(paths)) == len(paths)
    assert drawn[1] > whole.wanted[1]


@pytest.mark.parametrize(("rule", "number"), [("even", 3), ("by_error", 1)])
def test_what_is_certain_before_there_is_a_classifier(rule: str, number: int) -> None:
    config, whole = synthesize_config(rounds=3, round_quotas=rule), whole_of()
    assert (
        list(certain_rounds(whole, config))
        == rounds_of(whole, rounds=3, round_quotas=rule)[:number]
    )


def test_what_the_classifier_gets_wrong_is_drawn() -> None:
    quotas = [{"": 10}, {"": 10}, {"": 20}]
    none = [{"": 0}] * 3
    errors = [{"": 0.0}, {"": 0.3}, {"": 0.15}]
    assert quotas_by_error(12, quotas, none, errors) == [{"": 0}, {"": 6}, {"": 6}]
    assert quotas_by_error(13, quotas, none, errors) == [{"": 0}, {"": 7}, {"": 6}]
    right = [{"": 0.0}] * 3
    assert quotas_by_error(8, quotas, none, right) == [{"": 2}, {"": 2}, {"": 4}]


def test_no_class_gets_more_than_twice_its_quota() -> None:
    quotas, errors = [{"": 10}, {"": 10}, {"": 20}], [{"": 0.9}, {"": 0.01}, {"": 0.0}]
    drawn = [{"": 5}, {"": 5}, {"": 10}]
    assert MOST == 2
    assert quotas_by_error(20, quotas, drawn, errors) == [{"": 15}, {"": 5}, {"": 0}]
    # all that have errors are at the limit: the rest goes by quota
    only = [{"": 0.9}, {"": 0.0}, {"": 0.0}]
    assert quotas_by_error(20, quotas, drawn, only) == [{"": 15}, {"": 2}, {"": 3}]


def test_groups_are_shared_out_like_classes() -> None:
    quotas = [{"dim": 4, "rock": 4}, {"dim": 8}]
    drawn = [{"dim": 0, "rock": 0}, {"dim": 0}]
    errors = [{"dim": 0.0, "rock": 1.0}, {"dim": 0.25}]
    assert quotas_by_error(6, quotas, drawn, errors) == [{"dim": 0, "rock": 4}, {"dim": 2}]


@pytest.mark.parametrize("number", range(9))
def test_largest_remainders(number: int) -> None:
    weights, room = [3, 0, 2, 2], [9, 9, 9, 1]
    shares = apportion(number, weights, room)
    assert sum(shares) == number
    assert shares[1] == 0
    assert all(share <= most for share, most in zip(shares, room, strict=True))
    assert shares == {0: [0, 0, 0, 0], 7: [4, 0, 2, 1], 8: [4, 0, 3, 1]}.get(number, shares)


def test_what_has_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room for fewer"):
        apportion(3, [1, 0], [2, 5])


def test_errors_of_what_validation_does_not_have_come_from_the_class_or_the_others() -> None:
    right, labels = [True, False, False, True], [0, 0, 1, 1]
    quotas = [{"": 1}, {"": 1}, {"": 1}]
    assert error_rates(right, labels, None, quotas) == [{"": 0.5}, {"": 0.5}, {"": 0.5}]
    groups, cells = ["dim", "rock", "dim", "dim"], [{"dim": 1, "rock": 1}, {"rock": 1}, {"dim": 1}]
    found = error_rates(right, labels, groups, cells)
    assert found == [{"dim": 0.0, "rock": 1.0}, {"rock": 0.5}, {"dim": 0.5}]


def test_rounds_without_images_are_refused() -> None:
    whole = whole_of()
    check_rounds(whole, sum(whole.wanted))
    with pytest.raises(InputError, match=r"synthesize.rounds: got 1000, but there are \d+ images"):
        check_rounds(whole, 1000)
    with pytest.raises(ValueError, match="there are 1 rounds"):
        plan_round(whole, [whole], synthesize_config())
