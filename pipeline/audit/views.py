"""DuckDB views of the declared tables: explicit lists of the files that the ledger vouches for, with their schemas."""

import datetime as dt
import functools
import json
import re
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from fsspec.implementations.arrow import ArrowFSWrapper

from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import LIVE, Snapshot
from pipeline.errors import UserError
from pipeline.flow.order import TABLES
from schemas.declaration import Table
from schemas.tables import LEDGER


class CorpusFileSystem(ArrowFSWrapper):  # type: ignore[misc]
    """Read-only file system of a corpus in an object store, for DuckDB; it caches sizes."""

    cachable = False

    def __init__(self, corpus: Corpus) -> None:
        self._scheme = scheme(corpus)
        self._known: dict[str, dict[str, Any]] = {}
        super().__init__(corpus.fs)

    @property
    def protocol(self) -> str:
        """Scheme of the corpus's URI; DuckDB passes paths with this scheme to this file system."""
        return self._scheme

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: file lists come from the ledger, and brackets in names are literal."""
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and modification time of a file, cached: files of finished units do not change."""
        if path not in self._known:
            self._known[path] = super().info(path)
        return self._known[path]

    def modified(self, path: str) -> dt.datetime:
        """Time of the last change; a constant where the store does not keep it."""
        return self.info(path).get("mtime") or dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """Open for reading; other modes are refused."""
        if mode != "rb":
            raise PermissionError(f"{path}: a corpus is read-only here")
        return super().open(path, mode)


def scheme(corpus: Corpus) -> str:
    """Scheme of the corpus's URI, such as ``s3``."""
    return corpus.uri.partition("://")[0]


