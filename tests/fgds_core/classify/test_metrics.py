import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sets import image_set

from fgds_core.classify.groups import grouped
from fgds_core.classify.metrics import (
    evaluate,
    expected_calibration_error,
    interval,
    macro_accuracy,
    measure,
    recall_per_class,
)
from fgds_core.classify.network import create_classifier
from fgds_core.classify.predict import predict
from fgds_core.images.pixels import from_uint8

NAMES = ("cat", "dog", "newt", "owl")
BINS = {"cat": "many", "dog": "few", "newt": "few", "owl": "medium"}


def certain(predictions, num_classes=4):
    return torch.nn.functional.one_hot(torch.tensor(predictions), num_classes).float()


def measured(probabilities, *arguments, **options):
    return measure(*probabilities.max(dim=-1), *arguments, **options)


def cells(labels, groups):
    return grouped(labels.tolist(), groups, NAMES, {})


def calibration_error(probabilities, *arguments, **options):
    return expected_calibration_error(*probabilities.max(dim=-1), *arguments, **options)


def test_accuracies_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    metrics = measured(certain([0, 0, 0, 1, 1, 0, 0, 2]), labels, NAMES, BINS, seed=3)
    assert metrics["overall"] == 5 / 8
    assert metrics["many"] == 3 / 4
    assert metrics["few"] == 2 / 4  # over the bin's images, not over its two classes (2 / 3)
    assert metrics["medium"] is None  # no image of an owl
    assert metrics["worst_group"] is None
    assert metrics["macro_accuracy"] == pytest.approx((3 / 4 + 1 / 3 + 1) / 3)
    f1 = {"cat": 6 / 9, "dog": 2 / 5, "newt": 1.0, "owl": 0.0}
    assert metrics["macro_f1"] == pytest.approx(sum(f1.values()) / 4)
    assert metrics["ece"] == pytest.approx(3 / 8)  # always certain, wrong 3 times of 8
    dog, _, owl = recall_per_class(torch.tensor([0, 0, 0, 1, 1, 0, 0, 2]), labels, NAMES)[1:]
    assert dog == {"class": "dog", "recall": 1 / 3, "num_images": 3}
    assert owl == {"class": "owl", "recall": None, "num_images": 0}
    assert (metrics["num_images"], metrics["seed"]) == (8, 3)


def test_on_balanced_data_a_bin_is_the_mean_of_its_recalls():
    labels = torch.arange(4).repeat(25)
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(100, 4, generator=generator).softmax(dim=-1)
    metrics = measured(probabilities, labels, NAMES, BINS, seed=0)
    rows = recall_per_class(probabilities.argmax(dim=-1), labels, NAMES)
    recall = {row["class"]: row["recall"] for row in rows}
    assert metrics["few"] == pytest.approx((recall["dog"] + recall["newt"]) / 2)
    assert metrics["overall"] == pytest.approx(sum(recall.values()) / 4)
    assert macro_accuracy(probabilities.argmax(-1), labels) == pytest.approx(metrics["overall"])
    assert metrics["macro_accuracy"] == pytest.approx(metrics["overall"])


def test_the_worst_group_is_a_class_in_a_context():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    groups = ["grass", "grass", "snow", "grass", "snow", "snow"]
    probabilities = certain([0, 0, 1, 1, 1, 0])
    groups = cells(labels, groups)
    metrics = measured(probabilities, labels, NAMES, BINS, groups, seed=0)
    assert metrics["worst_group"] == 0.0  # a cat in the snow
    probabilities = certain([0, 1, 0, 1, 1, 1])
    assert measured(probabilities, labels, NAMES, BINS, groups, seed=0)["worst_group"] == 1 / 2


def test_the_worst_group_has_a_name_and_a_size():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    groups = cells(labels, ["snow", "snow", "grass", "grass", "snow", "snow"])
    metrics = measured(certain([1, 0, 0, 0, 1, 0]), labels, NAMES, BINS, groups, seed=0)
    worst = metrics["worst"]
    assert (worst["class"], worst["group"], worst["num_images"]) == ("dog", "grass", 1)
    assert (worst["low"], worst["high"]) == pytest.approx((0, 0.975))
    assert metrics["mean_group"] == pytest.approx((0 + 0.5 + 0.5 + 1) / 4)
    assert metrics["worst_group_10"] is None  # no group has ten images


