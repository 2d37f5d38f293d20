"""What goes with the gain: laws of the statistics, and the sets and controls they are asked of."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from micro import ROOT
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.controls.arms import CEILING, CONTROL, LONG_TAILED, UNGUIDED
from benchmarks.documents import shown
from benchmarks.experiments import RESULTS
from benchmarks.usefulness.__main__ import DATA, RESULT
from benchmarks.usefulness.audits import as_markdown as audits_as_markdown
from benchmarks.usefulness.audits import audits
from benchmarks.usefulness.correlation import (
    Points,
    bootstrap,
    holm,
    leave_one_arm_out,
    permuted,
    picked,
    reliability,
    spearman,
)
from benchmarks.usefulness.gains import rows_of, usefulness
from benchmarks.usefulness.plot import draw
from benchmarks.usefulness.table import as_markdown, label_of


def rng():
    return np.random.default_rng(0)


def points(predictors, outcomes, arm=None, stratum=None, block=None):
    predictors, outcomes = (np.array(x, dtype=float).T for x in (predictors, outcomes))
    num = len(predictors)
    arm = np.arange(num) if arm is None else np.array(arm)
    stratum = np.zeros(num, int) if stratum is None else stratum
    return Points(predictors, outcomes, arm, stratum, stratum if block is None else block)


def test_of_one_data_set_it_is_spearmans_correlation():
    x, y = rng().normal(size=(3, 30)).round(1), rng().normal(size=(2, 30)).round(1)  # with ties
    x[1, :7] = np.nan
    found = spearman(points(x, y))
    for place in np.ndindex(3, 2):
        known = ~np.isnan(x[place[0]])
        expected = spearmanr(x[place[0]][known], y[place[1]][known]).statistic
        assert found[place] == pytest.approx(expected)


def test_what_tells_data_sets_apart_is_no_correlation():
    stratum = np.repeat([0, 1], 20)
    x, y = rng().normal(size=(2, 40))
    apart = spearman(points([x + 100 * stratum], [y + 100 * stratum], stratum=stratum))
    assert apart == pytest.approx(spearman(points([x], [y], stratum=stratum)))
    same = spearman(points([y + 100 * stratum], [y], stratum=stratum))
    assert same == pytest.approx(1)
    assert spearmanr(y + 100 * stratum, y).statistic < 0.9


def test_the_luck_of_a_seeds_control_is_no_correlation():
    """All gains of a seed are higher where its control did badly, whatever the sets are."""
    x, y = rng().normal(size=(2, 40))
    block = np.arange(40) % 2
    lucky = spearman(points([x], [y + 10 * block], block=block))
    assert lucky == pytest.approx(spearman(points([x], [y], block=block)))


def test_how_much_of_the_gain_follows_from_the_arm():
    """Of variances 4 between arms and 1 within, 4 / 5, whatever the seeds' controls do."""
    arm, block = np.divmod(np.arange(4000), 4)
    y = 2 * rng().normal(size=1000)[arm] + rng().normal(size=4000) + 10 * block
    found = points([y], [y, rng().normal(size=4000)], arm=arm, block=block)
    assert reliability(found) == pytest.approx([0.8, 0], abs=0.03)
    assert np.isnan(reliability(points([y], [y])).item())


def test_a_number_that_does_not_vary_has_no_correlation():
    assert np.isnan(spearman(points([[1, 1, 1, 1]], [[1, 2, 3, 4]]))).all()


def of_arms(num_arms=8, seeds=10):
    """Sets that differ by arm and hardly within one."""
    arm = np.repeat(np.arange(num_arms), seeds)
    effect, noise = rng().normal(size=(2, num_arms)), 0.01 * rng().normal(size=(2, len(arm)))
    x, y = effect[:, arm] + noise
    return points([x], [y], arm)


def test_the_interval_knows_that_sets_of_an_arm_are_alike():
    clustered = of_arms()
    naive = replace(clustered, arm=np.arange(80))
    (low, high), (naive_low, naive_high) = (
        bootstrap(each, rng(), 200)[:, 0, 0] for each in (clustered, naive)
    )
    assert high - low > 1.5 * (naive_high - naive_low)
    assert low < spearman(clustered).item() < high


def test_p_values_are_those_of_all_permutations_of_the_arms():
    found = of_arms(num_arms=5, seeds=3)
    x, y = found.arms().predictors[:, 0], found.arms().outcomes[:, 0]
    observed = abs(spearmanr(x, y).statistic)
    drawn = [abs(spearmanr(x, order).statistic) for order in permutations(y)]
    expected = np.mean([value >= observed - 1e-12 for value in drawn])
    assert permuted(found, rng(), 2000).item() == pytest.approx(expected, abs=0.04)


def test_arms_are_permuted_within_their_data():
    """All of the correlation is within data sets, of two arms each: no order of it is rare."""
    stratum = np.repeat(np.arange(3), 2)
    x = np.array([1, 2, 11, 12, 21, 22])
    assert permuted(points([x], [x], stratum=stratum), rng(), 2000).item() > 0.2  # 2 of 8


