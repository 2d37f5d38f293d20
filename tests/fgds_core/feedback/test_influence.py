"""Influence: what a step on an image does to the loss of its class, in the last layer."""

import copy
from pathlib import Path

import pytest
import torch
from micro import synthesize_config
from sets import gather, image_set
from torch.nn import functional as F

from fgds_core.classify.heads import last_layer
from fgds_core.classify.network import Classifier, create_classifier, load_classifier
from fgds_core.errors import InputError
from fgds_core.feedback.critic import Feedback
from fgds_core.feedback.load import load_feedback

NAMES = ("cat", "dog", "owl")
LABELS = torch.tensor([0, 1, 1, 0, 0, 0, 1, 0])
"""Of the validation images; there is no owl."""


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


VAL = image_set(randn(8, 3, 16, 16), LABELS, NAMES)
X = randn(4, 3, 16, 16, seed=5)
INTENDED = torch.tensor([0, 1, 1, 0])


@pytest.fixture
def classifier(tiny_classifier: Path) -> Classifier:
    return load_classifier(tiny_classifier).double()


def influence(classifier: Classifier, folder: Path, val=VAL, **changes) -> Feedback:
    return load_feedback(
        synthesize_config(feedback="influence", **changes),
        [folder],
        [classifier],
        [4, 4, 4],
        images={"val": val}.__getitem__,
    )


def gradient(classifier: Classifier, loss: torch.Tensor) -> torch.Tensor:
    """Of a loss with respect to weights and offset of the last layer, all in one vector."""
    layer = last_layer(classifier.network)
    found = torch.autograd.grad(loss, [layer.weight, layer.bias], retain_graph=True)
    return torch.cat([each.flatten() for each in found])


def losses(classifier: Classifier, temperature: float = 1.0) -> list[torch.Tensor]:
    """The validation loss of the two classes that have images."""
    logits = classifier(gather(VAL).double()) / temperature
    return [F.cross_entropy(logits[k == LABELS], LABELS[k == LABELS]) for k in (0, 1)]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_it_is_the_inner_product_of_gradients(classifier, tiny_classifier, temperature) -> None:
    classifier.temperature = temperature
    feedback = influence(classifier, tiny_classifier, feedback_calibrated=True)
    of_class = [gradient(classifier, loss) for loss in losses(classifier, temperature)]
    own = F.cross_entropy(classifier(X.double()) / temperature, INTENDED, reduction="none")
    counts, expected = [5, 3], []
    for value, label in zip(own, INTENDED.tolist(), strict=True):
        wanted = of_class[label] - of_class[1 - label]
        share = counts[label] / (counts[label] + 10)
        expected.append(share * gradient(classifier, value) @ wanted * temperature**2)
    found = feedback(X.double(), INTENDED)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-8)


def test_a_step_on_an_image_helps_its_class_as_much_as_it_says(classifier, tiny_classifier):
    values = influence(classifier, tiny_classifier)(X.double(), INTENDED)
    before, rate, counts = [each.item() for each in losses(classifier)], 1e-4, [5, 3]
    assert (values > 0).any()
    for image, label, value in zip(X.double(), INTENDED.tolist(), values, strict=True):
        learner = copy.deepcopy(classifier)
        layer = last_layer(learner.network)
        step = torch.optim.SGD(layer.parameters(), lr=rate)
        F.cross_entropy(learner(image[None]), torch.tensor([label])).backward()
        step.step()
        gained = [b - a.item() for b, a in zip(before, losses(learner), strict=True)]
        share = counts[label] / (counts[label] + 10)
        assert (gained[label] - gained[1 - label]) * share == pytest.approx(
            rate * value.item(), rel=1e-2
        )


def test_its_gradient_agrees_with_finite_differences(classifier, tiny_classifier) -> None:
    criterion = influence(classifier, tiny_classifier)
    direction = randn(4, 3, 16, 16, seed=6).double()
    x = X.double().requires_grad_()
    (grad,) = torch.autograd.grad(criterion(x, INTENDED).sum(), x)
    with torch.no_grad():
        ahead, behind = (criterion(X + s * 1e-5 * direction, INTENDED) for s in (1, -1))
    expected = (ahead - behind) / 2e-5
    torch.testing.assert_close((grad * direction).sum(dim=(1, 2, 3)), expected, rtol=1e-4, atol=0)


def test_a_class_without_validation_images_is_left_alone(classifier, tiny_classifier) -> None:
    x = X.double().requires_grad_()
    values = influence(classifier, tiny_classifier)(x, torch.full((4,), 2))
    values.sum().backward()
    assert not values.any()
    assert not x.grad.any()


def test_what_has_no_such_gradient_is_refused(classifier, tiny_classifier) -> None:
    none = VAL.select([])
    with pytest.raises(InputError, match="there are no validation images"):
        influence(classifier, tiny_classifier, none)
    cosine = create_classifier(
        "resnet10t", {"stem_width": 8, "channels": [8, 8, 16, 16]}, NAMES, 16, 0, head="cosine"
    )
    with pytest.raises(InputError, match="compares gradients of a linear last layer"):
        influence(cosine.eval(), tiny_classifier)
