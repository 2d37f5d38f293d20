"""Each loss is what its paper says: against plain transcriptions, one image at a time in numpy."""

import math

import numpy as np
import pytest
import torch
from sets import gather, image_set
from torch.nn import functional as F
from training import TRAIN, VAL, recipe, shaded

from fgds_core.classify.batches import Batch, TrainingImages
from fgds_core.classify.losses import LOSSES, check_loss, create_loss
from fgds_core.classify.losses.effective_number import class_weights
from fgds_core.classify.priors import Priors, priors_of
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError
from fgds_core.stages.trial import train_a_little

COUNTS = torch.tensor([24, 6, 2, 0])
N = np.array([24.0, 6.0, 2.0, 1.0])  # a class without real images counts as one with one
K = len(N)
GROUP_COUNTS = torch.tensor([[20, 4, 0], [3, 0, 3], [0, 2, 0], [0, 0, 0]])
PRIORS = Priors(COUNTS, GROUP_COUNTS)

LOGITS = torch.randn(10, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 0, 1])
GROUPS = torch.tensor([0, 1, 0, 0, 2, 1, 1, 2, 0, 2])
SYNTHETIC = torch.tensor([False] * 5 + [True] * 5)


def batch(progress=0.0, labels=LABELS):
    x = torch.zeros(len(labels), 3, 1, 1)
    return Batch(x, labels, GROUPS[: len(labels)], SYNTHETIC[: len(labels)], progress)


def made(name, label_smoothing=0.0, priors=PRIORS, **kwargs):
    config = recipe(loss=name, label_smoothing=label_smoothing, loss_kwargs=kwargs)
    return create_loss(config, priors).double()


def value(loss, progress=0.0, reduction="mean"):
    return loss(LOGITS, LABELS, batch(progress), reduction).numpy()


def smoothed(label, smoothing):
    target = np.full(K, smoothing / K)
    target[label] += 1 - smoothing
    return target


def cross_entropy(z, label, smoothing=0.0):
    p = np.exp(z) / np.exp(z).sum()
    return -(smoothed(label, smoothing) * np.log(p)).sum()


def effective_weights(beta=0.9999):
    weights = np.array([(1 - beta) / (1 - beta**n) for n in N])
    return weights / weights.sum() * K


def balanced_softmax(z, label, smoothing):
    return cross_entropy(z + np.log(N), label, smoothing)


def half_adjusted(z, label, smoothing):
    return cross_entropy(z + 0.5 * np.log(N / N.sum()), label, smoothing)


def with_margin(z, label, smoothing):
    margins = 1 / np.sqrt(np.sqrt(N))
    margins = margins * (0.5 / margins.max())
    moved = z.copy()
    moved[label] -= 30 * margins[label]
    return cross_entropy(moved, label, smoothing)


def focal(z, label, smoothing, gamma=1.0):
    p, target, total = 1 / (1 + np.exp(-z)), smoothed(label, smoothing), 0.0
    for k in range(K):
        total -= target[k] * (1 - p[k]) ** gamma * math.log(p[k])
        total -= (1 - target[k]) * p[k] ** gamma * math.log(1 - p[k])
    return effective_weights()[label] * total


def label_aware(z, label, smoothing):
    eps = 0.3 * math.sin((N[label] - N.min()) * math.pi / (2 * (N.max() - N.min())))
    return cross_entropy(z, label, eps)


