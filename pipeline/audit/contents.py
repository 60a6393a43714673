"""Figures of a corpus for its report, gathered in SQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from pipeline.audit import catalog
from pipeline.corpus.files import Corpus
from pipeline.errors import UserError
from pipeline.flow.order import STAGES, WRITERS

EXAMPLES: Final = 3

_ORDER: Final = {
    "order": [writer.name for writer in WRITERS],
    "by_variant": [stage.name for stage in STAGES if stage.by_variant],
}

_SCORES: Final = ("r1", "r5", "r10", "map")


@dataclass(frozen=True)
class StageReport:
    """Units and time of one stage."""

    stage: str
    ok: int
    empty: int
    failed: int
    busy_seconds: float
    """Work time, summed over the operators."""
    wall_seconds: float | None
    """Wall time in the last run with units to do; None where no run recorded it."""


@dataclass(frozen=True)
class Score:
    """A retrieval metric before the first and after the last training step."""

    split: str
    name: str
    before: float | None
    after: float


@dataclass(frozen=True)
class CorpusReport:
    """Contents of a corpus, and captions, manifest and training of one variant."""

    corpus: str
    variant: str | None
    captioner: str | None
    """Embedding model whose features the captions were read from."""
    videos: int
    frames: int
    """Frames that were processed."""
    frames_with_persons: int
    """Frames with at least one detection; a frame without persons has no row."""
    detections: int
    dropped: Mapping[str, int]
    """Dropped detections by first reason."""
    crops: int
    captioned: int
    captions: int
    splits: Mapping[str, int]
    """Published crops by split."""
    split_statement: str
    stages: tuple[StageReport, ...]
    scores: tuple[Score, ...]
    gallery: tuple[int, int] | None
    """Number of query texts and of gallery crops; None where they were not recorded."""
    examples: tuple[str, ...]


def gather(corpus: Corpus, variant: str | None = None) -> CorpusReport:
    """Gather the report.

    Args:
        corpus: The corpus.
        variant: Caption variant; None = the last one that was captioned or published.

    Raises:
        UserError: There is no such variant.
    """
    connection = catalog.connect(corpus)
    try:
        chosen = choose_variant(connection, variant)
        return _gather(connection, corpus, chosen)
    finally:
        catalog.close(connection)


_LAST_VARIANT = """
SELECT scope FROM ledger WHERE stage IN ('caption', 'publish') AND status IN ('ok', 'empty')
ORDER BY finished_at DESC, scope LIMIT 1
"""

_SPLITS = """
SELECT split, count(*) AS crops, count(DISTINCT video_id) AS videos, min(pts_s) AS first, max(pts_s) AS last
FROM manifest WHERE variant = $variant GROUP BY split ORDER BY list_position(['train', 'val', 'test'], split)
"""

_STAGE_ROWS = """
SELECT stage, count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'empty') AS empty,
    count(*) FILTER (status IN ('failed', 'quarantined')) AS failed, sum(seconds) AS seconds
FROM ledger WHERE status <> 'retired' AND (scope = $variant OR stage NOT IN (SELECT unnest($by_variant)))
GROUP BY stage ORDER BY list_position($order, stage)
"""

# A variant may have several trainings; the last one counts.
_SCORE_ROWS = """
SELECT phase, name, arg_min(value, step) AS before, arg_max(value, step) AS after, min(step) < max(step) AS moved
FROM metrics
WHERE variant = $variant AND phase <> 'train' AND unit_id = (
    SELECT unit_id FROM ledger WHERE stage = 'pretrain' AND scope = $variant AND status = 'ok'
    ORDER BY finished_at DESC LIMIT 1)
