"""The folder of a prior, which draws the embedding of an image for a text, checked unloaded."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.generators.config import PriorConfig
from fgds_core.generators.folders import check_index, check_parts
from fgds_core.generators.layout import SCHEDULER, WEIGHTS, Layout
from fgds_core.pretrained.clip import PROCESSOR, TOKENIZER, TOWER, check_processor
from fgds_core.pretrained.clip import WEIGHTS as CLIP_WEIGHTS
from fgds_core.pretrained.component import Component
from fgds_core.pretrained.folder import Config, Folder, inner, positive, read, readable, short

KEY = "generator.prior"

LAYOUTS = {
    "KandinskyV22PriorPipeline": Layout(
        {
            "image_encoder": TOWER,
            "image_processor": PROCESSOR,
            "prior": Component("diffusers", ("PriorTransformer",), weights=WEIGHTS),
            "scheduler": Component("diffusers", ("UnCLIPScheduler",), SCHEDULER.config),
            "text_encoder": Component(
                "transformers", ("CLIPTextModelWithProjection",), weights=CLIP_WEIGHTS
            ),
            "tokenizer": TOKENIZER,
        }
    ),
}


def check_prior(
    prior: PriorConfig,
    variant: str | None,
    unet: Config | None = None,
    folder: Path | None = None,
) -> dict[str, Config]:
    """Checks the folder of a prior: what there is, and whether it fits together.

    Args:
        prior: The section `generator.prior`.
        variant: Variant of the weights' files that is taken where it is there.
        unet: Configuration of the generator's UNet; None where it is not known yet.
        folder: Where a model of the hub lies now; None is `path` itself.

    Returns:
        The configuration of each component.

    Raises:
        InputError: Something is missing, damaged, unknown or does not fit.
    """
    place = Folder(folder or Path(prior.path), KEY)
    if folder is None and prior.revision is not None:
        raise InputError(
            f"{KEY}.revision is {prior.revision}, but {prior.path} is a folder, which has none;"
            " set it to null"
        )
    with readable(place):
        index = read(place, "model_index.json")
        name = check_index(place, LAYOUTS, KEY, index)
        configs = check_parts(place, LAYOUTS[name], index, variant)
        check_processor(
            place / "image_processor", configs["image_processor"], configs["image_encoder"]
        )
        _check_steps(place, prior, configs["scheduler"])
        _check_widths(place, configs, unet)
    return configs


def _check_steps(place: Folder, prior: PriorConfig, scheduler: Config) -> None:
    trained = scheduler.get("num_train_timesteps", 1000)
    if type(trained) is int and prior.num_inference_steps > trained:
        raise InputError(
            f"{KEY}.num_inference_steps is {prior.num_inference_steps}, but {place.path} was"
            f" trained with {trained}; lower it"
        )


def _check_widths(place: Folder, configs: Mapping[str, Config], unet: Config | None) -> None:
    """Refuses components whose embeddings the next one does not take."""
    number = partial(positive, place, configs)
    width, tokens = number("prior", "embedding_dim", 768), number("prior", "num_embeddings", 77)
    drawn, pooled = (
        configs["prior"].get(key) or width for key in ("clip_embed_dim", "embedding_proj_dim")
    )
    text = inner(configs["text_encoder"], "text_config")
    tower = inner(configs["image_encoder"], "vision_config")
    length = configs["tokenizer"].get("model_max_length")
    for given, taken, what in (
        (drawn, width, "prior draws embeddings of {} numbers and starts from {}"),
        (text.get("hidden_size", 512), width, "text_encoder gives {} numbers, its prior takes {}"),
        (
            text.get("projection_dim", 512),
            pooled,
            "text_encoder gives pooled embeddings of {} numbers, its prior takes {}",
        ),
        (
            tower.get("projection_dim", 512),
            drawn,
            "image_encoder gives embeddings of {} numbers, its prior draws {}",
        ),
        (length, tokens, "tokenizer gives {} tokens, its prior takes {}"),
    ):
        if given != taken:
            raise place.wrong(f"does not fit: its {what.format(short(given), short(taken))}")
    if unet is not None and (wanted := unet.get("encoder_hid_dim")) != drawn:
        raise place.wrong(
            f"does not fit the generator: it draws embeddings of {short(drawn)} numbers, the unet"
            f" of generator.path takes {short(wanted)}",
            "give the prior that was trained with it",
        )
