"""Units of work in Ray Data: one row each, from plan to ledger.

A unit is one row of a block, never several, so no operator can split it; its tables travel inside the row as Arrow
IPC bytes. A step that fails turns its unit into a failed row, which later operators pass on untouched, so that one
bad unit does not affect other units. Blocks of cheap units have several rows, those of pictures one.
"""

import functools
import itertools
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.files import Corpus, digest
from pipeline.errors import StorageError
from schemas.declaration import Table
from schemas.parquet_layout import blob_options
from stages.errors import EmptyUnit, UnitError

Row = dict[str, Any]
Step = Callable[[Row], Row]


@dataclass(frozen=True)
class JointStep:
    """A step that takes the units of a block together, where that is cheaper than one after another.

    Args:
        run: Takes the rows of one or more units, returns the values of each in the same order. If it raises, it gets
            the units one at a time, so that one bad unit does not affect the others of its block.
    """

    run: Callable[[list[Row]], list[Row]]


_HEAD: list["pa.Field[Any]"] = [
    pa.field("unit_id", pa.string(), nullable=False),
    pa.field("scope", pa.string(), nullable=False),
    pa.field("inputs", pa.string(), nullable=False),
    pa.field("status", pa.string()),
    pa.field("error_type", pa.string()),
    pa.field("error_message", pa.string()),
    pa.field("retryable", pa.bool_()),
    pa.field("seconds", pa.float64()),
    # Set by the decoding step; used for progress reports.
    pa.field("frames", pa.int64()),
]

HEAD = pa.schema(_HEAD)

TABLE = pa.struct([pa.field("table", pa.string()), pa.field("ipc", pa.large_binary())])

RESULT = pa.schema([pa.field("tables", pa.list_(TABLE))])

# Bytes of images. The frames of a chunk are tens of megabytes, so a step gets such a column as Arrow arrays that share
# the block's memory, one per row, and a column that it leaves unchanged is not copied either.
PICTURES = pa.list_(pa.large_binary())

OUTCOME = pa.schema(
    [
        *HEAD,
        pa.field("outputs", pa.list_(pa.string())),
        pa.field("rows_out", pa.int64()),
        pa.field("crops", pa.int64()),
        pa.field("node", pa.string()),
    ]
)


# error_type when a step cannot load its model or files: no unit caused it, and no unit can run.
SETUP = "setup"

# error_type when the corpus cannot be written and trying again cannot help: a full disk, missing rights. No unit caused
# it, so none is quarantined for it; the run ends.
UNWRITABLE = "unwritable"

# Ray would repeat a task that kills its worker forever; after a second death the pass abandons the unit and counts an
# attempt.
RETRIES = 1

# Outcome of a unit whose worker died: Ray returns no row for it.
LOST: Row = {
    "status": "failed",
    "error_type": "worker_lost",
    "error_message": "the worker process died while it worked on this unit (crash or out of memory)",
    "retryable": True,
    "outputs": [],
    "rows_out": 0,
    "seconds": 0.0,
    "node": None,
}


def run_step(block: pa.Table, step: Step | JointStep, fields: pa.Schema) -> pa.Table:
    """Run one step over the units of a block.

    Args:
        block: Units: the columns of ``HEAD`` and those that the step reads.
        step: Takes a unit's row, or those of several units, and returns the values of ``fields``.
        fields: Columns for the next operator; all others are dropped here.
    """
    rows = _rows(block)
    done = _advance_jointly(rows, step.run) if isinstance(step, JointStep) else [_advance(row, step) for row in rows]
    return _table(done, pa.schema([*HEAD, *fields]))


