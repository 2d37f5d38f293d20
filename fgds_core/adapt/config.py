"""Whether and how a generator learns to draw the classes of the data."""

from typing import Annotated, Literal

from pydantic import Field

from fgds_core.section import Section

Names = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]],
    Field(min_length=1, max_length=100_000),
]
"""Of classes."""


class AdaptConfig(Section):
    """How the generator's denoiser learns from real training images before it draws."""

    enabled: bool = Field(
        description="whether it learns at all; false draws with the generator as it is"
    )
    classes: Literal["needed", "all"] | Names = Field(
        description="classes that it learns and that are drawn with what it learnt; needed: those"
        " that the generator check refuses or doubts, before it learns; all: every one; or a list"
        " of names",
    )
    method: Literal["lora", "full"] = Field(
        description="lora: low-rank updates of the denoiser's attention; full: all its weights,"
        " for small ones"
    )
    rank: int = Field(ge=1, le=1024, description="with method lora, of the updates")
    num_steps: int = Field(ge=1, le=1_000_000, description="optimiser steps at most")
    batch_size: int = Field(ge=1, le=10_000, description="images a step")
    learning_rate: float = Field(gt=0, le=1, description="peak, after a warm-up of 50 steps")
    decoder_steps: int = Field(
        ge=0,
        le=1_000_000,
        description="optimiser steps at most in which the decoder of the latents learns too; 0 is"
        " off: it stays as it is",
    )
    held_out: float = Field(
        gt=0,
        lt=1,
        description="share of a class's training images that it does not learn from; they say when"
        " to stop",
    )
    eval_every: int = Field(
        ge=1, le=100_000, description="steps between looks at the held-out images"
    )
    patience: int = Field(
        ge=1, le=1000, description="looks in a row without a lower loss after which it stops"
    )
