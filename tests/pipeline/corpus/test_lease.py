"""The lease: one writer at a time, despite kills and wrong clocks, on local disks and in object stores."""

import dataclasses
import datetime as dt
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.cli import execute
from pipeline.corpus import lease
from pipeline.corpus.files import Corpus
from pipeline.corpus.lease import Holder, break_leases, holders, is_alive, leased
from pipeline.errors import RunFailed, UserError
from tests.corpora import small_corpus
from tests.pipeline.corpus.lease_taker import take_and_count
from tests.runs import ROOT, environment

_HOLD = """
import sys, time
from pipeline.corpus.files import Corpus
from pipeline.corpus.lease import leased
with leased(Corpus(sys.argv[1]), "run r.yaml", "run-1"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["local", "s3"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    if request.param == "local":
        return Corpus(str(tmp_path / "corpus"))
    return Corpus(f"s3://bucket/{uuid.uuid4().hex}?{request.getfixturevalue('s3')}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats of fractions of a second."""
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(lease, "ABANDONED_S", 0.5)


def elsewhere(corpus: Corpus) -> Holder:
    """Turn the lease that is held into one of another machine."""
    (holder,) = holders(corpus)
    moved = dataclasses.replace(holder, host="node-7", machine="node-7 another-boot", user="alice", pid=1)
    corpus.put(f"lease/{holder.token}.json", json.dumps(dataclasses.asdict(moved)).encode())
    return moved


def start_holder(corpus: Corpus) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, corpus.uri], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_hears_who_writes_and_how_to_end_it(corpus: Corpus) -> None:
    with leased(corpus, "run luperson", "20260101T000000Z-abc123"):
        with pytest.raises(UserError) as refused, leased(corpus, "gc"):
            pass
        assert holders(corpus)[0].command == "run luperson"
    for expected in (f"process {os.getpid()}: run luperson (20260101T000000Z-abc123), since 20", "last heartbeat 20"):
        assert expected in str(refused.value)
    assert f"reidforge unlock {corpus.uri}" in str(refused.value)
    assert holders(corpus) == []
    with leased(corpus, "gc"):
        pass


def test_the_lease_ends_with_the_command_that_fails(corpus: Corpus) -> None:
    with pytest.raises(KeyError), leased(corpus, "gc"):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), leased(corpus, "gc"):
        raise KeyboardInterrupt
    assert holders(corpus) == []


