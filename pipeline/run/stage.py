"""The declaration of a stage, and a pass over its units."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.snapshot import Snapshot
from pipeline.recipe import Recipe
from pipeline.run.progress import Part
from schemas.declaration import Table


@dataclass(frozen=True, kw_only=True)
class Job:
    """One pass of a stage over the units to do.

    Args:
        snapshot: What counts at the start of the pass.
        recipe: The resolved recipe.
        fingerprint: Digest of the stage's configuration; part of every file name that it writes.
        scope: Model or variant, empty for stages without one.
        tables: Tables that the stage declares.
        todo: Units, one row each.
        progress: Receives progress inside a unit, for stages whose units take minutes or more.
    """

    snapshot: Snapshot
    recipe: Recipe
    fingerprint: str
    scope: str
    tables: tuple[Table, ...]
    todo: pa.Table
    progress: Callable[[Part], None] = lambda _: None

    @property
    def corpus(self) -> Corpus:
        """Where tables are read and written."""
        return self.snapshot.corpus


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Anything that writes tables and has a ledger: a stage of a run, or ``reidforge import``.

    Args:
        name: Name in commands, ledger and recipe.
        tables: Tables that it writes. SQL views, ``gc``, ``variant drop``, ``status`` and ``report`` follow from them.
    """

    name: str
    tables: tuple[Table, ...]

    @property
    def by_variant(self) -> bool:
        """Whether the units belong to caption variants."""
        return any(table.scope == "variant" for table in self.tables)


@dataclass(frozen=True, kw_only=True)
class Stage(Writer):
    """A stage: which units it wants, and how a pass over them runs.

    Args:
        unit: What one unit is, for messages.
        version: Version of the code; raised when the same configuration yields other rows than before.
        identity: Everything of the recipe that decides the rows.
        wanted: Units that the recipe wants: columns unit_id, inputs, and what ``execute`` needs. Called for every plan,
            over all units of the corpus: it works on columns, and what only units to do need is left to ``execute``.
        execute: Runs a pass; yields blocks of ``pipeline.run.units.OUTCOME`` as units finish.
        scope: Model or variant that the units belong to.
        retires: Whether units that the recipe no longer wants lose their rows.
        check: Raises ``UserError`` if the stage cannot start.
        finish: Called once after the last pass.
        files: Files, model folders and hub tags of weights that the recipe names for this stage, by recipe key. The
            record of a run keeps their digests and the content of text files.
    """

    unit: str
    version: int
    identity: Callable[[Recipe], dict[str, Any]]
    wanted: Callable[[Snapshot, Recipe], pa.Table]
    execute: Callable[[Job], Iterator[pa.Table]]
    scope: Callable[[Recipe], str] = lambda _: ""
    retires: bool = True
    check: Callable[[Recipe], None] = lambda _: None
    finish: Callable[[Snapshot, Recipe], None] = lambda _snapshot, _recipe: None
    files: Callable[[Recipe], dict[str, str | None]] = lambda _: {}

    def fingerprint(self, recipe: Recipe) -> str:
        """Digest of the configuration, the weights that it names, and the code version."""
        return digest(self.name, str(self.version), json.dumps(self.identity(recipe), sort_keys=True))


def unit_columns(columns: Mapping[str, Any], fields: pa.Schema) -> pa.Table:
    """Wanted units as a table.

    Args:
        columns: unit_id, inputs, and the fields of the first step; further columns are left out.
        fields: Schema of the latter.
    """
    schema = unit_schema(fields)
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


def units(rows: list[dict[str, Any]], fields: pa.Schema) -> pa.Table:
    """As ``unit_columns``, from rows: for stages with few units."""
    return pa.Table.from_pylist(rows, schema=unit_schema(fields))


def unit_schema(fields: pa.Schema) -> pa.Schema:
    """Columns of wanted units: unit_id, inputs, and the fields of the first step."""
    return pa.schema([pa.field("unit_id", pa.string()), pa.field("inputs", pa.string()), *fields])
