from functools import partial

import pytest
import torch
from guide import Steps, guide

from fgds_core.diffusion.denoise import PREDICTION_TYPES, ClassifierFree, NoiseLevel
from fgds_core.diffusion.guidance.gradient import PURE_NOISE, pull_back, value_and_grad
from fgds_core.diffusion.guidance.rules import RULES
from fgds_core.diffusion.guidance.rules.relative import relative
from fgds_core.diffusion.guidance.rules.score import score

LEVEL = NoiseLevel(1.0, 1.3, torch.tensor(500))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def denoiser(num_images: int = 4) -> ClassifierFree:
    def network(z, timestep, condition):
        return torch.tanh(z * condition[:, :, None, None])

    return ClassifierFree(
        network,
        "v_prediction",
        {"condition": randn(num_images, 4, seed=1)},
        {"condition": randn(num_images, 4, seed=2)},
        2.5,
    )


def as_it_is(z0: torch.Tensor) -> torch.Tensor:
    """A decoder that shows the latent."""
    return z0


def objective(z0: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    return torch.sin(z0 + which[:, None, None, None]).flatten(1).sum(dim=1)


def shifted(first: int, z0: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """The objective of an image that is another one of its batch."""
    return objective(z0, which + first)


def guidance(whole: ClassifierFree | None = None, **changes) -> Steps:
    """Steps that are guided, of the denoiser of four images."""
    return guide(whole or denoiser(), **{"decode": as_it_is, "objective": objective} | changes)


def test_relative_moves_each_image_by_a_share_of_its_own_norm():
    z, grad = randn(3, 4, 2, 2), randn(3, 4, 2, 2, seed=1)
    z[1] *= 100
    moved, _ = relative(
        z, z, grad * torch.tensor([1e-9, 1.0, 1e9])[:, None, None, None], LEVEL, 1, 0.1
    )
    step = (moved - z).flatten(1)
    torch.testing.assert_close(step.norm(dim=1), 0.1 * z.flatten(1).norm(dim=1))
    along = torch.cosine_similarity(step, grad.flatten(1))
    torch.testing.assert_close(along, torch.ones_like(along))


@pytest.mark.parametrize("prediction_type", sorted(PREDICTION_TYPES))
def test_relative_keeps_the_networks_own_prediction(prediction_type):
    coefficients = PREDICTION_TYPES[prediction_type](LEVEL.alpha, LEVEL.sigma)
    z, z0 = randn(2, 4, 2, 2), randn(2, 4, 2, 2, seed=1)
    moved = relative(z, z0, randn(2, 4, 2, 2, seed=2), LEVEL, coefficients.c_skip, 0.1)
    torch.testing.assert_close(
        coefficients.to_prediction(*reversed(moved)), coefficients.to_prediction(z0, z)
    )


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_guidance_is_the_same_in_whatever_scale_the_solver_keeps_the_latent(rule, jacobian):
    z, c = randn(4, 4, 3, 3), (1 + LEVEL.sigma**2) ** -0.5
    preserving = NoiseLevel(c * LEVEL.alpha, c * LEVEL.sigma, LEVEL.timestep)
    step = guidance(rule=rule, jacobian=jacobian)
    expected, ours = step(z, LEVEL), step(c * z, preserving)
    torch.testing.assert_close(ours.z / c, expected.z, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.z0, expected.z0, rtol=0, atol=1e-10)


def test_score_adds_to_the_score():
    level = NoiseLevel(0.8, 1.3, torch.tensor(500))
    z, z0, grad = randn(2, 4, 2, 2), randn(2, 4, 2, 2, seed=1), randn(2, 4, 2, 2, seed=2)

    def score_of(z, z0):
        return (level.alpha * z0 - z) / level.sigma**2

    steered = score(z, z0, grad, level, 1.0, 3.0)
    torch.testing.assert_close(score_of(*steered), score_of(z, z0) + 3.0 * grad)


def test_without_the_jacobian_the_gradient_is_that_at_the_clean_latent():
    z, whole = randn(4, 4, 3, 3), denoiser()
    z0 = whole.halves(z, LEVEL).conditional
    steered = guidance(whole, rule="score", scale=1.0, jacobian=False)(z, LEVEL)
    gained = (steered.z0 - whole(z, LEVEL)) / LEVEL.sigma**2
    expected = torch.cos(z0 + torch.arange(4)[:, None, None, None])
    torch.testing.assert_close(gained, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_gradient_that_is_reused_pushes_as_it_did(rule):
    z, looked = randn(4, 4, 3, 3), []

    def counting(z0, which):
        looked.append(len(z0))
        return objective(z0, which)

    held = guidance(rule=rule, objective=counting, refresh=3)
    fresh = guidance(rule=rule)
    for _ in range(3):  # at the same place the gradient is the same
        ours, expected = held(z, LEVEL), fresh(z, LEVEL)
        torch.testing.assert_close(ours.z, expected.z, rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.z0, expected.z0, rtol=0, atol=1e-10)
    assert looked == [4]
    held(z, LEVEL)
    assert looked == [4, 4]
    assert held.stats.guided.tolist() == [4] * 4


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_gradient_is_reused_alike_in_whatever_scale_the_solver_keeps_the_latent(rule):
    plain, preserving = (guidance(rule=rule, refresh=2) for _ in range(2))
    z = randn(4, 4, 3, 3)
    for sigma in (1.3, 0.4):
        c = (1 + sigma**2) ** -0.5
        expected = plain(z, NoiseLevel(1.0, sigma, torch.tensor(500)))
        ours = preserving(c * z, NoiseLevel(c, c * sigma, torch.tensor(500)))
        torch.testing.assert_close(ours.z / c, expected.z, rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.z0, expected.z0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-12, 1e-7, 1.0, 1e6])
def test_half_precision_carries_back_gradients_of_any_size(dtype, size):
    weight = randn(12, 12, seed=3).float()

    def network(x: torch.Tensor) -> torch.Tensor:
        half = torch.tanh(x.to(dtype) @ weight.to(dtype))
        return half.to(x.dtype)

    x = randn(4, 12).float().requires_grad_()
    grad = randn(4, 12, seed=1).float()
    expected = pull_back(network(x), x, grad)
    ours = pull_back(network(x), x, size * grad)
    torch.testing.assert_close(ours / size, expected, rtol=0.05, atol=0.02)
    assert (ours.norm(dim=1) > 0).all()


def test_bringing_gradients_to_size_changes_no_digit():
    x = randn(4, 12).requires_grad_()
    grad = randn(4, 12, seed=1) * torch.tensor([1e-9, 1.0, 1e9, 0.0]).view(4, 1)
    (plain,) = torch.autograd.grad(torch.tanh(x), x, grad)
    assert torch.equal(pull_back(torch.tanh(x), x, grad), plain)


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-20, 1e20, 1e38])
def test_a_gradient_at_the_edge_of_float32_comes_back_as_it_went(size):
    x = torch.ones(4, 12, requires_grad=True)
    grad = (size * randn(4, 12).clamp(-3, 3)).float()
    assert torch.equal(pull_back(1 * x, x, grad), grad)


