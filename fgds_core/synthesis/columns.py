"""The columns of a synthetic set, which explain themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from fgds_core.images.table import image_schema


@dataclass(frozen=True)
class Column:
    """What a column of the synthetic set holds.

    Attributes:
        type: Of its values at rest.
        about: What it says, with unit, range and off-value, for a reader of the set.
        null: When there is no value; None if there always is one.
    """

    type: pa.DataType
    about: str
    null: str | None = None


COLUMNS: dict[str, Column] = {
    "group": Column(
        pa.string(), "group it is drawn for, else that of the conditioning image", "neither known"
    ),
    "prompt": Column(pa.string(), "text the generator was told; empty for the image alone"),
    "seed": Column(pa.int64(), "what the image follows from, below 2^63"),
    "index": Column(pa.int64(), "place of the image within its class, from 0"),
    "attempt": Column(pa.int64(), "how often it was drawn before, with values not finite"),
    "conditioning_id": Column(
        pa.int64(),
        "place of the conditioning image among those of its class in `train.parquet`",
        "drawn from text alone",
    ),
    "embedding_dropout": Column(
        pa.float64(), "share of the image embedding's coordinates set to zero; 0 is off"
    ),
    "noise_level": Column(pa.int64(), "noise on the image embedding, 0 to 999; 0 is least"),
    "guidance_scale": Column(pa.float64(), "weight of classifier-free guidance; 1 is off"),
    "feedback": Column(pa.string(), "criterion that guidance climbed; none is off"),
    "feedback_scale": Column(pa.float64(), "strength of the feedback; 0 is off"),
    "criterion_first": Column(
        pa.float64(), "criterion at the first gradient, in nats", "not guided"
    ),
    "criterion_last": Column(
        pa.float64(), "criterion at the last gradient, in nats", "not guided"
    ),
    "criterion_final": Column(
        pa.float64(), "criterion of the finished image, in nats", "not guided"
    ),
    "guided_steps": Column(pa.int64(), "steps that feedback pushed"),
    "skipped_steps": Column(pa.int64(), "steps it left alone, where the criterion was reached"),
    "nonfinite_steps": Column(pa.int64(), "steps without a push, the gradient was not finite"),
}
"""The columns beside image and label, in their order: the schema and the card are made of them."""


def synthetic_schema(class_names: Sequence[str]) -> pa.Schema:
    """The schema of a synthetic shard: image, label and `COLUMNS`, which explain themselves."""
    return image_schema(class_names, {name: column.type for name, column in COLUMNS.items()})
