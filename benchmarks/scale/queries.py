"""Questions of an audit, asked of a corpus's catalog one after another within a memory limit.

    python -m benchmarks.scale.queries CORPUS

Prints one line of JSON: what opening the catalog and each question cost.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import duckdb

from benchmarks.scale.settings import VARIANT
from benchmarks.scale.spending import peak_megabytes
from pipeline.audit import catalog
from pipeline.corpus.files import Corpus

MEMORY: Final = "4GiB"

QUERIES: Final = {
    "count": "SELECT count(*) FROM crops",
    "attribute counts": "FROM attribute_counts($variant)",
    "colour bleed": """
        SELECT u.value, count(*) AS crops, count(*) FILTER (u.value = l.value) AS same
        FROM attributes AS u JOIN attributes AS l USING (variant, crop_id)
        WHERE variant = $variant AND u.attribute = 'upper_colour' AND l.attribute = 'lower_colour' AND u.used AND l.used
        GROUP BY ALL ORDER BY same DESC""",
    "by video": "SELECT video_id, count(*) AS crops FROM crops GROUP BY ALL ORDER BY crops DESC, video_id LIMIT 20",
    "quality histogram": """
        SELECT floor(2 * ln(sharpness)) / 2 AS sharpness, count(*) AS crops, avg(brightness) AS brightness
        FROM crops GROUP BY ALL ORDER BY ALL""",
    "licences": """
        SELECT license, count(*) AS crops, count(DISTINCT video_id) AS videos
        FROM crops LEFT JOIN videos USING (video_id) GROUP BY ALL ORDER BY crops DESC""",
    "templates": """
        SELECT template, style, count(*) AS captions FROM captions WHERE variant = $variant
        GROUP BY ALL ORDER BY captions DESC LIMIT 20""",
    "drop reasons": "SELECT drop_reason, count(*) AS detections FROM detections GROUP BY ALL ORDER BY detections DESC",
    "duplicates": """
        SELECT count(duplicate_of) / count(*) AS duplicates, count(*) FILTER (static) / count(*) AS static
        FROM crops""",
    "tracklet lengths": """
        SELECT track_frames, count(DISTINCT track_id) AS tracklets FROM tracks GROUP BY ALL ORDER BY ALL""",
    "captions of a crop": "FROM caption_of($crop)",
    "splits": """
        SELECT split, count(*) AS crops, count(DISTINCT video_id) AS videos FROM manifest
        WHERE variant = $variant GROUP BY ALL ORDER BY ALL""",
    "failures": """
        SELECT stage, status, error_type, count(*) AS units FROM ledger
        WHERE status IN ('failed', 'quarantined') GROUP BY ALL ORDER BY units DESC""",
}
"""Questions by name; ``$variant`` and ``$crop`` stand for a caption variant and one of its crops."""

TRACE: Final = "FROM trace($crop)"

_A_CROP: Final = "SELECT crop_id FROM captions WHERE variant = $variant ORDER BY crop_id LIMIT 1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask everything; print what it cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus")
    options = parser.parse_args(arguments)
    corpus = Corpus(options.corpus)
    began = _now()
    connection = catalog.connect(corpus)
    opening = _since(began)
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    crop = connection.execute(_A_CROP, {"variant": VARIANT}).fetchone()
    known = {"variant": VARIANT, "crop": crop and crop[0]}
    costs = {name: _ask(connection, text, known) for name, text in (QUERIES | {"trace": TRACE}).items()}
    catalog.close(connection)
    print(json.dumps({"open": opening, "queries": costs, "megabytes": peak_megabytes("self")}))
    return 0


def _ask(connection: duckdb.DuckDBPyConnection, text: str, known: dict[str, Any]) -> dict[str, Any]:
    needed = {name: value for name, value in known.items() if f"${name}" in text}
    began = _now()
    try:
        rows = connection.execute(text, needed).fetchall()
    except duckdb.Error as error:
        return {"failed": str(error).splitlines()[0]}
    return {**_since(began), "rows": len(rows)}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> dict[str, float]:
    clock, processor = _now()
    return {"clock": clock - began[0], "processor": processor - began[1]}


if __name__ == "__main__":
    sys.exit(main())
