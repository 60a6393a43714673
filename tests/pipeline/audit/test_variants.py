"""Variants side by side: listed, compared, made and dropped, as a user does it."""

import csv
import datetime as dt
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

import schemas.tables as tables
from pipeline.audit import catalog, garbage
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from tests.corpora import MODEL, Row, ledger_row, small_corpus
from tests.runs import ask

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two variants: in the second, red has become orange, and khaki goes untold."""
    corpus = small_corpus(str(tmp_path_factory.mktemp("corpora") / "small"), variants=["one", "two"])
    recaption(corpus, "two", "clearer", ledger={"fingerprint": "c1", "run_id": "run-2"})
    corpus.put("runs/run-2/recipe.yaml", yaml.safe_dump({"caption": {"bank": "mine.yaml"}}).encode())
    return corpus


def recaption(corpus: Corpus, variant: str, name: str, ledger: Row) -> None:
    """Write a variant's captions anew, changed."""
    rows = corpus.read_table(f"captions/{variant}/c0.parquet").to_pylist()
    for row in rows:
        for caption in row["captions"]:
            caption["text"] = caption["text"].replace("a red jacket", "an orange jacket")
        for reading in row["attributes"]:
            if reading["attribute"] == "upper_colour" and reading["value"] == "red":
                reading["value"] = "orange"
            if reading["attribute"] == "lower_colour" and reading["value"] == "gray":
                reading["used"] = False
    path = f"captions/{variant}/{name}.parquet"
    corpus.write_table(pa.Table.from_pylist(rows, tables.CAPTIONS), path)
    row = ledger_row(f"{variant}/e0", [path], scope=variant, rows_out=len(rows), **ledger)
    Ledger(corpus, "caption").append([row])


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = execute(["variant", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_list_tells_of_each_variant_what_it_is(corpus: Corpus, say: Say) -> None:
    code, out, _ = say("list", corpus.uri, "--format", "json")
    one, two = json.loads(out)
    assert code == 0
    assert (one["name"], one["captions"], one["crops"], one["recipe"]) == ("one", 61, 60, "c0")
    assert (one["model"], one["bank"]) == (MODEL, None)
    assert one["created"].startswith("20")
    assert one["published"].startswith("20")
    assert (two["recipe"], two["bank"]) == ("c1", "mine.yaml")
    assert two["published"].endswith("(outdated)")
    assert "one" in say("list", corpus.uri)[1]


def test_the_summary_counts_what_changed(corpus: Corpus, say: Say) -> None:
    one, two = json.loads(say("diff", corpus.uri, "one", "two", "-f", "json", "--show", "summary")[1])
    assert one["crops"] == two["crops"] == 60
    assert one["crops_only_here"] == two["crops_only_here"] == 0
    assert one["crops_changed"] == two["crops_changed"] == 15
    assert (one["vocabulary"], two["vocabulary"]) == (19, 21)
    assert (one["fewest_words"], one["most_words"]) == (13, 13)
    assert (one["stated_per_crop"], two["stated_per_crop"]) == (3, 2.8)


def test_moves_are_a_confusion_table_of_what_is_told(corpus: Corpus, say: Say) -> None:
    rows = list(csv.DictReader(io.StringIO(say("diff", corpus.uri, "one", "two", "-f", "csv", "--show", "moves")[1])))
    assert rows == [
        {"attribute": "lower_colour", "before": "gray", "after": "not stated", "crops": "12", "share": "0.2"},
        {"attribute": "upper_colour", "before": "red", "after": "orange", "crops": "15", "share": "0.25"},
    ]


def test_the_picture_shows_every_part(corpus: Corpus, say: Say) -> None:
    code, out, _ = say("diff", corpus.uri, "one", "two")
    assert code == 0
    for expected in ("crops changed", "vocabulary", "words per caption", "25.0%", "one \\ two", "not stated"):
        assert expected in out
    assert "words only in two: an, orange" in out
    assert "two: A young man is walking, wearing an orange jacket" in out


def test_json_holds_all_parts_in_one_object(corpus: Corpus, say: Say) -> None:
    parts = json.loads(say("diff", corpus.uri, "one", "two", "-f", "json")[1])
    assert set(parts) == {"summary", "attributes", "moves", "words", "captions"}
    assert {row["attribute"]: row["moved"] for row in parts["attributes"]} == {
        "gender": 0, "lower_colour": 12, "upper_colour": 15,
    }  # fmt: skip
    assert len(parts["captions"]) == 15


def test_crops_that_one_variant_lacks_are_counted_not_confused(tmp_path: Path, say: Say) -> None:
    corpus = small_corpus(str(tmp_path), variants=["one", "two"])
    kept = corpus.read_table("captions/two/c0.parquet").slice(0, 50)
    corpus.write_table(kept, "captions/two/less.parquet")
    Ledger(corpus, "caption").append([ledger_row("two/e0", ["captions/two/less.parquet"], scope="two")])
    parts = json.loads(say("diff", corpus.uri, "one", "two", "-f", "json")[1])
    assert [row["crops_only_here"] for row in parts["summary"]] == [10, 0]
    assert [row["crops"] for row in parts["attributes"]] == [50, 50, 50]
    assert parts["moves"] == []


def test_the_same_in_sql(corpus: Corpus) -> None:
    asked = "SELECT before, after FROM variant_moves('one', 'two') WHERE attribute = 'upper_colour'"
    assert json.loads("".join(catalog.sql(corpus, asked, "json"))) == [{"before": "red", "after": "orange"}]
    agreed = "SELECT sum(crops) AS n FROM variant_confusion('one', 'two') WHERE before = after"
    assert json.loads("".join(catalog.sql(corpus, agreed, "json"))) == [{"n": 153}]
    words = "SELECT times FROM variant_words('two') WHERE word = 'orange'"
    assert json.loads("".join(catalog.sql(corpus, words, "json"))) == [{"times": 15}]


def test_the_catalog_file_has_the_variants(corpus: Corpus) -> None:
    import duckdb

    catalog.refresh(corpus)
    with duckdb.connect(corpus.path(catalog.FILE), read_only=True) as connection:
        assert connection.execute("SELECT variant, bank FROM variants").fetchall() == [
            ("one", None), ("two", "mine.yaml"),
        ]  # fmt: skip


def test_a_dropped_variant_is_gone_for_readers_and_gc_removes_its_files(tmp_path: Path, say: Say) -> None:
    corpus = small_corpus(str(tmp_path), variants=["one", "two"])
    code, out, _ = say("drop", corpus.uri, "two", "--cascade", "--yes")
    assert code == 0
    assert "Dropped variant two" in out
    assert ask(tmp_path, "SELECT DISTINCT variant FROM captions") == [("one",)]
    assert ask(tmp_path, "SELECT DISTINCT variant FROM manifest") == [("one",)]
    unnamed = garbage.find(corpus, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
    folders = {corpus.relative(info.path).rpartition("/")[0] for info in unnamed}
    assert folders == {"captions/two", "manifests/two", "checkpoints/two", "checkpoints/two/step-40"}
    assert say("drop", corpus.uri, "two", "--yes")[0] == 2


def test_a_variant_in_use_is_not_dropped_alone(corpus: Corpus, say: Say) -> None:
    code, _, err = say("drop", corpus.uri, "one", "--yes")
    assert code == 2
    assert "its manifest of 60 crops and 1 training on that manifest depend on its captions" in err
    assert "--cascade" in err
    assert ask(Path(corpus.uri), "SELECT count(*) FROM captions WHERE variant = 'one'") == [(61,)]


def test_nothing_is_dropped_unasked(corpus: Corpus, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = say("drop", corpus.uri, "one", "--cascade")
    assert code == 2
    assert "add --yes" in err
    monkeypatch.setattr("sys.stdin", None)
    assert say("drop", corpus.uri, "one", "--cascade") == (2, "", err)


@pytest.mark.parametrize(
    ("typed", "code", "expected"),
    [
        (b"n\n", 0, "Kept variant one."),
        (b"\n", 0, "Kept variant one."),
        (b"\x04", 130, "reidforge: stopped; finished units are kept, and the same command resumes from here"),
    ],
    ids=["no", "no answer", "end of file"],
)
def test_a_question_not_answered_with_yes_drops_nothing(
    typed: bytes, code: int, expected: str, corpus: Corpus, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as keys, os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        keys.write(typed)
        ended, out, err = say("drop", corpus.uri, "one", "--cascade")
    assert ended == code
    question, answer = (out + err).split("[y/N]: ", 1)
    assert question.startswith("Drop variant one of ")
    assert answer.strip("\n") == expected
    assert ask(Path(corpus.uri), "SELECT count(*) FROM captions WHERE variant = 'one'") == [(61,)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["diff", "{corpus}", "one", "three"], "variant 'three': no such variant here; there are one, two"),
        (["diff", "{corpus}", "one", "two", "-f", "csv"], "csv holds one table: add --show"),
        (["drop", "{corpus}", "three"], "no such variant"),
        (["list", "/nowhere"], "not a corpus"),
        (["create", "{corpus}", "a b", "--from", "recipes/demo.yaml"], "variant 'a b': a name is 1 to 64"),
        (["create", "{corpus}", "../x", "--from", "recipes/demo.yaml"], "variant '../x'"),
        (["create", "{corpus}", "new", "--from", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["create", "{corpus}", "new", "--from", "recipes/demo.yaml"], "no embeddings of reidforge-clip-s are in"),
        (["create", "{corpus}", "one", "--from", "recipes/demo.yaml"], "variant 'one' already exists"),
        (["create", "{corpus}", "new", "--from", "recipes/demo.yaml", "--set", "caption.bank=x"], "no bank 'x'"),
    ],
)
def test_bad_input_is_one_clear_line(corpus: Corpus, say: Say, arguments: list[str], expected: str) -> None:
    code, out, err = say(*(argument.format(corpus=corpus.uri) for argument in arguments))
    assert (code, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1
