"""Readers see only rows that the ledger vouches for."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot, derived
from schemas.declaration import Table
from schemas.tables import LEDGER
from tests.local import live_files, read_live
from tests.pipeline.corpus.test_ledger import ROW

SCHEMA = pa.schema(
    [pa.field("unit_id", pa.string(), nullable=False), pa.field("n", pa.int64()), pa.field("late", pa.string())]
)
THINGS = Table(name="things", folder="things", schema=SCHEMA, row="one row per thing")


def write(corpus: Corpus, name: str, *units: str) -> str:
    """A file with two rows for each unit, as a version wrote it that did not know the column ``late``."""
    path = f"things/{name}.parquet"
    rows = [{"unit_id": unit, "n": n} for unit in units for n in range(2)]
    corpus.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.remove(2)), path)
    return path


def commit(corpus: Corpus, path: str, *units: str, **changes: Any) -> None:
    Ledger(corpus, "test").append(ROW | {"unit_id": unit, "outputs": [path]} | changes for unit in units)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(str(tmp_path))


def test_rows_of_a_unit_that_counts_in_another_file_now_are_not_read(corpus: Corpus) -> None:
    old, new = write(corpus, "old", "a", "b", "c"), write(corpus, "new", "b")
    commit(corpus, old, "a", "b", "c")
    commit(corpus, new, "b")
    commit(corpus, old, "c", status="retired")
    assert live_files(corpus, "test", THINGS) == {new: ["b"], old: ["a"]}
    assert read_live(corpus, THINGS, old, ["a"])["unit_id"].to_pylist() == ["a", "a"]
    read = pa.concat_tables(Snapshot(corpus).scan("test", THINGS, ["n"]))
    assert read.to_pydict() == {"n": [0, 1, 0, 1]}


def test_rows_of_nothing_are_none(corpus: Corpus) -> None:
    path = write(corpus, "old", "a")
    assert read_live(corpus, THINGS, path, []).num_rows == 0
    assert live_files(corpus, "test", THINGS) == {}


def test_a_column_that_an_old_file_lacks_is_null_and_columns_keep_their_order(corpus: Corpus) -> None:
    path = write(corpus, "old", "a")
    whole = read_live(corpus, THINGS, path, ["a"])
    assert whole.schema.names == SCHEMA.names
    assert whole["late"].to_pylist() == [None, None]
    assert read_live(corpus, THINGS, path, ["a"], ["late", "n"]).schema.names == ["late", "n"]


def test_files_of_another_scope_or_table_are_not_listed(corpus: Corpus) -> None:
    scoped = Table(name="captions", folder="captions", schema=SCHEMA, scope="variant", row="one row per caption")
    Ledger(corpus, "test").append(
        ROW | {"unit_id": f"{scope}/x", "scope": scope, "outputs": [f"captions/{scope}/x.parquet"]}
        for scope in ("one", "one-more")
    )
    assert live_files(corpus, "test", scoped, "one") == {"captions/one/x.parquet": ["one/x"]}
    assert live_files(corpus, "test", THINGS) == {}
    (row,) = derived(Snapshot(corpus).packs("test", scoped, "one-more")).to_pylist()
    assert (row["stem"], row["path"], row["live"]) == ("x", "captions/one-more/x.parquet", ["one-more/x"])


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_rows_of_the_same_moment_the_one_with_more_attempts_counts(corpus: Corpus, order: tuple[int, int]) -> None:
    moment = {"stage": "test", "finished_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "unit_id": "a"}
    for attempts in order:
        row = ROW | moment | {"attempts": attempts, "outputs": [f"things/{attempts}.parquet"]}
        corpus.write_table(pa.Table.from_pylist([row], schema=LEDGER), f"ledger/test/{order.index(attempts)}.parquet")
    (latest,) = Ledger(corpus, "test").latest().to_pylist()
    assert latest["attempts"] == 2
    assert live_files(corpus, "test", THINGS) == {"things/2.parquet": ["a"]}
