"""A corpus in SQL: views, macros, the catalog file, and the read-only query."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import schemas.tables as tables
from pipeline.audit import catalog
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow.detect import CROPS
from tests.corpora import MODEL, crop_rows, ledger_row, small_corpus
from tests.local import live_files, read_live

VIEWS = {
    "attributes": 180,
    "captions": 61,
    "crops": 60,
    "detections": 66,
    "embeddings": 60,
    "evidence": 60,
    "ledger": 15,
    "ledger_history": 15,
    "listings": 3,
    "live": 25,
    "manifest": 60,
    "metrics": 7,
    "runs": 0,
    "variants": 1,
    "videos": 3,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return small_corpus(str(tmp_path_factory.mktemp("corpora") / "small"))


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens corpora and closes them in the end."""
    connections: list[duckdb.DuckDBPyConnection] = []

    def connect(corpus: Corpus) -> duckdb.DuckDBPyConnection:
        connections.append(catalog.connect(corpus))
        return connections[-1]

    yield connect
    for connection in connections:
        catalog.close(connection)


def count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0])


def ask(corpus: Corpus, query: str, fmt: Any = "json") -> Any:
    text = "".join(catalog.sql(corpus, query, fmt))
    return json.loads(text) if fmt == "json" else text


def test_every_view_shows_its_rows(corpus, opened):
    connection = opened(corpus)
    assert {view: count(connection, view) for view in VIEWS} == VIEWS


def test_an_empty_corpus_has_the_same_views_with_the_same_types(corpus, opened, tmp_path):
    full, empty = opened(corpus), opened(Corpus(str(tmp_path / "nothing")))
    for view in VIEWS:
        assert count(empty, view) == 0
        assert empty.execute(f"DESCRIBE {view}").fetchall() == full.execute(f"DESCRIBE {view}").fetchall(), view


