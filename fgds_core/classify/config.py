"""How a classifier is trained: the baseline, the control and the final one alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from fgds_core.section import Section

LossName = Literal[
    "cross_entropy",
    "balanced_softmax",
    "logit_adjustment",
    "ldam",
    "class_balanced_focal",
    "label_aware_smoothing",
    "group_dro",
]
Sampling = Literal["instance", "square_root", "class_balanced", "progressive", "group_balanced"]
MixName = Literal["none", "mixup", "cutmix", "cmo", "lisa"]
Head = Literal["linear", "cosine"]
Tune = Literal["all", "head", "lora"]
SecondStage = Literal["none", "crt", "lws", "last_layer_real", "dfr", "real"]
Posthoc = Literal["none", "logit_adjustment", "tau_normalization"]
Precision = Literal["float32", "bfloat16", "float16"]


class TrainConfig(Section):
    """Architecture, budget and recipe of one training."""

    model: str = Field(min_length=1, description="name of the network in timm")
    model_kwargs: dict[str, JsonValue] = Field(
        description="further arguments of that network, such as channels or drop_rate; {} is none"
    )
    pretrained: str = Field(
        min_length=1,
        description="initial weights: none (random, from the seed), default (those timm names for "
        "the network), a safetensors file, or a repository id on the Hugging Face hub",
    )
    input_size: Annotated[int, Field(ge=1, le=2048)] | None = Field(
        description="pixels a side that images are resized to; null takes the network's own"
    )
    num_steps: int = Field(ge=1, le=10_000_000, description="optimiser steps of the first stage")
    batch_size: int = Field(ge=1, le=65_536, description="images a step")
    optimizer: Literal["adamw", "sgd"] = Field(description="SGD has Nesterov momentum 0.9")
    learning_rate: float = Field(
        gt=0,
        le=100,
        description="peak, reached after the warm-up; falls to 0 along a half cosine",
    )
    warmup_steps: int = Field(
        ge=0, le=10_000_000, description="steps of linear warm-up, below num_steps; 0 is off"
    )
    weight_decay: float = Field(
        ge=0, le=100, description="on weights, not on biases and normalisation; 0 is off"
    )
    loss: LossName = Field(
        description="what a step lowers, in nats; priors and weights are those of the real images"
    )
    loss_kwargs: dict[str, JsonValue] = Field(
        description="further arguments of that loss, such as tau; {} is its published defaults"
    )
    label_smoothing: float = Field(
        ge=0, lt=1, description="share of the target spread over all classes; 0 is off"
    )
    ema_decay: float = Field(
        ge=0, lt=1, description="decay a step of the averaged weights that are kept; 0 is off"
    )
    horizontal_flip: bool = Field(description="flip half of the training images; false is off")
    shift: int = Field(
        ge=0,
        le=1024,
        description="random shift by up to this many pixels each way, border repeated; 0 is off",
    )
    erase: float = Field(
        ge=0,
        lt=1,
        description="largest side of a random grey square, as a share of the image's; 0 is off",
    )
    crop_scale: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        description="smallest share of the area that a random crop keeps before it is enlarged to "
        "the whole again; null is off"
    )
    rand_augment: str | None = Field(
        description="policy of RandAugment as timm writes it, such as rand-m9-mstd0.5-inc1; null "
        "is off"
    )
    color_jitter: float = Field(
        ge=0,
        le=1,
        description="largest relative change of brightness, contrast and saturation; 0 is off",
    )
    mix: MixName = Field(
        description="what becomes of two images: mixup is their weighted mean, cutmix pastes a "
        "rectangle of one into the other, cmo pastes those of rare classes, lisa is the mean "
        "within one class of two groups or one group of two classes; none is off"
    )
    mix_alpha: float = Field(
        gt=0,
        le=1000,
        description="both parameters of the Beta distribution of an image's share; 1 is uniform",
    )
    mix_probability: float = Field(
        ge=0, le=1, description="share of the images into which another is mixed; 0 is off"
    )
    eval_every: int = Field(
        ge=1,
        le=10_000_000,
        description="steps between validations, each a candidate for the checkpoint that is kept",
    )
    precision: Precision = Field(
        description="numbers the network computes in while it learns, by autocast, with a scaled "
        "loss for float16; weights, loss and evaluation are float32 whatever it says"
    )
    accumulate_steps: int = Field(
        ge=1,
        le=65_536,
        description="micro-batches that a batch is learnt in, one after another, to save memory; "
        "a divisor of batch_size, 1 is off",
    )

    sampling: Sampling = Field(
        description="how often a class with n real images is drawn: instance ~ n, square_root ~ "
        "n^0.5, class_balanced all alike, progressive from the first to the last over the "
        "training; group_balanced takes all cells of class and group alike"
    )
    head: Head = Field(
        description="what makes the scores of the features: linear, as in timm, or cosine, "
        "30 times the cosine of features and weights"
    )
    tune: Tune = Field(
        description="what learns: all weights, the head alone (a linear probe), or the head and "
        "updates of rank lora_rank, which are added to the weights at the end"
    )
    lora_rank: int = Field(ge=1, le=1024, description="rank of the updates; with tune lora")
    second_stage: SecondStage = Field(
        description="what follows, class-balanced: crt (a new head), lws (a scale for each "
        "class), last_layer_real and real (head or all go on, on real images alone), or dfr (a "
        "head fitted on half of validation)"
    )
    second_stage_steps: int = Field(
        ge=1, le=10_000_000, description="its optimiser steps, after num_steps; dfr takes none"
    )
    posthoc: Posthoc = Field(
        description="correction of the trained head, its strength tau in [0, 2] chosen on "
        "validation: scores less tau log prior, or weights by their norm to the power of tau"
    )

    @model_validator(mode="after")
    def _leave_steps_after_the_warmup(self) -> Self:
        if self.warmup_steps >= self.num_steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} must be below num_steps {self.num_steps}"
            )
        return self

    @property
    def total_steps(self) -> int:
        """Optimiser steps of both stages."""
        has_second = self.second_stage not in ("none", "dfr")
        return self.num_steps + (self.second_stage_steps if has_second else 0)

    @model_validator(mode="after")
    def _fill_every_micro_batch(self) -> Self:
        if self.batch_size % self.accumulate_steps:
            raise ValueError(
                f"accumulate_steps {self.accumulate_steps} must divide "
                f"batch_size {self.batch_size}"
            )
        return self

    @property
    def micro_batch_size(self) -> int:
        """Images that go through the network together."""
        return self.batch_size // self.accumulate_steps


class RetrainConfig(Section):
    """How the final classifier is trained: as the baseline, but for what is named here."""

    training: dict[str, JsonValue] = Field(
        description="keys of train_baseline that differ for the final classifier and its control"
    )
    real_share: float = Field(
        ge=0,
        le=1,
        description="share of real images in a batch, whatever its classes; 1 is real only",
    )
    synthetic_weight: float = Field(
        ge=0, le=100, description="weight of a synthetic image in the loss, beside 1 of a real one"
    )
    synthetic_label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        description="label smoothing of synthetic images; null is that of the others"
    )
    split_batch_norm: bool = Field(
        description="whether batch normalisation has statistics and weights of its own for "
        "synthetic images while it learns; those of real images are kept; false is off"
    )
    mix_within_source: bool = Field(
        description="whether mix mixes real images with real ones alone, and synthetic ones with "
        "synthetic ones"
    )

    @property
    def treatment(self) -> "Treatment":
        """What is done with synthetic images, beside how often they come."""
        return Treatment(
            weight=self.synthetic_weight,
            label_smoothing=self.synthetic_label_smoothing,
            split_batch_norm=self.split_batch_norm,
            mix_within_source=self.mix_within_source,
        )

    @field_validator("training")
    @classmethod
    def _name_keys_of_a_training(cls, overrides: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if strangers := sorted(overrides.keys() - TrainConfig.model_fields.keys()):
            near = get_close_matches(strangers[0], TrainConfig.model_fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"train_baseline has no key {strangers[0]}{hint}")
        return overrides


@dataclass(frozen=True)
class Treatment:
    """What is done with synthetic images in a training, beside how often they come.

    Attributes:
        weight: Of a synthetic image in the loss, beside 1 of a real one.
        label_smoothing: Of synthetic images; None is that of the others.
        split_batch_norm: Whether batch normalisation treats them apart; see `norms`.
        mix_within_source: Whether images are mixed with those of their own source alone.
    """

    weight: float = 1.0
    label_smoothing: float | None = None
    split_batch_norm: bool = False
    mix_within_source: bool = False


def final_recipe(baseline: TrainConfig, overrides: Mapping[str, Any]) -> TrainConfig:
    """The recipe of the final classifier and of its control: the baseline's, but for some keys.

    Args:
        baseline: The baseline's recipe.
        overrides: The keys that differ, `retrain.training`.

    Raises:
        ValidationError: The two together make no recipe.
    """
    return TrainConfig.model_validate_json(
        json.dumps({**baseline.model_dump(mode="json"), **overrides})
    )
