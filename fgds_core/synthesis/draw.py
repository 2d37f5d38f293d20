"""Draws synthetic images: quotas, the parts of a class, one batch, one file.

What an image shows follows from its seed, and that from the run's seed, its class and its index in
the class. Parts and batches only say which images are drawn together. Batches are fixed slices of
a part, so a resumed run repeats them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.classify.network import Classifier
from fgds_core.data.imbalance import check_target, quotas
from fgds_core.diffusion.guidance.gradient import Objective, gradient_of
from fgds_core.diffusion.guidance.limits import up_to
from fgds_core.diffusion.guidance.look import at, guided, plain
from fgds_core.diffusion.guidance.reuse import reused
from fgds_core.diffusion.guidance.rules import load_rule
from fgds_core.diffusion.guidance.stats import GuidanceStats, recorded
from fgds_core.diffusion.noise import another_seed, image_seed, randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.solver import make_scheduler
from fgds_core.errors import InputError
from fgds_core.feedback.critic import Feedback
from fgds_core.generators.model import Generator, drop_coordinates
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8, to_uint8
from fgds_core.images.table import image_table
from fgds_core.synthesis import shards
from fgds_core.synthesis.config import SynthesizeConfig


@dataclass(frozen=True)
class Part:
    """A run of images of one class that share a file."""

    label: int
    class_name: str
    index: int
    """Place of the part within its class."""
    first_index: int
    """Index of its first image within the class."""
    num_images: int

    @property
    def path(self) -> str:
        """Where it lies in the synthetic set, POSIX form."""
        return shards.part_path(self.label, self.class_name, self.index)


@dataclass(frozen=True)
class ImageRequest:
    """One image to draw, as its seed decided it."""

    label: int
    index: int
    """Place of the image within its class."""
    seed: int
    prompt: str
    """Empty where the generator is told no text."""
    conditioning_id: int | None
    """Place of the conditioning image among the class's real ones; None where there is none."""
    attempt: int = 0
    """How often it came out with values that are not finite before."""


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


def plan_parts(
    counts: Sequence[int], class_names: Sequence[str], config: SynthesizeConfig
) -> list[Part]:
    """Plans what to draw so that each class reaches its target.

    Args:
        counts: Real training images of each class, [K].
        class_names: Name of each class, K of them.
        config: The target and the size of a part.

    Returns:
        The parts, by class and index; none for a class that has enough.

    Raises:
        InputError: If no class needs an image.
    """
    check_target(counts, config.target_per_class)
    wanted = quotas(counts, config.target_per_class)
    size = config.images_per_part
    return [
        Part(label, name, first // size, first, min(size, num_images - first))
        for label, (name, num_images) in enumerate(zip(class_names, wanted, strict=True))
        for first in range(0, num_images, size)
    ]


def plan_images(
    part: Part,
    prompts: Sequence[str],
    num_real: int,
    config: SynthesizeConfig,
    run_seed: int,
) -> list[ImageRequest]:
    """Lets each image of a part draw its prompt and its conditioning image.

    Args:
        part: The part.
        prompts: Templates with `{class}`.
        num_real: Real training images of the class.
        config: What the generator is told.
        run_seed: The seed of the run.
    """
    requests = []
    for index in range(part.first_index, part.first_index + part.num_images):
        seed = image_seed(run_seed, part.class_name, index)
        template = prompts[_choose(len(prompts), seed, "prompt")]
        prompt = template.format(**{"class": part.class_name})
        chosen = None
        if config.conditioning != "text":
            chosen = _choose(num_real, seed, "conditioning")
        requests.append(
            ImageRequest(
                part.label, index, seed, "" if config.conditioning == "image" else prompt, chosen
            )
        )
    return requests


def draw(
    generator: Generator,
    requests: Sequence[ImageRequest],
    embeddings: Tensor | None,
    config: SynthesizeConfig,
    feedback: Feedback | None = None,
    *,
    image_size: int | tuple[int, int],
    micro_batch: int | None = None,
) -> Drawn:
    """Draws one batch.

    Args:
        generator: The generator.
        requests: The images, B of them.
        embeddings: Embedding of each one's conditioning image, [B, D]; None for text alone.
        config: How to draw.
        feedback: What guidance climbs; None, or a `feedback_scale` of 0, draws without.
        image_size: Height and width of the finished images; one number for both.
        micro_batch: Images that are decoded and classified at a time; None is all of them.

    Returns:
        The images, finite or not.
    """
    seeds = [request.seed for request in requests]
    labels = torch.tensor([request.label for request in requests], device=generator.device)

    # Condition: prompts and image embeddings with holes and noise
    image = None
    if embeddings is not None:
        dropout = [stream(seed, "embedding dropout") for seed in seeds]
        embeddings = drop_coordinates(
            embeddings, config.embedding_dropout, config.embedding_rescale, dropout
        )
        noise = randn(embeddings.shape[1:], [stream(seed, "embedding noise") for seed in seeds])
        image = generator.condition_on(embeddings, config.noise_level, noise)
    denoiser = generator.denoiser(
        [request.prompt for request in requests], image, config.guidance_scale
    )

    # Sample, under feedback where there is any
    stats = GuidanceStats.empty(len(requests))
    look = plain(denoiser)
    if config.feedback_scale == 0:
        feedback = None
    if feedback is not None:
        gradient_at = gradient_of(
            partial(FEEDBACK_DECODERS[config.feedback_decoder], generator),
            _objective(feedback, labels, seeds),
            denoiser,
            jacobian=config.feedback_jacobian,
            micro_batch=micro_batch,
        )
        if feedback.limits is not None:
            gradient_at = up_to(feedback.limits[labels], gradient_at)
        gradient_at = reused(config.feedback_refresh, denoiser, gradient_at)
        steered = guided(
            denoiser,
            recorded(stats, gradient_at),
            load_rule(config.feedback_rule),
            config.feedback_scale,
        )
        look = at(frozenset(config.guided_steps), steered, otherwise=look)
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
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    with torch.no_grad():
        images = torch.cat([generator.decode(z) for z in torch.split(z0, micro_batch or len(z0))])
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True)
        images = images.clamp(-1, 1)
        criterion = None if feedback is None else feedback(images, labels).cpu()
    return Drawn(images.float().cpu(), stats, criterion)


