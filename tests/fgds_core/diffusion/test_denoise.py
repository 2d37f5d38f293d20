import pytest
import torch

from fgds_core.diffusion.denoise import PREDICTION_TYPES, ClassifierFree, NoiseLevel, adapt

LEVEL = NoiseLevel(0.9, 0.63, torch.tensor(300))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("prediction_type", sorted(PREDICTION_TYPES))
def test_every_parametrisation_of_a_perfect_network_gives_the_clean_latent(prediction_type, scale):
    z0, noise = randn(2, 4, 3, 3), randn(2, 4, 3, 3, seed=1)
    # What the network was trained on: unit variance, or the line between data and noise
    sigma = 0.6
    alpha = 1 - sigma if prediction_type == "flow_prediction" else (1 - sigma**2) ** 0.5
    truth = {
        "epsilon": noise,
        "sample": z0,
        "v_prediction": alpha * noise - sigma * z0,
        "flow_prediction": noise - z0,
    }[prediction_type]

    def network(z, timestep):
        torch.testing.assert_close(z, alpha * z0 + sigma * noise)
        assert timestep is level.timestep
        return truth

    level = NoiseLevel(scale * alpha, scale * sigma, torch.tensor(300))
    z = level.alpha * z0 + level.sigma * noise
    denoised = adapt(network, prediction_type, {})(z, level)
    torch.testing.assert_close(denoised, z0, rtol=0, atol=1e-12)
    line = PREDICTION_TYPES[prediction_type](level.alpha, level.sigma)
    torch.testing.assert_close(line.to_prediction(denoised, z), truth, rtol=0, atol=1e-12)


class Counting:
    """A network that mixes the latent with its condition, and counts images."""

    def __init__(self):
        self.images: list[int] = []

    def __call__(self, z, timestep, condition):
        self.images.append(len(z))
        return torch.tanh(z * condition[:, :, None, None])


def classifier_free(network, guidance_scale=3.0):
    return ClassifierFree(
        network,
        "v_prediction",
        {"condition": randn(5, 4, seed=2)},
        {"condition": randn(5, 4, seed=3)},
        guidance_scale,
    )


def test_one_batched_forward_equals_two():
    network = Counting()
    guided = classifier_free(network)
    z = randn(5, 4, 3, 3)
    conditional = adapt(network, "v_prediction", guided.conditional)(z, LEVEL)
    unconditional = adapt(network, "v_prediction", guided.unconditional)(z, LEVEL)
    expected = unconditional + 3.0 * (conditional - unconditional)
    network.images.clear()
    torch.testing.assert_close(guided(z, LEVEL), expected, rtol=0, atol=1e-10)
    assert network.images == [10]


def test_the_conditional_half_serves_twice_without_a_third_forward():
    network = Counting()
    guided = classifier_free(network)
    z = randn(5, 4, 3, 3).requires_grad_()
    z0, conditional = guided.halves(z, LEVEL)
    assert sum(network.images) == 10
    torch.testing.assert_close(z0, guided(z.detach(), LEVEL), rtol=0, atol=1e-10)
    assert not z0.requires_grad

    apart = adapt(network, "v_prediction", guided.conditional)(z, LEVEL)
    (grad,) = torch.autograd.grad(conditional.square().sum(), z)
    (expected,) = torch.autograd.grad(apart.square().sum(), z)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-10)


def test_a_scale_of_one_asks_nothing_of_the_unconditional_half():
    network = Counting()
    guided = classifier_free(network, guidance_scale=1.0)
    z = randn(5, 4, 3, 3)
    expected = adapt(network, "v_prediction", guided.conditional)(z, LEVEL)
    network.images.clear()
    assert torch.equal(guided(z, LEVEL), expected)
    assert torch.equal(guided.halves(z.requires_grad_(), LEVEL).z0, expected)
    assert network.images == [5, 5]
