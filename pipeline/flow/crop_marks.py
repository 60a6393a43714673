"""What later stages found about crops, read from the tables that are declared as marks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.corpus.packs import pack_parts
from pipeline.corpus.snapshot import Snapshot
from pipeline.run.stage import Writer
from schemas.declaration import Mark, Table


def mark_parts(snapshot: Snapshot, writers: Sequence[Writer]) -> "list[pa.Array[Any]]":
    """What decides the marks: packs, and the units in them whose rows count; one array per table and stage."""
    return [pack_parts(snapshot.packs(stage, table)) for table, _, stages in _sources(writers) for stage in stages]


def read_marks(snapshot: Snapshot, writers: Sequence[Writer]) -> list[tuple[Mark, pa.RecordBatchReader]]:
    """The declared marks of the stages of ``writers``, each with a reader of its key, columns and selectors."""
    return [(mark, _read(snapshot, table, mark, stages)) for table, mark, stages in _sources(writers)]


def _sources(writers: Sequence[Writer]) -> Iterator[tuple[Table, Mark, list[str]]]:
    """Declared marks, each with the names of the stages that write it."""
    stages: dict[Table, list[str]] = defaultdict(list)
    for writer in writers:
        for table in writer.tables:
            stages[table].append(writer.name)
    return ((table, table.mark, names) for table, names in stages.items() if table.mark)


def _read(snapshot: Snapshot, table: Table, mark: Mark, stages: list[str]) -> pa.RecordBatchReader:
    columns = [mark.key, *mark.columns, *mark.selectors]
    return reader_of(table.schema, columns, (rows for stage in stages for rows in snapshot.scan(stage, table, columns)))


def reader_of(schema: pa.Schema, columns: Sequence[str], tables: Iterable[pa.Table]) -> pa.RecordBatchReader:
    """Tables of some columns of a schema, made one after another, as a reader."""
    batches = (batch for table in tables for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(pa.schema([schema.field(name) for name in columns]), batches)
