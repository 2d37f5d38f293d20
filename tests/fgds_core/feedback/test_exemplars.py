"""Real images as exemplars: the Chamfer distance, and what is made of it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import synthesize_config
from sets import gather, image_set

from fgds_core.classify.network import load_classifier
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.exemplar import exemplar
from fgds_core.feedback.criteria.exemplar_entropy import exemplar_entropy
from fgds_core.feedback.criteria.exemplar_loss import exemplar_loss
from fgds_core.feedback.criteria.loss import loss
from fgds_core.feedback.criterion import NOTHING, Known, Seen, Together
from fgds_core.feedback.load import load_feedback

NAMES = ("cat", "dog", "owl")
COUNTS = (5, 2, 0)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


EXEMPLARS = [torch.nn.functional.normalize(randn(n, 4, seed=9), dim=1) for n in COUNTS]
KNOWN = Known(exemplars=EXEMPLARS.__getitem__, mix=0.7)
LABELS = torch.tensor([0, 1, 0, 0, 1, 0])
SEEN = Seen(randn(6, 3, seed=1), randn(6, 4, seed=2))


def chamfer(x: np.ndarray, y: np.ndarray) -> float:
    """The symmetric Chamfer distance of two sets of vectors, one pair after the other."""
    there, back = [], []
    for a in x:
        there.append(min(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) for b in y))
    for b in y:
        back.append(min(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) for a in x))
    return sum(there) / len(there) + sum(back) / len(back)


def directions(features: torch.Tensor) -> np.ndarray:
    x = features.numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("label", [0, 1])
def test_the_mean_over_images_is_the_chamfer_distance(label: int) -> None:
    values = exemplar(SEEN, LABELS, KNOWN)[label == LABELS]
    expected = chamfer(directions(SEEN.features[label == LABELS]), EXEMPLARS[label].numpy())
    assert -values.mean().item() == pytest.approx(expected, abs=1e-12)


def test_images_at_the_exemplars_are_as_near_as_can_be() -> None:
    seen = Seen(torch.zeros(5, 3), 3 * EXEMPLARS[0])
    values = exemplar(seen, torch.zeros(5).long(), KNOWN)
    torch.testing.assert_close(values, torch.zeros(5).double(), rtol=0, atol=1e-12)


def test_a_collapsed_part_covers_less_than_one_that_is_spread() -> None:
    own = torch.zeros(5).long()
    collapsed = exemplar(Seen(torch.zeros(5, 3), EXEMPLARS[0][[0] * 5]), own, KNOWN)
    spread = exemplar(Seen(torch.zeros(5, 3), EXEMPLARS[0][[0, 1, 2, 3, 3]]), own, KNOWN)
    assert spread.mean() > collapsed.mean()


@pytest.mark.parametrize("criterion", [exemplar, exemplar_loss, exemplar_entropy])
def test_gradients_agree_with_finite_differences(criterion) -> None:
    def values(logits, features):
        return criterion(Seen(logits, features), LABELS, KNOWN)

    inputs = tuple(each.clone().requires_grad_() for each in SEEN[:2])
    assert torch.autograd.gradcheck(values, inputs)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_some_images_of_a_part_are_valued_as_all_of_them_are(size: int) -> None:
    whole = SEEN.features.clone().requires_grad_()
    values = exemplar(Seen(SEEN.logits, whole), LABELS, KNOWN)
    (gradient,) = torch.autograd.grad(values.sum(), whole)
    for which in torch.arange(6).split(size):
        some = SEEN.features[which].requires_grad_()
        together = Together(SEEN.features, LABELS, which)
        own = exemplar(Seen(SEEN.logits[which], some, together=together), LABELS[which], KNOWN)
        torch.testing.assert_close(own, values[which], rtol=0, atol=1e-12)
        (found,) = torch.autograd.grad(own.sum(), some)
        torch.testing.assert_close(found, gradient[which], rtol=0, atol=1e-12)


def test_one_image_that_is_not_finite_spoils_no_other() -> None:
    features = SEEN.features.clone()
    features[2] = math.nan
    values = exemplar(Seen(SEEN.logits, features), LABELS, KNOWN)
    assert values.isnan().tolist() == [False, False, True, False, False, False]
    rest = torch.tensor([0, 3, 5])
    alone = exemplar(Seen(SEEN.logits[rest], features[rest]), LABELS[rest], KNOWN)
    fidelity = (2 - 2 * directions(features[rest]) @ EXEMPLARS[0].numpy().T).min(axis=1)
    coverage, its = -values[rest].numpy() - fidelity, -alone.numpy() - fidelity
    np.testing.assert_allclose(coverage / 4, its / 3, atol=1e-12)  # of 4 images in place of 3


def test_a_class_without_real_images_is_left_alone() -> None:
    features = SEEN.features.clone().requires_grad_()
    owls = torch.full((6,), 2)
    values = exemplar(Seen(SEEN.logits, features), owls, KNOWN)
    values.sum().backward()
    assert not values.any()
    assert not features.grad.any()
    mixed = exemplar_loss(SEEN, owls, KNOWN)
    torch.testing.assert_close(mixed, 0.7 / math.log(3) * loss(SEEN, owls, NOTHING))


@pytest.mark.parametrize(("mixed", "second"), [(exemplar_loss, loss), (exemplar_entropy, entropy)])
def test_two_terms_are_one_energy_in_shares_of_log_k(mixed, second) -> None:
    expected = exemplar(SEEN, LABELS, KNOWN) + 0.7 * second(SEEN, LABELS, NOTHING) / math.log(3)
    torch.testing.assert_close(mixed(SEEN, LABELS, KNOWN), expected)
    alone = Known(exemplars=KNOWN.exemplars, mix=0)
    torch.testing.assert_close(
        mixed(SEEN, LABELS, alone), exemplar(SEEN, LABELS, KNOWN), rtol=0, atol=0
    )


def exemplars(classifier, folder: Path, real, seed: int = 0, **changes):
    """What a run finds as exemplars of a class."""
    feedback = load_feedback(
        synthesize_config(feedback="exemplar", **changes),
        [folder],
        [classifier],
        COUNTS,
        images={"train": real}.__getitem__,
        seed=seed,
    )
    assert feedback.together
    return feedback.known.exemplars


def test_exemplars_are_real_images_drawn_by_the_seed(tiny_classifier: Path) -> None:
    classifier = load_classifier(tiny_classifier)
    labels = [label for label, count in enumerate(COUNTS) for _ in range(count)]
    real = image_set(randn(7, 3, 16, 16).float(), labels, NAMES)
    with torch.no_grad():
        features = torch.nn.functional.normalize(classifier.features(gather(real)), dim=1)

    def rows(label: int, **changes) -> list[int]:
        found = exemplars(classifier, tiny_classifier, real, **changes)(label)
        return [int((features - e).norm(dim=1).argmin()) for e in found]

    assert sorted(rows(0)) == [0, 1, 2, 3, 4]
    assert sorted(rows(1)) == [5, 6]
    assert rows(2) == []
    assert rows(0, feedback_exemplars=2) == rows(0)[:2]
    assert len({tuple(rows(0, seed=seed)) for seed in range(5)}) > 1
