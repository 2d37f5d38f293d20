"""Splits on their way to the disk, while pictures are still prepared."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from queue import Full, Queue
from types import TracebackType

import pyarrow as pa

from fgds_core.files import FileRecord, flush, part_of
from fgds_core.images.table import write_image_batches

_PATIENCE_S = 1.0
"""Seconds between two looks at whether a thread has ended on an error."""

_Tables = Queue[pa.Table | None]


class SplitWriter(AbstractContextManager["SplitWriter"]):
    """Writes each split in a thread of its own, so that the end of one holds up nothing.

    The disk is asked for what it has after every table: otherwise it would begin at the end of a
    split, and all processes would wait for it.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        """Writes nothing yet.

        Args:
            folder: Gets `<split>.parquet`.
            schema: Of every table.
        """
        self._folder = folder
        self._schema = schema
        self._threads = ThreadPoolExecutor(thread_name_prefix="split")

    def write(self, split: str, tables: Iterable[pa.Table]) -> Future[FileRecord]:
        """Takes the tables of a split, of which two at most wait for the disk.

        Args:
            split: Names the file.
            tables: Its rows, a row group each.

        Returns:
            The record of the file, once it is whole.

        Raises:
            InputError: The disk is full or may not be written.
        """
        waiting: _Tables = Queue(maxsize=1)
        path = self._folder / f"{split}.parquet"
        record = self._threads.submit(_written, path, self._schema, waiting)
        try:
            for table in tables:
                if not _handed(table, waiting, record):
                    record.result()
        finally:
            _handed(None, waiting, record)
        return record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True)


def _handed(table: pa.Table | None, waiting: _Tables, record: Future[FileRecord]) -> bool:
    """Hands a table to a thread, or None for the end; False where the thread has ended."""
    while not record.done():
        with suppress(Full):
            waiting.put(table, timeout=_PATIENCE_S)
            return True
    return False


def _written(path: Path, schema: pa.Schema, waiting: _Tables) -> FileRecord:
    def tables() -> Iterator[pa.Table]:
        while (table := waiting.get()) is not None:
            yield table
            flush(part_of(path))

    return write_image_batches(path, schema, tables())
