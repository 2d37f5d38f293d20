"""What a classifier that had no part in the drawing sees in the synthetic images.

The classifier that guided them is no witness: the images were made to please it.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.errors import InputError
from fgds_core.files import replacing


def load_judge(folder: Path, class_names: Sequence[str], device: str) -> Classifier:
    """Loads a judge of these classes.

    Raises:
        InputError: It cannot be read, or knows other classes.
    """
    try:
        judge = load_classifier(folder, device)
    except InputError as error:
        raise InputError(f"assess.judge: {error}; or set it to null (no judge)") from error
    if _composed(judge.class_names) != _composed(class_names):
        raise InputError(
            f"assess.judge: {folder} knows the classes {list(judge.class_names)}, the data has"
            f" {list(class_names)}; name the folder of a classifier that was trained on these"
            " classes in this order, or set it to null (no judge)"
        )
    return judge


def _composed(names: Sequence[str]) -> list[str]:
    """Names with each accented letter as one character, however a file system wrote it."""
    return [unicodedata.normalize("NFC", name) for name in names]


def verdict(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The class with the highest score and its probability, [B] each, of logits [B, K]."""
    probabilities, labels = logits.float().softmax(dim=-1).max(dim=-1)
    return labels, probabilities


def judged_table(
    class_names: Sequence[str],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    seen: NDArray[np.int64],
    probabilities: NDArray[np.float32],
) -> pa.Table:
    """A row for each image: `class`, `index` in the class, `judge_label`, `judge_probability`.

    Args:
        class_names: Name of each of the K classes.
        labels: The class that each image was meant to show, [M].
        indices: Its place within that class, [M].
        seen: The class that the judge sees, [M].
        probabilities: How likely it holds that class, 0 to 1, [M].
    """

    def named(classes: NDArray[np.int64]) -> Any:  # noqa: ANN401, pyarrow declares no type
        return pa.DictionaryArray.from_arrays(classes.astype(np.int32), list(class_names))

    return pa.table(
        {
            "class": named(labels),
            "index": pa.array(indices, pa.int64()),
            "judge_label": named(seen),
            "judge_probability": pa.array(probabilities, pa.float32()),
        }
    )


def write_judged(path: Path, rows: pa.Table) -> None:
    """Writes `judged_table`; the same rows give the same bytes.

    Raises:
        InputError: The disk is full or may not be written.
    """
    with replacing(path) as temporary:
        pq.write_table(rows, temporary, compression="none", version="2.6")