def _objective(feedback: Feedback, labels: Tensor, seeds: Sequence[int]) -> Objective:
    """The feedback on images of a batch, each under its own random changes."""
    changes = [stream(seed, "feedback augmentation") for seed in seeds]

    def objective(x: Tensor, which: Tensor) -> Tensor:
        return feedback(x, labels[which.to(labels.device)], [changes[i] for i in which])

    return objective


def write_part(
    part: Part,
    generator: Generator,
    feedback: Feedback | None,
    judge: Classifier | None,
    real: ImageDataset,
    prompts: Sequence[str],
    config: SynthesizeConfig,
    run_seed: int,
    fingerprint: str,
    out: Path,
    *,
    batch_size: int,
    micro_batch: int | None = None,
    advance: Callable[[int], object] = lambda num_images: None,
) -> shards.PartRecord:
    """Draws one part and writes it.

    Args:
        part: The part.
        generator: The generator.
        feedback: What guidance climbs; None draws without.
        judge: Labels the finished images; None leaves that empty.
        real: The real training images. Those of the class condition; they set the size of the
            synthetic ones.
        prompts: Templates with `{class}`.
        config: How to draw.
        run_seed: The seed of the run.
        fingerprint: Of everything that decides what the part holds.
        out: Folder of the synthetic set.
        batch_size: Images drawn together.
        micro_batch: Images decoded and classified at a time; None is all of a batch.
        advance: Called with the number of images done since the last call.

    Returns:
        The record of the finished part.

    Raises:
        InputError: If the class has no real image to condition on.
        FloatingPointError: If an image came out with values that are not finite in every attempt,
            each from other noise and at half the feedback scale of the one before.
    """
    own = real.of_class(part.label)
    if config.conditioning != "text" and not len(own):
        raise InputError(
            f"class {part.class_name!r} has no real training image to condition on; add one, or"
            " set synthesize.conditioning to text"
        )
    requests = plan_images(part, prompts, len(own), config, run_seed)
    embedded = _embed_each_once(generator, requests, own, batch_size)

    def table_of(batch: Sequence[ImageRequest], attempt: int = 0) -> pa.Table:
        embeddings = None
        if embedded:
            embeddings = torch.stack([embedded[r.conditioning_id] for r in batch])  # [B, D]
        gentler = config.model_copy(update={"feedback_scale": config.feedback_scale / 2**attempt})
        drawn = draw(
            generator,
            batch,
            embeddings,
            gentler,
            feedback,
            image_size=own.size,
            micro_batch=micro_batch,
        )
        finite = drawn.images.flatten(1).isfinite().all(dim=1)  # [B]
        broken = [request for request, ok in zip(batch, finite.tolist(), strict=True) if not ok]
        if broken and attempt == MAX_ATTEMPTS - 1:
            raise _not_finite(broken, part)
        whole = [request for request in batch if request not in broken]
        rows = []
        if whole:
            rows.append(_table(drawn.of(finite), whole, own, judge, generator.device, gentler))
        if broken:
            rows.append(table_of([_again(request) for request in broken], attempt + 1))
        return rows[0] if len(rows) == 1 else pa.concat_tables(rows).sort_by("index")

    tables = []
    for first in range(0, len(requests), batch_size):
        batch = requests[first : first + batch_size]
        tables.append(table_of(batch))
        advance(len(batch))
    return shards.write_synthetic_part(out, part.path, pa.concat_tables(tables), fingerprint)