class StepActor:
    """Runs a step that needs something loaded first: a model, a bank of text features.

    Args:
        make_step: Loads it, and returns the step.
        fields: Columns for the next operator.
        pool: Name of the actor pool; an actor finds the notes of its predecessors by it.
    """

    def __init__(self, make_step: Callable[[], Step], fields: pa.Schema, pool: str) -> None:
        self.fields = fields
        try:
            self.step = functools.partial(_survive, make_step(), pool)
        except Exception as error:  # noqa: BLE001 - raised here, Ray would restart the actor forever
            self.step = functools.partial(_refuse, str(error) or type(error).__name__)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Run the step over each unit of the block."""
        return run_step(block, self.step, self.fields)


def _refuse(message: str, _: Row) -> Row:
    raise UnitError(message, kind=SETUP)


def _survive(step: Step, pool: str, row: Row) -> Row:
    """Run a step over a unit, unless the unit has already killed too many processes on this node.

    When an actor dies, Ray counts a retry for every unit that was sent to it, not only for the one that it worked on.
    Ray is therefore allowed many retries, and the unit at fault is noted here: a unit that began and did not end leaves
    a byte in a file.
    """
    note = Path(tempfile.gettempdir(), f"reidforge-{pool}-{digest(row['unit_id'])}")
    if note.exists() and note.stat().st_size > RETRIES:
        note.unlink()
        raise UnitError(LOST["error_message"], kind=LOST["error_type"], retryable=LOST["retryable"])
    with note.open("ab") as file:
        file.write(b".")
    try:
        return step(row)
    finally:
        note.unlink(missing_ok=True)


def pictures(cell: "pa.Array[Any]") -> list[npt.NDArray[np.uint8]]:
    """Views of the bytes of a row's ``PICTURES``, uint8 [n] each, read-only."""
    # Any: the stubs do not declare that NumPy reads Arrow's buffers, nor Arrow NumPy's arrays.
    buffers: list[Any] = cell.buffers()
    ends = np.frombuffer(buffers[1], np.int64)[cell.offset : cell.offset + len(cell) + 1]
    data = np.frombuffer(buffers[2] or b"", np.uint8)
    return [data[start:stop] for start, stop in itertools.pairwise(ends)]


def result(tables: Mapping[str, pa.Table], reason: str) -> Row:
    """Result of a stage's last step.

    Args:
        tables: The unit's rows by the name of the declared table; last the table that decides whether it is empty.
        reason: Ledger message if that table has no rows.
    """
    *_, main = tables.values()
    packed = [{"table": name, "ipc": pack(table)} for name, table in tables.items()]
    verdict = {} if main.num_rows else {"status": "empty", "error_type": "empty", "error_message": reason}
    return {"tables": packed, **verdict}


def write_units(block: pa.Table, corpus: Corpus, fingerprint: str, tables: Sequence[Table]) -> pa.Table:
    """Write the tables of finished units into shared files and return their outcomes for the ledger.

    File names follow from units and fingerprint: a task that Ray repeats overwrites its own files, and files of another
    configuration are never overwritten.
    """
    rows = sorted(block.to_pylist(), key=lambda row: str(row["unit_id"]))
    try:
        written = _write_all([row for row in rows if row["tables"]], corpus, fingerprint, tables)
    except OSError as error:
        kind = UNWRITABLE if isinstance(error, StorageError) and error.lasting else "storage"
        trouble = _failure(kind, f"the corpus could not be written: {error}", retryable=True)
        rows, written = [row if row["status"] == "failed" else row | trouble for row in rows], {}
    outcomes = [_outcome(row, written.get(row["unit_id"], [])) for row in rows]
    return pa.Table.from_pylist(outcomes, schema=OUTCOME)


def start(todo: pa.Table, scope: str, per_block: int = 1) -> Iterator[pa.Table]:
    """Planned units as blocks of this many rows, the last one of fewer, ready for the first operator."""
    known = {"scope": scope, "seconds": 0.0}
    for first in range(0, todo.num_rows, per_block):
        # A slice would take the buffers of the whole table into Ray's object store.
        block = todo.take(pa.array(range(first, min(first + per_block, todo.num_rows)), pa.int64()))
        missing = [field for field in HEAD if field.name not in block.column_names]
        for position, field in enumerate(missing):
            value = pa.scalar(known.get(field.name), field.type)
            block = block.add_column(position, field, pa.repeat(value, block.num_rows))
        yield block


def _rows(block: pa.Table) -> list[Row]:
    columns = _of_pictures(block.schema)
    rows: list[Row] = block.drop_columns(columns).to_pylist()
    for name in columns:
        rows = [row | {name: cell.values} for row, cell in zip(rows, block[name], strict=True)]
    return rows


def _table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    columns = _of_pictures(schema)
    others = pa.schema([field for field in schema if field.name not in columns])
    table = pa.Table.from_pylist(rows, schema=others)
    for name in columns:
        table = table.append_column(schema.field(name), _column([row.get(name) for row in rows]))
    return table.select(schema.names)


def _of_pictures(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.type == PICTURES]


def _column(cells: list[Any]) -> "pa.Array[Any]":
    """The images of each row, an Arrow array or one NumPy array per image, as a column."""
    values = [cell if isinstance(cell, pa.Array) else _joined(cell or ()) for cell in cells]
    offsets = pa.array(itertools.accumulate(map(len, values), initial=0), pa.int32())
    missing = pa.array([cell is None for cell in cells])
    return pa.ListArray.from_arrays(offsets, values[0] if len(values) == 1 else pa.concat_arrays(values), mask=missing)


