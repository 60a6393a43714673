"""The tables of ``catalog.duckdb`` as they follow from the declared ones: columns, definitions, comments.

The schema ``source`` holds the rows, with columns that only the catalog itself needs; the schema ``main`` shows them to
users. Pictures and vectors stay in Parquet: they are most of a corpus's bytes, and no audit scans them.
"""

import functools
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

import schemas
from pipeline.audit.catalog.parquet_macros import parquet_macros
from pipeline.audit.catalog.sql_text import quote
from pipeline.flow.order import TABLES, WRITERS
from schemas.declaration import SCOPES, Mark, Table, Unnested
from schemas.tables import LEDGER, TIMESTAMP

PACK: Final = "pack"
"""Hidden column of every row: the pack that it came from."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a native table.

    Args:
        name: Its name.
        kind: DuckDB's type.
        value: SQL of its value over ``p``, a row of a file with the scope of its pack.
    """

    name: str
    kind: str
    value: str


@dataclass(frozen=True, kw_only=True)
class NativeTable:
    """A table of the schema ``source``.

    Args:
        name: Its name.
        table: The declared table whose rows it holds.
        columns: Columns that users see, in order, marks left out.
        marks: Columns that other tables' marks add.
        unnested: The list whose elements are its rows; None = a row is a row of the declared table.
    """

    name: str
    table: Table
    columns: tuple[Column, ...]
    marks: tuple[Column, ...] = ()
    unnested: Unnested | None = None


def kept(table: Table) -> list[str]:
    """Columns of a declared table that the catalog holds."""
    return [
        field.name for field in table.schema if not _stays_in_parquet(field.type) and field.name not in table.repeats
    ]