@pytest.mark.parametrize(
    ("view", "names"),
    [
        ("videos", tables.VIDEOS.names),
        ("detections", [*tables.DETECTIONS.names, "track_id"]),
        ("crops", [*tables.CROPS.names[:-4], "objects", "phash", "track_id", "duplicate_of", "static"]),
        ("tracks", tables.TRACKS.names),
        ("duplicates", tables.DUPLICATES.names),
        ("statics", tables.STATICS.names),
        ("ledger", tables.LEDGER.names),
        ("embeddings", ["model", "crop_id", "video_id", "unit_id", "region"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_columns_are_those_of_the_schema(corpus, opened, view, names):
    assert [row[0] for row in opened(corpus).execute(f"DESCRIBE {view}").fetchall()] == names


def test_views_and_columns_are_documented(corpus, opened):
    connection = opened(corpus)
    views = dict(
        connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main'").fetchall()
    )
    assert {view for view in VIEWS if views[view]} == set(VIEWS)
    silent = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' AND comment IS NULL "
        "AND table_name IN ('videos', 'listings', 'tracks', 'duplicates', 'statics', 'detections', 'crops', "
        "'embeddings', 'evidence', 'manifest', 'metrics', 'ledger', 'variants', 'runs')"
    ).fetchall()
    assert silent == []


def test_live_is_what_the_ledger_says(corpus, opened):
    shown = set(opened(corpus).execute("SELECT scope, unit_id, fingerprint, path FROM live").fetchall())
    stages = ("discover", "crawl", "detect", "embed", "caption", "publish", "pretrain")
    rows = [row for stage in stages for row in Snapshot(corpus).live(stage).to_pylist()]
    assert shown == {tuple(row.values()) for row in rows}


def test_dead_rows_and_files_never_show(opened, tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"])
    corpus.put("crops/garbage.parquet", b"not even Parquet")
    shared = pa.Table.from_pylist(
        [*crop_rows("x:b", "alive", [0, 50]), *crop_rows("x:c", "dead", [0]), *crop_rows("x:d", "retired", [0])],
        tables.CROPS,
    )
    corpus.write_table(shared, "crops/shared.parquet")
    corpus.write_table(shared, "crops/unnamed.parquet")
    path = ["crops/shared.parquet"]
    ledger = Ledger(corpus, "detect")
    ledger.append([ledger_row("alive", path), ledger_row("dead", path, status="failed"), ledger_row("retired", path)])
    ledger.append([ledger_row("dead", status="quarantined"), ledger_row("retired", status="retired")])
    found = opened(corpus).execute("SELECT DISTINCT video_id FROM crops").fetchall()
    assert sorted(found) == [("x:a",), ("x:b",)]


def test_a_repeated_unit_shows_its_newest_file_alone(opened, tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"])
    newer = pa.Table.from_pylist(crop_rows("x:a", "x:a@0", [0, 50, 100]), tables.CROPS)
    corpus.write_table(newer, "crops/newer.parquet")
    Ledger(corpus, "detect").append([ledger_row("x:a@0", ["crops/newer.parquet"], fingerprint="d1")])
    assert count(opened(corpus), "crops WHERE unit_id = 'x:a@0'") == 3
    assert count(opened(corpus), "crops") == 13
    assert count(opened(corpus), "ledger_history") == count(opened(corpus), "ledger") + 1


def test_variants_and_models_stand_side_by_side(opened, tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"], variants=["one", "two"])
    wide = pa.table(
        {
            "crop_id": ["c"],
            "video_id": ["x:a"],
            "unit_id": ["u"],
            "region": ["whole"],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array([0.0] * 16, pa.float16()), 16),
        },
        schema=tables.embeddings(16),
    )
    corpus.write_table(wide, "embeddings/wide/e.parquet")
    Ledger(corpus, "embed").append([ledger_row("u", ["embeddings/wide/e.parquet"], scope="wide")])
    connection = opened(corpus)
    lengths = "SELECT model, len(embedding), count(*) FROM embedding_vectors() GROUP BY ALL ORDER BY 1"
    assert connection.execute(lengths).fetchall() == [(MODEL, 8, 20), ("wide", 16, 1)]
    for view in ("captions", "attributes", "manifest", "metrics"):
        rows = connection.execute(f"SELECT variant, count(*) FROM {view} GROUP BY variant ORDER BY variant").fetchall()
        assert [variant for variant, _ in rows] == ["one", "two"]
        assert rows[0][1] == rows[1][1]
    differ = connection.execute("SELECT sum(differ) FROM compare_variants('one', 'two')").fetchall()
    assert differ == [(0,)]


def test_captions_and_attributes_are_one_row_each(corpus, opened):
    connection = opened(corpus)
    columns = [row[0] for row in connection.execute("DESCRIBE captions").fetchall()]
    assert columns == ["crop_id", "video_id", "unit_id", "variant", "seed", "n", "text", "template", "style"]
    (crop_id,) = connection.execute("SELECT crop_id FROM captions WHERE n = 1").fetchall()[0]
    rows = connection.execute(f"SELECT n, template FROM caption_of('{crop_id}')").fetchall()
    assert rows == [(0, "t0"), (1, "t1")]
    values = connection.execute(
        f"SELECT attribute, value FROM attributes WHERE crop_id = '{crop_id}' ORDER BY 1"
    ).fetchall()
    assert [name for name, _ in values] == ["gender", "lower_colour", "upper_colour"]


def test_macros_answer_auditors(corpus, opened):
    connection = opened(corpus)
    counts = connection.execute("SELECT crops, stated FROM attribute_counts('base') WHERE value = 'man'").fetchall()
    assert counts == [(60, 60)]
    sample = connection.execute("SELECT crop_id, jpeg FROM sample_crops('upper_colour', 'red', 4)").fetchall()
    assert len(sample) == 4
    assert all(jpeg.startswith(b"\xff\xd8") for _, jpeg in sample)
    margins = [row[0] for row in connection.execute("SELECT margin FROM low_margin('base', 9)").fetchall()]
    assert margins == sorted(margins)
    assert len(margins) == 9
    crop_id = sample[0][0]
    assert count(connection, f"similar_crops('{crop_id}', 5)") == 5
    found = connection.execute(f"SELECT detect_fingerprint, source_url FROM trace('{crop_id}')").fetchall()
    assert found[0][0] == "d0"
    assert found[0][1].startswith("https://video.example/")


@pytest.mark.parametrize("name", ["a[1]", "a*b?", "it's", "run=3/split=x", "blank and é", 'quo"te', "{a,b}", "50%20"])
def test_any_folder_name_will_do(opened, tmp_path, name):
    corpus = small_corpus(str(tmp_path / name / "c"), videos=["x:a"])
    connection = opened(corpus)
    assert count(connection, "crops") == 20
    ((crop_id,),) = connection.execute("SELECT min(crop_id) FROM crops").fetchall()
    assert ask(corpus, "SELECT count(*) AS n FROM manifest JOIN crops USING (crop_id)") == [{"n": 18}]
    assert count(connection, f"jpeg_of('{crop_id}') WHERE octet_length(jpeg) > 1000") == 1
    with duckdb.connect(corpus.path(catalog.FILE), read_only=True) as plain:
        plain.execute("SET VARIABLE corpus = $root", {"root": corpus.root})
        assert count(plain, f"jpeg_of('{crop_id}') WHERE octet_length(jpeg) > 1000") == 1


@pytest.mark.parametrize("uri", ["file://{}/a%20b", "file://{}/a b"])
def test_a_file_uri_with_a_blank_has_rows(uri: str, opened: Any, tmp_path: Path) -> None:
    small_corpus(str(tmp_path / "a b"), videos=["x:a"])
    assert count(opened(Corpus(uri.format(tmp_path))), "crops") == 20


def test_a_file_that_was_taken_away_is_named(tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"])
    corpus.delete("crops/x-a.parquet")
    with pytest.raises(UserError, match=r"crops cannot be read: .*crops/x-a\.parquet"):
        catalog.connect(corpus)


def test_the_catalog_file_opens_in_plain_duckdb(corpus):
    path = catalog.refresh(corpus, rebuild=True).path
    assert path == Path(corpus.path("catalog.duckdb"))
    with duckdb.connect(str(path), read_only=True) as connection:
        assert {view: count(connection, view) for view in VIEWS} == VIEWS
        assert count(connection, "attribute_counts('base')") == 9
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS street (READ_ONLY)")
        assert count(connection, "street.crops") == 60
    assert not [info for info in corpus.files() if "tmp" in corpus.relative(info.path)]


def test_json_is_one_array(corpus):
    pictured = "jpegs_of((SELECT list(crop_id)[:2] FROM crops))"
    rows = ask(
        corpus, f"SELECT crop_id, pts_s, captions, jpeg, NULL AS nothing FROM manifest JOIN {pictured} USING (crop_id)"
    )
    assert len(rows) == 2
    assert rows[0]["nothing"] is None
    assert isinstance(rows[0]["captions"], list)
    assert base64.b64decode(rows[0]["jpeg"]).startswith(b"\xff\xd8")
    assert ask(corpus, "SELECT 1 AS a, 2 AS a") == [{"a": 1, "a_1": 2}]
    assert ask(corpus, "SELECT 1 AS a WHERE false") == []
    assert ask(corpus, "SELECT sum(width) AS w, 'inf'::DOUBLE AS x FROM crops") == [{"w": 2400, "x": None}]
    assert ask(corpus, "SELECT max(finished_at) AS t FROM ledger")[0]["t"].endswith("+00:00")


def test_json_of_many_rows_comes_in_pieces(corpus):
    pieces = catalog.sql(corpus, "SELECT range AS n FROM range(5000)", "json")
    assert next(pieces) == '[\n{"n": 0}'
    assert len(list(pieces)) == 5000


def test_csv_follows_the_standard(corpus):
    text = ask(corpus, "SELECT 'a,\"b\"' AS x, E'two\\nlines' AS y, NULL AS z, [1, 2] AS l, true AS t", "csv")
    assert text == 'x,y,z,l,t\r\n"a,""b""","two\nlines",,"[1, 2]",true\r\n'
    rows = list(csv.DictReader(io.StringIO(ask(corpus, "SELECT crop_id, pts_s FROM crops ORDER BY 1", "csv"))))
    assert len(rows) == 60


def test_table_is_for_reading(corpus):
    text = ask(
        corpus, "SELECT crop_id, 'a'::BLOB AS jpeg, 0.1 + 0.2 AS sum, '[bold]x' AS markup FROM crops LIMIT 1", "table"
    )
    assert " bytes>" in text
    assert "0.3" in text
    assert "[bold]x" in text
    assert text.endswith("(1 row)\n")
    assert "(first 500 rows" in ask(corpus, "FROM range(501)", "table")
    assert ask(corpus, "FROM range(500)", "table").endswith("(500 rows)\n")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "FROM crops LIMIT 1",
        "WITH x AS (SELECT 1) FROM x",
        "DESCRIBE crops",
        "SHOW TABLES",
        "SUMMARIZE videos",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE FROM crops",
        "VALUES (1)",
        "TABLE videos",
        "PIVOT detections ON drop_reason USING count(*) GROUP BY video_id",
        "SELECT 'COPY x TO y', 1 AS \"delete\"",
        "SELECT replace('a', 'b', 'c') -- drop table",
        "SELECT crop_id FROM crops;",
    ],
)
def test_statements_that_read_are_answered(corpus, query):
    assert ask(corpus, query, "table")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "0 statements"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"'),
        ("SELECT nothing FROM crops", 'Referenced column "nothing" not found'),
        ("FROM crop", "Table with name crop does not exist"),
        ("SELECT 'a'::INT FROM crops", "Could not convert string 'a'"),
        ("SELECT error('boom')", "boom"),
        ("DROP VIEW crops", "DROP is refused"),
        ("CREATE TABLE t AS SELECT 1", "CREATE is refused"),
        ("INSERT INTO source.runs VALUES (1, 2)", "INSERT is refused"),
        ("WITH x AS (DELETE FROM source.runs RETURNING *) FROM x", "DELETE is refused"),
        ("COPY crops TO 'x.csv'", "COPY is refused"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'", "COPY is refused"),
        ("WITH x AS (\u00a0copy (SELECT 1) TO 'x.csv') FROM x", "COPY is refused"),
        ("ATTACH 'x.duckdb'", "ATTACH is refused"),
        ("SET enable_external_access = true", "SET is refused"),
        ("PRAGMA version", "PRAGMA is refused"),
        ("CALL pragma_version()", "CALL is refused"),
        ("INSTALL httpfs", "LOAD is refused"),
        ("EXPORT DATABASE 'x'", "EXPORT is refused"),
        ("FROM read_text('/etc/hostname')", "disabled by configuration"),
        ("FROM glob('/etc/*')", "disabled by configuration"),
        ("FROM read_csv('https://example.com/x.csv')", "disabled by configuration"),
        ("FROM read_parquet('*.parquet')", "disabled by configuration"),
        ("FROM corpus", "Table with name corpus does not exist"),
    ],
)
def test_everything_else_is_refused_in_one_line(corpus, query, reason):
    with pytest.raises(UserError) as error:
        list(catalog.sql(corpus, query))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert "The views are attributes, captions, crops" in str(error.value)


def test_a_file_of_the_corpus_cannot_be_written_over(tmp_path):
    corpus = small_corpus(str(tmp_path / "c"), videos=["x:a"])
    target = Path(corpus.path("videos/v0.parquet"))
    before = target.read_bytes()
    for spelling in ("COPY", "copy", "\u00a0CoPy/**/"):
        query = f"WITH x AS ({spelling} (SELECT 1) TO '{target}' (FORMAT parquet, USE_TMP_FILE false)) FROM x"
        for prefix in ("", "EXPLAIN ANALYZE ", "EXPLAIN (ANALYZE) "):
            with pytest.raises(UserError):
                list(catalog.sql(corpus, prefix + query))
    assert target.read_bytes() == before


NEW = ("contrast", "colourfulness", "truncation", "overlap", "head_blurred_by", "keypoints")


@pytest.mark.parametrize("old", [1, 3])
def test_crops_that_an_older_version_wrote_are_read_beside_new_ones(old: int, tmp_path: Path, opened: Any) -> None:
    corpus = small_corpus(str(tmp_path / "c"))
    live = live_files(corpus, "detect", CROPS)
    for path in list(live)[:old]:
        table = corpus.read_table(path)
        corpus.write_table(table.drop_columns([name for name in NEW if name in table.column_names]), path)
    connection = opened(corpus)
    assert count(connection, "crops WHERE overlap IS NULL AND sharpness IS NOT NULL") == 60
    ((crop_id,),) = connection.execute("SELECT min(crop_id) FROM crops WHERE video_id = 'youtube:aaa'").fetchall()
    assert connection.execute(f"SELECT keypoints FROM keypoints_of('{crop_id}')").fetchall() == [(None,)]
    assert count(connection, f"jpeg_of('{crop_id}') WHERE octet_length(jpeg) > 0") == 1
    tables_read = [read_live(corpus, CROPS, path, units) for path, units in live.items()]
    assert all(table.schema.equals(tables.CROPS) for table in tables_read)
    some = pa.concat_tables(
        read_live(corpus, CROPS, path, units, ["crop_id", "overlap"]) for path, units in live.items()
    )
    assert (some.column_names, some["overlap"].null_count, len(some)) == (["crop_id", "overlap"], 60, 60)
