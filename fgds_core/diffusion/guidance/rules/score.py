"""Guidance as a term of the score."""

from torch import Tensor

from fgds_core.diffusion.denoise import NoiseLevel


def score(
    z: Tensor, z0: Tensor, grad: Tensor, level: NoiseLevel, c_skip: float, scale: float
) -> tuple[Tensor, Tensor]:
    """Adds `scale` times the gradient to the score of the generator.

    By Tweedie's formula `alpha * D(z) = z + sigma**2 * score(z)`, so the clean latent gains
    `scale * sigma**2 / alpha * grad`. With the log-likelihood of an observation as criterion and
    scale 1 it samples the posterior.

    Args:
        z: Noisy latents, [B, C, H, W].
        z0: Clean latents predicted for them, [B, C, H, W].
        grad: What to steer by, [B, C, H, W]; zero leaves an image alone.
        level: The noise level.
        c_skip: Unused; every rule has this signature.
        scale: Weight of the gradient.

    Returns:
        The noisy latents as they are, and the steered clean ones.
    """
    return z, z0 + scale * level.sigma**2 / level.alpha * grad
