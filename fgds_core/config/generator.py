"""Which pre-trained model draws the images."""

import string
from typing import Literal

from pydantic import Field, field_validator

from fgds_core.config.section import Section


class GeneratorConfig(Section):
    """The generator: where it lies and how it is asked."""

    kind: Literal["stable-unclip"] = Field(
        description=(
            "family of the generator; stable-unclip is a StableUnCLIPImg2ImgPipeline folder"
            " of diffusers"
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
    prompts: list[str] = Field(
        min_length=1,
        description="templates with {class} for the class name; each image draws one by its seed",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        description="what the networks compute in; gradients, norms and criteria stay in float32"
    )

    @field_validator("prompts")
    @classmethod
    def _name_the_class(cls, prompts: list[str]) -> list[str]:
        for prompt in prompts:
            try:
                fields = [name for _, name, _, _ in string.Formatter().parse(prompt)]
            except ValueError as error:
                raise ValueError(f"{prompt!r} is not a template: {error}") from error
            if {name for name in fields if name is not None} != {"class"}:
                raise ValueError(f"{prompt!r} must contain {{class}} and no other {{name}}")
        return prompts
