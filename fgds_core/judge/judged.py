"""What a judge saw in the images of a set: a row for each, keyed by class and index.

M images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fgds_core.files import replacing

JUDGED = "judged.parquet"


@dataclass(frozen=True, eq=False)
class Seen:
    """What a judge sees in some images.

    Attributes:
        labels: The class it holds most probable, [M].
        probabilities: How probable it holds that class, 0 to 1, [M].
        margins: How much more probable than the next one, 0 to 1, [M].
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    margins: NDArray[np.float32]


def judged_table(
    class_names: Sequence[str],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    seen: Seen,
) -> pa.Table:
    """A row for each image: `class`, `index`, `judge_label`, `..._probability`, `..._margin`.

    Args:
        class_names: Name of each of the K classes.
        labels: The class that each image was meant to show, [M].
        indices: Its place within that class, [M].
        seen: What the judge sees in it.
    """

    def named(classes: NDArray[np.int64]) -> Any:  # noqa: ANN401, pyarrow declares no type
        return pa.DictionaryArray.from_arrays(classes.astype(np.int32), list(class_names))

    return pa.table(
        {
            "class": named(labels),
            "index": pa.array(indices, pa.int64()),
            "judge_label": named(seen.labels),
            "judge_probability": pa.array(seen.probabilities, pa.float32()),
            "judge_margin": pa.array(seen.margins, pa.float32()),
        }
    )


def write_rows(path: Path, rows: pa.Table) -> None:
    """Writes a row for each image; the same rows give the same bytes.

    Raises:
        InputError: The disk is full or may not be written.
    """
    with replacing(path) as temporary:
        pq.write_table(rows, temporary, compression="none", version="2.6")