def finished_part(part: Part, fingerprint: str, out: Path) -> shards.PartRecord | None:
    """Finds a part finished before, by fingerprint, images and bytes; None if it must be drawn."""
    record = shards.finished_part(out, part.path, fingerprint)
    wanted = (part.label, part.first_index, part.num_images)
    if record is None or (record.label, record.first_index, record.num_rows) != wanted:
        return None
    return record


def check_fit(
    class_names: Sequence[str], classifier: Classifier | None, judge: Classifier | None
) -> None:
    """Refuses classifiers that know other classes than the data.

    Args:
        class_names: Names of the data's classes.
        classifier: Gives feedback; None without.
        judge: Labels the finished images; None without.

    Raises:
        InputError: If the names differ, or their order.
    """
    for role, model, remedy in (
        ("the baseline", classifier, "run the stage train_baseline again"),
        ("synthesize.judge", judge, "name a judge of these classes in this order, or null"),
    ):
        if model is not None and model.class_names != tuple(class_names):
            raise InputError(
                f"{role} knows the classes {list(model.class_names)}, the data has"
                f" {list(class_names)}; {remedy}"
            )


def _choose(num_choices: int, seed: int, purpose: str) -> int:
    return int(torch.randint(num_choices, (), generator=stream(seed, purpose)))


def _embed_each_once(
    generator: Generator, requests: Sequence[ImageRequest], own: ImageDataset, batch_size: int
) -> dict[int | None, Tensor]:
    """Embeds the conditioning images of a part, id -> [D]; nothing where there are none."""
    rows = sorted({r.conditioning_id for r in requests if r.conditioning_id is not None})
    embedded: dict[int | None, Tensor] = {}
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        embedded.update(
            zip(some, generator.embed_images(from_uint8(own.__getitems__(some))), strict=True)
        )
    return embedded


def _again(request: ImageRequest) -> ImageRequest:
    """The same image from other noise."""
    attempt = request.attempt + 1
    return replace(request, seed=another_seed(request.seed, attempt), attempt=attempt)


def _not_finite(broken: Sequence[ImageRequest], part: Part) -> FloatingPointError:
    named = ", ".join(f"index {r.index} (seed {r.seed})" for r in broken[:5])
    return FloatingPointError(
        f"{len(broken)} images of class {part.class_name!r} are not finite after {MAX_ATTEMPTS}"
        f" attempts: {named}; lower synthesize.feedback_scale, or set generator.dtype to float32"
    )


def _table(
    drawn: Drawn,
    batch: Sequence[ImageRequest],
    own: ImageDataset,
    judge: Classifier | None,
    device: torch.device,
    config: SynthesizeConfig,
) -> pa.Table:
    """Puts a batch into the rows of a part; `own` are the real images of its class."""
    num_images = len(batch)
    judge_label: list[int | None] = [None] * num_images
    judge_probability: list[float | None] = [None] * num_images
    if judge is not None:
        stored = from_uint8(to_uint8(drawn.images))
        with torch.inference_mode():
            probability, label = judge(stored.to(device)).float().softmax(dim=-1).max(dim=-1)
        judge_label, judge_probability = label.tolist(), probability.tolist()
    on = drawn.stats.first is not None
    chosen = [request.conditioning_id for request in batch]
    return image_table(
        drawn.images,
        [request.label for request in batch],
        own.class_names,
        {
            "group": [None if own.groups is None or i is None else own.groups[i] for i in chosen],
            "prompt": [request.prompt for request in batch],
            "seed": [request.seed for request in batch],
            "index": [request.index for request in batch],
            "attempt": [request.attempt for request in batch],
            "conditioning_id": chosen,
            "embedding_dropout": [0.0 if i is None else config.embedding_dropout for i in chosen],
            "noise_level": [0 if i is None else config.noise_level for i in chosen],
            "guidance_scale": [config.guidance_scale] * num_images,
            "feedback": [config.feedback if on else "none"] * num_images,
            "feedback_scale": [config.feedback_scale if on else 0.0] * num_images,
            "criterion_first": _finite_or_none(drawn.stats.first, num_images),
            "criterion_last": _finite_or_none(drawn.stats.last, num_images),
            "criterion_final": _finite_or_none(drawn.criterion, num_images),
            "guided_steps": drawn.stats.guided.tolist(),
            "skipped_steps": drawn.stats.skipped.tolist(),
            "nonfinite_steps": drawn.stats.non_finite.tolist(),
            "judge_label": judge_label,
            "judge_probability": judge_probability,
        },
        schema=shards.synthetic_schema(own.class_names),
    )


def _finite_or_none(values: Tensor | None, num_images: int) -> list[float | None]:
    if values is None:
        return [None] * num_images
    return [value if math.isfinite(value) else None for value in values.tolist()]
