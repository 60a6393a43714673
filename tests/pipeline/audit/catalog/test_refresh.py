"""A catalog that is brought up to date shows what one that is built anew shows, whatever happened in between."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from pipeline.audit import catalog
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from tests.corpora import MODEL, crop_id_of, ledger_row, small_corpus
from tests.pipeline.audit.catalog.growth import add_crops, add_duplicates, add_tracks, rows_of
from tests.runs import ROOT, ask


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    corpus = small_corpus(str(tmp_path / "corpus"))
    assert catalog.refresh(corpus).did == "built"
    return corpus


def check(corpus: Corpus) -> None:
    """The catalog, refreshed, equals one that is built anew."""
    assert catalog.refresh(corpus).did == "refreshed"
    refreshed = rows_of(corpus)
    catalog.refresh(corpus, rebuild=True)
    assert refreshed == rows_of(corpus)


def marks(corpus: Corpus) -> dict[str, tuple[str | None, str | None]]:
    rows = ask(Path(corpus.root), "SELECT detection_id, track_id, duplicate_of FROM crops WHERE video_id = 'x:a'")
    return {detection: (track, duplicate) for detection, track, duplicate in rows}


def test_new_changed_and_retired_units_are_taken_in(corpus: Corpus) -> None:
    add_crops(corpus, "x:new", [0, 50])
    add_crops(corpus, "youtube:aaa", [0], unit="youtube:aaa@0")
    Ledger(corpus, "detect").append([ledger_row("youtube:bbb@1", status="retired")])
    Ledger(corpus, "caption").append([ledger_row("base/e0", status="retired", scope="base")])
    # What counted before a redo failed goes on counting.
    Ledger(corpus, "embed").append([ledger_row(f"{MODEL}/c0", status="failed", scope=MODEL)])
    check(corpus)
    assert ask(Path(corpus.root), "SELECT count(*) FROM embeddings") == [(60,)]
    assert ask(Path(corpus.root), "SELECT count(*) FROM crops") == [(60 + 2 - 10 + 1 - 10,)]
    assert ask(Path(corpus.root), "SELECT count(*) FROM captions") == [(0,)]


def test_a_unit_that_was_written_again_under_the_same_name_is_read_again(corpus: Corpus) -> None:
    path = add_crops(corpus, "x:a", [0])
    catalog.refresh(corpus)
    corpus.put(path, corpus.read(add_crops(corpus, "x:a", [0, 50, 100])))
    Ledger(corpus, "detect").append([ledger_row("x:a@0", [path])])
    check(corpus)
    assert ask(Path(corpus.root), "SELECT count(*) FROM crops WHERE video_id = 'x:a'") == [(3,)]


def test_marks_follow_the_tables_that_make_them(corpus: Corpus) -> None:
    add_crops(corpus, "x:a", [0, 50, 100])
    check(corpus)
    add_tracks(corpus, "x:a", [0, 50])
    add_duplicates(corpus, "dedup", "x:a", {"x:a/50/0": "x:a/0/0"})
    check(corpus)
    first = crop_id_of("x:a/0/0")
    assert marks(corpus) == {
        "x:a/0/0": ("x:a/t0", None), "x:a/50/0": ("x:a/t0", first), "x:a/100/0": (None, None),
    }  # fmt: skip
    # The crop that represents another becomes a duplicate itself: both point to the last one.
    add_duplicates(corpus, "dedup_across", "across", {"x:a/0/0": "youtube:aaa/0/0"})
    add_tracks(corpus, "x:a", [50, 100], track="t1")
    check(corpus)
    last = crop_id_of("youtube:aaa/0/0")
    assert marks(corpus) == {
        "x:a/0/0": (None, last), "x:a/50/0": ("x:a/t1", last), "x:a/100/0": ("x:a/t1", None),
    }  # fmt: skip
    Ledger(corpus, "track").append([ledger_row("x:a", status="retired")])
    check(corpus)
    assert {track for track, _ in marks(corpus).values()} == {None}


def test_merged_ledgers_bring_nothing_new(corpus: Corpus) -> None:
    add_crops(corpus, "x:a", [0])
    add_crops(corpus, "x:b", [0])
    catalog.refresh(corpus)
    before = rows_of(corpus)
    Ledger(corpus, "detect").compact()
    check(corpus)
    assert rows_of(corpus) == before
    # Merged twice before the catalog sees it, with rows that it never saw.
    add_crops(corpus, "x:c", [0])
    Ledger(corpus, "detect").compact()
    add_crops(corpus, "x:d", [0])
    Ledger(corpus, "detect").compact()
    check(corpus)
    assert ask(Path(corpus.root), "SELECT count(*) FROM crops WHERE video_id LIKE 'x:%'") == [(4,)]


def test_compaction_moves_packs_and_changes_no_row(tmp_path: Path) -> None:
    corpus = small_corpus(str(tmp_path / "nine"), videos=[f"x:{number}" for number in range(9)])
    # The first rows of a pack no longer count: compaction leaves them out, and those behind them move.
    Ledger(corpus, "detect").append([ledger_row("x:0@0", status="retired")])
    before = rows_of(corpus)
    pictures = "SELECT crop_id, md5(jpeg) FROM jpegs_of((SELECT list(crop_id) FROM crops)) ORDER BY ALL"
    seen = ask(Path(corpus.root), pictures)
    assert execute(["compact", corpus.root, "--grace", "0"]) == 0
    assert ask(Path(corpus.root), "SELECT count(DISTINCT file) FROM live WHERE path LIKE 'crops/%'") == [(1,)]
    assert rows_of(corpus) == before
    assert execute(["gc", corpus.root, "--min-age", "0"]) == 0
    assert ask(Path(corpus.root), pictures) == seen
    with duckdb.connect(corpus.path(catalog.FILE), read_only=True) as plain:
        plain.execute("SET VARIABLE corpus = $root", {"root": corpus.root})
        for crop_id, digest in seen[:3]:
            assert plain.execute(f"SELECT md5(jpeg) FROM jpeg_of('{crop_id}')").fetchall() == [(digest,)]
    catalog.refresh(corpus, rebuild=True)
    assert rows_of(corpus) == before


def test_a_ledger_that_lost_rows_is_read_anew(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    add_crops(corpus, "x:a", [0])
    catalog.refresh(corpus)
    newest = Ledger(corpus, "detect").paths()[-1]
    corpus.delete(newest)
    assert catalog.refresh(corpus).did == "built"
    assert ask(Path(corpus.root), "SELECT count(*) FROM crops") == [(60,)]
    assert "knows rows that the ledger lacks" in caplog.text


@pytest.mark.parametrize("damage", ["text", "cut", "foreign", "empty"])
def test_a_catalog_that_cannot_be_used_is_built_anew(
    damage: str, corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(corpus.path(catalog.FILE))
    content = path.read_bytes()
    path.write_bytes(
        {"text": b"not a database", "cut": content[: len(content) // 2], "empty": b""}.get(damage, content)
    )
    if damage == "foreign":
        with duckdb.connect(str(path)) as connection:
            connection.execute("UPDATE source.about SET value = '?' WHERE key = 'format'")
    assert ask(Path(corpus.root), "SELECT count(*) FROM crops") == [(60,)]
    assert len([record for record in caplog.records if "built anew" in record.getMessage()]) == 1


def test_a_moved_or_copied_corpus_answers_by_itself(corpus: Corpus, tmp_path: Path) -> None:
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(corpus.root, copy)
    Path(corpus.root).rename(moved)
    (crop_id,) = ask(copy, "SELECT min(crop_id) FROM crops")[0]
    shutil.rmtree(copy / "media", ignore_errors=True)
    question = f"SELECT (SELECT count(*) FROM crops), (SELECT octet_length(jpeg) > 0 FROM jpeg_of('{crop_id}'))"
    for folder in (copy, moved):
        asked = [
            sys.executable,
            "-c",
            f"import duckdb; print(duckdb.connect('catalog.duckdb', read_only=True).execute({question!r}).fetchall())",
        ]
        done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[(60, True)]"
        assert catalog.refresh(Corpus(str(folder))).did == "nothing"
    assert str(tmp_path).encode() not in (moved / "catalog.duckdb").read_bytes()


def test_two_queries_at_once_and_a_reader_of_the_old_file(corpus: Corpus) -> None:
    with duckdb.connect(corpus.path(catalog.FILE), read_only=True) as reader:
        add_crops(corpus, "x:a", [0])
        command = [
            sys.executable,
            "-m",
            "pipeline",
            "sql",
            corpus.root,
            "SELECT count(*) FROM crops",
            "--format",
            "csv",
        ]
        asked = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [process.communicate()[0].split()[-1] for process in asked] == ["61", "61"]
        assert reader.execute("SELECT count(*) FROM crops").fetchall() == [(60,)]
    assert not [path for path in Path(corpus.root).iterdir() if path.name.startswith(".tmp-")]


GROW = """
import sys
from pipeline.audit import catalog
from pipeline.corpus.files import Corpus
print("ready", flush=True)
catalog.refresh(Corpus(sys.argv[1]))
"""


@pytest.mark.slow
def test_kills_leave_the_old_catalog_or_the_new_one(corpus: Corpus) -> None:
    draw = random.Random(11)
    killed = 0
    for number in range(30):
        add_crops(corpus, f"x:{number}", range(0, 50 * draw.randrange(1, 9), 50))
        add_tracks(corpus, f"x:{draw.randrange(number + 1)}", [0, 50], track=f"t{number}")
        process = subprocess.Popen([sys.executable, "-c", GROW, corpus.root], cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        with duckdb.connect(corpus.path(catalog.FILE), read_only=True) as connection:
            assert connection.execute("SELECT count(*) >= 60 FROM crops").fetchall() == [(True,)]
    assert killed > 10
    refreshed = rows_of(corpus)
    catalog.refresh(corpus, rebuild=True)
    assert refreshed == rows_of(corpus)


def test_a_corpus_that_cannot_be_written_to_answers(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    add_crops(corpus, "x:a", [0])
    before = Path(corpus.path(catalog.FILE)).read_bytes()
    # Root may write everywhere, so the folder's mode would not stop the tests.
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != corpus.root and allowed(path, mode))
    assert ask(Path(corpus.root), "SELECT count(*) FROM crops") == [(61,)]
    assert catalog.refresh(corpus).did == "nothing"
    assert Path(corpus.path(catalog.FILE)).read_bytes() == before


def test_the_command_says_what_it_did(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["catalog", corpus.root]) == 0
    add_crops(corpus, "x:a", [0])
    assert execute(["catalog", corpus.root]) == 0
    assert execute(["catalog", corpus.root, "--rebuild"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"Up to date: {corpus.path(catalog.FILE)}, ")
    assert said[1].startswith("Refreshed from 1 new file of the ledger: ")
    assert said[2].startswith("Built: ")
