"""Files that are gone or damaged: plan and check say so, and the next run makes them again."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audit import catalog
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.layout import Layout
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.lost import put_back
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow.detect import CROPS
from pipeline.recipe import load_recipe
from pipeline.run.plan import plan_stage
from tests.corpora import ledger_row, small_corpus
from tests.runs import CLIP, ask, reidforge, rows, serve

VIEWS = ("videos", "detections", "crops", "embeddings", "captions")


@pytest.fixture
def corpus(captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Reasons of a plan on one line.
    monkeypatch.setenv("COLUMNS", "200")
    return Path(shutil.copytree(captioned, tmp_path / "corpus"))


def plan(corpus: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Reasons by stage, of stages that have something to do."""
    assert execute(["plan", str(corpus / "recipe.yaml"), "--corpus", str(corpus), "--until", "caption"]) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = lines[0].index("why")
    return {line.split()[0]: line[begin:].strip() for line in lines[1:] if line[begin:].strip()}


def check(corpus: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    code = execute(["check", str(corpus), *options])
    captured = capsys.readouterr()
    assert captured.err.count("\n") == code
    return code, captured.out.splitlines()


def first(corpus: Path, folder: str) -> Path:
    return min((corpus / folder).rglob("*.parquet"))


@pytest.mark.slow
def test_a_sound_corpus_has_no_problem(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(corpus, capsys) == (0, [f"{corpus}: every file that the ledger counts on is there and sound."])
    assert check(corpus, capsys, "--quick") == (0, [f"{corpus}: every file that the ledger counts on is there."])
    assert plan(corpus, capsys) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "stage"), [("crops", "detect"), ("embeddings", "embed"), ("captions", "caption")])
@pytest.mark.parametrize("content", [None, b"", b"PAR1"])
def test_a_file_that_is_gone_is_work_again(
    corpus: Path, capsys: pytest.CaptureFixture[str], folder: str, stage: str, content: bytes | None
) -> None:
    path = first(corpus, folder)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    name = path.relative_to(corpus).as_posix()
    for options in ([], ["--quick"]):
        code, lines = check(corpus, capsys, *options)
        assert code == 1
        assert lines[0].startswith(f"{name}: it does not exist ({stage}: " if content is None else f"{name}: it has ")
    found = plan(corpus, capsys)
    assert found[stage].endswith(" files lost")
    assert next(iter(found)) == stage


