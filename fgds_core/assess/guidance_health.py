"""What guidance did to the images, from what the sampler noted of each.

Of each image are noted how many steps pushed it, left it alone or had a gradient that is not
finite, the criterion at the first and the last push and of the finished image, and, where it was
drawn here, criterion and norm of the gradient at each step.

M synthetic images, N real ones, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fgds_core.assess.estimates import mean_of
from fgds_core.assess.guidance_steps import Steps, step_columns, step_means, steps_of
from fgds_core.assess.vectors import Array
from fgds_core.files import listed

HEALTH = ("not guided", "pushed", "left alone", "not finite", "ran away")
"""What guidance did to an image: nothing was asked; it did; no step pushed; half of the steps or
more had no finite gradient; it is harder than every real image of its class."""

REMEDIES = {
    "left alone": "guidance did nothing to most images of {classes}: no step pushed them, for"
    " their gradient is zero or they had reached synthesize.feedback_target; they show what the"
    " generator draws without it",
    "not finite": "guidance had no finite gradient at half of the steps of most images of"
    " {classes}: lower synthesize.feedback_scale, or set generator.dtype to float32",
    "ran away": "guidance ran away with most images of {classes}: they are harder for the baseline"
    " than every real validation image of the class; lower synthesize.feedback_scale, or set"
    " synthesize.feedback_target to real",
}

LEAST_REAL = 10
"""Real validation images of a class below which none of its images is said to have run away."""

CRITERION = ("criterion_first", "criterion_last", "criterion_final")


@dataclass(frozen=True, eq=False)
class GuidanceNotes:
    """What was noted of each image, by column; NaN where nothing was.

    Attributes:
        numbers: `criterion_...`, `guided_steps`, `skipped_steps`, `nonfinite_steps` and
            `attempt`, [M] each.
        feedback: Number of the criterion that guided it, [M].
        criteria: Name of each such number.
        steps: Criterion and norm of its gradient by step; empty where they were not noted.
    """

    numbers: dict[str, NDArray[np.float64]]
    feedback: NDArray[np.int64]
    criteria: tuple[str, ...]
    steps: Steps = field(default_factory=dict)

    @property
    def num_steps(self) -> Array:
        """Steps of each image at which guidance was asked, [M]."""
        pushed, skipped, not_finite = (
            self.numbers[f"{name}_steps"] for name in ("guided", "skipped", "nonfinite")
        )
        steps: Array = pushed + skipped + not_finite
        return steps


def guidance_notes(rows: pa.Table) -> GuidanceNotes:
    """Takes the notes out of the rows of a synthetic set."""
    names = (*CRITERION, "guided_steps", "skipped_steps", "nonfinite_steps", "attempt")
    feedback = rows["feedback"].combine_chunks().dictionary_encode()
    return GuidanceNotes(
        {name: rows[name].to_numpy().astype(np.float64) for name in names},
        feedback.indices.to_numpy().astype(np.int64),
        tuple(str(name) for name in feedback.dictionary.to_pylist()),
        steps_of(rows),
    )


def guidance_health(
    notes: GuidanceNotes, health: NDArray[np.int8], which: NDArray[np.int64]
) -> dict[str, Any]:
    """The criterion before and after guidance, and how many steps guided, of some images.

    Args:
        notes: What was noted of all images.
        health: From `health_of`, [M].
        which: Rows of those that are asked for.
    """

    def mean(name: str) -> float | None:
        values = notes.numbers[name][which]
        return mean_of(values[~np.isnan(values)])

    used = np.unique(notes.feedback[which]).tolist()
    steps = notes.num_steps[which].sum()
    rise = notes.numbers["criterion_last"][which] - notes.numbers["criterion_first"][which]
    return {
        "feedback": sorted(notes.criteria[number] for number in used),
        **{name: mean(name) for name in CRITERION},
        "guided_steps": mean("guided_steps"),
        "skipped_steps": mean("skipped_steps"),
        "nonfinite_steps": int(notes.numbers["nonfinite_steps"][which].sum()),
        "redrawn_images": int((notes.numbers["attempt"][which] != 0).sum()),
        "share_of_pushes": float(notes.numbers["guided_steps"][which].sum() / steps)
        if steps
        else None,
        "criterion_rise": mean_of(rise[~np.isnan(rise)]),
        **step_means(notes.steps, which),
        "images": {
            name: int((health[which] == number).sum()) for number, name in enumerate(HEALTH)
        },
    }


def health_of(
    notes: GuidanceNotes,
    loss: Array,
    labels: NDArray[np.int64],
    real_loss: Array,
    real_labels: NDArray[np.int64],
) -> NDArray[np.int8]:
    """What guidance did to each image, a number of `HEALTH`.

    An image that was pushed ran away if it is harder for the baseline than every real validation
    image of its class. Of n of these a genuine image is the hardest once in n + 1 times, so one
    image says little and most images of a class say much; with few real ones nothing is said.

    Args:
        notes: What was noted of them.
        loss: The baseline's loss on each finished image, in nats, [M].
        labels: The class of each, [M].
        real_loss: The same loss on real validation images, [N].
        real_labels: Their classes, [N].
    """
    num_classes = 1 + int(max(labels.max(initial=0), real_labels.max(initial=0)))
    hardest = np.full(num_classes, -np.inf)  # [K]
    np.maximum.at(hardest, real_labels, real_loss)
    there = np.bincount(real_labels, minlength=num_classes)  # [K]
    hardest[there < LEAST_REAL] = np.inf
    steps, guided = notes.num_steps, notes.numbers["guided_steps"]  # [M], [M]
    conditions = {
        "not guided": steps == 0,
        "not finite": notes.numbers["nonfinite_steps"] * 2 >= steps,
        "left alone": guided == 0,
        "ran away": loss > hardest[labels],
    }
    found = np.select(
        list(conditions.values()),
        [HEALTH.index(name) for name in conditions],
        HEALTH.index("pushed"),
    )
    return found.astype(np.int8)


def guidance_warnings(
    health: NDArray[np.int8],
    class_names: Sequence[str],
    by_class: Sequence[NDArray[np.int64]],
) -> list[str]:
    """Warnings where guidance did nothing to most images of a class, or ran away with them.

    Args:
        health: Of each image, from `health_of`, [M].
        class_names: Name of each of the K classes.
        by_class: Rows of the synthetic images of each class, [K].
    """
    warnings = []
    for name, said in REMEDIES.items():
        number = HEALTH.index(name)
        classes = [
            class_name
            for class_name, rows in zip(class_names, by_class, strict=True)
            if (guided := (health[rows] != HEALTH.index("not guided")).sum())
            and (health[rows] == number).sum() * 2 >= guided
        ]
        if classes:
            warnings.append(said.format(classes=listed(classes)))
    return warnings


def health_table(
    class_names: Sequence[str],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    notes: GuidanceNotes,
    health: NDArray[np.int8],
) -> pa.Table:
    """A row for each image: `class`, `index`, `health`, `share_of_pushes`, `criterion_rise`.

    Where they were noted also `criterion_by_step` and `gradient_by_step`, lists.

    Args:
        class_names: Name of each of the K classes.
        labels: The class of each image, [M].
        indices: Its place within that class, [M].
        notes: What was noted of it.
        health: From `health_of`, [M].
    """

    def named(values: NDArray[Any], names: Sequence[str]) -> Any:  # noqa: ANN401, not declared
        return pa.DictionaryArray.from_arrays(values.astype(np.int32), list(names))

    steps, numbers = notes.num_steps, notes.numbers
    unasked = np.full(len(steps), np.nan)
    share = np.divide(numbers["guided_steps"], steps, where=steps > 0, out=unasked)  # [M]
    rise = numbers["criterion_last"] - numbers["criterion_first"]
    return pa.table(
        {
            "class": named(labels, class_names),
            "index": pa.array(indices, pa.int64()),
            "health": named(health, HEALTH),
            "share_of_pushes": pa.array(share, pa.float64(), from_pandas=True),
            "criterion_rise": pa.array(rise, pa.float64(), from_pandas=True),
            **step_columns(notes.steps),
        }
    )