GROUP BY phase, name
"""

_EXAMPLE_ROWS = """
SELECT min(text) FROM captions WHERE variant = $variant AND n = 0
GROUP BY text ORDER BY md5(min(crop_id)), min(text) LIMIT $count
"""


def _gather(connection: duckdb.DuckDBPyConnection, corpus: Corpus, variant: str | None) -> CorpusReport:
    splits = _rows(connection, _SPLITS, variant=variant)
    scores = _rows(connection, _SCORE_ROWS, variant=variant)
    counts = {row["name"]: int(row["after"]) for row in scores if row["name"] in ("queries", "gallery")}
    dropped = _rows(
        connection,
        "SELECT drop_reason, count(*) AS n FROM detections WHERE NOT kept GROUP BY ALL ORDER BY n DESC, drop_reason",
    )
    examples = _rows(connection, _EXAMPLE_ROWS, variant=variant, count=EXAMPLES)
    captions = "FROM captions WHERE variant = $variant"
    return CorpusReport(
        corpus=corpus.uri,
        variant=variant,
        captioner=captioner_of(connection, variant),
        videos=value(connection, "SELECT count(*) FROM videos"),
        frames=value(connection, "SELECT coalesce(sum(frames), 0)::BIGINT FROM ledger WHERE status <> 'retired'"),
        frames_with_persons=value(connection, "SELECT count(DISTINCT (video_id, frame_index)) FROM detections"),
        detections=value(connection, "SELECT count(*) FROM detections"),
        dropped={row["drop_reason"]: row["n"] for row in dropped},
        crops=value(connection, "SELECT count(*) FROM crops"),
        captioned=value(connection, f"SELECT count(DISTINCT crop_id) {captions}", variant=variant),
        captions=value(connection, f"SELECT count(*) {captions}", variant=variant),
        splits={row["split"]: row["crops"] for row in splits},
        split_statement=_describe_splits(connection, splits, variant),
        stages=_stages(connection, corpus, variant),
        scores=_scores(scores),
        gallery=(counts["queries"], counts["gallery"]) if len(counts) == 2 else None,
        examples=tuple(str(next(iter(row.values()))) for row in examples),
    )


def choose_variant(connection: duckdb.DuckDBPyConnection, variant: str | None) -> str | None:
    """The given variant, or the last one; None where the corpus has none.

    Raises:
        UserError: There is no such variant.
    """
    if variant is None:
        last = value(connection, _LAST_VARIANT)
        return None if last is None else str(last)
    known = [row[0] for row in connection.sql("SELECT DISTINCT scope FROM ledger WHERE stage = 'caption'").fetchall()]
    if variant not in known:
        raise UserError(f"variant {variant!r}: no such variant here; there are {', '.join(sorted(known)) or 'none'}")
    return variant


def captioner_of(connection: duckdb.DuckDBPyConnection, variant: str | None) -> str | None:
    """Embedding model whose features a variant's captions were read from."""
    name = value(connection, "SELECT model FROM variants WHERE variant = $variant", variant=variant)
    return None if name is None else str(name)


def _stages(connection: duckdb.DuckDBPyConnection, corpus: Corpus, variant: str | None) -> tuple[StageReport, ...]:
    wall = _wall_seconds(corpus)
    return tuple(
        StageReport(row["stage"], row["ok"], row["empty"], row["failed"], row["seconds"] or 0.0, wall.get(row["stage"]))
        for row in _rows(connection, _STAGE_ROWS, variant=variant, **_ORDER)
    )


def _wall_seconds(corpus: Corpus) -> dict[str, float]:
    """Wall time of each stage in its last run with units to do."""
    paths = (corpus.relative(info.path) for info in corpus.files("runs"))
    seconds: dict[str, float] = {}
    for path in sorted(path for path in paths if path.endswith("/statistics.json")):
        for stage in json.loads(corpus.read(path)):
            if stage["units_ran"]:
                seconds[stage["stage"]] = stage["seconds"]
    return seconds


def _scores(rows: list[dict[str, Any]]) -> tuple[Score, ...]:
    named = sorted(
        (row for row in rows if row["name"] in _SCORES), key=lambda row: (row["phase"], _SCORES.index(row["name"]))
    )
    return tuple(
        Score(row["phase"], row["name"], row["before"] if row["moved"] else None, row["after"]) for row in named
    )


def _describe_splits(connection: duckdb.DuckDBPyConnection, splits: list[dict[str, Any]], variant: str | None) -> str:
    videos = value(
        connection, "SELECT count(DISTINCT video_id) FROM manifest WHERE variant = $variant", variant=variant
    )
    if not splits:
        return "nothing published"
    if sum(row["videos"] for row in splits) > videos:
        parts = [f"{row['split']} {row['first']:.1f}-{row['last']:.1f} s" for row in splits]
        return f"one video, so split by time and not by video: {', '.join(parts)}"
    return "split by video: " + ", ".join(f"{row['videos']} in {row['split']}" for row in splits)


def _rows(connection: duckdb.DuckDBPyConnection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query, params=parameters or None).to_arrow_table().to_pylist()
    return rows


def value(connection: duckdb.DuckDBPyConnection, query: str, **parameters: Any) -> Any:
    """First value of the first row; None without rows."""
    found = connection.sql(query, params=parameters or None).fetchall()
    return found[0][0] if found else None