@pytest.mark.parametrize("alpha", [0.0, 0.5 * PURE_NOISE])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_of_pure_noise_nothing_is_guided(rule, alpha):
    level = NoiseLevel(alpha, 1.0, torch.tensor(999))
    z, step = randn(4, 4, 3, 3), guidance(rule=rule)
    steered = step(z, level)
    assert torch.equal(steered.z, z)
    assert torch.equal(steered.z0, denoiser()(z, level))
    assert step.stats.skipped.tolist() == [1] * 4


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_batch_equals_its_images_one_by_one(rule):
    z, whole = randn(4, 4, 3, 3), denoiser()
    together = guidance(whole, rule=rule)(z, LEVEL)
    for i in range(4):
        single = ClassifierFree(
            whole.network,
            whole.prediction_type,
            {"condition": whole.conditional["condition"][i : i + 1]},
            {"condition": whole.unconditional["condition"][i : i + 1]},
            whole.guidance_scale,
        )
        alone = guidance(single, num_images=1, rule=rule, objective=partial(shifted, i))(
            z[i : i + 1], LEVEL
        )
        torch.testing.assert_close(alone.z, together.z[i : i + 1], rtol=0, atol=1e-10)
        torch.testing.assert_close(alone.z0, together.z0[i : i + 1], rtol=0, atol=1e-10)


