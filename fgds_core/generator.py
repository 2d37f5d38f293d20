"""The pre-trained generator: a Stable unCLIP folder of diffusers.

Its images are conditioned on a prompt, through cross-attention, and on the CLIP embedding of an
image, noised and concatenated with an embedding of the amount of noise. Under classifier-free
guidance the unconditional half is the empty prompt and zeros for the whole image vector, as in
`StableUnCLIPImg2ImgPipeline`, whose components and conventions are used here.

Source: Ramesh et al. (2022), https://arxiv.org/abs/2204.06125
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgds_core.config.generator import GeneratorConfig
from fgds_core.denoise import ClassifierFree
from fgds_core.errors import InputError
from fgds_core.images import to_uint8

PIPELINE = "StableUnCLIPImg2ImgPipeline"
COMPONENTS = (
    "feature_extractor",
    "image_encoder",
    "image_noising_scheduler",
    "image_normalizer",
    "scheduler",
    "text_encoder",
    "tokenizer",
    "unet",
    "vae",
)


@dataclass(frozen=True)
class Generator:
    """A generator in memory, its weights frozen."""

    pipeline: Any
    """The diffusers pipeline that holds the components; it is never called as a whole."""
    name: str
    """Where it came from, for messages."""
    micro_batch: int | None = None
    """Images that go through encoders and decoder at a time; None is all of them."""
    _prompts: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return torch.device(self.pipeline.unet.device)

    @property
    def dtype(self) -> torch.dtype:
        """What the networks compute in."""
        dtype: torch.dtype = self.pipeline.unet.dtype
        return dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one image's latent, (C, H, W)."""
        config = self.pipeline.unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return config.in_channels, height, width

    @property
    def embedding_dim(self) -> int:
        """Features of an image embedding, D."""
        return int(self.pipeline.image_encoder.config.projection_dim)

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The noise schedule it was trained with and what its network predicts."""
        return dict(self.pipeline.scheduler.config)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encodes prompts for cross-attention, each distinct one only once.

        Args:
            prompts: One per image; what exceeds the tokenizer's length is cut off.

        Returns:
            Token embeddings, [B, T, C].
        """
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._prompts:
                embedding, _ = self.pipeline.encode_prompt(prompt, self.device, 1, False)
                self._prompts[prompt] = embedding.squeeze(0)  # [T, C]
        return torch.stack([self._prompts[prompt] for prompt in prompts])

    @torch.no_grad()
    def embed_images(self, x: Tensor) -> Tensor:
        """Embeds images with the CLIP tower that the generator was trained with.

        Args:
            x: Images in [-1, 1], [B, 3, H, W]; quantised to 8 bits as the tower's preprocessing
                expects.

        Returns:
            Image embeddings as the tower gives them, [B, D].
        """
        embeddings = []
        for some in torch.split(x, self.micro_batch or max(len(x), 1)):
            pixels = self.pipeline.feature_extractor(
                images=list(to_uint8(some.cpu())), return_tensors="pt"
            ).pixel_values.to(self.device, self.dtype)
            embeddings.append(self.pipeline.image_encoder(pixels).image_embeds)
        return torch.cat(embeddings)

    @torch.no_grad()
    def noise_embeddings(self, embeddings: Tensor, noise_level: int, noise: Tensor) -> Tensor:
        """Turns image embeddings into what the network is given.

        Args:
            embeddings: From `embed_images`, [B, D].
            noise_level: Training step of the noise put on them, from 0 (least) to 999.
            noise: Standard normal noise, [B, D].

        Returns:
            Noised embeddings beside the embedding of the noise level, [B, 2D].
        """
        vectors: Tensor = self.pipeline.noise_image_embeddings(
            embeddings, noise_level, noise=noise.to(embeddings)
        )
        return vectors.detach()

    def decode(self, z: Tensor) -> Tensor:
        """Decodes latents [B, C, H, W], differentiably, to images of about [-1, 1]."""
        vae = self.pipeline.vae
        x: Tensor = vae.decode((z / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        return x.to(z.dtype)

    def network(self, z: Tensor, timestep: Tensor, **condition: Tensor) -> Tensor:
        """Asks the UNet, in its own precision."""
        prediction: Tensor = self.pipeline.unet(
            z.to(self.dtype), timestep.to(z.device), return_dict=False, **condition
        )[0]
        return prediction

    def denoiser(
        self,
        prompts: Sequence[str],
        image_vectors: Tensor | None,
        guidance_scale: float,
    ) -> ClassifierFree:
        """Makes the denoiser of a batch under classifier-free guidance.

        Args:
            prompts: One per image; empty ones give no text.
            image_vectors: From `noise_embeddings`, [B, 2D]; None gives no image.
            guidance_scale: Weight of the condition; 1 is off.
        """
        zeros = torch.zeros(
            len(prompts), 2 * self.embedding_dim, device=self.device, dtype=self.dtype
        )
        return ClassifierFree(
            self.network,
            self.pipeline.scheduler.config.prediction_type,
            conditional={
                "encoder_hidden_states": self.encode_prompts(prompts),
                "class_labels": zeros if image_vectors is None else image_vectors.to(zeros),
            },
            unconditional={
                "encoder_hidden_states": self.encode_prompts([""] * len(prompts)),
                "class_labels": zeros,
            },
            guidance_scale=guidance_scale,
        )


def drop_coordinates(
    embeddings: Tensor, rate: float, rescale: bool, generators: Sequence[torch.Generator]
) -> Tensor:
    """Sets random coordinates of each embedding to zero, with one generator per image.

    Args:
        embeddings: Image embeddings, [B, D].
        rate: Probability of each coordinate to be dropped, in [0, 1).
        rescale: Whether the others are divided by `1 - rate`, which keeps the expectation.
        generators: One per image.

    Returns:
        Embeddings with holes, [B, D].
    """
    if rate == 0:
        return embeddings
    chances = torch.stack([torch.rand(embeddings.shape[1], generator=g) for g in generators])
    kept = (chances >= rate).to(embeddings)  # [B, D]
    return embeddings * kept / (1 - rate if rescale else 1)


def load_generator(
    config: GeneratorConfig,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    micro_batch: int | None = None,
) -> Generator:
    """Loads a generator from a local folder or the Hugging Face hub; safetensors only.

    Args:
        config: Where it is.
        device: Where its networks shall be.
        dtype: What they shall compute in; None takes it from the parameters.
        micro_batch: Images that go through encoders and decoder at a time; None is all of them.

    Raises:
        InputError: If there is no such generator, it lacks a component, or is of another kind.
    """
    from diffusers import StableUnCLIPImg2ImgPipeline
    from diffusers.utils import logging

    folder = Path(config.path)
    local = folder.is_dir()
    if local:
        _check_folder(folder)
    elif config.path.count("/") != 1 or config.path.startswith((".", "/", "~")):
        raise InputError(
            f"generator.path: there is no folder {config.path}; give a {PIPELINE} folder of"
            " diffusers or a hub id owner/name"
        )
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(
            config.path,
            revision=config.revision,
            dtype=dtype or getattr(torch, config.dtype),
            use_safetensors=True,
            local_files_only=local,
            low_cpu_mem_usage=False,
        )
    except Exception as error:  # the libraries raise many kinds for a damaged or absent folder
        place = (
            "the folder" if local else "neither a folder here nor a model one may read on the hub:"
        )
        raise InputError(
            f"generator.path: {place} {config.path} holds no {PIPELINE} that can be loaded with"
            f" safetensors weights ({type(error).__name__}: {str(error).strip()[:300]}); correct"
            " generator.path or generator.revision, or ask for access to the model"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    for component in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.image_encoder):
        component.requires_grad_(False).eval().to(device)
    pipeline.image_normalizer.to(device, dtype or getattr(torch, config.dtype))
    generator = Generator(pipeline, config.path, micro_batch)
    _check_fit(generator)
    return generator


def _check_folder(folder: Path) -> None:
    """Refuses a folder that is no Stable unCLIP before anything is loaded."""
    index = folder / "model_index.json"
    try:
        parts = json.loads(index.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"generator.path: {folder} is not a generator, {index.name} cannot be read ({error});"
            f" give a {PIPELINE} folder of diffusers"
        ) from error
    if parts.get("_class_name") != PIPELINE:
        raise InputError(
            f"generator.path: {folder} holds a {parts.get('_class_name')}, generator.kind"
            f" stable-unclip needs a {PIPELINE}"
        )
    missing = [name for name in COMPONENTS if not (parts.get(name) and (folder / name).is_dir())]
    if missing:
        raise InputError(
            f"generator.path: {folder} lacks {', '.join(missing)}; copy the whole {PIPELINE}"
            " folder"
        )


def _check_fit(generator: Generator) -> None:
    """Refuses components that do not belong together."""
    unet, vae = generator.pipeline.unet.config, generator.pipeline.vae.config
    wanted = 2 * generator.embedding_dim
    if unet.projection_class_embeddings_input_dim != wanted:
        raise InputError(
            f"generator.path: the unet of {generator.name} takes image vectors of"
            f" {unet.projection_class_embeddings_input_dim} numbers, its image_encoder gives"
            f" {wanted}; the components are of different models"
        )
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise InputError(
            f"generator.path: the unet of {generator.name} has {unet.in_channels} latent channels"
            f" in and {unet.out_channels} out, its vae {vae.latent_channels}; the components are"
            " of different models"
        )
    if vae.out_channels != 3:
        raise InputError(
            f"generator.path: the vae of {generator.name} gives images of {vae.out_channels}"
            " channels, the classifier takes 3 (RGB)"
        )
