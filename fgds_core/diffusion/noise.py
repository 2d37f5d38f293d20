"""Where randomness comes from, and how noisy a latent is.

Every image has a seed of its own, and every use of chance inside an image (its latents, its
prompt, its conditioning image, ...) has a named stream derived from that seed. An image therefore
depends on nothing but its seed: not on its batch, part, worker, or on how often some other stream
was read.

Noise levels follow Karras et al. (2022): a noisy latent is `z = z0 + sigma * noise`.
Variance-preserving models see the same latent scaled to unit variance, `z / sqrt(1 + sigma**2)`,
and `sigma**2 = (1 - a) / a` with `a` in `alphas_cumprod`.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def image_seed(run_seed: int, class_name: str, index: int) -> int:
    """Gives one image its seed, the same on every machine and in every process.

    Args:
        run_seed: The seed of the run.
        class_name: Name of the image's class, so that adding classes changes no other image.
        index: Place of the image within its class.

    Returns:
        A seed in [0, 2**63).
    """
    return _digest(str(run_seed), class_name, str(index))


def another_seed(seed: int, attempt: int) -> int:
    """The seed with which an image is drawn again, the same whenever that has to be done."""
    return _digest(str(seed), "attempt", str(attempt))


def stream(seed: int, purpose: str) -> torch.Generator:
    """Opens an image's stream of random numbers for one purpose, on the CPU.

    torch's CPU generator keeps 32 bits of a seed. Two images may thus share one stream (one pair
    in four billion), but practically never all of them.

    Args:
        seed: The image's seed.
        purpose: What the numbers are for, such as `"latents"`; other purposes give independent
            numbers.
    """
    return torch.Generator().manual_seed(_digest(str(seed), purpose))


def randn(shape: Sequence[int], rngs: Sequence[torch.Generator]) -> Tensor:
    """Draws standard normal noise with one random generator per image, float32, [B, *shape]."""
    return torch.stack([torch.randn(*shape, generator=rng, device=rng.device) for rng in rngs])


def sigma_from_alphas_cumprod(alphas_cumprod: Tensor) -> Tensor:
    """Turns the kept share of signal variance into the noise level, float64."""
    a = alphas_cumprod.double()
    return ((1 - a) / a).sqrt()


def alphas_cumprod_from_sigma(sigma: Tensor) -> Tensor:
    """Turns a noise level into the kept share of signal variance, float64 in (0, 1]."""
    return 1 / (1 + sigma.double() ** 2)


def _digest(*words: str) -> int:
    """Hashes words into [0, 2**63); their lengths keep ("ab", "c") apart from ("a", "bc")."""
    text = "".join(f"{len(word)}:{word}," for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