EACH = {
    "cross_entropy": ({}, cross_entropy),
    "balanced_softmax": ({}, balanced_softmax),
    "logit_adjustment": ({"tau": 0.5}, half_adjusted),
    "ldam": ({}, with_margin),
    "class_balanced_focal": ({}, focal),
    "label_aware_smoothing": ({}, label_aware),
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", EACH)
def test_a_loss_is_its_formula_for_each_image(name, smoothing):
    kwargs, formula = EACH[name]
    expected = [
        formula(z, label, smoothing)
        for z, label in zip(LOGITS.numpy(), LABELS.tolist(), strict=True)
    ]
    loss = made(name, smoothing, **kwargs)
    np.testing.assert_allclose(value(loss, reduction="none"), expected, rtol=1e-6)
    np.testing.assert_allclose(value(loss), np.mean(expected), rtol=1e-6)


def test_every_loss_has_its_formula():
    assert set(LOSSES) == {*EACH, "group_dro"}


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_at_other_exponents(gamma):
    expected = [
        focal(z, label, 0.0, gamma)
        for z, label in zip(LOGITS.numpy(), LABELS.tolist(), strict=True)
    ]
    found = value(made("class_balanced_focal", gamma=gamma), reduction="none")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_logit_adjustment_at_tau_0_and_1_is_plain_and_balanced_softmax():
    plain, balanced = value(made("cross_entropy")), value(made("balanced_softmax"))
    np.testing.assert_allclose(value(made("logit_adjustment", tau=0)), plain)
    np.testing.assert_allclose(value(made("logit_adjustment")), balanced, rtol=1e-6)


def test_balanced_softmax_asks_nothing_of_a_network_that_cannot_tell_classes_apart():
    # With images in the classes' own shares, equal logits are its minimum: no bias is learnt
    labels = torch.arange(3).repeat_interleave(COUNTS[:3])
    logits = torch.zeros(len(labels), 3, requires_grad=True)
    loss = made("balanced_softmax", priors=Priors(COUNTS[:3], None)).float()
    where = Batch(labels, labels, None, labels < 0)
    loss(logits, labels, where).backward()
    np.testing.assert_allclose(logits.grad.sum(dim=0), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(
        loss(logits, labels, where, "none").detach()[:1], -math.log(24 / 32), rtol=1e-6
    )


def test_ldam_reweights_late_as_cross_entropy_with_weights_does():
    plain = value(made("ldam"), progress=0.0)
    np.testing.assert_array_equal(value(made("ldam"), progress=0.7999), plain)
    weights = effective_weights()
    margins = 0.5 * N**-0.25
    moved = LOGITS - 30 * F.one_hot(LABELS, K) * torch.tensor(margins)
    expected = F.cross_entropy(moved, LABELS, weight=torch.tensor(weights))
    np.testing.assert_allclose(value(made("ldam"), progress=0.8), expected, rtol=1e-6)
    early = made("ldam", reweight_from=0.0)
    np.testing.assert_allclose(value(early), expected, rtol=1e-6)
    np.testing.assert_allclose(value(early, reduction="none").mean(), expected, rtol=1e-6)


def test_effective_weights_average_one_and_are_equal_for_beta_0():
    weights = class_weights(PRIORS, 0.999)
    np.testing.assert_allclose(weights, effective_weights(0.999))
    assert weights.mean().item() == pytest.approx(1)
    assert class_weights(PRIORS, 0.0).tolist() == [1.0] * K
    # Towards 1 the effective number is the number: weights go as 1 / n
    inverse = class_weights(PRIORS, 1 - 1e-9).numpy()
    np.testing.assert_allclose(inverse * N, K / (1 / N).sum(), rtol=1e-5)


def test_label_aware_smoothing_of_equal_classes_is_the_tails():
    equal = Priors(torch.tensor([7, 7, 7, 7]), None)
    loss = made("label_aware_smoothing", priors=equal, tail=0.2)
    plain = made("cross_entropy", 0.2)
    np.testing.assert_allclose(value(loss), value(plain), rtol=1e-6)


def group_dro(steps, eta, smoothing=0.0):
    """The losses of some steps on one batch, and the weights after them, cell by cell."""
    q = {(c, g): 1.0 for c in range(K) for g in range(3) if GROUP_COUNTS[c, g] > 0}
    q = {cell: weight / len(q) for cell, weight in q.items()}
    losses = []
    for _ in range(steps):
        found = {cell: [] for cell in q}
        for z, label, group in zip(LOGITS.numpy(), LABELS.tolist(), GROUPS.tolist(), strict=True):
            if (label, group) in found:
                found[label, group].append(cross_entropy(z, label, smoothing))
        mean = {cell: np.mean(each) if each else 0.0 for cell, each in found.items()}
        q = {cell: weight * math.exp(eta * mean[cell]) for cell, weight in q.items()}
        q = {cell: weight / sum(q.values()) for cell, weight in q.items()}
        losses.append(sum(q[cell] * mean[cell] for cell in q))
    return losses, q


@pytest.mark.parametrize(("eta", "smoothing"), [(0.01, 0.0), (1.0, 0.1)])
def test_group_dro_follows_the_worst_group_step_by_step(eta, smoothing):
    # Synthetic images, from the fifth on, count in their cells; the cell of one has no real image
    losses, q = group_dro(3, eta, smoothing)
    loss = made("group_dro", smoothing, eta=eta)
    found = [value(loss) for _ in range(2)] + [value(loss, reduction="none").mean()]
    np.testing.assert_allclose(found, losses, rtol=1e-6)
    weights = loss.log_q.exp().view(K, 3)
    assert weights.sum().item() == pytest.approx(1)
    for (label, group), weight in q.items():
        assert weights[label, group].item() == pytest.approx(weight, rel=1e-6)
    assert weights[GROUP_COUNTS == 0].eq(0).all()


def test_group_dro_does_not_count_what_it_cannot_weigh():
    loss = made("group_dro")
    each = loss(LOGITS, LABELS, batch(), "none")
    alone = GROUP_COUNTS[LABELS, GROUPS] == 0
    assert alone.tolist() == [False] * 7 + [True] + [False] * 2
    assert each[alone].eq(0).all()
    assert each[~alone].gt(0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_at_extreme_logits(name):
    for scale in (1e3, 1e4):
        logits = (scale * LOGITS.float().sign()).requires_grad_()
        loss = made(name).float()
        for progress in (0.0, 0.9):
            found = loss(logits, LABELS, batch(progress))
            found.backward()
            assert found.isfinite()
            assert logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_focal_gradients_are_finite_where_the_network_is_sure(gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]], requires_grad=True)
    priors = Priors(torch.tensor([3, 1]), None)
    labels = torch.tensor([0, 0, 1])
    loss = made("class_balanced_focal", priors=priors, gamma=gamma).float()
    loss(logits, labels, batch(labels=labels)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().min() > 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_only_real_images_make_priors(name):
    names, groups = ["a", "b", "c"], ["sea", "ice"] * 8
    real = image_set(torch.zeros(16, 3, 16, 16), [0] * 10 + [1] * 4 + [2] * 2, names, groups)
    synthetic = image_set(torch.zeros(9, 3, 16, 16), [1, 2, 2] * 3, names, ["sky"] * 9)
    alone, joined = priors_of(TrainingImages(real)), priors_of(TrainingImages(real, synthetic))
    assert joined.counts.tolist() == alone.counts.tolist() == [10, 4, 2]
    assert joined.group_counts.tolist() == [[5, 5, 0], [2, 2, 0], [1, 1, 0]]  # ice, sea, sky
    labels = torch.tensor([0, 1, 2])
    where = Batch(labels, labels, torch.tensor([0, 1, 1]), labels > 0, 0.9)
    config = recipe(loss=name, label_smoothing=0.0)
    found = [
        create_loss(config, each)(LOGITS[:3, :3].float(), labels, where).item()
        for each in (alone, joined)
    ]
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize(
    ("loss", "kwargs", "message"),
    [
        ("cross_entropy", {"tau": 1}, "cross_entropy has no argument tau; it takes no further"),
        ("balanced_softmax", {"tau": 1}, "it takes no further argument"),
        ("ldam", {"scale": 3}, "no argument scale; it takes beta, max_margin, reweight_from"),
        ("logit_adjustment", {"tau": -1}, "tau must be a number of at least 0, got -1"),
        ("logit_adjustment", {"tau": "1"}, "tau must be a number of at least 0, got '1'"),
        ("logit_adjustment", {"tau": True}, "tau must be a number of at least 0, got True"),
        ("ldam", {"max_margin": 3}, "max_margin must be a number from 0 to 2, got 3"),
        ("ldam", {"reweight_from": None}, "reweight_from must be a number from 0 to 1, got None"),
        ("class_balanced_focal", {"beta": 1}, "beta must be below 1, got 1"),
        (
            "class_balanced_focal",
            {"gamma": [2]},
            r"gamma must be a number of at least 0, got \[2\]",
        ),
        ("label_aware_smoothing", {"head": 1.5}, "head must be a number from 0 to 1, got 1.5"),
        ("group_dro", {"eta": -0.1}, "eta must be a number of at least 0, got -0.1"),
    ],
)
def test_arguments_that_make_no_sense_are_named(loss, kwargs, message):
    with pytest.raises(ValueError, match=message):
        check_loss(recipe(loss=loss, loss_kwargs=kwargs))


@pytest.mark.parametrize("change", [{"loss": "group_dro"}, {"sampling": "group_balanced"}])
def test_what_needs_groups_says_so_before_the_first_step(change):
    ((key, word),) = change.items()
    train, val = shaded([4, 3, 2]), shaded([2, 2, 2])
    with pytest.raises(InputError, match=f"^{key}: got {word}, but the training images have no"):
        train_classifier(train, val, recipe(**change), seed=0)


def grouped(images):
    groups = ["sea", "ice"] * (len(images) // 2)
    return image_set(gather(images), images.labels, images.class_names, groups)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_passes_the_trial_and_learns_from_both_sources(name):
    config = recipe(
        loss=name,
        head="cosine" if name == "ldam" else "linear",
        label_smoothing=0.0,
        sampling="group_balanced",
        shift=0,
        erase=0.0,
        model_kwargs={},
        learning_rate=3e-3,
        num_steps=30,
        eval_every=30,
    )
    train_a_little(config, TRAIN.class_names, TRAIN.size, "cpu")
    train = grouped(TRAIN)
    synthetic = grouped(shaded([4, 8, 12], seed=4))
    lowered = []
    run = TrainingRun(on_epoch=lambda seen: lowered.append(seen["val_macro_accuracy"]))
    train_classifier(train, VAL, config, 0, synthetic=synthetic, real_share=0.5, run=run)
    assert lowered[-1] > 0.6