def _stays_in_parquet(kind: pa.DataType) -> bool:
    is_vector = (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and pa.types.is_floating(kind.value_type)
    return bool(pa.types.is_binary(kind) or is_vector)


@functools.cache
def native_tables() -> tuple[NativeTable, ...]:
    """All native tables, those that have marks last."""
    found = [native for table in TABLES for native in _natives(table)]
    return tuple(sorted(found, key=lambda native: bool(native.marks)))


def _natives(table: Table) -> Iterator[NativeTable]:
    scope = [Column(name=table.scope, kind="VARCHAR", value="p.scope")] if table.scope else []
    own = {name: Column(name=name, kind=kind, value=f'p."{name}"') for name, kind in kinds(table)}
    if not table.unnested:
        yield NativeTable(
            name=table.name,
            table=table,
            columns=(*scope, *(own[name] for name in kept(table))),
            marks=tuple(_marks(table)),
        )
    for part in table.unnested:
        beside = [own[name] for name in part.beside]
        rank = [Column(name=part.rank, kind="BIGINT", value="p.rank")] if part.rank else []
        struct: Any = table.schema.field(part.column).type
        fields = [Column(name=name, kind=kind, value=f'p.item."{name}"') for name, kind in _fields(struct.value_type)]
        # Keys first, then the scope, as users know these tables.
        yield NativeTable(
            name=part.name,
            table=table,
            columns=(*beside[:3], *scope, *beside[3:], *rank, *fields),
            unnested=part,
        )


def marking(table: Table) -> list[tuple[Table, Mark]]:
    """Tables whose marks the rows of a table get, with the marks."""
    if not table.marked:
        return []
    return [(each, each.mark) for each in TABLES if each.mark and each.mark.key in table.schema.names]


def mark_columns(mark: Mark) -> list[str]:
    """Columns that a mark adds."""
    return [*mark.columns, *([mark.flag.name] if mark.flag else [])]


def _marks(table: Table) -> list[Column]:
    """Columns of marks, flags last."""
    columns, flags = [], []
    for source, mark in marking(table):
        kinds_of = dict(kinds(source))
        columns += [Column(name=name, kind=kinds_of[name], value=f'"{source.name}"."{name}"') for name in mark.columns]
        if mark.flag:
            name = mark.flag.name
            flags.append(Column(name=name, kind="BOOLEAN", value=f'coalesce("{source.name}"."{name}", false)'))
    return [*columns, *flags]


def is_shared(table: Table) -> bool:
    """Whether more than one stage writes a table: two of them may then mark the same crop."""
    return sum(table in writer.tables for writer in WRITERS) > 1


def definitions() -> str:
    """SQL that creates all tables, views, macros and comments."""
    ledger = ", ".join(f'"{name}" {kind}' for name, kind in _fields(LEDGER))
    parts = [_BOOKS.format(ledger=ledger), *map(_define, native_tables()), parquet_macros(), views_sql()]
    parts += _comments()
    return ";\n".join(parts)


# What the catalog keeps about itself. A pack is a file that a stage wrote; compaction may have moved its rows.
_BOOKS = """
CREATE SCHEMA source;
CREATE TABLE source.about (key VARCHAR, value VARCHAR);
CREATE TABLE source.absorbed (path VARCHAR);
CREATE TABLE source.ledger_history ({ledger});
CREATE TABLE source.ledger ({ledger});
-- As pipeline.corpus.snapshot.Snapshot.settled has it: rows of a success count until those of another replace them.
CREATE VIEW source.settled AS
FROM source.ledger WHERE status IN ('ok', 'empty', 'retired')
UNION ALL
FROM (
    FROM source.ledger_history
    SEMI JOIN (FROM source.ledger WHERE status NOT IN ('ok', 'empty', 'retired')) USING (stage, scope, unit_id)
)
WHERE status IN ('ok', 'empty', 'retired')
QUALIFY row_number() OVER (PARTITION BY stage, scope, unit_id ORDER BY finished_at DESC, attempts DESC) = 1;
CREATE TABLE source.runs (run_id VARCHAR, recipe VARCHAR);
CREATE TABLE source.locations (
    path VARCHAR, file VARCHAR, first_row BIGINT, num_rows BIGINT, placed_at TIMESTAMP WITH TIME ZONE
);
CREATE TABLE source.packs (
    pack INTEGER, stage VARCHAR, table_name VARCHAR, scope VARCHAR, path VARCHAR, file VARCHAR, first_row BIGINT,
    num_rows BIGINT
);
"""


def _define(native: NativeTable) -> str:
    shown = [(column.name, column.kind) for column in (*native.columns, *native.marks)]
    fields = ", ".join(f'"{name}" {kind}' for name, kind in [*shown, (PACK, "INTEGER")])
    names = ", ".join(f'"{name}"' for name, _ in shown)
    return f"""
        CREATE TABLE source."{native.name}" ({fields});
        CREATE VIEW main."{native.name}" AS SELECT {names} FROM source."{native.name}"
    """  # noqa: S608 - declared names


def _comments() -> Iterator[str]:
    """The declared documentation of views and columns; ``schemas/views.sql`` documents what it defines itself."""
    for native in native_tables():
        rows = native.unnested.row if native.unnested else native.table.row
        yield f'COMMENT ON VIEW main."{native.name}" IS {quote(rows)}'
        docs = _documentation(native)
        for column in (*native.columns, *native.marks):
            yield f'COMMENT ON COLUMN main."{native.name}"."{column.name}" IS {quote(docs[column.name])}'
    for view in ("ledger", "ledger_history"):
        for name, doc in _docs(LEDGER).items():
            yield f'COMMENT ON COLUMN main.{view}."{name}" IS {quote(doc)}'


def _documentation(native: NativeTable) -> dict[str, str]:
    docs = _docs(native.table.schema)
    for source, mark in marking(native.table):
        docs = _docs([source.schema.field(name) for name in mark.columns] + ([mark.flag] if mark.flag else [])) | docs
    if native.table.scope:
        docs[native.table.scope] = SCOPES[native.table.scope]
    return docs | (dict(native.unnested.docs) if native.unnested else {})


def _docs(fields: "pa.Schema | list[pa.Field[Any]]") -> dict[str, str]:
    return {field.name: field.metadata[b"doc"].decode() for field in fields if field.metadata}


@functools.cache
def views_sql() -> str:
    """The text of ``schemas/views.sql``."""
    return importlib.resources.files(schemas).joinpath("views.sql").read_text(encoding="utf-8")


@functools.cache
def kinds(table: Table) -> list[tuple[str, str]]:
    """Columns of a declared table with DuckDB's types."""
    return [(field.name, _kind(field.type)) for field in table.schema]


# As DuckDB itself maps them, but for float16, which it does not have. Asking DuckDB takes half a second a call.
_KINDS: Final = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        return f"{_kind(type_.value_type)}[]"
    if pa.types.is_struct(type_):
        return f"STRUCT({', '.join(f'{chr(34)}{name}{chr(34)} {kind}' for name, kind in _fields(type_))})"
    return _KINDS[type_]


def _fields(struct: Any) -> list[tuple[str, str]]:
    return [(field.name, _kind(field.type)) for field in struct]
