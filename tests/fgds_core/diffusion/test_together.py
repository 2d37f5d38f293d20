"""Guidance of images that are valued together."""

from dataclasses import replace

import pytest
import torch

from fgds_core.diffusion.denoise import ClassifierFree, NoiseLevel
from fgds_core.diffusion.guidance.together import gradient_together, values_together

LEVEL = NoiseLevel(0.8, 0.6, torch.tensor(500))
PURE = NoiseLevel(0.0, 1.0, torch.tensor(999))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


Z = randn(5, 3, 2, 2)
TOLD = {"shift": randn(5, 3, 1, 1, seed=1)}
NOT_TOLD = {"shift": torch.zeros(5, 3, 1, 1, dtype=torch.float64)}
ASKED: list[int] = []


def network(z: torch.Tensor, timestep: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    ASKED.append(len(z))
    return torch.tanh(z + shift)


WHOLE = ClassifierFree(network, "epsilon", TOLD, NOT_TOLD, 2.0)


def decode(z: torch.Tensor) -> torch.Tensor:
    return torch.sin(z)


def see(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


def among(features: torch.Tensor):
    """Values an image by its likeness to the mean of all, themselves as they were seen."""
    mean = features.mean(dim=0)

    def objective(x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(features[which], see(x), rtol=0, atol=1e-12)
        return see(x) @ mean + which

    return objective


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("at_a_time", [None, 1, 2, 5, 100])
@pytest.mark.parametrize("micro_batch", [None, 1, 3])
def test_the_gradient_is_that_of_each_image_among_all(jacobian, at_a_time, micro_batch) -> None:
    z = Z.clone().requires_grad_()
    guided, conditional = WHOLE.halves(z, LEVEL)
    x = decode(conditional)
    values = see(x) @ see(x).mean(dim=0).detach() + torch.arange(5)
    to = z if jacobian else conditional
    (expected,) = torch.autograd.grad(values.sum(), to)

    ASKED.clear()
    found = gradient_together(
        decode,
        see,
        among,
        replace(WHOLE, at_a_time=at_a_time),
        jacobian=jacobian,
        micro_batch=micro_batch,
    )(Z, LEVEL)
    assert max(ASKED) <= min(at_a_time or 5, 5) * (1 if jacobian else 2)
    torch.testing.assert_close(found.values, values.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.z0, guided.detach(), rtol=0, atol=1e-12)
    expected = expected if jacobian else expected / LEVEL.alpha
    torch.testing.assert_close(found.grad, expected, rtol=0, atol=1e-12)
    assert found.finite.all()


@pytest.mark.parametrize("at_a_time", [None, 1, 2, 100])
def test_a_denoiser_answers_the_same_a_few_images_at_a_time(at_a_time) -> None:
    few = replace(WHOLE, at_a_time=at_a_time)
    torch.testing.assert_close(few(Z, LEVEL), WHOLE(Z, LEVEL), rtol=0, atol=1e-12)


def test_of_pure_noise_nothing_is_predicted() -> None:
    found = gradient_together(decode, see, among, replace(WHOLE, at_a_time=2))(
        Z, PURE._replace(alpha=1e-5)
    )
    assert found.grad is None
    assert found.values is None


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_finished_images_are_valued_among_all(size) -> None:
    x = decode(Z)
    expected = see(x) @ see(x).mean(dim=0) + torch.arange(5)
    torch.testing.assert_close(values_together(see, among, x, size), expected, rtol=0, atol=1e-12)
