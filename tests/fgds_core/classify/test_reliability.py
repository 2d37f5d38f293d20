"""Accuracy over confidence."""

import numpy as np
import pytest
import torch

from fgds_core.classify.metrics import expected_calibration_error
from fgds_core.classify.reliability import ECE_BINS, reliability


def test_a_bin_has_its_mean_confidence_and_accuracy():
    confidence = np.array([0.5, 0.52, 0.99, 1.0])
    rows = reliability(confidence, np.array([True, False, True, True]))
    assert len(rows) == ECE_BINS
    half, last = rows[7], rows[-1]  # (7/15, 8/15] and (14/15, 1]
    assert (half["low"], half["high"]) == pytest.approx((7 / 15, 8 / 15))
    assert (half["confidence"], half["accuracy"], half["num_images"]) == pytest.approx(
        (0.51, 0.5, 2)
    )
    assert (last["confidence"], last["accuracy"]) == pytest.approx((0.995, 1.0))
    assert rows[0]["accuracy"] is None
    assert sum(row["num_images"] for row in rows) == 4


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    draws = np.random.default_rng(0)
    confidence, right = draws.uniform(0.2, 1, 500), draws.random(500) < 0.6
    gaps = [
        row["num_images"] * abs(row["accuracy"] - row["confidence"])
        for row in reliability(confidence, right)
        if row["num_images"]
    ]
    labels = torch.zeros(500, dtype=torch.int64)
    known = expected_calibration_error(
        torch.from_numpy(confidence), torch.from_numpy(~right).long(), labels
    )
    assert sum(gaps) / 500 == pytest.approx(known)
