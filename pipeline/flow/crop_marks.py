"""What later stages found about crops, read from the tables that are declared as marks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.packs import pack_parts
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.run.stage import Writer
from schemas.declaration import Mark, Table
from stages.publish.marks import gather_marks


def mark_parts(snapshot: Snapshot, writers: Sequence[Writer]) -> "list[pa.Array[Any]]":
    """What decides the marks: packs, and the units in them whose rows count; one array per table and stage."""
    return [pack_parts(snapshot.packs(stage, table)) for table, _, stages in _sources(writers) for stage in stages]


def read_marks(snapshot: Snapshot, writers: Sequence[Writer]) -> pa.Table:
    """Rows of ``stages.publish.marks.gather_marks``, one for each crop that a stage of ``writers`` has marked."""
    crops = snapshot.read(DETECT.name, CROPS, ["crop_id", "detection_id"]).combine_chunks()
    return gather_marks(
        [(mark, _by_crop(_read(snapshot, table, mark, stages), crops)) for table, mark, stages in _sources(writers)]
    )


def _sources(writers: Sequence[Writer]) -> Iterator[tuple[Table, Mark, list[str]]]:
    """Declared marks, each with the names of the stages that write it."""
    stages: dict[Table, list[str]] = defaultdict(list)
    for writer in writers:
        for table in writer.tables:
            stages[table].append(writer.name)
    return ((table, table.mark, names) for table, names in stages.items() if table.mark)


def _read(snapshot: Snapshot, table: Table, mark: Mark, stages: list[str]) -> pa.Table:
    columns = [mark.key, *mark.columns, *mark.selectors]
    return pa.concat_tables(snapshot.read(stage, table, columns) for stage in stages)


def _by_crop(rows: pa.Table, crops: pa.Table) -> pa.Table:
    """Rows with their crop_id; those of detections without a crop, most of a dense sampling, are dropped."""
    if "crop_id" in rows.column_names:
        return rows
    places = pc.index_in(rows["detection_id"], value_set=crops["detection_id"].combine_chunks())
    return rows.append_column("crop_id", crops["crop_id"].take(places)).filter(pc.is_valid(places))
