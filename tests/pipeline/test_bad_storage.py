"""Storage that refuses: one line that names the file, the reason and what to do, and nothing half-written."""

import dataclasses
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import execute
from pipeline.corpus.files import TEMPORARY, Corpus
from pipeline.errors import RunFailed, StorageError
from pipeline.run.stream import Operator
from pipeline.run.units import RESULT, Row, result
from tests import local
from tests.corpora import small_corpus
from tests.pipeline.run import toys
from tests.runs import command, environment
from tests.s3_server import serve_s3

is_root = os.geteuid() == 0


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not is_root or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line of a command that ends with exit code 2."""
    assert execute(arguments) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("reidforge: ")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


def write_recipe(path: Path, corpus: str) -> Path:
    path.write_text(yaml.safe_dump({"corpus": corpus, "crawl": {"urls": ["http://127.0.0.1:9/a.mp4"]}}))
    return path


def test_a_full_disk_keeps_nothing_half_written(full_disk: Path, tmp_path: Path) -> None:
    corpus = Corpus(str(full_disk / "corpus"))
    corpus.put("crops/a.parquet", b"old")
    source = tmp_path / "clip.mp4"
    source.write_bytes(bytes(2 << 20))
    attempts: list[Callable[[], None]] = [
        lambda: corpus.put("crops/a.parquet", bytes(2 << 20)),
        lambda: corpus.upload(source, "media/a.mp4"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=r"cannot be written: No space left on device\. Free some space") as full:
            attempt()
        assert full.value.lasting
    assert corpus.read("crops/a.parquet") == b"old"
    assert [path for path in full_disk.rglob("*") if TEMPORARY in path.name] == []


class _Fill:
    """A step over toy units whose rows do not fit the disk."""

    def load(self, row: Row) -> Row:
        return {"name": row["name"], "blob": b"x"}

    def measure(self, row: Row) -> Row:
        import pyarrow as pa

        units = [f"{row['unit_id']}-{os.urandom(16).hex()}" for _ in range(60_000)]
        return result({"things": pa.table({"unit_id": units, "bytes": [1] * len(units)})}, "")


def test_a_run_on_a_full_disk_ends_and_quarantines_no_unit(full_disk: Path) -> None:
    corpus, fill = Corpus(str(full_disk / "corpus")), _Fill()
    operators = [
        Operator(make_step=lambda: fill.load, fields=toys.BLOB),
        Operator(make_step=lambda: fill.measure, fields=RESULT),
    ]
    stage = dataclasses.replace(
        toys.toy_stage(["a", "b"], operators), execute=lambda job: local.stream(job, operators, 1)
    )
    with pytest.raises(RunFailed, match=r"^test: the corpus could not be written: .*No space left.*resumes from here$"):
        toys.run(corpus, stage)
    assert "quarantined" not in str(local.Snapshot(corpus).latest("test")["status"].to_pylist())


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    recipe = write_recipe(tmp_path / "r.yaml", str(folder / "corpus"))
    folder.chmod(0o555)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    program = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if is_root else []
    done = subprocess.run(
        [*program, *command("run", str(recipe))],
        capture_output=True,
        text=True,
        check=False,
        env=environment() | {"HOME": "/tmp"},
        cwd=Path(__file__).parents[2],
    )
    if "Permission denied" in done.stderr and "reidforge:" not in done.stderr:
        pytest.skip("another user may not read this checkout")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"reidforge: corpus {folder}/corpus: lease/")
    assert "cannot be written: Permission denied. Give this user the right" in line


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus").write_text("not a folder")
    recipe = write_recipe(tmp_path / "r.yaml", str(tmp_path / "corpus"))
    assert "A file stands where a folder should be" in one_line(["run", str(recipe)], capsys)


def test_a_bucket_that_does_not_exist_is_named(s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"s3://no-such-bucket-{uuid.uuid4().hex[:8]}/corpus?{s3}"
    recipe = write_recipe(tmp_path / "r.yaml", uri)
    line = one_line(["run", str(recipe)], capsys)
    assert "cannot be written: NO_SUCH_BUCKET" in line
    assert "Create the bucket, or correct the name" in line
    for arguments in (["status", uri], ["sql", uri, "SELECT 1"], ["gc", uri], ["check", uri]):
        assert "not a corpus" in one_line(arguments, capsys)


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_s3() as server:
        uri = f"s3://bucket/corpus?{server.query}"
        small_corpus(uri)
        server.stop()
        recipe = write_recipe(tmp_path / "r.yaml", uri)
        arguments: list[list[Any]] = [["run", str(recipe)], ["plan", str(recipe)], ["status", uri], ["gc", uri]]
        for each in arguments:
            assert "NETWORK_CONNECTION" in (line := one_line(each, capsys))
            assert "Check the network" in line
