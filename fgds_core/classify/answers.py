"""What a classifier says of each test image, as a Parquet table with a row an image.

`id` is the path of the image in the prepared table, by which the answers of several classifiers,
or other files of a user, are joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core.errors import InputError
from fgds_core.files import replacing

ANSWERS_NAME = "predictions.parquet"

COLUMNS: Mapping[str, pa.DataType] = {
    "id": pa.string(),
    "actual": pa.string(),
    "predicted": pa.string(),
    "confidence": pa.float32(),
}
"""What every table has; `group` follows where the images have groups."""


def write_answers(
    path: Path, columns: Mapping[str, Sequence[Any]], groups: Sequence[str] | None = None
) -> None:
    """Writes the table; the same rows always give the same bytes.

    Args:
        path: The Parquet file.
        columns: Those of `COLUMNS`; classes by their names.
        groups: Group of each image, or None for data without groups.
    """
    kinds = dict(COLUMNS)
    if groups is not None:
        columns, kinds = {**columns, "group": groups}, {**kinds, "group": pa.string()}
    table = pa.table({name: pa.array(columns[name], type=kind) for name, kind in kinds.items()})
    named: Any = [name for name in kinds if name not in ("id", "confidence")]
    with replacing(path) as temporary:
        # Uncompressed: what pyarrow's codecs write changes with their versions
        pq.write_table(table, temporary, compression="none", use_dictionary=named, version="2.6")


def read_answers(path: Path, remedy: str) -> pa.Table:
    """Reads the table.

    Args:
        path: The Parquet file.
        remedy: What to do where it is missing or damaged; ends the message.

    Raises:
        InputError: It is missing or damaged, or has no row.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {remedy}")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}") from error
    for name, kind in COLUMNS.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            raise InputError(f"{path} is damaged (no column {name!r} of {kind}); {remedy}")
    if not table.num_rows:
        raise InputError(f"{path} is empty; {remedy}")
    return table
