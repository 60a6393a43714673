"""Recipes of runs."""

import json

import duckdb
import yaml

from pipeline.corpus.files import Corpus

_RUNS = """
SELECT DISTINCT run_id FROM source.settled
WHERE stage = 'caption' AND status IN ('ok', 'empty') AND run_id NOT IN (SELECT run_id FROM source.runs)
ORDER BY run_id
"""

_FORGET = """
DELETE FROM source.runs
WHERE run_id NOT IN (SELECT run_id FROM source.settled WHERE stage = 'caption' AND status IN ('ok', 'empty'))
"""


def update_runs(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """Add recipes of the runs whose captions count; a run that recorded no recipe has no row."""
    connection.execute(_FORGET)
    for (run_id,) in connection.execute(_RUNS).fetchall():
        path = f"runs/{run_id}/recipe.yaml"
        if corpus.exists(path):
            recipe = json.dumps(yaml.safe_load(corpus.read(path)), default=str)
            connection.execute("INSERT INTO source.runs VALUES ($run, $recipe)", {"run": run_id, "recipe": recipe})
