"""Findings about drawn images: none on images as good as real ones, all on what is no picture."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import binom

from fgds_core.ability.check import CELL_IMAGES
from fgds_core.ability.evidence import (
    DOUBT,
    ERROR,
    FAR,
    LABEL,
    MIN_REAL,
    VARIETY,
    WORD,
    Evidence,
    compare,
    judged,
    judged_cell,
    judged_group,
    low,
)

N = 20


def of_class(far: int, seen: int = N, unknown: str | None = None) -> Evidence:
    """A class of which so many of 20 images are far, and so many taken for it."""
    variety = {"space": 1.0}
    return Evidence(
        N, 40, 40, {"space": far}, variety, {"cat": seen, "dog": N - seen}, (40, 36), unknown
    )


def points(num_images: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Features of a Gaussian class, [num_images, 8]."""
    return shift + scale * np.random.default_rng(seed).standard_normal((num_images, 8))


def evidence(
    drawn: np.ndarray,
    real: np.ndarray,
    seen: Mapping[str, int] | None = None,
    recognised: tuple[int, int] = (0, 0),
    unknown: str | None = None,
) -> Evidence:
    compared = compare(real, drawn, np.random.default_rng(0))
    return Evidence(
        num_images=len(drawn),
        num_real=len(real),
        num_validation=len(real),
        far={} if compared is None else {"space": int(compared.far.sum())},
        variety={} if compared is None else {"space": compared.variety},
        seen=seen,
        recognised=recognised,
        unknown=unknown,
    )


@pytest.mark.parametrize("num_real", [MIN_REAL, 20, 100])
def test_real_images_are_hardly_ever_taken_for_drawn_ones(num_real: int) -> None:
    verdicts = [
        judged("cat", evidence(points(N, seed), points(num_real, 1000 + seed)))
        for seed in range(60)
    ]
    assert all(verdict.can_draw for verdict in verdicts)


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (points(N, 1, shift=5.0), FAR),
        (points(N, 1, scale=0.05), VARIETY),
        (np.repeat(points(1, 1, scale=0.1), N, axis=0), VARIETY),
    ],
)
def test_what_is_no_image_of_the_class_is_found(drawn: np.ndarray, reason: str) -> None:
    verdict = judged("cat", evidence(drawn, points(50, 0)))
    assert verdict.can_draw is False
    assert list(verdict.reasons) == [reason]


def test_half_as_good_is_tolerated_and_less_is_not() -> None:
    right, shown = 95, 100
    for as_meant in range(N + 1):
        seen = {"dog": N - as_meant, "cat": as_meant}
        found = evidence(points(N, 0), points(50, 9), seen, (shown, right))
        surely_less = binom.cdf(as_meant, N, 0.5 * low(right, shown)) < ERROR
        assert (LABEL in judged("cat", found).reasons) == surely_less
    assert judged("cat", evidence(points(N, 0), points(50, 9), {"cat": 6, "dog": 14}, (100, 95)))


def test_the_message_names_what_the_judge_sees_instead() -> None:
    found = evidence(points(N, 0), points(50, 9), {"dog": 17, "owl": 2, "cat": 1}, (100, 95))
    assert judged("cat", found).reasons[LABEL] == (
        "the judge sees the class in 1 of 20, and in 95 of 100 real images; it takes 17 for dog"
    )


def test_without_real_images_or_a_judge_it_says_what_it_cannot_tell() -> None:
    verdict = judged("cat", evidence(points(N, 0), points(MIN_REAL - 1, 9)))
    assert verdict.can_draw is None
    assert "there is no judge" in verdict.remarks[0]
    assert f"4 real images, and {MIN_REAL} are needed" in verdict.remarks[1]
    # A judge that was shown too few real images to be believed
    found = evidence(points(N, 0), points(50, 9), {"dog": N}, (3, 2))
    verdict = judged("cat", found)
    assert verdict.can_draw is True
    assert "knows 2 of 3 real validation images" in verdict.remarks[0]


