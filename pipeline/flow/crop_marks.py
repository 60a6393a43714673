"""What later stages found about crops, read from their tables: tracklets, duplicates, static persons."""

from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.live import live_files, scan
from pipeline.flow import dedup, dedup_across, track
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from schemas.declaration import Table
from stages.publish.marks import gather_marks


class _Source(NamedTuple):
    stage: str
    table: Table
    columns: list[str]


_TRACKS: Final = _Source(track.STAGE.name, track.TRACKS, ["detection_id", "track_id", "track_frames"])
_STATICS: Final = _Source(dedup.STAGE.name, dedup.STATICS, ["crop_id"])
_DUPLICATES: Final = tuple(
    _Source(stage.name, dedup.DUPLICATES, ["crop_id", "duplicate_of"]) for stage in (dedup.STAGE, dedup_across.STAGE)
)


def mark_parts(corpus: Corpus) -> list[str]:
    """What decides the marks: files, and the units in them whose rows count."""
    sources = (_TRACKS, _STATICS, *_DUPLICATES)
    return [f"{path}:{','.join(live)}" for source in sources for path, live in live_files(corpus, *source[:2]).items()]


def read_marks(corpus: Corpus) -> pa.Table:
    """Rows of ``stages.publish.marks.MARKS``, one for each crop that anything was found about."""
    crops = pa.concat_tables(scan(corpus, DETECT.name, CROPS, ["crop_id", "detection_id"])).combine_chunks()
    tracks = _read(corpus, _TRACKS)
    # Most detections of a dense sampling have no crop.
    rows = pc.index_in(tracks["detection_id"], value_set=crops["detection_id"].combine_chunks())
    tracks = tracks.append_column("crop_id", crops["crop_id"].take(rows)).filter(pc.is_valid(rows))
    return gather_marks(tracks, _read(corpus, *_DUPLICATES), _read(corpus, _STATICS))


def _read(corpus: Corpus, *sources: _Source) -> pa.Table:
    tables = (rows for stage, table, columns in sources for rows in scan(corpus, stage, table, columns))
    empty = sources[0].table.schema.empty_table().select(sources[0].columns)
    return pa.concat_tables([empty, *tables])
