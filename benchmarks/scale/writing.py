"""Writing files and ledger rows of a synthetic corpus as runs do, and not twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scale.columns import Column, lists, pick, same
from benchmarks.scale.noise import Doubles, Ints
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.ledger import Ledger
from schemas.declaration import Table
from schemas.parquet_layout import blob_options

# Rows that become Python objects at a time.
_LEDGER_BATCH: Final = 65_536


def file_name(fingerprint: str, units: Sequence[str], inputs: Sequence[str]) -> str:
    """Name of the file of some units, as ``pipeline.run.units.write_units`` names it."""
    return digest(fingerprint, *(f"{unit}@{own}" for unit, own in sorted(zip(units, inputs, strict=True))))


def path_of(table: Table, scope: str, name: str) -> str:
    """Path of a file of a table."""
    return f"{table.under(scope)}/{name}.parquet"


def write_file(corpus: Corpus, table: Table, rows: pa.Table, path: str) -> None:
    """Write a file of a table with the options that a run writes it with; nothing where it has no rows."""
    if rows.num_rows:
        corpus.write_table(rows, path, **(blob_options(rows, table.blob) if table.blob else {}))


@dataclass
class Outcomes:
    """Outcomes of N units of a pass, as columns of the ledger.

    Attributes:
        unit_id: string [N].
        inputs: string [N].
        status: string [N].
        attempts: int [N].
        error_type: string [N], null for units without an error.
        error_message: string [N].
        paths: Paths of the files of the pass, one list per table of the stage.
        file: int64 [N], position of each unit's file among the paths.
        rows: Rows of each unit, one int64 [N] per table.
        seconds: float64 [N].
        frames: Frames decoded, int64 [N]; None in stages that decode none.
        crops: Crops of each unit, int64 [N]; None in stages that cut none.
        scope: Model or variant.
    """

    unit_id: Column
    inputs: Column
    status: Column
    attempts: Ints
    error_type: Column
    error_message: Column
    paths: list[list[str]]
    file: Ints
    rows: list[Ints]
    seconds: Doubles
    frames: Ints | None = None
    crops: Ints | None = None
    scope: str = ""

    def table(self, fingerprint: str, run_id: str) -> pa.Table:
        """Rows of ``schemas.tables.LEDGER``, without stage and time of commit."""
        count = len(self.attempts)
        has = np.stack(self.rows, axis=1) > 0
        codes = self.file[:, None] * len(self.paths) + np.arange(len(self.paths))
        paths: Any = pa.array([path for group in zip(*self.paths, strict=True) for path in group], pa.string())
        columns = {
            "scope": same(self.scope, count),
            "unit_id": self.unit_id,
            "fingerprint": same(fingerprint, count),
            "inputs": self.inputs,
            "status": self.status,
            "attempts": pa.array(self.attempts, pa.int32()),
            "error_type": self.error_type,
            "error_message": self.error_message,
            "outputs": lists(has.sum(axis=1), pick(paths, codes[has])),
            "rows_out": pa.array(np.sum(self.rows, axis=0)),
            "frames": _or_null(self.frames, count),
            "crops": _or_null(self.crops, count, of_none=0),
            "seconds": pa.array(self.seconds),
            "node": same("worker-1", count),
            "run_id": same(run_id, count),
        }
        return pa.table(columns)


def retire(rows: pa.Table, run_id: str) -> pa.Table:
    """The ledger rows that retire some units, as ``pipeline.corpus.ledger.retired`` makes them."""
    count = rows.num_rows
    changed = {
        "status": same("retired", count),
        "outputs": pa.array([[]] * count, pa.list_(pa.string())),
        "rows_out": pa.array(np.zeros(count, np.int64)),
        "run_id": same(run_id, count),
    }
    for name, column in changed.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def commit(corpus: Corpus, stage: str, runs: Sequence[pa.Table]) -> None:
    """Append the outcomes of a stage in one run, unless they are there; a killed generator goes on where it stopped."""
    rows = pa.concat_tables(runs)
    if not rows.num_rows:
        return
    ledger = Ledger(corpus, stage)
    run_id = rows["run_id"][0]
    there = sum(_count(corpus.read_table(path, columns=["run_id"]), run_id) for path in ledger.paths())
    for start in range(there, rows.num_rows, _LEDGER_BATCH):
        ledger.append(rows.slice(start, _LEDGER_BATCH).to_pylist())


def _or_null(values: Ints | None, count: int, of_none: int = -1) -> Column:
    """A column with null in place of one value; of nulls only where there are no values."""
    return pa.nulls(count, pa.int64()) if values is None else pa.array(values, mask=values == of_none)


def _count(rows: pa.Table, run_id: Any) -> int:
    return rows.filter(pc.equal(rows["run_id"], run_id)).num_rows
