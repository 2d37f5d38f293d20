"""What the synthetic images are worth, from the answers of three classifiers."""

import numpy as np
import pytest

from fgds_core.classify import groups as of_groups
from fgds_core.classify.answers import ANSWERS_NAME, write_answers
from fgds_core.errors import InputError
from fgds_core.files import csv_text, write_text
from fgds_core.report.gains import (
    ROWS,
    Answers,
    class_rows,
    guesses,
    headline_rows,
    read_answers,
    report_folders,
    standing_out,
    verdict,
    worst_group,
)
from fgds_core.report.summary import Row, read_summary, shown, summary_csv

NAMES = ("cat", "dog", "emu")
BINS = {"cat": "many", "dog": "medium", "emu": "few"}


def some_answers(num=300, skills=(0.5, 0.6, 0.8), groups=None, seed=0):
    draws = np.random.default_rng(seed)
    actual = np.arange(num) % len(NAMES)
    predicted = {
        name: np.where(draws.random(num) < skill, actual, draws.integers(len(NAMES), size=num))
        for name, skill in zip(("baseline", "control", "final"), skills, strict=True)
    }
    confidence = {name: np.full(num, 0.7) for name in predicted}
    of_image = None if groups is None else tuple(groups[i % len(groups)] for i in range(num))
    counts = {(name, group): 9 for name in NAMES for group in groups or ()}
    return Answers(NAMES, actual, predicted, confidence, of_image, counts)


def metrics_of(answers):
    def measured(name):
        right = answers.right(name)
        of_bin = {b: right[answers.actual == k].mean() for k, b in enumerate(BINS.values())}
        cells = answers.groups
        return {
            "overall": right.mean(),
            **of_bin,
            **{
                key: None if cells is None else of_groups.measured(key, cells.hits(right), cells)
                for key in of_groups.MEASURES
            },
            "macro_f1": right.mean(),
            "ece": abs(0.7 - right.mean()),
        }

    return {
        name: {k: None if v is None else float(v) for k, v in measured(name).items()}
        for name in ("baseline", "control", "final")
    }


def test_every_row_has_its_counts_and_an_interval_around_its_gain(tmp_path):
    answers = some_answers(groups=("in", "out"))
    rows = headline_rows(metrics_of(answers), answers, BINS)
    assert [row.bin for row in rows] == list(ROWS)
    assert [row.num_images for row in rows] == [300, *[100] * 3, *[50] * 3, *[300] * 4]
    for row in rows:
        assert row.low <= row.gain <= row.high
    assert verdict(rows[0]) == "gain"
    path = tmp_path / "summary.csv"
    write_text(path, summary_csv(rows))
    for row, again in zip(rows, read_summary(path), strict=True):
        assert again.bin == row.bin
        assert shown(again) == shown(row)


def test_a_classifier_does_not_differ_from_itself():
    answers = some_answers(num=12)
    same = Answers(
        NAMES, answers.actual, dict(answers.predicted, final=answers.predicted["control"])
    )
    rows = headline_rows(metrics_of(same), same, BINS) + class_rows(same)
    assert {(row.low, row.high) for row in rows if row.low is not None} == {(0.0, 0.0)}
    assert {verdict(row) for row in rows} == {"same"}
    assert not standing_out(same).any()


@pytest.mark.parametrize("num", [3, 6])
def test_one_or_two_images_of_a_class_are_never_a_gain(num):
    actual = np.arange(num) % 3
    wrong = (actual + 1) % 3
    answers = Answers(NAMES, actual, {"baseline": wrong, "control": wrong, "final": actual})
    for row in class_rows(answers):
        assert (row.gain, verdict(row)) == (1.0, "same")
    assert not standing_out(answers).any()


def test_among_many_classes_chance_does_not_stand_out():
    draws = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(400))
    actual = np.repeat(np.arange(400), 25)
    predicted = {
        name: np.where(draws.random(10_000) < 0.5, actual, 0)
        for name in ("baseline", "control", "final")
    }
    answers = Answers(names, actual, predicted)
    alone = [verdict(row) for row in class_rows(answers)]
    assert alone.count("same") < 400  # one interval in twenty does not hold zero
    assert standing_out(answers).sum() <= 1