def test_an_unknown_word_counts_unless_the_images_are_right() -> None:
    word = "the text encoder spells 'cat' in 3 pieces"
    real = points(50, 9)
    assert judged("cat", evidence(points(N, 0), real, unknown=word)).reasons == {WORD: word}
    seen = {"cat": 15, "dog": 5}
    right = judged("cat", evidence(points(N, 0), real, seen, (100, 95), word))
    assert right.can_draw is True
    assert right.remarks == (f"{word}, yet the images are right",)
    seen = {"cat": 7, "dog": 13}
    doubtful = judged("cat", evidence(points(N, 0), real, seen, (100, 95), word))
    assert list(doubtful.reasons) == [WORD]


@pytest.mark.parametrize(
    ("far", "seen", "sure", "doubtful"),
    [(14, N, True, False), (15, N, True, True), (17, N, False, True), (0, 3, True, True)],
)
def test_doubt_needs_less_than_refusal(far: int, seen: int, sure: bool, doubtful: bool) -> None:
    found = of_class(far, seen)
    assert judged("cat", found).can_draw is sure
    assert judged("cat", found).is_doubtful is doubtful


def test_a_group_is_judged_by_its_images_of_all_classes() -> None:
    def of_group(far: int, unknown: str | None = None) -> Evidence:
        return Evidence(40, 0, 0, {"space": far}, {}, None, (0, 0), unknown)

    assert judged_group(of_group(22)).can_draw is True
    assert list(judged_group(of_group(36)).reasons) == [FAR]
    assert list(judged_group(of_group(22, "no word for 'snow'")).reasons) == [WORD]
    assert judged_group(of_group(12, "no word for 'snow'")).can_draw is True
    assert judged_group(Evidence(40, 0, 0, {}, {}, None, (0, 0))).can_draw is None


def test_what_is_not_sure_is_said_and_stops_nothing() -> None:
    def of(far: int, as_meant: int) -> Evidence:
        seen = {"cat": as_meant, "dog": N - as_meant}
        return Evidence(N, 50, 50, {"space": far}, {"space": 1.0}, seen, (100, 95))

    for far in range(N + 1):
        chance, verdict = binom.sf(far - 1, N, 0.5), judged("cat", of(far, N))
        assert (FAR in verdict.reasons) == (chance < ERROR)
        assert bool(verdict.doubts) == (ERROR <= chance < DOUBT)
        assert verdict.can_draw == (chance >= ERROR)
    doubtful = judged("cat", of(16, N))
    assert doubtful.doubts == (
        "perhaps far from real: 16 of 20 are farther from 50 real images of the class than 95% of"
        " those are from each other (space)",
    )
    (said,) = judged("cat", of(0, 4)).doubts
    assert said.startswith("perhaps wrong label: the judge sees the class in 4 of 20")


def test_a_class_in_a_group_is_judged_by_its_few_images_there() -> None:
    def cell(number: int, far: int | None) -> Evidence:
        known = {} if far is None else {"space": far}
        return Evidence(number, 9, 0, known, {}, None, (0, 0))

    assert list(judged_cell(cell(CELL_IMAGES, CELL_IMAGES)).reasons) == [FAR]
    almost = judged_cell(cell(CELL_IMAGES, CELL_IMAGES - 1))
    assert (almost.can_draw, len(almost.doubts)) == (True, 1)
    few = judged_cell(cell(CELL_IMAGES - 1, CELL_IMAGES - 1))
    assert (few.can_draw, few.remarks) == (
        None,
        ("7 images of the class in this group tell nothing",),
    )
    alone = judged_cell(cell(CELL_IMAGES, None))
    assert alone.can_draw is None
    assert "fewer than 5 real images of the class in this group" in alone.remarks[0]


def test_the_bound_of_a_recall_is_that_of_clopper_and_pearson() -> None:
    # What is as likely as 5 % if the recall were the bound
    for right, shown in ((5, 5), (17, 20), (190, 200)):
        assert binom.sf(right - 1, shown, low(right, shown)) == pytest.approx(0.05)
    assert low(0, 10) == 0
