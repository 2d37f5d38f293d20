"""How the synthetic images are measured against real ones."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fgds_core.section import Section


class AssessConfig(Section):
    """The feature space, the sample sizes each measure needs, and its interval."""

    features: Literal["clip", "inception", "classifier"] = Field(
        description="feature space: the generator's CLIP vision tower, clean-fid's InceptionV3 "
        "(what published FIDs use), or the baseline classifier's penultimate layer"
    )
    inception_weights: str | None = Field(
        description="local inception-2015-12-05.pt, or its folder; null unless features is "
        "inception"
    )
    min_images_fid: int = Field(
        ge=2,
        le=1_000_000,
        description="images FID needs in both sets; with fewer it has no value",
    )
    min_images: int = Field(
        ge=2,
        le=1_000_000,
        description="images that every other measure needs in both sets; with fewer it has no "
        "value",
    )
    fid_blocks: int = Field(
        ge=0,
        le=1000,
        description="blocks of the jackknife behind FID's 95 % interval, 2 or more; 0 is no "
        "interval",
    )
    kid_subsets: int = Field(ge=2, le=10_000, description="random subsets KID is averaged over")
    kid_subset_size: int = Field(
        ge=2,
        le=10_000,
        description="images in a subset, at most; never more than half of the smaller set",
    )
    nearest_k: int = Field(
        ge=1,
        le=1000,
        description="neighbour that sets the radius of precision, recall, density and coverage",
    )
    bootstrap_samples: int = Field(
        ge=0,
        le=100_000,
        description="resamples behind the 95 % intervals of shares; 0 is no interval, also of"
        " precision, recall, density and coverage, whose intervals come from random halves",
    )
    grid_images: int = Field(
        ge=0,
        le=1000,
        description="synthetic images a class kept for the report with their neighbours; 0 is off",
    )
    grid_neighbours: int = Field(
        ge=1, le=100, description="nearest real training images kept beside each of them"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.features == "inception" and self.inception_weights is None:
            raise ValueError("features inception needs inception_weights: the path of the file")
        if self.features != "inception" and self.inception_weights is not None:
            raise ValueError(
                f"inception_weights is not read with features {self.features}; set it to null"
            )
        if self.fid_blocks == 1:
            raise ValueError("fid_blocks must be 0 (no interval) or at least 2, got 1")
        return self
