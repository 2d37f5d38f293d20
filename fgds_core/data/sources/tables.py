"""Tables with images in their rows, read some rows at a time: Parquet, and Arrow of datasets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgds_core.errors import InputError
from fgds_core.files import shown

_BATCH_ROWS = 256
_BATCH_BYTES = 2**24
_BUFFER_BYTES = 2**20

ARROW = ".arrow"
"""How the names of Arrow files end, as `save_to_disk` of datasets writes them."""

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)


def schema_of(path: Path) -> pa.Schema:
    """The columns of a file.

    Raises:
        InputError: It is no table.
    """
    with _told(path):
        if path.suffix != ARROW:
            return pq.read_schema(path)
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return stream.schema


def num_rows(path: Path) -> int:
    """How many rows a file has.

    Raises:
        InputError: It is damaged.
    """
    with _told(path):
        if path.suffix != ARROW:
            return int(pq.read_metadata(path).num_rows)
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return sum(batch.num_rows for batch in stream)


def batches(path: Path, columns: list[str]) -> Iterator[list[list[Any]]]:
    """The values of the columns, some rows at a time: no more than fit into little memory.

    Raises:
        InputError: The file is damaged.
    """
    with _told(path):
        for batch in (_arrow if path.suffix == ARROW else _parquet)(path, columns):
            yield [_values(batch.column(name)) for name in columns]


def _parquet(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group)
            number = _batch_rows(size.total_byte_size, size.num_rows)
            yield from file.iter_batches(number, row_groups=[group], columns=columns)


def _arrow(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            number = _batch_rows(batch.nbytes, batch.num_rows)
            for begin in range(0, batch.num_rows, number):
                yield batch.slice(begin, number)


def _batch_rows(num_bytes: int, num_rows: int) -> int:
    per_row = num_bytes // max(1, num_rows) + 1
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // per_row))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kind = "Arrow" if path.suffix == ARROW else "Parquet"
        raise InputError(
            f"{shown(path)} is not a readable {kind} file ({reason}); make it again"
        ) from error


def _values(column: "pa.Array[Any]") -> list[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return list(column.to_pylist())
