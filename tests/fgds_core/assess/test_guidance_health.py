"""What guidance did to each image, and a warning where it did nothing or ran away."""

import numpy as np
import pytest

from fgds_core.assess.guidance_health import (
    HEALTH,
    LEAST_REAL,
    GuidanceNotes,
    guidance_health,
    guidance_warnings,
    health_of,
    health_table,
)

NAMES = ("cat", "dog")


def notes(guided: list[int], skipped: list[int], nonfinite: list[int]) -> GuidanceNotes:
    columns = {"guided_steps": guided, "skipped_steps": skipped, "nonfinite_steps": nonfinite}
    numbers = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    first = np.where(numbers["guided_steps"] > 0, 1.0, np.nan)
    numbers |= {"criterion_first": first, "criterion_last": first + 0.5, "attempt": first * 0}
    numbers["criterion_final"] = first + 1
    return GuidanceNotes(numbers, np.zeros(len(guided), dtype=np.int64), ("loss",))


def names_of(health: np.ndarray) -> list[str]:
    return [HEALTH[number] for number in health]


def test_each_image_is_told_what_guidance_did() -> None:
    noted = notes([0, 4, 0, 1, 4], [0, 1, 5, 0, 0], [0, 0, 0, 3, 1])
    real = np.linspace(0, 2, LEAST_REAL)
    loss = np.array([9.0, 1.9, 9.0, 0.1, 2.1])
    found = health_of(noted, loss, np.zeros(5, int), real, np.zeros(LEAST_REAL, int))
    assert names_of(found) == ["not guided", "pushed", "left alone", "not finite", "ran away"]

    table = health_table(NAMES, np.zeros(5, int), np.arange(5), noted, found).to_pydict()
    assert table["health"] == names_of(found)
    assert table["share_of_pushes"] == [None, 0.8, 0.0, 0.25, 0.8]
    assert table["criterion_rise"] == [None, 0.5, None, 0.5, 0.5]


@pytest.mark.parametrize("there", [0, LEAST_REAL - 1])
def test_with_few_real_images_none_ran_away(there: int) -> None:
    found = health_of(
        notes([4], [0], [0]),
        np.array([99.0]),
        np.zeros(1, int),
        np.ones(there),
        np.zeros(there, int),
    )
    assert names_of(found) == ["pushed"]


def test_a_class_is_compared_with_its_own_real_images() -> None:
    real = np.concatenate([np.full(LEAST_REAL, 1.0), np.full(LEAST_REAL, 5.0)])
    of = np.repeat([0, 1], LEAST_REAL)
    found = health_of(notes([1, 1], [0, 0], [0, 0]), np.full(2, 3.0), np.array([0, 1]), real, of)
    assert names_of(found) == ["ran away", "pushed"]


def test_a_class_of_which_most_did_not_go_well_is_warned_of() -> None:
    health = np.array([HEALTH.index(name) for name in ("left alone", "left alone", "pushed")])
    rows = [np.array([0, 1, 2]), np.array([2])]
    (said,) = guidance_warnings(health, NAMES, rows)
    assert "did nothing to most images of cat:" in said
    assert guidance_warnings(health[[2, 2, 0]], NAMES, [np.array([0, 1, 2]), np.array([0])]) == []
    (said,) = guidance_warnings(np.array([HEALTH.index("ran away")]), NAMES, [[0], []])
    assert "ran away with most images of cat:" in said
    assert "synthesize.feedback_scale" in said
    assert guidance_warnings(np.zeros(2, int), NAMES, [np.array([0]), np.array([1])]) == []


def test_the_images_of_a_class_are_summed_up() -> None:
    noted = notes([4, 0, 2], [1, 5, 3], [0, 0, 0])
    health = np.array([1, 2, 1], dtype=np.int8)
    found = guidance_health(noted, health, np.array([0, 1]))
    assert found["share_of_pushes"] == pytest.approx(4 / 10)
    assert found["criterion_rise"] == 0.5
    assert {name: n for name, n in found["images"].items() if n} == {"pushed": 1, "left alone": 1}
    assert guidance_health(noted, health, np.array([], dtype=int))["share_of_pushes"] is None
