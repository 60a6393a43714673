"""The manifest as Parquet: the columns and the file layout of a corpus, in one sequence of files per split."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from schemas.parquet_layout import BLOB_ROW_GROUP_BYTES, TABLE_OPTIONS, blob_columns
from schemas.tables import MANIFEST
from stages.publish.config import SPLITS
from stages.publish.formats.export_format import Format, Sink
from stages.publish.formats.shards import Shards

_OPTIONS = {name: value for name, value in TABLE_OPTIONS.items() if name != "row_group_size"}


class ParquetFormat(Format):
    """Parquet files with the manifest's columns: ``<split>-<number>.parquet``."""

    name: ClassVar[str] = "parquet"

    max_file_bytes: int = Field(default=512_000_000, gt=0)
    """Size from which a file is followed by another, bytes. A file ends with a whole row group."""

    def write(self, rows: Iterable[pa.RecordBatch], sink: Sink) -> dict[str, int]:
        """As ``Format.write``."""
        samples: Counter[str] = Counter()
        with Shards(sink, ".parquet", self.max_file_bytes, _row_groups) as shards:
            for batch in rows:
                for split in SPLITS:
                    part = batch.filter(pc.equal(batch["split"], pa.scalar(split)))
                    if len(part):
                        shards.writer(split).add(part)
                        samples[split] += len(part)
        return dict(samples)


class _RowGroups:
    """Collects batches until they fill a row group."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._waiting: list[pa.RecordBatch] = []

    def add(self, rows: pa.RecordBatch) -> None:
        self._waiting.append(rows)
        if sum(batch.nbytes for batch in self._waiting) >= BLOB_ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, MANIFEST))
            self._waiting = []


@contextmanager
def _row_groups(file: IO[bytes]) -> Iterator[_RowGroups]:
    with pq.ParquetWriter(file, MANIFEST, **_OPTIONS | blob_columns(MANIFEST)) as writer:
        groups = _RowGroups(writer)
        yield groups
        groups.flush()