def define_sources(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> list[str]:
    """Create the schema ``source``: the ledger as it stands now, and per declared table a view of the rows that count.

    The schema ``main`` gets the same views; ``schemas/views.sql`` replaces some of them.

    Returns:
        Every file that the views read, in every spelling that they use.

    Raises:
        UserError: A file that the ledger names cannot be read.
    """
    connection.execute("CREATE SCHEMA source")
    live = _define_ledger(connection, corpus)
    _define_runs(connection, corpus)
    files: list[str] = []
    for table in TABLES:
        rows = [row for row in live if row["path"].startswith(f"{table.folder}/") and row["path"].endswith(".parquet")]
        try:
            connection.execute(_define_views(table, _select(table, rows, corpus)))
        except (duckdb.Error, OSError) as error:
            raise UserError(f"corpus {corpus.uri}: {table.name} cannot be read: {one_line(error)}") from error
        files += sorted({row["file"] for row in rows})
    for table in TABLES:
        if table.marked:
            connection.execute(_define_marked(table))
    return [*files, *(pattern for file in files if corpus.is_local and (pattern := _escape(file)) != file)]


def _define_ledger(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> list[dict[str, Any]]:
    snapshot = Snapshot(corpus)
    stages = snapshot.stages()
    live = snapshot.locate(pa.concat_tables([LIVE.empty_table(), *(snapshot.live(stage) for stage in stages)]))
    history = pa.concat_tables([LEDGER.empty_table(), *(snapshot.history(stage) for stage in stages)])
    latest = pa.concat_tables([LEDGER.empty_table(), *(snapshot.latest(stage) for stage in stages)])
    root = corpus.path("") if corpus.is_local else f"{scheme(corpus)}://{corpus.path('')}"
    # A prefix for every path; the stubs do not admit binary_join_element_wise of a constant and a column.
    places = pc.utf8_replace_slice(live["file"], 0, 0, f"{root}/")
    live = live.select(["scope", "unit_id", "fingerprint", "path"]).append_column("file", places)
    for name, rows in {"ledger_history": history, "ledger": latest, "live": live}.items():
        connection.register("rows_to_copy", rows)
        connection.execute(f"CREATE TABLE source.{name} AS FROM rows_to_copy")
        connection.unregister("rows_to_copy")
    pairs: list[dict[str, Any]] = live.to_pylist()
    return pairs


def _define_runs(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """Recipes of the runs whose captions count; a run that recorded no recipe has no row."""
    connection.execute("CREATE TABLE source.runs (run_id VARCHAR, recipe VARCHAR)")
    named = "SELECT DISTINCT run_id FROM source.ledger WHERE stage = 'caption' AND status IN ('ok', 'empty')"
    for (run_id,) in sorted(connection.execute(named).fetchall()):
        path = f"runs/{run_id}/recipe.yaml"
        if corpus.exists(path):
            recipe = json.dumps(yaml.safe_load(corpus.read(path)), default=str)
            connection.execute("INSERT INTO source.runs VALUES ($run, $recipe)", {"run": run_id, "recipe": recipe})


def _define_views(table: Table, select: str) -> str:
    counting = f"SELECT * EXCLUDE (file) FROM ({select}) SEMI JOIN source.live USING (unit_id, file)"  # noqa: S608 - quoted
    return f"""
        CREATE VIEW source."{table.name}" AS {counting};
        CREATE VIEW main."{table.name}" AS FROM source."{table.name}";
    """


def _define_marked(table: Table) -> str:
    """The view of a table again, with the marks that have a key in common with it."""
    marks = [(each.name, each.mark) for each in TABLES if each.mark and each.mark.key in table.schema.names]
    columns = [f'"{name}"."{column}"' for name, mark in marks for column in mark.columns]
    columns += [f'"{name}"."{mark.key}" IS NOT NULL AS "{mark.flag.name}"' for name, mark in marks if mark.flag]
    joins = "".join(f' LEFT JOIN main."{name}" USING ({mark.key})' for name, mark in marks)
    select = f'SELECT {", ".join(["own.*", *columns])} FROM source."{table.name}" AS own{joins}'  # noqa: S608 - declared
    return f'CREATE OR REPLACE VIEW main."{table.name}" AS {select}'


def _select(table: Table, rows: list[dict[str, Any]], corpus: Corpus) -> str:
    """SELECT over a table's files by scope, so that a query on one variant opens only the files of that variant."""
    files: dict[str, set[str]] = {}
    for row in rows:
        files.setdefault(row["scope"], set()).add(row["file"])
    parts = (_select_files(table, scope, sorted(paths), corpus) for scope, paths in sorted(files.items()))
    return "\nUNION ALL\n".join(parts) or _select_nothing(table)


def _select_files(table: Table, scope: str, files: list[str], corpus: Corpus) -> str:
    columns = [f'"{name}"' for name, _ in _kinds(table)]
    labels = [f"{quote(scope)} AS {table.scope}"] if table.scope else []
    paths = ", ".join(quote(_escape(file) if corpus.is_local else file) for file in files)
    # With an explicit schema, columns that an older version did not write are null, and no file is opened to infer it.
    fields = (
        f"{quote(name)}: {{name: {quote(name)}, type: {quote(kind)}, default_value: NULL}}"
        for name, kind in _kinds(table)
    )
    scan = (
        f"read_parquet([{paths}], schema = MAP {{{', '.join(fields)}}}, filename = 'file', hive_partitioning = false)"
    )
    return f"SELECT {', '.join([*labels, *columns, 'file'])} FROM {scan}"  # noqa: S608 - quoted


def _select_nothing(table: Table) -> str:
    columns = [f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in _kinds(table)]
    labels = [f"'' AS {table.scope}"] if table.scope else []
    return f"SELECT {', '.join([*labels, *columns, 'CAST(NULL AS VARCHAR) AS file'])} WHERE false"


@functools.cache
def _kinds(table: Table) -> list[tuple[str, str]]:
    """Columns of a table with DuckDB's own types for them."""
    schema = pa.schema([pa.field(field.name, _without_halves(field.type)) for field in table.schema])
    with duckdb.connect() as connection:
        kinds = connection.from_arrow(schema.empty_table()).types
    return [(name, str(kind)) for name, kind in zip(schema.names, kinds, strict=True)]


def _without_halves(kind: pa.DataType) -> pa.DataType:
    """The type with float32 in place of float16, which DuckDB does not have."""
    if pa.types.is_list(kind):
        return pa.list_(_without_halves(kind.value_type))
    return pa.float32() if kind == pa.float16() else kind


def quote(text: str) -> str:
    """SQL literal of a string."""
    return "'" + text.replace("'", "''") + "'"


def one_line(error: Exception) -> str:
    """Message of a DuckDB error without the excerpt of the query and without a file system's traceback."""
    text = str(error).partition("\n\nLINE ")[0].strip()
    text = text.splitlines()[-1] if text.startswith("Traceback") else text
    return " ".join(text.split()).rstrip(".")


def _escape(path: str) -> str:
    """The path as a glob pattern that matches only itself."""
    return re.sub(r"([*?\[])", r"[\1]", path)
