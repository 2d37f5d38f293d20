"""How the final classifier is trained on real and synthetic images."""

from pydantic import Field

from fgds_core.config.section import Section


class RetrainConfig(Section):
    """What differs from the baseline; architecture, budget and recipe are the baseline's own."""

    real_share: float = Field(
        ge=0,
        le=1,
        description="share of real images in a batch, where all classes are alike; 1 is real only",
    )
