"""What a step lowers, against cross-entropy with soft labels and by sources."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from training import TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify.batches import Batch
from fgds_core.classify.config import Treatment
from fgds_core.classify.losses import LOSSES, Loss
from fgds_core.classify.objective import Objective
from fgds_core.classify.priors import Priors
from fgds_core.classify.train import train_classifier

B, K = 12, 4
RNG = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(B, K, generator=RNG)
PRIORS = Priors(torch.tensor([9, 5, 3, 1]), None)


def told(share=None, partner=None):
    labels = torch.randint(K, (B,), generator=RNG)
    synthetic = torch.rand(B, generator=RNG) < 0.5
    return Batch(torch.zeros(B, 3, 1, 1), labels, None, synthetic, 0.0, share, partner)


PLAIN = told()
MIXED = told(torch.rand(B, generator=RNG), told())


def lowered(batch, logits=LOGITS, smoothing=0.1, **treatment):
    config = recipe(label_smoothing=smoothing)
    return Objective(config, PRIORS, Treatment(**treatment))(logits, batch)


def test_of_mixed_images_it_is_the_cross_entropy_with_their_shares_as_target():
    own, other = F.one_hot(MIXED.labels, K), F.one_hot(MIXED.partner.labels, K)
    share = MIXED.share[:, None]
    target = 0.9 * (share * own + (1 - share) * other) + 0.1 / K
    expected = -(target * LOGITS.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(lowered(MIXED), expected)


def test_without_mixing_and_treatment_it_is_the_loss_itself():
    assert torch.equal(lowered(PLAIN), F.cross_entropy(LOGITS, PLAIN.labels, label_smoothing=0.1))


@pytest.mark.parametrize("weight", [0.0, 0.25, 3.0])
def test_a_label_counts_by_the_weight_of_the_image_it_comes_from(weight):
    logits = LOGITS.clone().requires_grad_()
    lowered(MIXED, logits, weight=weight).backward()
    expected = LOGITS.clone().requires_grad_()
    total = 0
    for i in range(B):
        for share, batch in ((MIXED.share[i], MIXED), (1 - MIXED.share[i], MIXED.partner)):
            of_image = F.cross_entropy(expected[i], batch.labels[i], label_smoothing=0.1)
            total = total + share * (weight if batch.synthetic[i] else 1) * of_image
    (total / B).backward()
    torch.testing.assert_close(logits.grad, expected.grad)


def test_synthetic_images_have_a_label_smoothing_of_their_own():
    each = [
        F.cross_entropy(LOGITS[i], PLAIN.labels[i], label_smoothing=0.4 if synthetic else 0.1)
        for i, synthetic in enumerate(PLAIN.synthetic)
    ]
    torch.testing.assert_close(lowered(PLAIN, label_smoothing=0.4), torch.stack(each).mean())
    assert torch.equal(lowered(PLAIN, label_smoothing=0.1), lowered(PLAIN))


def test_it_is_the_mean_of_two_halves():
    def half(batch, rows):
        kept = {
            field.name: value[rows] if isinstance(value, torch.Tensor) else value
            for field in dataclasses.fields(batch)
            for value in [getattr(batch, field.name)]
        }
        if batch.partner is not None:
            kept["partner"] = half(batch.partner, rows)
        return Batch(**kept)

    rows = [slice(0, B // 2), slice(B // 2, B)]
    halves = [lowered(half(MIXED, r), LOGITS[r], weight=0.3, label_smoothing=0.4) for r in rows]
    whole = lowered(MIXED, weight=0.3, label_smoothing=0.4)
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


def test_weight_0_trains_by_the_gradient_of_real_images_alone(monkeypatch):
    how = {"synthetic": shaded([3, 3, 3], seed=9), "real_share": 0.5}
    unweighted = train_classifier(TRAIN, VAL, recipe(), 0, treatment=Treatment(weight=0.0), **how)

    class RealAlone(Loss):
        def __init__(self, priors, label_smoothing):
            super().__init__()

        def forward(self, logits, labels, batch, reduction="mean"):
            real = ~batch.synthetic
            each = F.cross_entropy(logits[real], labels[real], label_smoothing=0.1)
            return each * real.double().mean()

    monkeypatch.setitem(LOSSES, "cross_entropy", RealAlone)
    real_alone = train_classifier(TRAIN, VAL, recipe(), 0, **how)
    for a, b in zip(unweighted.parameters(), real_alone.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    monkeypatch.undo()
    assert not same_weights(unweighted, train_classifier(TRAIN, VAL, recipe(), 0, **how))
