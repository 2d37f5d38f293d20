"""Who says what an image shows, beside the classifier that guided it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fgds_core.section import Section


class JudgeConfig(Section):
    """The judge of real and synthetic images, and what follows from what it says."""

    kind: Literal["classifier", "clip", "cross_fitted"] = Field(
        description="classifier: a folder of one; clip: zero-shot by generator.prompts;"
        " cross_fitted: classifiers of this data's real training images, each trained without a"
        " fold of them, by the control's recipe"
    )
    path: str | None = Field(
        description="of classifier a folder; of clip a folder or hub id of a CLIP model, null is"
        " the generator's own where it has both halves of one; null with cross_fitted"
    )
    folds: int = Field(
        ge=2,
        le=100,
        description="of cross_fitted: parts of the training images, as many trainings",
    )
    min_agreement: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a class's images in which the judge sees that class, as a share of"
        " its own recall, below which they are drawn again; 0 is off",
    )
    max_redraws: int = Field(
        default=2,
        ge=0,
        le=10,
        description="times at most that an image is drawn again for that, or for being a copy"
        " (synthesize.copies)",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.kind == "classifier" and self.path is None:
            raise ValueError("kind classifier needs path: the folder of a classifier")
        if self.kind == "cross_fitted" and self.path is not None:
            raise ValueError(
                "path is not read with kind cross_fitted, which trains its own classifiers; set it"
                " to null"
            )
        return self
