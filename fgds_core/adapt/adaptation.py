"""What a generator is to learn, and all that decides what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fgds_core.adapt.config import AdaptConfig
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig

KINDS = ("stable-unclip", "text-to-image")
"""Kinds of generators whose denoiser can learn here."""


@dataclass(frozen=True)
class Told:
    """What drawing tells the denoiser of an image; see the keys of `synthesize` of these names."""

    conditioning: str
    embedding_dropout: float
    embedding_rescale: bool
    noise_level: int

    @classmethod
    def by(cls, config: SynthesizeConfig) -> Told:
        """As a set is drawn."""
        return cls(
            config.conditioning,
            config.embedding_dropout,
            config.embedding_rescale,
            config.noise_level,
        )


@dataclass(frozen=True)
class Adaptation:
    """What is to be learnt.

    Attributes:
        config: How.
        generator: What learns, and its prompts.
        told: What it is told.
        seed: Of the run.
        classes: Names of the classes, in the order of the data.
        made_by: Digests of the real images of each class, and of the generator.
    """

    config: AdaptConfig
    generator: GeneratorConfig
    told: Told
    seed: int
    classes: tuple[str, ...]
    made_by: Mapping[str, Any]
