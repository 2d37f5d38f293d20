"""The classifier that guides: its prior taken out, and several of them as a committee."""

import math

import pytest
import torch
from micro import synthesize_config

from fgds_core.classify.network import load_classifier
from fgds_core.classify.priors import log_prior
from fgds_core.feedback.criteria.disagreement import disagreement
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.loss import loss
from fgds_core.feedback.critic import Feedback
from fgds_core.feedback.load import load_feedback, prior_of
from fgds_core.feedback.registry import load_criterion

LABELS = torch.tensor([0, 2, 1, 2])


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = randn(4, 3, 16, 16, seed=9)


class Answering:
    """A classifier that says the same whatever it is shown."""

    class_names = ("cat", "dog", "owl")

    def __init__(self, logits: torch.Tensor, temperature: float = 1.0) -> None:
        self.logits, self.temperature = logits, temperature

    def logits_and_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.logits, self.logits[:, :2]


def committee(criterion: str, *logits: torch.Tensor) -> torch.Tensor:
    """What a committee with these answers makes of a criterion."""
    return Feedback(load_criterion(criterion), tuple(map(Answering, logits)))(X, LABELS)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("counts", [(90, 9, 1), (5, 0, 500)])
def test_the_prior_is_taken_out_of_the_logits(tau: float, counts: tuple[int, ...]) -> None:
    logits = 3 * randn(4, 3)
    shares = log_prior(torch.tensor(counts))  # that of the losses that adjust logits
    expected = torch.nn.functional.cross_entropy(
        logits.double() - tau * shares, LABELS, reduction="none"
    )
    feedback = Feedback(loss, (Answering(logits),), prior=prior_of(counts, tau))
    torch.testing.assert_close(feedback(X, LABELS).double(), expected, rtol=1e-6, atol=1e-6)


def test_without_a_prior_or_with_an_even_one_every_bit_stays(tiny_classifier) -> None:
    classifier = load_classifier(tiny_classifier)
    plain = Feedback(loss, (classifier,))(X, LABELS)
    for counts, tau in [((7, 7, 7), 1.0), ((9, 5, 1), 0.0)]:
        feedback = load_feedback(
            synthesize_config(feedback="loss", feedback_tau=tau),
            [tiny_classifier],
            [classifier],
            counts,
        )
        assert torch.equal(feedback(X, LABELS), plain)
    uneven = load_feedback(
        synthesize_config(feedback="loss", feedback_tau=1.0),
        [tiny_classifier],
        [classifier],
        (9, 5, 1),
    )
    assert not torch.equal(uneven(X, LABELS), plain)


def test_the_prior_is_taken_from_calibrated_logits() -> None:
    logits, prior = randn(4, 3), prior_of((90, 9, 1), 1.0)
    guide = Answering(logits, temperature=2.0)
    calibrated = Feedback(loss, (guide,), calibrated=True, prior=prior)(X, LABELS)
    expected = torch.nn.functional.cross_entropy(logits / 2 - prior, LABELS, reduction="none")
    torch.testing.assert_close(calibrated, expected)


@pytest.mark.parametrize("criterion", ["loss", "entropy"])
def test_a_committee_of_one_classifier_twice_is_that_classifier(criterion: str) -> None:
    logits = 3 * randn(4, 3)
    torch.testing.assert_close(committee(criterion, logits, logits), committee(criterion, logits))


def test_a_committee_answers_with_its_mean_probability() -> None:
    each = 3 * randn(3, 4, 3)
    mean = each.softmax(dim=-1).mean(dim=0)
    torch.testing.assert_close(committee("loss", *each), -mean[torch.arange(4), LABELS].log())
    torch.testing.assert_close(
        committee("entropy", *each), torch.distributions.Categorical(mean).entropy()
    )


def test_each_member_of_a_committee_is_calibrated_and_rid_of_the_prior_itself() -> None:
    each, prior = 3 * randn(2, 4, 3), prior_of((90, 9, 1), 1.0)
    guides = (Answering(each[0], temperature=2.0), Answering(each[1], temperature=0.5))
    feedback = Feedback(loss, guides, calibrated=True, prior=prior)
    mean = ((each[0] / 2 - prior).softmax(-1) + (each[1] / 0.5 - prior).softmax(-1)) / 2
    torch.testing.assert_close(feedback(X, LABELS), -mean[torch.arange(4), LABELS].log())


def test_disagreement_is_the_information_the_member_has_of_the_answer() -> None:
    each = 3 * randn(3, 4, 3)
    p = each.double().softmax(dim=-1)
    expected = torch.distributions.Categorical(
        p.mean(dim=0)
    ).entropy() - torch.distributions.Categorical(p).entropy().mean(dim=0)
    torch.testing.assert_close(
        committee("disagreement", *each).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_disagreement_is_none_among_the_same_and_log_m_among_opposites() -> None:
    logits = 3 * randn(4, 3)
    zero = committee("disagreement", logits, logits, logits)
    torch.testing.assert_close(zero, torch.zeros(4), rtol=0, atol=1e-6)
    opposites = [torch.eye(3)[[label] * 4] * 1e3 for label in (0, 2)]
    full = committee("disagreement", *opposites)
    torch.testing.assert_close(full, torch.full((4,), math.log(2)))


def test_two_coins_disagree_as_by_hand() -> None:
    p, q = 0.9, 0.2
    coins = [torch.tensor([[math.log(each), math.log(1 - each), -1e9]] * 4) for each in (p, q)]

    def h(share: float) -> float:
        return -share * math.log(share) - (1 - share) * math.log(1 - share)

    expected = h((p + q) / 2) - (h(p) + h(q)) / 2
    torch.testing.assert_close(committee("disagreement", *coins), torch.full((4,), expected))


def test_the_gradient_is_that_of_both_members() -> None:
    each = randn(2, 4, 3).double().requires_grad_()
    for criterion in (loss, entropy, disagreement):
        assert torch.autograd.gradcheck(
            lambda a, b, c=criterion: Feedback(c, (Answering(a), Answering(b)))(X, LABELS),
            tuple(each),
        )


@pytest.mark.parametrize("criterion", ["loss", "entropy", "disagreement"])
def test_gradients_of_a_committee_are_finite_at_extreme_logits(criterion: str) -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    guides = (Answering(logits), Answering(-3 * logits.roll(1, 1)))
    prior = prior_of((100_000, 1, 0), 1.0)
    feedback = Feedback(load_criterion(criterion), guides, prior=prior)
    value = feedback(X[:2], LABELS[:2])
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
