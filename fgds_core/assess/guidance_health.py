"""What guidance did to the images, from what the sampler noted of each.

M synthetic images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fgds_core.assess.estimates import mean_of

CRITERION = ("criterion_first", "criterion_last", "criterion_final")


@dataclass(frozen=True, eq=False)
class GuidanceNotes:
    """What was noted of each image, by column; NaN where nothing was.

    Attributes:
        numbers: `criterion_...`, `guided_steps`, `skipped_steps`, `nonfinite_steps` and
            `attempt`, [M] each.
        feedback: Number of the criterion that guided it, [M].
        criteria: Name of each such number.
    """

    numbers: dict[str, NDArray[np.float64]]
    feedback: NDArray[np.int64]
    criteria: tuple[str, ...]


def guidance_notes(rows: pa.Table) -> GuidanceNotes:
    """Takes the notes out of the rows of a synthetic set."""
    names = (*CRITERION, "guided_steps", "skipped_steps", "nonfinite_steps", "attempt")
    feedback = rows["feedback"].combine_chunks().dictionary_encode()
    return GuidanceNotes(
        {name: rows[name].to_numpy().astype(np.float64) for name in names},
        feedback.indices.to_numpy().astype(np.int64),
        tuple(str(name) for name in feedback.dictionary.to_pylist()),
    )


def guidance_health(notes: GuidanceNotes, which: NDArray[np.int64]) -> dict[str, Any]:
    """The criterion before and after guidance, and how many steps guided, of some images."""

    def mean(name: str) -> float | None:
        values = notes.numbers[name][which]
        return mean_of(values[~np.isnan(values)])

    used = np.unique(notes.feedback[which]).tolist()
    return {
        "feedback": sorted(notes.criteria[number] for number in used),
        **{name: mean(name) for name in CRITERION},
        "guided_steps": mean("guided_steps"),
        "skipped_steps": mean("skipped_steps"),
        "nonfinite_steps": int(notes.numbers["nonfinite_steps"][which].sum()),
        "redrawn_images": int((notes.numbers["attempt"][which] != 0).sum()),
    }