def test_guesses_gain_nothing_but_may_lose():
    assert guesses(some_answers(skills=(0.5, 0.5, 0.0)), "final")
    assert not guesses(some_answers(), "final")
    gain, loss = (
        Row("few", 0, 0.1, 0.3, 0.2, 0.1, 0.3, 99),
        Row("few", 0, 0.3, 0, -0.3, -1, -0.1, 9),
    )
    assert (verdict(gain), verdict(loss)) == ("gain", "loss")
    assert verdict(gain, final_guesses=True) == "same"
    assert verdict(loss, final_guesses=True) == "loss"
    assert verdict(gain, is_noise=True) == "same"


def test_less_calibration_error_is_a_gain():
    assert verdict(Row("ece", 0, 0.3, 0.1, -0.2, -0.3, -0.1, 99)) == "gain"
    assert verdict(Row("ece", 0, 0.1, 0.3, 0.2, 0.1, 0.3, 99)) == "loss"
    assert verdict(Row("ece", 0, 0.1, 0.3, 0.2, None, None, 99)) == "same"


def test_what_rounds_to_nothing_is_not_coloured():
    assert verdict(Row("overall", 0, 0.50004, 0.50008, 0.00004, 0.00001, 0.0001, 10**7)) == "same"


def test_the_worst_group_is_the_largest_of_the_worst():
    actual = np.array([0, 0, 0, 1, 1, 1, 1])
    groups = ("a", "a", "b", "a", "a", "b", "b")
    predicted = {"final": np.array([0, 0, 1, 1, 1, 0, 0])}
    worst = worst_group(Answers(NAMES, actual, predicted, contexts=groups), "final")
    assert (worst.class_name, worst.group, worst.recall, worst.num_images) == ("dog", "b", 0, 2)
    assert worst_group(Answers(NAMES, actual, predicted), "final") is None


def write_all(folder, names=NAMES, group=None):
    for name in ("baseline", "control", "final"):
        columns = {
            "id": [f"{k}.png" for k in range(len(names))],
            "actual": names,
            "predicted": tuple(reversed(names)),
            "confidence": [0.5] * len(names),
        }
        write_answers(
            folder / name / ANSWERS_NAME, columns, None if group is None else [group] * len(names)
        )
    if group is not None:
        rows = [{"class": name, "group": group, "num_train": 7} for name in names]
        write_text(folder / "final" / "per_group.csv", csv_text(rows))


@pytest.mark.parametrize(
    "names", [NAMES, ("=cmd|' /C calc'!A0", "-1", "a\r\n,b"), ("'=x", "\t1", "<b>;+1")]
)
def test_names_of_any_kind_come_back_from_the_answers(tmp_path, names):
    write_all(tmp_path, names, "=1+1")
    answers = read_answers(report_folders(tmp_path, tmp_path), names)
    assert answers.actual.tolist() == [0, 1, 2]
    assert answers.predicted["final"].tolist() == [2, 1, 0]
    assert answers.confidence["control"].tolist() == [0.5] * 3
    assert answers.contexts == ("=1+1",) * 3
    assert answers.groups.num_train.tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ["0.png", "2.png", "1.png"]}, r"not of the same test images; run `dvc repro`"),
        ({"actual": ["cat"] * 3}, r"not of the same test images; run `dvc repro`"),
        ({"predicted": ["cat", "cow", "cat"]}, r"does not fit the data .*'cow'.*stage retrain"),
    ],
)
def test_answers_that_do_not_fit_are_refused(tmp_path, changes, message):
    write_all(tmp_path)
    columns = {"id": ["0.png", "1.png", "2.png"], "actual": NAMES, "predicted": NAMES}
    columns |= {"confidence": [0.5] * 3} | changes
    write_answers(tmp_path / "final" / ANSWERS_NAME, columns)
    with pytest.raises(InputError, match=message):
        read_answers(report_folders(tmp_path, tmp_path), NAMES)


def test_training_images_of_groups_that_were_not_counted_name_the_stage(tmp_path):
    write_all(tmp_path, group="indoors")
    path = tmp_path / "final" / "per_group.csv"
    path.write_text("class,group,recall,num_images\ncat,indoors,1,1\n")
    with pytest.raises(InputError, match=r"'num_train'.* run the stage retrain again"):
        read_answers(report_folders(tmp_path, tmp_path), NAMES)
