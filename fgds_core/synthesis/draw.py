"""Draws one batch: condition, sample under feedback, decode; what is not finite is drawn again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.diffusion.guidance.gradient import Objective, gradient_of
from fgds_core.diffusion.guidance.limits import up_to
from fgds_core.diffusion.guidance.look import at, guided, plain
from fgds_core.diffusion.guidance.reuse import reused
from fgds_core.diffusion.guidance.rules import load_rule
from fgds_core.diffusion.guidance.stats import GuidanceStats, recorded
from fgds_core.diffusion.guidance.together import gradient_together, values_together
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.schedule import guided_steps
from fgds_core.diffusion.solver import make_scheduler
from fgds_core.feedback.criterion import Together
from fgds_core.feedback.critic import Feedback
from fgds_core.generators.model import Generator
from fgds_core.synthesis.condition import condition_on
from fgds_core.synthesis.request import ImageRequest

if TYPE_CHECKING:
    from fgds_core.synthesis.config import SynthesizeConfig


@dataclass(frozen=True)
class Drawn:
    """A batch of finished images and what guidance did to them."""

    images: Tensor
    """In [-1, 1], on the CPU, [B, 3, H, W]."""
    stats: GuidanceStats
    criterion: Tensor | None
    """Criterion of the finished images, [B]; None without feedback."""

    def of(self, which: Tensor) -> "Drawn":
        """Some of the images; a mask [B]."""
        criterion = None if self.criterion is None else self.criterion[which]
        return Drawn(self.images[which], self.stats.of(which), criterion)


MAX_ATTEMPTS = 3
"""How often an image is drawn before values that are not finite fail its part."""

FEEDBACK_DECODERS: dict[str, Callable[[Generator, Tensor], Tensor]] = {
    "exact": Generator.decode,
    "half": Generator.decode_half,
    "tiny": Generator.decode_tiny,
}
"""What the classifier sees while it guides, by the name of its decoder."""


def draw(
    generator: Generator,
    requests: Sequence[ImageRequest],
    embeddings: Tensor | None,
    config: "SynthesizeConfig",
    feedback: Feedback | None = None,
    *,
    image_size: int | tuple[int, int],
    micro_batch: int | None = None,
    at_a_time: int | None = None,
) -> Drawn:
    """Draws one batch.

    Args:
        generator: The generator.
        requests: The images, B of them.
        embeddings: Of what conditions each one, [B, D]; None for text alone.
        config: How to draw.
        feedback: What guidance climbs; None, or a `feedback_scale` of 0, draws without.
        image_size: Height and width of the finished images; one number for both.
        micro_batch: Images that are decoded and classified at a time; None is as many as
            `at_a_time`.
        at_a_time: Images that the denoising network is asked of together; None is all of them.

    Returns:
        The images, finite or not.
    """
    seeds = [request.seed for request in requests]
    labels = torch.tensor([request.label for request in requests], device=generator.device)

    # Condition: prompts and image embeddings with holes and noise
    image = None
    if embeddings is not None:
        image = condition_on(generator, requests, embeddings, config)
    denoiser = generator.denoiser(
        [request.prompt for request in requests], image, config.guidance_scale, seeds
    )
    denoiser = replace(denoiser, at_a_time=at_a_time)
    size = micro_batch or at_a_time or len(requests)

    # Sample, under feedback where there is any
    stats = GuidanceStats.empty(len(requests))
    look = plain(denoiser)
    if config.feedback_scale == 0:
        feedback = None
    if feedback is not None:
        decode = partial(FEEDBACK_DECODERS[config.feedback_decoder], generator)
        how: dict[str, Any] = {"jacobian": config.feedback_jacobian, "micro_batch": micro_batch}
        if feedback.together:
            values = partial(_objective, feedback, labels, seeds)
            gradient_at = gradient_together(decode, _features(feedback), values, denoiser, **how)
        else:
            gradient_at = gradient_of(decode, _objective(feedback, labels, seeds), denoiser, **how)
        if feedback.limits is not None:
            gradient_at = up_to(feedback.limits[labels], gradient_at)
        gradient_at = reused(config.feedback_refresh, denoiser, gradient_at)
        steered = guided(
            denoiser,
            recorded(stats, gradient_at),
            load_rule(config.feedback_rule),
            config.feedback_scale,
        )
        steps = guided_steps(
            config.num_inference_steps,
            config.feedback_every,
            config.feedback_start,
            config.feedback_end,
            config.feedback_steps,
        )
        look = at(frozenset(steps), steered, otherwise=look)
    latents = randn(generator.latent_shape, [stream(seed, "latents") for seed in seeds])
    z0 = sample(
        look,
        make_scheduler(config.scheduler, generator.scheduler_config),
        latents.to(generator.device, torch.promote_types(generator.dtype, torch.float32)),
        config.num_inference_steps,
        eta=config.eta,
        rngs=[stream(seed, "solver") for seed in seeds],
    )

    # Decode, and value what came out
    criterion = None
    wanted = (image_size, image_size) if isinstance(image_size, int) else image_size
    with torch.no_grad():
        images = torch.cat([generator.decode(z) for z in torch.split(z0, size)])
        if images.shape[-2:] != wanted:
            images = F.interpolate(images, wanted, mode="bicubic", antialias=True)
        images = images.clamp(-1, 1)
        if feedback is not None and feedback.together:
            values = partial(_objective, feedback, labels, None)
            criterion = values_together(_features(feedback), values, images, size).cpu()
        elif feedback is not None:
            criterion = feedback(images, labels).cpu()
    return Drawn(images.float().cpu(), stats, criterion)


def draw_finite(
    generator: Generator,
    requests: Sequence[ImageRequest],
    embedded: Mapping[int, Tensor],
    config: "SynthesizeConfig",
    feedback: Feedback | None,
    *,
    image_size: tuple[int, int],
    micro_batch: int | None = None,
    at_a_time: int | None = None,
) -> Iterator[tuple[Sequence[ImageRequest], Drawn]]:
    """Draws one batch, and what of it is not finite again.

    Args:
        generator: The generator.
        requests: The images.
        embedded: What conditions each image, by its index, [D]; empty for text alone.
        config: How to draw.
        feedback: What guidance climbs; None draws without.
        image_size: Height and width of the finished images.
        micro_batch: As in `draw`.
        at_a_time: As in `draw`.

    Yields:
        Images that are finite, and as what they were asked for; the rest follows.

    Raises:
        FloatingPointError: If an image came out with values that are not finite in every attempt,
            each from other noise and at half the feedback scale of the one before.
    """
    left = list(requests)
    for attempt in range(MAX_ATTEMPTS):
        gentler = config.model_copy(update={"feedback_scale": scale_of(config, attempt)})
        embeddings = None
        if embedded:
            embeddings = torch.stack([embedded[r.index] for r in left])  # [B, D]
        drawn = draw(
            generator,
            left,
            embeddings,
            gentler,
            feedback,
            image_size=image_size,
            micro_batch=micro_batch,
            at_a_time=at_a_time,
        )
        finite = drawn.images.flatten(1).isfinite().all(dim=1)  # [B]
        whole = [request for request, ok in zip(left, finite.tolist(), strict=True) if ok]
        if whole:
            yield whole, drawn.of(finite)
        broken = [request for request, ok in zip(left, finite.tolist(), strict=True) if not ok]
        if not broken:
            return
        left = [request.again() for request in broken]
    named = ", ".join(f"index {r.index} (seed {r.seed})" for r in broken[:5])
    raise FloatingPointError(
        f"{len(broken)} images of class {broken[0].class_name!r} are not finite after"
        f" {MAX_ATTEMPTS} attempts: {named}; lower synthesize.feedback_scale, or set"
        " generator.dtype to float32"
    )


def scale_of(config: "SynthesizeConfig", attempt: int) -> float:
    """The feedback scale of an image that was drawn so many times before: half of each."""
    return config.feedback_scale * 0.5**attempt


def _objective(
    feedback: Feedback,
    labels: Tensor,
    seeds: Sequence[int] | None,
    features: Tensor | None = None,
) -> Objective:
    """The feedback on images of a batch.

    Args:
        feedback: What values them.
        labels: Their classes, [B].
        seeds: Of each image, for random changes of its own; None for none.
        features: Of all images, [B, D], where they are valued together.
    """
    changes = [stream(seed, "feedback augmentation") for seed in seeds or ()]

    def objective(x: Tensor, which: Tensor) -> Tensor:
        rngs = [changes[i] for i in which] if changes else None
        places = which.to(labels.device)
        together = None if features is None else Together(features, labels, places)
        return feedback(x, labels[places], rngs, together)

    return objective


def _features(feedback: Feedback) -> Callable[[Tensor], Tensor]:
    """What of images those are compared by that are valued together."""
    return lambda x: feedback.see(x).features
