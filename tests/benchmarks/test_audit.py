"""The audit for shortcuts finds what was put there and nothing else."""

import numpy as np
import pytest
import torch
from sets import image_set

from benchmarks.controls.audit import audited, sent_to_synthetic
from benchmarks.controls.probe import probe_auc
from fgds_core.classify.network import create_classifier

NAMES = ("cat", "dog")


def features(num_images, shift, seed):
    return np.random.default_rng(seed).normal(size=(num_images, 4)) + shift


def test_a_probe_tells_apart_what_differs_within_a_class():
    labels = np.repeat([0, 1], 300)
    of_class = 5.0 * labels[:, None]  # the classes differ, which is no trace of synthesis
    real, same = features(600, of_class, 0), features(600, of_class, 1)
    assert probe_auc(real, labels, same, labels) == pytest.approx(0.5, abs=0.08)
    assert probe_auc(real, labels, same + 10, labels) == 1
    # Where only rare classes are synthetic, all images together would be told apart by class
    assert probe_auc(real, labels, same[450:], labels[450:]) == pytest.approx(0.5, abs=0.08)


def test_a_probe_needs_images_of_both_kinds():
    x, labels = features(40, 0, 0), np.zeros(40, dtype=np.int64)
    assert probe_auc(x, labels, x[:19], labels[:19]) is None
    assert probe_auc(x, labels, x, labels + 1) is None


def of_classes(labels, groups=None):
    return image_set(torch.zeros(len(labels), 3, 8, 8), labels, NAMES, groups)


def test_frequent_images_that_go_to_a_mostly_synthetic_class():
    train, synthetic = of_classes([0] * 6 + [1] * 2), of_classes([0] * 2 + [1] * 6)
    val = of_classes([0, 0, 0, 0, 1, 1])
    assert sent_to_synthetic([0, 0, 0, 1, 0, 1], train, synthetic, val) == 0.25
    # Had class 1 the real images: one of its two goes to class 0
    assert sent_to_synthetic([0, 0, 0, 1, 0, 1], synthetic, train, val) == 0.5


def test_with_groups_a_class_is_real_before_one_ground_and_synthetic_before_another():
    train = of_classes([0] * 3 + [1] * 3, ["red"] * 3 + ["blue"] * 3)
    synthetic = of_classes([0] * 2 + [1] * 2, ["blue"] * 2 + ["red"] * 2)
    val = of_classes([0, 0, 1, 1], ["red", "blue", "red", "blue"])
    # The first and the last are mostly real; a red image taken for a dog goes to synthetic ones
    assert sent_to_synthetic([1, 1, 0, 1], train, synthetic, val) == 0.5
    assert sent_to_synthetic([0, 1, 0, 1], train, synthetic, val) == 0


def test_a_classifier_is_asked_about_all_three_sets():
    rng = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(60, 3, 16, 16, generator=rng)
    labels = [0] * 40 + [1] * 20
    train, val = image_set(x, labels, NAMES), image_set(x[:30], labels[:30], NAMES)
    synthetic = image_set(x + 0.5, [1 - label for label in labels], NAMES)
    classifier = create_classifier("test_resnet", {}, NAMES, 16, seed=0).eval()
    found = audited(classifier, train, synthetic, val)
    assert found["probe_auc"] > 0.9
    with torch.no_grad():
        taken = classifier(x[:30]).argmax(dim=1)
    assert found["sent_to_synthetic"] == pytest.approx((taken == 1).double().mean().item())