@pytest.mark.slow
def test_a_plan_says_that_it_depends_on_a_file_that_is_made_again(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first(corpus, "videos").unlink()
    found = plan(corpus, capsys)
    assert found["crawl"] == "1 files lost"
    assert found["detect"] == "not known before crawl has run"
    # Nothing may be retired for want of the file.
    assert execute(["run", str(corpus / "recipe.yaml"), "--corpus", str(corpus), "--from", "detect"]) == 2
    assert "does not exist. 'reidforge check" in capsys.readouterr().err


@pytest.mark.slow
def test_damage_is_found_and_made_work_by_repair(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut, other, fewer = first(corpus, "crops"), max((corpus / "detections").iterdir()), first(corpus, "captions")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    pq.write_table(pa.table({"colour": ["red"]}), other)
    kept = pq.read_table(fewer)
    pq.write_table(kept.slice(1), fewer)
    media = next((corpus / "media").iterdir())
    content = bytearray(media.read_bytes())
    content[5000] ^= 1
    media.write_bytes(content)
    assert check(corpus, capsys, "--quick") == (
        0, [f"{corpus}: every file that the ledger counts on is there."],
    )  # fmt: skip
    code, lines = check(corpus, capsys)
    assert code == 1
    by_file = {line.partition(": ")[0]: line for line in lines}
    names = {path.relative_to(corpus).as_posix() for path in (cut, other, fewer, media)}
    assert set(by_file) == names
    assert " rows of a unit that wrote " in by_file[fewer.relative_to(corpus).as_posix()]
    assert "the digest differs (crawl: " in "".join(lines)
    assert plan(corpus, capsys) == {}
    assert check(corpus, capsys, "--repair")[0] == 1
    found = plan(corpus, capsys)
    assert found["crawl"] == "1 failed"
    assert "files lost" in found["detect"]
    assert "files lost" in found["caption"]


@pytest.mark.slow
def test_a_run_makes_lost_files_again_and_the_corpus_is_what_it_was(corpus: Path, captioned: Path) -> None:
    for folder in ("crops", "embeddings"):
        first(corpus, folder).unlink()
    media = next((corpus / "media").iterdir())
    with serve(CLIP.parent):
        done = reidforge("run", str(corpus / "recipe.yaml"), "--corpus", str(corpus), "--until", "caption", timeout=300)
    assert done.returncode == 0, done.stderr
    assert media.exists()
    for view in VIEWS:
        assert rows(corpus, view) == rows(captioned, view), view
    again = reidforge("check", str(corpus))
    assert again.returncode == 0, again.stdout


def test_media_that_was_not_to_be_kept_is_not_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"))
    assert execute(["check", corpus.uri, "--quick"]) == 1
    assert "media/" in capsys.readouterr().out
    corpus.put("runs/r/recipe.yaml", b"crawl: {keep_media: false}")
    execute(["check", corpus.uri, "--quick"])
    assert "media/" not in capsys.readouterr().out


def test_packs_of_a_lost_file_that_were_written_again_are_read_from_their_own_files(tmp_path: Path) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"))
    before = Snapshot(corpus).read("detect", CROPS, ["crop_id"])
    packs = [pack["path"] for pack in Snapshot(corpus).packs("detect", CROPS).to_pylist()]
    counts = [pq.read_metadata(corpus.path(path)).num_rows for path in packs]
    layout = Layout(corpus)
    layout.append(
        pa.table(
            {
                "path": packs,
                "file": ["crops/merged.parquet"] * len(packs),
                "first_row": [sum(counts[:index]) for index in range(len(packs))],
                "num_rows": counts,
            }
        )
    )
    snapshot = Snapshot(corpus)
    recipe = load_recipe(Path("recipes/demo.yaml"), [], corpus.uri)
    from pipeline.flow import detect

    assert "files lost" not in plan_stage(snapshot, recipe, detect.STAGE).counts()
    assert set(snapshot.packs("detect", CROPS)["file"].to_pylist()) == {"crops/merged.parquet"}
    put_back(snapshot)
    assert snapshot.packs("detect", CROPS)["file"].to_pylist() == packs
    assert snapshot.read("detect", CROPS, ["crop_id"]).equals(before)


def test_a_plan_lists_each_folder_once(s3: str, s3_requests: list[str]) -> None:
    corpus = small_corpus(f"s3://bucket/check-listing?{s3}")
    snapshot = Snapshot(corpus)
    recipe = load_recipe(Path("recipes/demo.yaml"), [], corpus.uri)
    from pipeline.flow import detect

    s3_requests.clear()
    for _ in range(2):
        plan_stage(snapshot, recipe, detect.STAGE)
    listed = [line for line in s3_requests if "list-type" in line]
    assert len(listed) == len(set(listed)) == 2
    assert Corpus(corpus.uri).exists("crops")


def test_rows_count_in_sql_until_a_redo_has_replaced_them(tmp_path: Path) -> None:
    corpus = small_corpus(str(tmp_path / "corpus"))
    ledger = Ledger(corpus, "detect")
    units = [row["unit_id"] for row in Snapshot(corpus).latest("detect").to_pylist()]
    before = ask(Path(corpus.root), "FROM crops ORDER BY ALL")
    live = ask(Path(corpus.root), "FROM live ORDER BY ALL")
    for status in ("failed", "quarantined"):
        ledger.append([ledger_row(unit, status=status, fingerprint="f1") for unit in units])
        for rebuild in (False, True):
            catalog.refresh(corpus, rebuild=rebuild)
            assert ask(Path(corpus.root), "FROM crops ORDER BY ALL") == before
            assert ask(Path(corpus.root), "FROM live ORDER BY ALL") == live
            states = ask(Path(corpus.root), "SELECT DISTINCT status FROM ledger WHERE stage = 'detect'")
            assert states == [(status,)]
    path = Snapshot(corpus).packs("detect", CROPS).to_pylist()[0]["path"]
    again = [ledger_row(units[0], [path], fingerprint="f1"), ledger_row(units[1], status="retired")]
    ledger.append([*again, ledger_row(units[2], status="failed", fingerprint="f2")])
    for rebuild in (False, True):
        catalog.refresh(corpus, rebuild=rebuild)
        counted = Snapshot(corpus).read("detect", CROPS, ["crop_id"])["crop_id"].to_pylist()
        assert sorted(ask(Path(corpus.root), "SELECT crop_id FROM crops")) == sorted((crop,) for crop in counted)
