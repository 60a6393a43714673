import datetime as dt
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import COMPACT_ABOVE, Ledger, LedgerWriter, retired
from pipeline.corpus.snapshot import Snapshot
from pipeline.run.plan import make_plan
from tests.corpora import small_corpus

WANTED = pa.table({"unit_id": ["v/0"], "inputs": ["i1"]})

ROW: dict[str, Any] = {
    "scope": "", "unit_id": "v/0", "fingerprint": "f1", "inputs": "i1", "status": "ok", "attempts": 1,
    "error_type": None, "error_message": None, "outputs": ["detections/x.parquet", "crops/x.parquet"],
    "rows_out": 3, "seconds": 1.0, "node": "here", "run_id": "r",
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Corpus(str(tmp_path)), "detect")


def test_the_newest_row_of_a_unit_counts(ledger: Ledger) -> None:
    ledger.append([ROW])
    ledger.append([ROW | {"status": "failed", "outputs": []}])
    (row,) = ledger.latest().to_pylist()
    assert row["status"] == "failed"
    assert ledger.history().num_rows == 2


AHEAD = dt.timedelta(hours=2)


def append_ahead(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> None:
    """Commit rows from a machine whose clock is two hours ahead."""

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return dt.datetime.now(tz) + AHEAD

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.corpus.ledger.dt", SimpleNamespace(**vars(dt) | {"datetime": Ahead}))
        Ledger(ledger.corpus, ledger.stage).append(rows)


def test_rows_count_whatever_a_clock_said_before(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append_ahead(ledger, monkeypatch, [ROW | {"fingerprint": "f0"}])
    with caplog.at_level(logging.WARNING, logger="reidforge"):
        for run in ("r1", "r2"):
            ledger.append([ROW | {"run_id": run}])
    (row,) = ledger.latest().to_pylist()
    assert (row["fingerprint"], row["run_id"]) == ("f1", "r2")
    assert row["finished_at"] - dt.datetime.now(dt.UTC) > AHEAD - dt.timedelta(minutes=1)
    assert caplog.text.count("ahead of this machine's clock") == 1
    names = [pq.read_table(ledger.corpus.path(path))["run_id"][0].as_py() for path in ledger.paths()]
    assert names == ["r", "r1", "r2"]
    with LedgerWriter(Ledger(ledger.corpus, "detect")) as writer:
        for index in range(COMPACT_ABOVE + 2):
            writer.add([ROW | {"run_id": f"w{index}"}])
            writer.flush()
    assert ledger.latest()["run_id"].to_pylist() == [f"w{COMPACT_ABOVE + 1}"]
    ledger.compact()
    assert ledger.latest()["run_id"].to_pylist() == [f"w{COMPACT_ABOVE + 1}"]
    (plan,) = [make_plan(Snapshot(ledger.corpus), "detect", "", "f1", WANTED, retires=True)]
    assert plan.counts() == {"done": 1}


def test_rows_of_the_last_success_count_until_new_ones_replace_them(ledger: Ledger) -> None:
    """A redo under another recipe that failed hid the rows that were there."""

    def live() -> list[tuple[str, str]]:
        rows = Snapshot(ledger.corpus).live("detect").to_pylist()
        return [(row["fingerprint"], row["path"]) for row in rows]

    ledger.append([ROW, ROW | {"unit_id": "v/1", "status": "quarantined", "outputs": []}])
    old = [("f1", path) for path in ROW["outputs"]]
    assert live() == old
    for status in ("failed", "quarantined"):
        ledger.append([ROW | {"status": status, "outputs": [], "fingerprint": "f2"}])
        assert live() == old
        plan = make_plan(Snapshot(ledger.corpus), "detect", "", "f2", WANTED, retires=True)
        assert plan.counts() == {status: 1}
    ledger.append([ROW | {"outputs": ["crops/y.parquet"], "fingerprint": "f2"}])
    assert live() == [("f2", "crops/y.parquet")]
    ledger.append([ROW | {"status": "failed", "outputs": [], "fingerprint": "f3"}])
    ledger.append([retired(row, "later") for row in ledger.latest().to_pylist()])
    assert live() == []
    ledger.append([ROW | {"status": "failed", "outputs": []}])
    assert live() == []


@pytest.mark.parametrize("content", [b"", b"PAR1x", b"PAR1" + bytes(100), "other"])
@pytest.mark.parametrize("command", ["status", "plan", "sql", "variant list", "report", "gc"])
def test_a_damaged_file_of_the_ledger_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, content: bytes | str
) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"))
    if isinstance(content, str):
        corpus.write_table(pa.table({"colour": ["red"]}), "ledger/crawl/damaged.parquet")
    else:
        corpus.put("ledger/crawl/damaged.parquet", content)
    arguments = {
        "plan": ["plan", "demo", "--corpus", corpus.uri],
        "sql": ["sql", corpus.uri, "SELECT 1"],
        "variant list": ["variant", "list", corpus.uri],
    }
    assert execute(arguments.get(command, [command, corpus.uri])) == 2
    err = capsys.readouterr().err
    assert "ledger/crawl/damaged.parquet is damaged (" in err
    assert "move the file out of ledger/" in err
    assert err.count("\n") == 1


def test_files_that_are_not_of_the_ledger_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"))
    plan, seen = ["plan", "demo", "--corpus", corpus.uri], {}
    for stray in (False, True):
        if stray:
            for path in (".DS_Store", "crawl/.DS_Store", "crawl/._x.parquet", "notes.txt", "crawl/old/x.parquet"):
                corpus.put(f"ledger/{path}", b"\0\0Bud1")
            corpus.put("layout/.DS_Store", b"\0\0Bud1")
        for arguments in (["status", corpus.uri], plan, ["sql", corpus.uri, "FROM ledger"], ["gc", corpus.uri]):
            assert execute(arguments) == 0
        seen[stray] = capsys.readouterr().out
    assert seen[True] == seen[False]


def test_live_names_every_file_of_finished_units_only(ledger: Ledger) -> None:
    ledger.append([ROW, ROW | {"unit_id": "v/1", "status": "quarantined"}, ROW | {"unit_id": "v/2", "status": "empty"}])
    live = {(row["unit_id"], row["path"]) for row in Snapshot(ledger.corpus).live(ledger.stage).to_pylist()}
    assert live == {(unit, path) for unit in ("v/0", "v/2") for path in ROW["outputs"]}


def test_compaction_keeps_every_row_and_leaves_one_file(ledger: Ledger) -> None:
    for index in range(5):
        ledger.append([ROW | {"unit_id": f"v/{index}"}])
    before = ledger.latest().sort_by("unit_id")
    ledger.compact()
    assert len(ledger.paths()) == 1
    assert ledger.latest().sort_by("unit_id").equals(before)


def test_a_compaction_that_was_killed_between_write_and_delete_does_no_harm(ledger: Ledger) -> None:
    ledger.append([ROW])
    ledger.append([ROW | {"unit_id": "v/1"}])
    old = {path: ledger.corpus.read(path) for path in ledger.paths()}
    ledger.compact()
    for path, content in old.items():
        ledger.corpus.put(path, content)
    assert ledger.latest().num_rows == 2
    ledger.compact()
    assert ledger.history().num_rows == 2


def test_gathered_outcomes_are_committed_when_the_run_breaks_off(ledger: Ledger) -> None:
    def broken_off() -> None:
        with LedgerWriter(ledger) as writer:
            writer.add([ROW])
            assert ledger.paths() == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert ledger.latest()["unit_id"].to_pylist() == ["v/0"]


def test_many_flushes_do_not_leave_many_files(ledger: Ledger) -> None:
    with LedgerWriter(ledger) as writer:
        for index in range(200):
            writer.add([ROW | {"unit_id": f"v/{index}"}])
            writer.flush()
    assert len(ledger.paths()) < 70
    assert ledger.latest().num_rows == 200


def test_the_time_of_commit_is_set_by_the_ledger(ledger: Ledger) -> None:
    before = dt.datetime.now(dt.UTC)
    ledger.append([ROW])
    assert before <= ledger.latest()["finished_at"][0].as_py() <= dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "done"),
        ({"status": "empty"}, "done"),
        ({"fingerprint": "f0"}, "recipe changed"),
        ({"fingerprint": "f0", "status": "quarantined"}, "recipe changed"),
        ({"inputs": "i0"}, "input changed"),
        ({"status": "failed"}, "failed"),
        ({"status": "quarantined"}, "quarantined"),
        ({"status": "retired"}, "new"),
        ({"unit_id": "v/9"}, "new"),
        ({"scope": "other"}, "new"),
    ],
)
def test_a_plan_gives_the_reason_for_each_unit(ledger: Ledger, row: dict[str, Any], reason: str) -> None:
    ledger.append([ROW | row])
    wanted = pa.table({"unit_id": ["v/0"], "inputs": ["i1"]})
    plan = make_plan(Snapshot(ledger.corpus), "detect", "", "f1", wanted, retires=True)
    assert plan.reasons.to_pylist() == [reason]
    assert plan.todo().num_rows == (0 if reason in ("done", "quarantined") else 1)
    assert plan.todo(retry=True).num_rows == (0 if reason == "done" else 1)


