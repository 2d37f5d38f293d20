"""What adjusted logits give of frequent classes for rare ones."""

import numpy as np
import pytest
import torch
from sets import image_set

from fgds_core.classify.metrics import measure
from fgds_core.classify.priors import log_prior
from fgds_core.classify.tradeoff import TAUS, TradeOff

NAMES = ("cat", "dog", "newt")
BINS = {"cat": "many", "dog": "medium", "newt": "few"}
COUNTS = (500, 50, 5)


def some_logits(num=300):
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(num) % 3
    logits = torch.randn(num, 3, generator=rng) + 1.5 * torch.eye(3)[labels]
    frequent = log_prior(torch.tensor(COUNTS)).float()  # what it has learnt of the classes
    return logits + frequent, labels


def curve(logits, labels, batch_size=64):
    trade_off = TradeOff(COUNTS)
    for part in logits.split(batch_size):
        trade_off.add(part)
    images = image_set(torch.zeros(len(labels), 3, 4, 4), labels, NAMES)
    return trade_off.rows(images, BINS)


def test_without_adjustment_it_is_the_classifier_as_measured():
    logits, labels = some_logits()
    confidence, predicted = logits.softmax(dim=-1).max(dim=-1)
    metrics = measure(confidence, predicted, labels, NAMES, BINS, seed=0)
    unmoved = curve(logits, labels)[TAUS.index(0)]
    assert unmoved.pop("tau") == 0
    assert unmoved == {key: metrics[key] for key in unmoved}


@pytest.mark.parametrize("tau", [-1.0, 0.5, 1.0, 2.0])
def test_a_strength_takes_so_much_of_the_logarithm_of_the_prior(tau):
    logits, labels = some_logits()
    prior = np.array(COUNTS) / sum(COUNTS)
    right = (logits.numpy() - tau * np.log(prior)).argmax(axis=1) == labels.numpy()
    row = curve(logits, labels)[TAUS.index(tau)]
    assert row["overall"] == pytest.approx(right.mean())
    assert row["few"] == pytest.approx(right[labels.numpy() == 2].mean())


def test_more_is_given_to_rare_classes_the_stronger_it_is():
    rows = curve(*some_logits())
    few, many = ([row[name] for row in rows] for name in ("few", "many"))
    assert few == sorted(few)
    assert many == sorted(many, reverse=True)
    assert few[0] < few[-1]


def test_a_class_without_training_images_counts_as_one_with_a_single_image():
    nothing, one = log_prior(torch.tensor([9, 0])), log_prior(torch.tensor([9, 1]))
    assert torch.isfinite(nothing).all()
    assert torch.equal(nothing, one)


def test_a_bin_without_images_has_no_number():
    logits, labels = some_logits(6)
    common = labels < 2
    rows = curve(logits[common], labels[common])
    assert {row["few"] for row in rows} == {None}