def test_corrected_p_values():
    p = np.array([[0.01, 0.04], [0.03, np.nan]])
    # Smallest first: 3 * 0.01, 2 * 0.03, and 0.04 no less than that
    assert holm(p)[~np.isnan(p)] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(holm(p)[1, 1])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_an_arm_is_told_from_others_by_a_number_chosen_without_it():
    worth = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    noise = rng().normal(size=6)
    found = leave_one_arm_out(points([noise, -worth], [worth]), 0)
    assert (found.right, found.lost) == (1, 0)
    assert found.chosen == (0, 6)  # less of it is better
    gaps = [abs(a - b) for a, b in permutations(worth, 2)]
    assert found.coin == pytest.approx(np.mean(gaps) / 2)
    # All but the first arm rise with the number, so the first is taken for the best one
    worth = np.arange(10) / 10
    found = leave_one_arm_out(points([[10, *range(1, 10)]], [worth]), 0)
    assert found.right == pytest.approx(1 - 2 * 9 / 90)
    assert found.lost == pytest.approx(2 * worth.sum() / 90)


def test_few_arms_tell_nothing():
    assert leave_one_arm_out(points([[1, 2, 3, 4]], [[1, 2, 3, 4]]), 0) is None


def test_the_arm_that_a_number_picks():
    worth = np.array([0.3, 0.1, 0.2])
    assert picked(np.array([1.0, 2.0, np.nan]), 1, worth) == (1, pytest.approx(0.2))
    assert picked(np.array([1.0, 2.0, np.nan]), -1, worth) == (0, 0)
    assert picked(np.array([1.0, 2.0, 3.0]), np.nan, worth) is None


def run(arm, seed, overall, few, split="val", measures=None, worst=None):
    columns = {"overall": overall, "few": few, "worst_group": worst, "worst_tenth": worst}
    entry = {"arm": arm, "seed": seed, "split": split, "set": arm, "columns": columns}
    return {**entry, **({} if measures is None else {"measures": measures})}


def test_a_gain_is_over_the_control_of_its_seed_on_validation_images():
    some = {"fid": 1.0}
    runs = [
        run(CONTROL, 0, 0.5, 0.3),
        run(CONTROL, 1, 0.6, 0.4),
        run(CONTROL, 1, 0.1, 0.1, split="test"),
        run(UNGUIDED, 0, 0.7, 0.6, measures=some),
        run(UNGUIDED, 1, 0.7, 0.6, measures=some),
        run(UNGUIDED, 1, 0.9, 0.9, split="test"),
        run(UNGUIDED, 2, 0.7, 0.6, measures=some),  # its control was not trained
        run("feedback: loss", 0, 0.8, 0.8),  # not measured
        run(CEILING, 0, 0.9, 0.9, measures=some),  # not drawn
        run("real: instance", 0, 0.4, 0.2),
        run("no arm any more", 0, 0.9, 0.9, measures=some),
    ]
    found = rows_of("lt", dict(enumerate_names(runs)), LONG_TAILED)
    assert [(row["arm"], row["seed"]) for row in found] == [(UNGUIDED, 0), (UNGUIDED, 1)]
    assert found[0]["gain"] == {"overall": pytest.approx(0.2), "rare": pytest.approx(0.3)}
    assert found[1]["gain"] == {"overall": pytest.approx(0.1), "rare": pytest.approx(0.2)}
    (on_test,) = rows_of("lt", dict(enumerate_names(runs)), LONG_TAILED, "test")
    assert on_test["gain"] == {"overall": pytest.approx(0.8), "rare": pytest.approx(0.8)}
    assert on_test["measures"] == some
    grouped = [
        run(CONTROL, 0, 0.5, None, worst=0.1),
        run(UNGUIDED, 0, 0.6, None, "val", some, 0.4),
    ]
    (row,) = rows_of("contexts", dict(enumerate_names(grouped)), LONG_TAILED)
    assert row["gain"]["rare"] == pytest.approx(0.3)


def test_arms_that_are_trained_otherwise_say_nothing_of_their_images():
    arm = LONG_TAILED[UNGUIDED]
    arms = {"a": arm, "b": type(arm)(arm.images, retrain={"real_share": 0.7})}
    some = {"fid": 1.0}
    runs = [run(CONTROL, 0, 0.5, 0.3)]
    runs += [run(name, 0, 0.6, 0.4, measures=some) for name in arms]
    found = rows_of("lt", dict(enumerate_names(runs)), arms)
    assert [row["arm"] for row in found] == ["a"]


def test_a_set_that_two_arms_have_in_common_comes_once():
    arms = {"a": LONG_TAILED[UNGUIDED], "b": LONG_TAILED[UNGUIDED]}
    some = {"fid": 1.0}
    runs = [run(CONTROL, seed, 0.5, 0.3) for seed in (0, 1)]
    runs += [run(name, seed, 0.6, 0.4, measures=some) for name in arms for seed in (0, 1)]
    for each in runs:
        each["set"] = "the same"
    found = rows_of("lt", dict(enumerate_names(runs)), arms)
    assert [(row["arm"], row["seed"]) for row in found] == [("a", 0), ("a", 1)]


