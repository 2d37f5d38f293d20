"""How the synthetic images are drawn."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fgds_core.diffusion.schedule import guided_steps
from fgds_core.section import Section


class FeedbackFactors(Section):
    """How strong feedback is in the classes of each shot bin, as a share of feedback_scale."""

    many: float = Field(
        default=1.0, ge=0, le=1000, description="classes with more than 100 real training images"
    )
    medium: float = Field(
        default=1.0, ge=0, le=1000, description="classes with 20 to 100 real training images"
    )
    few: float = Field(
        default=1.0, ge=0, le=1000, description="classes with fewer than 20 real training images"
    )


class Exclusion(Section):
    """Images of one class that are left out of training."""

    class_name: str = Field(min_length=1, description="the class, by its name")
    indices: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        min_length=1, description="places of the images within the class, from 0"
    )
    reason: str = Field(default="", description="why, for whoever reads the list")
    drawn_as: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = Field(
        default=None,
        description=(
            "how the fingerprint of their parts begins; images that were drawn otherwise are not"
            " meant; null means whatever is at these places"
        ),
    )


class SynthesizeConfig(Section):
    """One set of synthetic images: how many, how conditioned, how sampled, how guided."""

    target_per_class: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["max"] = Field(
        description=(
            "real and synthetic images a class shall have together; max is the largest"
            " class's real count"
        )
    )
    min_per_class: int = Field(
        ge=0,
        le=1_000_000,
        description=(
            "synthetic images of each class at least, also of those that have the target without"
            " any; 0 draws none for those"
        ),
    )
    target_per_group: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description=(
            "real and synthetic images a class shall have in each group (context), in place of"
            " target_per_class; null goes by classes"
        ),
    )
    images_per_part: int = Field(
        ge=1,
        le=100_000,
        description="images in one file, the unit that is kept when a run is interrupted",
    )
    rounds: int = Field(
        default=1,
        ge=1,
        le=100,
        description=(
            "rounds in which the images are drawn, equally many in each; from the second on a"
            " classifier guides that learns, by the recipe of retrain, from real images and those"
            " of the rounds before; 1 draws all at once"
        ),
    )
    round_quotas: Literal["even", "by_error"] = Field(
        default="by_error",
        description=(
            "how the images of a later round are shared out: even by what each class lacks,"
            " by_error by its quota times the current classifier's error on its real validation"
            " images, at most twice the quota in all"
        ),
    )
    exclude: list[Exclusion] = Field(
        default=[],
        description=(
            "images that are left out of training and measures, where they lie; none is drawn"
            " again; `python -m flows.exclude` edits the list"
        ),
    )

    copies: Literal["keep", "redraw"] = Field(
        default="redraw",
        description=(
            "what is done, once all are drawn, about images that copy a real one: redraw leaves"
            " them out and draws others in their place, at most judge.max_redraws times; keep"
            " looks for none here, assess names them"
        ),
    )
    copies_by: list[Literal["picture", "part", "features"]] = Field(
        default=["picture", "part"],
        min_length=1,
        max_length=3,
        description=(
            "by what an image is taken for a copy then: the whole picture, a part of it, features"
            " of the generator's vision tower or, without one, of the baseline; what assess"
            " suspects by others is named and kept"
        ),
    )

    check_images: int = Field(
        default=20,
        ge=0,
        le=10_000,
        description=(
            "images drawn of each class before any other, without feedback, to see whether the"
            " generator can draw it; at least 8, 0 checks nothing"
        ),
    )
    cannot_draw: Literal["refuse", "resample", "keep"] = Field(
        default="refuse",
        description=(
            "what is done about a class that it cannot: refuse stops before anything expensive,"
            " resample fills the class with real images drawn again, keep goes on and warns"
        ),
    )
    unguided_twins: int = Field(
        default=2,
        ge=0,
        le=100,
        description=(
            "first images of each class that are drawn a second time without feedback, from the"
            " same seed and for the page alone; of more than 1,000 classes those with most to"
            " draw; 0 is none"
        ),
    )

    conditioning: Literal["dual", "text", "image"] = Field(
        description="what the generator is told: the prompt, a real image of the class, or both"
    )
    embedding_mix: Literal["none", "slerp", "transfer", "any_class"] = Field(
        default="none",
        description=(
            "what the conditioning image's embedding is mixed with: slerp is another image of its"
            " class, transfer the class's mean and another class's variation, any_class any real"
            " image"
        ),
    )
    embedding_mix_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description=(
            "share of what embedding_mix adds, 0 is the conditioning image alone; with slerp each"
            " image's own is drawn evenly from 0 to it"
        ),
    )
    embedding_dropout: float = Field(
        ge=0, lt=1, description="share of the image embedding's coordinates set to zero; 0 is off"
    )
    embedding_rescale: bool = Field(
        description="whether the coordinates that stay are divided by 1 - embedding_dropout"
    )
    noise_level: int = Field(
        ge=0, le=999, description="noise on the image embedding, in training steps; 0 is least"
    )

    scheduler: Literal[
        "DDIMScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "UniPCMultistepScheduler",
    ] = Field(description="the solver, by its name in diffusers")
    num_inference_steps: int = Field(ge=1, le=1000, description="denoising steps per image")
    eta: float = Field(
        ge=0, le=1, description="fresh noise per step, DDIMScheduler only; 0 is none, 1 is DDPM's"
    )
    guidance_scale: float = Field(
        ge=1, le=1000, description="weight of classifier-free guidance; 1 is off"
    )

    guide: Literal["baseline", "control", "both"] = Field(
        default="baseline",
        description=(
            "the classifier that guides: the baseline, the control that retrain.training makes of"
            " the same real images, or a committee of both"
        ),
    )
    feedback: Literal[
        "none",
        "loss",
        "hardness",
        "entropy",
        "disagreement",
        "exemplar",
        "exemplar_loss",
        "exemplar_entropy",
        "influence",
    ] = Field(
        description=(
            "criterion of the guide that guidance climbs; none is off, whatever the other"
            " feedback values"
        )
    )
    feedback_rule: Literal["relative", "score"] = Field(
        description=(
            "relative moves the latent by a share of its norm, score adds to the score of"
            " the generator"
        )
    )
    feedback_scale: float = Field(
        ge=0,
        le=1_000_000,
        description=(
            "relative: share of the latent's norm per guided step; score: weight of the"
            " gradient; 0 is off"
        ),
    )
    feedback_factors: FeedbackFactors = Field(
        default=FeedbackFactors(),
        description=(
            "of feedback_scale in the classes of each shot bin: many, medium, few; 1 is all of it,"
            " 0 draws them without feedback"
        ),
    )
    feedback_decoder: Literal["exact", "half", "tiny"] = Field(
        description=(
            "what decodes the image that the classifier sees while it guides: exact is the"
            " generator's own decoder, half the same at half the resolution, tiny"
            " generator.tiny_decoder"
        )
    )
    feedback_jacobian: bool = Field(
        description=(
            "whether the gradient goes back through the generator's network; false is cheaper"
            " and takes it at the predicted clean image"
        )
    )
    feedback_refresh: int = Field(
        ge=1,
        le=1000,
        description=(
            "guided steps from one new gradient to the next; in between the last one pushes again,"
            " which is cheaper; 1 computes each anew"
        ),
    )
    feedback_every: int = Field(
        ge=1, le=1000, description="every how many steps guidance acts; 1 is each"
    )
    feedback_steps: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        description=(
            "how many steps are guided, evenly spread from feedback_start to feedback_end, in"
            " place of feedback_every; null goes by feedback_every"
        )
    )
    feedback_start: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of the steps after which guidance begins; 0 is from the first"
    )
    feedback_end: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the steps at which guidance ends; 1 is up to the last"
    )
    feedback_target: Literal["none", "real"] = Field(
        description=(
            "real leaves an image alone while its criterion is at or above its class's mean"
            " on real validation"
            " images; none always pushes"
        )
    )
    feedback_calibrated: bool = Field(
        description=(
            "whether loss and entropy see the logits divided by the temperature that was"
            " fitted on validation"
        )
    )
    feedback_tau: Annotated[float, Field(ge=0, le=10)] = Field(
        default=0.0,
        description=(
            "how much of the classes' prior is taken out of the guide: its logits less tau times"
            " the log of each class's share of the real training images; 0 is nothing, 1 all of it"
        ),
    )
    feedback_augment: bool = Field(
        description=(
            "whether the classifier sees the image with the random shifts, flips and erasures of"
            " its training while it guides, drawn anew at each step"
        )
    )

    feedback_exemplars: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description=(
            "exemplar, exemplar_loss, exemplar_entropy: real training images of a class at most"
            " that synthetic ones are drawn towards; drawn by the seed of the run"
        ),
    )
    feedback_mix: float = Field(
        default=0.3,
        ge=0,
        le=1_000_000,
        description=(
            "exemplar_loss, exemplar_entropy: weight of loss or entropy, in shares of log K of K"
            " classes, beside the distance to the exemplars"
        ),
    )

    @model_validator(mode="after")
    def _agree(self) -> "SynthesizeConfig":
        if 0 < self.check_images < 8:  # of fewer no finding could be told from chance
            raise ValueError(
                f"check_images ({self.check_images}): fewer than 8 images of a class"
                " can tell nothing; set it to that or more, or to 0 for no check"
            )
        if self.feedback_start >= self.feedback_end:
            raise ValueError(
                f"feedback_start ({self.feedback_start}) must be below feedback_end"
                f" ({self.feedback_end})"
            )
        guided = guided_steps(
            self.num_inference_steps,
            self.feedback_every,
            self.feedback_start,
            self.feedback_end,
            self.feedback_steps,
        )
        if self.feedback != "none" and not guided:
            raise ValueError(
                f"no step lies between feedback_start ({self.feedback_start}) and feedback_end"
                f" ({self.feedback_end}) with num_inference_steps {self.num_inference_steps};"
                " widen the interval, or set feedback to none"
            )
        if self.eta > 0 and self.scheduler != "DDIMScheduler":
            raise ValueError(
                f"eta ({self.eta}) works with DDIMScheduler only; set it to 0 for {self.scheduler}"
            )
        return self
