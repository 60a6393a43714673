"""Printing the rows of a query: as a table for people, as CSV or JSON for programs."""

import base64
import csv
import datetime as dt
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import duckdb
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.run.progress import counted

Format = Literal["table", "csv", "json"]
Rows = Sequence[tuple[Any, ...]]

# A table needs all of its rows before the first can be drawn, so its size is bounded.
TABLE_ROWS: Final = 500

_BATCH: Final = 1024


def render(result: duckdb.DuckDBPyRelation, fmt: Format) -> Iterator[str]:
    """Text of a query's result, in pieces.

    ``table`` shows the first ``TABLE_ROWS`` rows and says so when there are more; of bytes, only the number is shown.
    ``csv`` follows RFC 4180, null being the empty field. ``json`` is one array of objects. In both, bytes are base64
    and times ISO 8601.
    """
    # Through Arrow: DuckDB's own conversion of times to Python needs a package that is not installed.
    reader = result.to_arrow_reader(_BATCH)
    names = reader.schema.names
    batches = (list(zip(*(column.to_pylist() for column in batch.columns), strict=True)) for batch in reader)
    if fmt == "table":
        rows = list(itertools.islice(itertools.chain.from_iterable(batches), TABLE_ROWS + 1))
        yield _table(names, rows[:TABLE_ROWS], more=len(rows) > TABLE_ROWS)
        return
    yield from _csv(names, batches) if fmt == "csv" else _json(_distinct(names), batches)


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names as the keys of an object: a second ``a`` becomes ``a_1``."""
    earlier = Counter[str]()
    keys = []
    for name in names:
        keys.append(f"{name}_{earlier[name]}" if earlier[name] else name)
        earlier[name] += 1
    return keys


def _table(names: Sequence[str], rows: Rows, *, more: bool) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for position, name in enumerate(names):
        numeric = all(isinstance(row[position], int | float | Decimal | None) for row in rows)
        # Long sentences fold, numbers and identifiers do not.
        table.add_column(Text(name), justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    count = f"first {len(rows)} rows, csv and json give all" if more else counted(len(rows), "row")
    return f"{_draw(table)}({count})\n"


def _draw(table: Table) -> str:
    """The table at the width of the terminal; at its natural width into a file or pipe."""
    console = Console()
    width = console.width if console.is_terminal else Console(width=100_000).measure(table).maximum
    sink = io.StringIO()
    Console(file=sink, width=max(width, 1), color_system=None).print(table)
    return "".join(f"{line.rstrip()}\n" for line in sink.getvalue().splitlines() if line.strip())


def _csv(names: Sequence[str], batches: Iterator[Rows]) -> Iterator[str]:
    yield _csv_lines([names])
    for rows in batches:
        yield _csv_lines([[_field(value) for value in row] for row in rows])


def _csv_lines(rows: Sequence[Sequence[Any]]) -> str:
    sink = io.StringIO()
    csv.writer(sink).writerows(rows)
    return sink.getvalue()


def _json(names: Sequence[str], batches: Iterator[Rows]) -> Iterator[str]:
    before = "["
    for rows in batches:
        for row in rows:
            yield f"{before}\n{_dumps(dict(zip(names, map(_plain, row), strict=True)))}"
            before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else _scalar(value)


def _field(value: Any) -> Any:
    return "" if value is None else _scalar(_plain(value))


def _scalar(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return _dumps(_plain(value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _plain(value: Any) -> Any:
    """The value in JSON's types; NaN and infinity become null."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