def test_units_that_are_not_wanted_any_more_are_retired_in_their_scope_only(ledger: Ledger) -> None:
    ledger.append([ROW, ROW | {"unit_id": "v/1"}, ROW | {"unit_id": "v/2", "scope": "other"}])
    wanted = pa.table({"unit_id": ["v/0"], "inputs": ["i1"]})
    plan = make_plan(Snapshot(ledger.corpus), "detect", "", "f1", wanted, retires=True)
    assert plan.retired["unit_id"].to_pylist() == ["v/1"]
    assert make_plan(Snapshot(ledger.corpus), "detect", "", "f1", wanted, retires=False).retired.num_rows == 0


@pytest.mark.parametrize(
    ("seconds", "rows", "files"), [(0.0, 100, [1, 2, 3]), (1e9, 1, [0, 1, 1]), (1e9, 100, [0] * 3)]
)
def test_outcomes_are_committed_once_they_are_old_or_many(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seconds: float, rows: int, files: list[int]
) -> None:
    monkeypatch.setattr("pipeline.corpus.ledger.FLUSH_SECONDS", seconds)
    monkeypatch.setattr("pipeline.corpus.ledger.FLUSH_ROWS", rows)
    written = []
    with LedgerWriter(ledger) as writer:
        for index in range(3):
            writer.add([ROW | {"unit_id": f"v/{index}"}])
            written.append(len(ledger.paths()))
    assert written == files
    assert ledger.latest().num_rows == 3


def test_a_retired_unit_has_no_files(ledger: Ledger) -> None:
    ledger.append([ROW])
    ledger.append([retired(row, "later") for row in ledger.latest().to_pylist()])
    (row,) = ledger.latest().to_pylist()
    assert (row["status"], row["outputs"], row["rows_out"], row["run_id"]) == ("retired", [], 0, "later")
    assert Snapshot(ledger.corpus).live(ledger.stage).num_rows == 0


def test_a_retired_unit_is_not_retired_again(ledger: Ledger) -> None:
    ledger.append([ROW | {"status": "retired"}])
    wanted = pa.table({"unit_id": ["v/9"], "inputs": ["i1"]})
    assert make_plan(Snapshot(ledger.corpus), "detect", "", "f1", wanted, retires=True).retired.num_rows == 0