def test_a_killed_command_on_this_machine_makes_way_at_once(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    process = start_holder(corpus)
    with pytest.raises(UserError, match=f"process {process.pid}"), leased(corpus, "gc"):
        pass
    process.kill()
    # Not collected: the process is a zombie.
    began = time.monotonic()
    while _is_running(process.pid):
        time.sleep(0.01)
    with leased(corpus, "gc"):
        assert [holder.command for holder in holders(corpus)] == ["gc"]
    assert time.monotonic() - began < 5
    process.wait()


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_another_process_under_the_number_of_a_killed_one_does_not_hold_its_lease(corpus: Corpus) -> None:
    with leased(corpus, "run"):
        (holder,) = holders(corpus)
        assert is_alive(corpus, holder)
        assert not is_alive(corpus, dataclasses.replace(holder, started=holder.started - 1))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hours", [-30, 0, 30])
def test_a_lease_of_another_machine_is_judged_by_its_heartbeats_and_by_no_clock(corpus: Corpus, hours: int) -> None:
    """Whatever the other machine's clock says, a lease whose file changes is held, and one whose file rests is not."""
    then = f"{dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours):%Y-%m-%d %H:%M:%S} UTC"
    with leased(corpus, "run") as held:
        # The next renewal writes this again.
        held.holder = dataclasses.replace(held.holder, machine="node-7", since=then, renewed=then)
        time.sleep(0.3)
        with pytest.raises(UserError, match="in use by"), leased(corpus, "gc"):
            pass
    with leased(corpus, "run"):
        moved = dataclasses.replace(elsewhere(corpus), token="dead", since=then, renewed=then)
        corpus.put("lease/dead.json", json.dumps(dataclasses.asdict(moved)).encode())
    began = time.monotonic()
    with leased(corpus, "gc"):
        assert time.monotonic() - began >= 0.5
        assert [holder.command for holder in holders(corpus)] == ["gc"]


@pytest.mark.usefixtures("quick")
def test_a_command_whose_lease_is_broken_ends_with_one_line(corpus: Corpus) -> None:
    began = time.monotonic()

    def wait() -> None:
        with leased(corpus, "run"):
            threading.Timer(0.2, lambda: execute(["unlock", corpus.uri, "--yes"])).start()
            time.sleep(20)

    with pytest.raises(RunFailed, match=r"was broken while this command ran\. Finished units are kept"):
        wait()
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("quick")
def test_a_command_that_slept_notices_before_it_writes_that_another_holds_the_lease(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leased(corpus, "run") as held:
        # No heartbeat from here on, as in a suspended machine.
        held.end()
        corpus.put(f"lease/{held.holder.token}.json", json.dumps(dataclasses.asdict(held.holder)).encode())
        asleep = lease.Lease(corpus, held.holder)
        break_leases(corpus, holders(corpus))
        with leased(corpus, "other run", "run-2"):
            asleep.check()
            time.sleep(0.2)
            with pytest.raises(RunFailed, match=r"held by .*other run \(run-2\)"):
                asleep.check()


def test_a_broken_lease_stays_broken_though_its_holder_renews_it_at_that_moment(corpus: Corpus) -> None:
    with leased(corpus, "run") as held:
        moved = elsewhere(corpus)
        break_leases(corpus, [moved])
        corpus.put(f"lease/{moved.token}.json", json.dumps(dataclasses.asdict(moved)).encode())
        assert holders(corpus) == []
        with leased(corpus, "gc"):
            held._renew()
            with pytest.raises(RunFailed, match=r"held by .*: gc"):
                held.check()
    assert list(corpus.files("lease")) == []


@pytest.mark.usefixtures("quick")
def test_a_damaged_lease_file_counts_until_it_was_watched(corpus: Corpus) -> None:
    corpus.put("lease/by-hand.json", b"{")
    corpus.put("lease/newer.json", b'{"token": "newer", "colour": "blue"}')
    assert {str(holder).partition(",")[0] for holder in holders(corpus)} == {"unknown@unknown"}
    with leased(corpus, "gc"):
        assert len(holders(corpus)) == 1


def test_of_many_that_begin_at_once_one_at_a_time_gets_in(corpus: Corpus) -> None:
    inside: list[int] = []
    most: list[int] = []
    gate = threading.Barrier(6)

    def enter(_: int) -> bool:
        gate.wait()
        try:
            with leased(corpus, "run"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                inside.pop()
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        for _ in range(5 if corpus.is_local else 2):
            assert any(pool.map(enter, range(6)))
    assert max(most) == 1


def test_a_lease_costs_four_requests(s3: str, s3_requests: list[str]) -> None:
    corpus = Corpus(f"s3://bucket/{uuid.uuid4().hex}?{s3}")
    s3_requests.clear()
    with leased(corpus, "run"):
        pass
    assert [line.split()[0] for line in s3_requests] == ["GET", "PUT", "GET", "DELETE"]


def test_readers_need_no_lease(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"))
    with leased(corpus, "run"):
        for command in (["status"], ["report"], ["variant", "list"], ["sql", "SELECT 1"], ["gc", "--dry-run"]):
            *words, last = command
            arguments = [*words, corpus.uri, last] if last[0] in "S-" else [*command, corpus.uri]
            assert execute(arguments) == 0, arguments
        assert execute(["gc", corpus.uri]) == 2
        assert execute(["variant", "drop", corpus.uri, "base", "--yes", "--cascade"]) == 2
    assert capsys.readouterr().err.count("is in use by") == 2


def test_unlock_says_whose_lease_it_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = Corpus(str(tmp_path / "corpus"))
    assert execute(["unlock", corpus.uri]) == 0
    assert capsys.readouterr().out == f"{corpus.uri} is not in use.\n"
    with leased(corpus, "run"):
        elsewhere(corpus)
        assert execute(["unlock", corpus.uri]) == 2
        assert "--yes" in capsys.readouterr().err
        assert len(holders(corpus)) == 1
        assert execute(["unlock", corpus.uri, "--yes"]) == 0
        assert "in use by alice@node-7, process 1: run, since" in capsys.readouterr().out
        assert holders(corpus) == []


@pytest.mark.slow
def test_processes_killed_at_any_moment_leave_a_corpus_that_the_next_one_can_write(tmp_path: Path) -> None:
    corpus, chance = Corpus(str(tmp_path / "corpus")), random.Random(1)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pipeline.corpus.lease_taker"])

    def start(seed: int) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=take_and_count, args=(corpus.uri, str(tmp_path), seed))
        process.start()
        return process

    running = [start(seed) for seed in range(3)]
    for kill in range(40):
        time.sleep(chance.uniform(0.05, 0.3))
        victim = running.pop(0)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        running.append(start(100 + kill))
    time.sleep(2)
    for process in running:
        process.kill()
        process.join()
    assert list(tmp_path.glob("two-*")) == []
    assert (tmp_path / "entered").stat().st_size > 20
    with leased(corpus, "run"):
        assert len(holders(corpus)) == 1
