"""What lies in a classifier's folder beside its weights: `config.json`, read strictly.

Imports no torch, so that a folder can be checked before anything is loaded.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from fgds_core.errors import InputError

CONFIG = "config.json"
REMEDY = "train the baseline again, or give the folder of a finished one"

_MAX_CONFIG_BYTES = 100_000_000  # of a file that is read whole; 100,000 classes take a tenth

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PerClass = dict[str, tuple[FiniteFloat | None, ...]]


class ClassifierConfig(BaseModel):
    """What `config.json` in a classifier's folder says; the one reader of that file.

    Entries of other names are notes of whoever made the folder and mean nothing here.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", protected_namespaces=())

    model: Name
    """Name of the network in timm."""
    model_kwargs: dict[str, JsonValue]
    class_names: tuple[Name, ...] = Field(min_length=1)
    """K names, all different."""
    input_size: int = Field(ge=1, le=8192)
    """Pixels a side."""
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    """Of each channel, of values in [0, 1]."""
    std: tuple[Positive, Positive, Positive]
    """Of each channel, of values in [0, 1]."""
    interpolation: Literal["bilinear", "bicubic"]
    temperature: Positive = 1.0
    """Divides the logits where calibrated probabilities are asked for."""
    head: Literal["linear", "cosine"] = "linear"
    """What makes the scores of the features."""
    posthoc_tau: FiniteFloat | None = None
    """Strength of the post-hoc correction that the last layer holds; null without one."""
    real_counts: tuple[NonNegativeInt, ...] | None = None
    """Real training images of each class, [K]."""
    bins: dict[str, Literal["many", "medium", "few"]] = Field(default_factory=dict)
    """Shot bin of each class name."""
    training: dict[str, JsonValue] | None = None
    """How it was trained; `train.read_training` reads it."""
    image_size: PositiveInt | None = None
    """Pixels a side of the images it was trained on."""
    seed: int | None = None
    criterion_on_real: PerClass | None = None
    """By criterion, its mean over each class's real validation images, [K]; null without any."""
    criterion_on_real_calibrated: PerClass | None = None
    """The same, of logits divided by the temperature."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("class_names holds a name twice")
        known = len(self.class_names)
        lists = {"real_counts": self.real_counts}
        for key in ("criterion_on_real", "criterion_on_real_calibrated"):
            values = getattr(self, key) or {}
            lists |= {f"{key}.{name}": value for name, value in values.items()}
        for key, value in lists.items():
            if value is not None and len(value) != known:
                raise ValueError(f"{key} has {len(value)} entries for {known} classes")
        if strangers := self.bins.keys() - set(self.class_names):
            raise ValueError(f"bins names {sorted(strangers)[0]!r}, which is no class")
        return self


def read_classifier_config(folder: Path, remedy: str = REMEDY) -> ClassifierConfig:
    """Reads the `config.json` that `classify.save_classifier` wrote.

    Args:
        folder: The classifier's.
        remedy: What to do where it cannot be read; ends the message.

    Raises:
        InputError: If it is absent or damaged, or an entry is absent or makes no sense.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"there is no classifier in {folder}: {path} is missing; {remedy}")
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise InputError(f"{path} is too large to be a classifier's configuration; {remedy}")
    try:
        return ClassifierConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except ValidationError as error:
        raise InputError(f"{path} {_faults(error)}; {remedy}") from error


def _faults(error: ValidationError) -> str:
    """What is wrong with a classifier's configuration, as the end of a sentence."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return f"is not valid JSON ({faults[0]['msg'].removeprefix('Invalid JSON: ')})"
    entries = [fault for fault in faults if len(fault["loc"]) == 1]
    if absent := [str(fault["loc"][0]) for fault in entries if fault["type"] == "missing"]:
        return f"lacks {', '.join(sorted(absent))}"
    where = ".".join(map(str, faults[0]["loc"]))
    what = faults[0]["msg"].removeprefix("Value error, ")
    return f"makes no sense: {where and where + ': '}{what}"
