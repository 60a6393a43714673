"""Track on Ray: one unit = one video, across its chunks; no image is read."""

import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import joined, places_of, sha256
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow import crop_features
from pipeline.flow.detect import DETECTIONS
from pipeline.flow.detect import STAGE as DETECT
from pipeline.flow.videos import live_videos
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, unit_columns, unit_schema
from pipeline.run.stream import Operator, stream
from pipeline.run.units import RESULT, Row, Step, result
from schemas.declaration import Mark, Table
from stages.track.config import TrackConfig

TRACKS = Table(
    name="tracks",
    folder="tracks",
    schema=schemas.tables.TRACKS,
    row="one row per detection that belongs to a tracklet",
    mark=Mark(key="detection_id", columns=("track_id",), selectors=("track_frames",)),
)

# Videos whose rows share a file.
_UNITS_PER_FILE = 64

# Videos in one task. Most take less time than the task itself.
_UNITS_PER_TASK = 16

_WANTED = pa.schema(
    [
        pa.field("pieces", pa.list_(crop_features.PIECE)),
        pa.field("fps", pa.float64()),
        pa.field("step", pa.int64()),
    ]
)


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    if recipe.track.tracker is None:
        return unit_schema(_WANTED).empty_table()
    looks = crop_features.feature_packs(snapshot, recipe, "reid" if recipe.track.appearance else None)
    found = crop_features.pieces_by_video(snapshot, DETECTIONS, looks)
    videos = live_videos(snapshot, ["fps"])
    places = places_of(found["video_id"], videos, "video_id")
    found = found.append_column("fps", videos["fps"].take(places)).filter(places.is_valid())
    rates: list[Any] = found["fps"].to_pylist()
    # Written as Python does: a digest of "25" would make the units of corpora with "25.0" stale.
    heads = pa.array([f"{len(str(fps))}:{fps}" for fps in rates], pa.string())
    columns = {
        "unit_id": found["video_id"],
        "inputs": sha256(joined("", heads, found["text"])),
        "step": pa.array([_step(recipe, fps) for fps in rates], pa.int64()),
    }
    return unit_columns(columns | {name: found[name] for name in ("pieces", "fps")}, _WANTED)


def _step(recipe: Recipe, fps: float) -> int:
    """Distance between sampled frames, in frames."""
    sampling = recipe.detect.sampling
    return sampling.every_frames or max(1, round((sampling.every_seconds or 0) * fps))


def _execute(job: Job) -> Iterator[pa.Table]:
    make_track = functools.partial(_make_track, job.corpus, job.recipe.track)
    return stream(
        job, [Operator(make_step=make_track, fields=RESULT, cpus=1.0)], _UNITS_PER_FILE, units_per_task=_UNITS_PER_TASK
    )


def _make_track(corpus: Corpus, config: TrackConfig) -> Step:
    from stages.track.track_rows import DETECTION_COLUMNS, tracks_table

    def track(row: Row) -> Row:
        pieces = row["pieces"]
        detections = crop_features.read_pieces(corpus, DETECTIONS, pieces, list(DETECTION_COLUMNS))
        known, vectors = crop_features.read_features(corpus, pieces, row["unit_id"])
        table = tracks_table(
            detections,
            config,
            unit_id=row["unit_id"],
            step=row["step"],
            fps=row["fps"],
            features=known,
            vectors=vectors,
        )
        return result({TRACKS.name: table}, "no person was seen in two frames")

    return track


def _check(recipe: Recipe) -> None:
    config, sampling = recipe.track, recipe.detect.sampling
    if config.tracker is None:
        return
    if not (sampling.every_frames or sampling.every_seconds):
        raise UserError(
            "track.tracker needs frames at equal distances; give detect.sampling every_frames or every_seconds"
        )
    if config.appearance and config.tracker != "botsort":
        raise UserError(f"track.appearance: {config.tracker} does not use appearance; set track.tracker to botsort")
    if config.appearance:
        crop_features.check_features(recipe, "reid", "track.appearance")


def _identity(recipe: Recipe) -> dict[str, Any]:
    # The sampling step is part of detect's fingerprint.
    return recipe.track.identity() | {"detect": DETECT.fingerprint(recipe)}


STAGE = Stage(
    name="track",
    tables=(TRACKS,),
    unit="video",
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    check=_check,
    files=DETECT.files,
)
