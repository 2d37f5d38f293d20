"""What a judge says of a synthetic set, beside what it says of real images.

M synthetic images, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgds_core.assess.estimates import mean_of
from fgds_core.files import listed
from fgds_core.judge.agreement import share_of_recall
from fgds_core.judge.record import JudgeRecord, Recognised

WRONG = 0.5
"""Share of a judge's own recall below which the images of a class surely show something else."""


def testimony(
    record: JudgeRecord, seen: NDArray[np.int64], by_class: Sequence[NDArray[np.int64]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Agreement as a share of the judge's own recall, and what it sees instead.

    Args:
        record: Who the judge is, and what it recognises of real validation images.
        seen: The class that it sees in each image, [M].
        by_class: Rows of the images of each class, [K].

    Returns:
        Of the whole set, and of each class by its name.
    """
    names = record.class_names
    real = record.validation or (Recognised(0, 0),) * len(names)
    votes = [np.bincount(seen[rows], minlength=len(names)) for rows in by_class]  # [K] each
    synthetic = [Recognised(int(of.sum()), int(of[k])) for k, of in enumerate(votes)]
    recalls = np.array([each.recall for each in real if each.recall is not None])
    whole = {
        "kind": record.kind,
        "path": record.path,
        "mean_recall": mean_of(recalls),
        "num_real": sum(each.num_images for each in real),
        "agreement_of_recall": share_of_recall(synthetic, real).entry(),
        "remarks": list(record.remarks),
    }
    per_class = {
        name: {
            "recall": real[k].recall,
            "num_real": real[k].num_images,
            "num_recognised": real[k].num_right,
            "agreement_of_recall": share_of_recall([synthetic[k]], [real[k]]).entry(),
            "sees_instead": _instead(k, votes[k], names),
        }
        for k, name in enumerate(names)
    }
    return whole, per_class


def _instead(k: int, votes: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any] | None:
    """The other class that is seen most often; None where none is."""
    others = votes.copy()
    others[k] = 0
    most = int(others.argmax())
    return {"class": names[most], "num_images": int(others[most])} if others[most] else None


def doubts(per_class: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning where a judge surely sees something else than was meant.

    Args:
        per_class: From `testimony`.
    """
    highest = {name: of["agreement_of_recall"]["high"] for name, of in per_class.items()}
    wrong = [name for name, high in highest.items() if high is not None and high < WRONG]
    if not wrong:
        return []
    return [
        f"the judge sees another class in most synthetic images of {listed(wrong)}: can the"
        " generator draw them? Look at the samples"
    ]
