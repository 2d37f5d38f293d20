"""Which pre-trained model draws the images."""

import string
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fgds_core.section import Section


class AdapterConfig(Section):
    """An IP-Adapter: what conditions a text-to-image generator on an image."""

    path: str = Field(
        min_length=1,
        description="a local folder, or a model id owner/name on the Hugging Face hub",
    )
    revision: str | None = Field(description="branch, tag or commit on the hub; null is default")
    subfolder: str = Field(min_length=1, description="folder of the weights, such as models")
    weight_name: str = Field(
        pattern=r"\.safetensors$",
        description="file of the weights, such as ip-adapter_sd15.safetensors",
    )
    image_encoder: str = Field(
        min_length=1,
        description="folder of the CLIP vision tower: below subfolder, or with a slash below path",
    )
    scale: float = Field(
        ge=0, le=1, description="weight of the image beside the text; 0 is off, 1 is full"
    )


class PriorConfig(Section):
    """A prior: what draws the embedding of an image for a text, where generators take no text."""

    path: str = Field(
        min_length=1,
        description="a local folder, or a model id owner/name on the Hugging Face hub",
    )
    revision: str | None = Field(description="branch, tag or commit on the hub; null is default")
    num_inference_steps: int = Field(
        ge=2, le=1000, description="steps in which an embedding is drawn, such as 25"
    )
    guidance_scale: float = Field(
        ge=1, le=100, description="weight of the text in it, such as 4; 1 is off"
    )
    text_share: float = Field(
        ge=0,
        le=1,
        description=(
            "with synthesize.conditioning dual, the share of the text's embedding in the mean of"
            " it and that of the image, such as 0.5"
        ),
    )


class GeneratorConfig(Section):
    """The generator: where it lies and how it is asked."""

    kind: Literal[
        "stable-unclip", "text-to-image", "ip-adapter", "stable-diffusion-3", "kandinsky-2.2"
    ] = Field(
        description=(
            "family of the generator; stable-unclip: StableUnCLIPImg2ImgPipeline; text-to-image:"
            " Stable Diffusion 1.x, 2.x, XL; ip-adapter: the same with generator.adapter;"
            " stable-diffusion-3: StableDiffusion3Pipeline; kandinsky-2.2: KandinskyV22Pipeline"
            " with generator.prior"
        )
    )
    path: str = Field(
        min_length=1,
        description="a local folder, or a model id owner/name on the Hugging Face hub",
    )
    revision: str | None = Field(
        description=(
            "branch, tag or commit on the hub; null is the default branch, and the only"
            " choice for a folder"
        )
    )
    variant: str | None = Field(
        description="variant of the weights' files, such as fp16; null is the plain ones"
    )
    adapter: AdapterConfig | None = Field(
        description="the IP-Adapter, with kind ip-adapter; null is none"
    )
    prior: PriorConfig | None = Field(
        default=None,
        description=(
            "the prior, with kind kandinsky-2.2, whose decoder generator.path is; null is none"
        ),
    )
    tiny_decoder: str | None = Field(
        description=(
            "folder or hub id of an AutoencoderTiny for the generator's latents, for"
            " synthesize.feedback_decoder tiny; null is none"
        )
    )
    image_size: Annotated[int, Field(ge=8, le=4096)] | None = Field(
        description="pixels a side it draws; null is what it was trained for"
    )
    prompts: list[Annotated[str, Field(max_length=2000)]] = Field(
        min_length=1,
        max_length=1000,
        description=(
            "templates with {class} for the class name, and perhaps {group} for the group; each"
            " image draws one by its seed"
        ),
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        description="what the networks compute in; gradients, norms and criteria stay in float32"
    )

    @model_validator(mode="after")
    def _agree(self) -> "GeneratorConfig":
        if (self.kind == "ip-adapter") != (self.adapter is not None):
            raise ValueError(
                "adapter must be given with kind ip-adapter, and be null with any other kind"
            )
        if (self.kind == "kandinsky-2.2") != (self.prior is not None):
            raise ValueError(
                "prior must be given with kind kandinsky-2.2 (its folder or id, such as"
                " kandinsky-community/kandinsky-2-2-prior), and be null with any other kind"
            )
        return self

    @field_validator("prompts")
    @classmethod
    def _name_the_class(cls, prompts: list[str]) -> list[str]:
        for prompt in prompts:
            try:
                fields = {
                    f"{name}!{conversion}" if conversion else f"{name}:{spec}" if spec else name
                    for _, name, spec, conversion in string.Formatter().parse(prompt)
                }
            except ValueError as error:
                raise ValueError(f"{prompt!r} is not a template: {error}") from error
            if fields - {"group", None} != {"class"}:
                raise ValueError(
                    f"{prompt!r} must contain {{class}}, perhaps {{group}}, and no other {{name}}"
                )
        return prompts