def _joined(pixels: Sequence[npt.NDArray[np.uint8]]) -> "pa.Array[Any]":
    # pyarrow accepts memoryviews without a copy, but never releases them.
    ends = np.cumsum([0, *(each.size for each in pixels)], dtype=np.int64)
    data = np.concatenate([np.empty(0, np.uint8), *(each.ravel() for each in pixels)])
    buffers: list[Any] = [ends, data]
    return pa.LargeBinaryArray.from_buffers(PICTURES.value_type, len(pixels), [None, *map(pa.py_buffer, buffers)])


def _advance(row: Row, step: Step) -> Row:
    if row["status"] is not None:
        return row
    began = time.perf_counter()
    try:
        row = row | step(row)
    except EmptyUnit as nothing:
        row = row | {"status": "empty", "error_type": "empty", "error_message": str(nothing)}
    except UnitError as error:
        row = row | _failure(error.kind, str(error), retryable=error.retryable)
    except StorageError as error:
        row = row | _failure(UNWRITABLE if error.lasting else "storage", str(error), retryable=True)
    except Exception as error:  # noqa: BLE001 - no unit may stop the others
        row = row | _failure(type(error).__name__, str(error) or type(error).__name__, retryable=True)
    return row | {"seconds": (row["seconds"] or 0.0) + time.perf_counter() - began}


def _advance_jointly(rows: list[Row], run: Callable[[list[Row]], list[Row]]) -> list[Row]:
    waiting = [row for row in rows if row["status"] is None]
    began = time.perf_counter()
    try:
        found = run(waiting) if waiting else []
    except Exception:  # noqa: BLE001 - one unit at a time, the one at fault raises again and is recorded
        return [_advance(row, lambda one: run([one])[0]) for row in rows]
    share = (time.perf_counter() - began) / max(1, len(waiting))
    values = iter(found)
    return [
        row if row["status"] is not None else row | next(values) | {"seconds": (row["seconds"] or 0.0) + share}
        for row in rows
    ]


def _failure(kind: str, message: str, *, retryable: bool) -> Row:
    return {"status": "failed", "error_type": kind, "error_message": message, "retryable": retryable}


class _Part(NamedTuple):
    """Rows of one unit in one file."""

    path: str
    rows: int
    crops: int


def _write_all(rows: list[Row], corpus: Corpus, fingerprint: str, tables: Sequence[Table]) -> dict[str, list[_Part]]:
    """Write one file per table; returns what each unit has in which file."""
    name = digest(fingerprint, *(f"{row['unit_id']}@{row['inputs']}" for row in rows))
    written: dict[str, list[_Part]] = {row["unit_id"]: [] for row in rows}
    for table in _returned(rows, tables):
        found = {row["unit_id"]: part for row in rows if (part := _rows_in(row, table.name)).num_rows}
        path = f"{table.under(rows[0]['scope'])}/{name}.parquet"
        if found:
            _write(corpus, pa.concat_tables(found.values()), path, table.blob)
        for unit, part in found.items():
            written[unit].append(_Part(path, part.num_rows, part.num_rows if table.counts_crops else 0))
    return written


def _returned(rows: list[Row], tables: Sequence[Table]) -> list[Table]:
    """Declared tables that the steps returned rows of, in the order in which they did."""
    declared = {table.name: table for table in tables}
    return [declared[name] for name in dict.fromkeys(part["table"] for row in rows for part in row["tables"])]


def _write(corpus: Corpus, table: pa.Table, path: str, blob: str | None) -> None:
    corpus.write_table(table, path, **(blob_options(table, blob) if blob else {}))


def _outcome(row: Row, written: list[_Part]) -> Row:
    return row | {
        "status": row["status"] or "ok",
        "outputs": [part.path for part in written],
        "rows_out": sum(part.rows for part in written),
        "crops": sum(part.crops for part in written) or None,
        "node": platform.node(),
    }


def pack(table: pa.Table) -> bytes:
    """A table as Arrow IPC bytes, in which it travels inside a row."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpack(ipc: bytes) -> pa.Table:
    """Inverse of ``pack``; the table shares the memory of the bytes."""
    return pa.ipc.open_stream(ipc).read_all()


def _rows_in(row: Row, name: str) -> pa.Table:
    (ipc,) = (part["ipc"] for part in row["tables"] if part["table"] == name)
    return unpack(ipc)
