import pytest
import torch

from fgds_core.diffusion.noise import (
    alphas_cumprod_from_sigma,
    image_seed,
    randn,
    sigma_from_alphas_cumprod,
    stream,
)


def test_seeds_are_the_same_on_every_machine():
    assert image_seed(0, "shirt", 0) == 1849874811991292820
    assert image_seed(0, "Übergröße", 7) == 7118833863540382306


def test_each_image_of_a_run_has_its_own_seed_that_fits_a_signed_column():
    seeds = {
        image_seed(run, name, i) for run in (1, 11) for name in ("1", "11") for i in range(200)
    }
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_are_reproducible_and_independent_of_one_another():
    first = torch.randn(8, generator=stream(5, "latents"))
    torch.testing.assert_close(first, torch.randn(8, generator=stream(5, "latents")))
    assert not torch.equal(first, torch.randn(8, generator=stream(5, "prompt")))
    assert not torch.equal(first, torch.randn(8, generator=stream(6, "latents")))


def test_an_images_noise_does_not_depend_on_its_batch():
    together = randn((4, 8, 8), [stream(seed, "latents") for seed in range(5)])
    alone = randn((4, 8, 8), [stream(3, "latents")])
    assert torch.equal(together[3:4], alone)


def test_noise_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    randn((4,), [stream(0, "latents")])
    assert torch.equal(before, torch.random.get_rng_state())


def test_sigma_and_alphas_cumprod_are_inverses():
    a = torch.tensor([0.9999, 0.5, 0.004], dtype=torch.float64)
    sigma = sigma_from_alphas_cumprod(a)
    torch.testing.assert_close(alphas_cumprod_from_sigma(sigma), a, rtol=1e-12, atol=0)
    assert float(sigma[1]) == pytest.approx(1.0)
