"""What drawing loads before its first image: generator, feedback and the real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.diffusion.trial import check_solver
from fgds_core.errors import InputError
from fgds_core.feedback.critic import Feedback
from fgds_core.feedback.load import load_feedback
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.formats import PNG, Encoding
from fgds_core.synthesis.recipe import Recipe


@dataclass(frozen=True)
class LoadedModels:
    """All that drawing needs, on its device.

    Attributes:
        generator: The generator.
        feedback: What guidance climbs; None draws without.
        real: The real training images. Those of a part's class condition; they set the size of
            the synthetic ones.
        encoding: How finished images are stored, which is how the real ones are.
    """

    generator: Generator
    feedback: Feedback | None
    real: ImageDataset
    encoding: Encoding = PNG


def load_models(
    recipe: Recipe,
    prepared: Path,
    guides: Sequence[Path],
    device: torch.device | str = "cpu",
    *,
    micro_batch: int | None = None,
    channels_last: bool = False,
    compile: bool = False,
    gradient_checkpointing: bool = False,
) -> LoadedModels:
    """Loads what the images of a recipe are drawn with.

    Args:
        recipe: How they are drawn.
        prepared: Folder of the prepared data.
        guides: Folder of the classifier that guides; of several that are a committee.
        device: Where the networks shall be.
        micro_batch: Images that go through encoders and decoder at a time; None is all of them.
        channels_last: Whether the generator keeps images channels last in memory.
        compile: Whether `torch.compile` translates denoising network and decoders.
        gradient_checkpointing: Whether guided steps compute activations twice, to save memory.

    Raises:
        InputError: An input is missing, or they do not fit each other.
    """
    config = recipe.synthesize
    real = read_prepared(prepared, "train")
    meta = read_meta(prepared)
    classifiers = [load_classifier(guide, device) for guide in guides]
    for guide, classifier in zip(guides, classifiers, strict=True):
        check_fit(real.class_names, classifier, guide)
    generator = load_generator(
        recipe.generator,
        device,
        micro_batch=micro_batch,
        channels_last=channels_last,
        compile=compile,
        gradient_checkpointing=gradient_checkpointing,
    )
    check_solver(config.scheduler, generator.scheduler_config, config.num_inference_steps)

    def images(split: str) -> ImageDataset:
        return real if split == "train" else read_prepared(prepared, split)

    counts = meta.counts["train"]
    feedback = load_feedback(
        config, guides, classifiers, counts, device, images=images, seed=recipe.seed
    )
    return LoadedModels(generator, feedback, real, meta.encoding)


def check_fit(class_names: Sequence[str], classifier: Classifier, folder: Path) -> None:
    """Refuses a classifier that knows other classes than the data.

    Args:
        class_names: Names of the data's classes.
        classifier: Gives feedback.
        folder: Where it is.

    Raises:
        InputError: The names differ, or their order.
    """
    if classifier.class_names != tuple(class_names):
        raise InputError(
            f"the classifier in {folder} knows the classes {list(classifier.class_names)}, the"
            f" data has {list(class_names)}; train it again"
        )