def test_every_accuracy_has_an_interval_and_what_has_no_images_has_neither():
    labels, groups = torch.tensor([0, 1] * 20), ["a", "b"] * 20
    said = [0, 0, 1, 1] * 10
    with_groups = measured(certain(said), labels, NAMES, BINS, cells(labels, groups), seed=0)
    without = measured(certain(said), labels, NAMES, BINS, seed=0)
    for metrics in (with_groups, without):
        for name, ends in metrics["intervals"].items():
            if metrics[name] is None:
                assert ends is None
            else:
                assert 0 <= ends[0] <= metrics[name] <= ends[1] <= 1
    assert {"overall", "many", "medium", "few", "macro_accuracy", "worst_group"} <= set(
        with_groups["intervals"]
    )
    assert with_groups["intervals"]["worst_group"] is not None
    assert without["worst"] is without["worst_group"] is without["medium"] is None


def test_macro_accuracy_is_over_the_classes_that_occur():
    assert macro_accuracy(torch.tensor([0, 0, 3]), torch.tensor([0, 0, 1])) == 1 / 2


def test_calibrated_confidence_has_no_calibration_error():
    probabilities = torch.tensor([[0.75, 0.25]]).repeat(4, 1)
    assert calibration_error(probabilities, torch.tensor([0, 0, 0, 1])) == 0
    assert calibration_error(probabilities, torch.tensor([0, 0, 1, 1])) == 1 / 4


def test_gaps_of_different_confidence_do_not_cancel():
    probabilities = torch.tensor([[0.6, 0.4], [0.9, 0.1]])  # too shy, too bold
    labels = torch.tensor([0, 1])
    assert calibration_error(probabilities, labels) == pytest.approx((0.4 + 0.9) / 2)
    assert expected_calibration_error(
        *probabilities.max(dim=-1), labels, num_bins=1
    ) == pytest.approx(0.25)


def test_no_images_is_an_error():
    none = torch.empty(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="no images"):
        measure(torch.empty(0), none, none, NAMES, BINS, seed=0)


def test_the_interval_of_two_values_in_closed_form():
    # t(0.975; 1 degree of freedom) = tan(0.475 pi); the standard error of {a, b} is |a - b| / 2
    expected = math.tan(0.475 * math.pi) * 0.1
    found = interval([0.5, 0.7])
    assert found["mean"] == pytest.approx(0.6)
    assert found["high"] == pytest.approx(0.6 + expected)
    assert found["low"] == pytest.approx(0.6 - expected)
    assert found["seeds"] == 2


def test_one_seed_has_no_interval():
    assert interval([0.5]) == {"mean": 0.5, "low": None, "high": None, "seeds": 1}
    with pytest.raises(ValueError, match="at least one"):
        interval([])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-1, 1))
def test_the_interval_holds_the_mean_and_moves_with_the_values(values, shift):
    found, moved = interval(values), interval([value + shift for value in values])
    assert found["low"] <= found["mean"] <= found["high"]
    assert moved["low"] == pytest.approx(found["low"] + shift, abs=1e-9)


def test_evaluation_is_the_measure_of_the_predictions():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 3, 16, 16, generator=generator) * 2 - 1
    images = image_set(x, [0, 1, 2, 3, 0, 1], NAMES)
    classifier = create_classifier("test_resnet", {}, NAMES, 16, seed=0)
    result = evaluate(classifier, images, BINS, seed=5)
    logits, _ = predict(classifier, from_uint8(images.__getitems__(range(6))))
    confidence, predictions = logits.softmax(dim=-1).max(dim=-1)
    assert torch.equal(result.predictions, predictions)
    assert torch.equal(result.confidence, confidence)
    known = measure(confidence, predictions, images.labels, NAMES, BINS, seed=5)
    assert result.metrics == known