def enumerate_names(runs):
    return ((f"{each['arm']}, seed {each['seed']}, {each['split']}", each) for each in runs)


@pytest.fixture(scope="module")
def found():
    """Two data sets in which coverage foretells the gain and FID does not."""
    generator, rows = rng(), []
    for data in ("fashion-lt", "fashion-contexts"):
        for arm in range(8):
            for seed in range(2):
                noise = generator.normal()
                rows.append(
                    {
                        "data": data,
                        "arm": f"arm {arm}",
                        "seed": seed,
                        "gain": {"overall": 0.001 * noise, "rare": 0.01 * arm},
                        "measures": {"fid": noise, "coverage_by_class": 0.1 * arm, "kid": None},
                    }
                )
    on_test = [{**row, "gain": {**row["gain"], "rare": -row["gain"]["rare"]}} for row in rows[:16]]
    return usefulness(rows, on_test, resamples=20, permutations=200)


def test_the_number_that_foretells_the_gain_is_found(found):
    assert found["tried"] == 2
    assert found["sets"] == {"fashion-lt": 16, "fashion-contexts": 16, "pooled": 32}
    assert found["arms"] == {"fashion-lt": 8, "fashion-contexts": 8, "pooled": 16}
    of_rare = found["measures"]["coverage_by_class"]["pooled"]["rare"]
    assert of_rare["rho"] == pytest.approx(1)
    assert of_rare["p_holm"] == pytest.approx(4 / 201, abs=1e-4)
    assert found["measures"]["fid"]["pooled"]["overall"]["rho"] == pytest.approx(1)
    assert found["picked"]["coverage_by_class"]["fashion-lt"]["rare"] == {
        "arm": "arm 7",
        "lost": 0,
    }
    assert found["left_out"]["fashion-contexts"]["rare"]["chosen"] == {"coverage_by_class": 8}
    assert found["worth"]["fashion-lt"]["arm 3"]["rare"] == pytest.approx(0.03)


def test_the_table_says_what_was_found(found):
    lines = as_markdown(json.loads(json.dumps(found))).splitlines()
    assert lines[0].startswith("| number | fashion-lt, overall | fashion-lt, few-shot |")
    assert lines[2].startswith("| coverage, by class |")
    assert "**+1.00 (+1.00 to +1.00)** | 0.0 | 0.0 |" in lines[2]
    assert "2 numbers were tried, on 16 sets of 8 arms on fashion-lt and 16" in lines[5]
    assert any("would correlate by about" in line for line in lines)
    told = [line for line in lines if "tells that arm from another one in 100 % of pairs" in line]
    assert "With the gain on test images it correlates by -1.00." in told[1]
    assert found["on_test"]["fashion-contexts"] == {}


def test_the_table_in_the_document_is_of_the_results_at_hand():
    path = ROOT / RESULTS / RESULT
    assert shown(RESULT) == as_markdown(json.loads(path.read_text()))


@pytest.mark.parametrize("data", DATA)
def test_the_audits_in_the_document_are_of_the_results_at_hand(data):
    found = json.loads((ROOT / RESULTS / RESULT).read_text())["audits"][data]
    assert shown(f"audits, {data}") == audits_as_markdown(found)


def test_audits_are_compared_with_the_control_of_the_seed():
    def audited(seed, ours, theirs):
        of_arm, of_control = (
            {"probe_auc": auc, "sent_to_synthetic": None} for auc in (ours, theirs)
        )
        return {"arm": "a", "seed": seed, "audit": of_arm, "audit_of_control": of_control}

    found = audits({"0": audited(0, 0.8, 0.6), "1": audited(1, 0.6, 0.5), "2": {"arm": "b"}})
    assert list(found) == ["a"]
    assert found["a"]["probe_auc"]["value"]["mean"] == pytest.approx(0.7)
    over = found["a"]["probe_auc"]["over_control"]
    # Of 0.2 and 0.1: t of one degree of freedom is 12.706, the standard error 0.05
    assert (over["mean"], over["high"]) == (
        pytest.approx(0.15),
        pytest.approx(0.15 + 12.7062 * 0.05, rel=1e-4),
    )
    assert found["a"]["sent_to_synthetic"] is None
    assert "| a | 70.0 ± 127.1 | +15.0 ± 63.5 |  |  |" in audits_as_markdown(found)
    assert audits_as_markdown({}) == ""


def test_the_picture_is_drawn(found, tmp_path):
    draw(found, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**20)) > 10


def test_numbers_are_called_by_their_names():
    assert label_of("coverage_by_class") == "coverage, by class"
    assert label_of("guide_variance") == "feature variance, guide"
    assert label_of("control_excess_loss") == "loss over real images', control"
    assert label_of("variance") == "feature variance, CLIP"