def test_the_gradient_is_that_of_the_whole_graph():
    z = randn(4, 4, 3, 3).requires_grad_()
    whole = denoiser()
    value = objective(whole.halves(z, LEVEL).conditional, torch.arange(4))
    (expected,) = torch.autograd.grad(value.sum(), z)
    steered = guidance(whole, rule="score", scale=1.0)(z, LEVEL)
    gained = (steered.z0 - whole(z.detach(), LEVEL)) / LEVEL.sigma**2
    torch.testing.assert_close(gained, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("micro_batch", [1, 3, 4, None])
def test_micro_batches_change_nothing(micro_batch):
    z0, which = randn(4, 4, 3, 3), torch.arange(4)
    values, grads = value_and_grad(as_it_is, objective, z0, micro_batch)
    torch.testing.assert_close(values, objective(z0, which), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        grads, torch.cos(z0 + which[:, None, None, None]), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("rule", sorted(RULES))
def test_images_that_cannot_be_pushed_stay_as_they_are_and_are_counted(rule):
    def troubled(z0, which):
        value = z0.flatten(1).sum(dim=1)
        factors = torch.tensor([1.0, 0.0, float("nan"), float("inf")], dtype=torch.float64)
        return value * factors[which]

    z, step = randn(4, 4, 3, 3), guidance(objective=troubled, rule=rule)
    steered = step(z, LEVEL)
    expected = denoiser()(z, LEVEL)
    torch.testing.assert_close(steered.z[1:], z[1:], rtol=0, atol=0)
    torch.testing.assert_close(steered.z0[1:], expected[1:], rtol=0, atol=1e-12)
    assert not torch.allclose(steered.z0[0], expected[0])
    assert step.stats.guided.tolist() == [1, 0, 0, 0]
    assert step.stats.skipped.tolist() == [0, 1, 0, 0]
    assert step.stats.non_finite.tolist() == [0, 0, 1, 1]


def test_a_gradient_that_did_not_push_is_not_reused():
    step = guidance(limits=torch.tensor([1e9, -1e9, 1e9, -1e9]), refresh=2)
    z = randn(4, 4, 3, 3)
    step(z, LEVEL)
    moved = (step(z, LEVEL).z != z).flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, True, False]
    assert step.stats.guided.tolist() == [2, 0, 2, 0]
    assert step.stats.skipped.tolist() == [0, 2, 0, 2]


def test_an_image_at_its_limit_is_pushed_no_further():
    z = randn(4, 4, 3, 3)
    values = objective(denoiser().halves(z.requires_grad_(), LEVEL).conditional, torch.arange(4))
    limits = values.detach() + torch.tensor([1.0, 0.0, -1.0, 1.0])
    step = guidance(limits=limits)
    moved = (step(z, LEVEL).z != z).flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, False, True]
    assert step.stats.skipped.tolist() == [0, 1, 1, 0]


def test_the_criterion_is_noted_at_the_first_and_the_last_guided_step():
    step = guidance()
    z = randn(4, 4, 3, 3)
    values = []
    for scale in (1.0, 0.5, 0.1):
        conditional = denoiser().halves((scale * z).requires_grad_(), LEVEL).conditional
        values.append(objective(conditional.detach(), torch.arange(4)))
        step(scale * z, LEVEL)
    torch.testing.assert_close(step.stats.first, values[0])
    torch.testing.assert_close(step.stats.last, values[-1])
    assert step.stats.guided.tolist() == [3] * 4
