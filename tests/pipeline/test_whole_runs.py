"""Whole runs, as a user starts them: the command in a process of its own, on real video."""

import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.runs import CLIP, ask, command, empty_street, environment, reidforge, rows, serve, tiny_clip, write_recipe

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.mark.slow
def test_from_a_list_of_addresses_to_a_checkpoint_and_nothing_twice(tmp_path: Path, clip: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    content = CLIP.read_bytes()
    (web / "good.mp4").write_bytes(content)
    (web / "truncated.mp4").write_bytes(content[: len(content) // 2])
    (web / "empty.mp4").write_bytes(b"")
    (web / "page.mp4").write_text("<!DOCTYPE html><html><body>Log in to watch</body></html>" * 20)
    empty_street(web / "nobody.mp4")
    names = ["good", "truncated", "empty", "page", "missing", "nobody"]
    corpus = tmp_path / "corpus"
    with serve(web) as address:
        urls = [f"{address}/{name}.mp4" for name in names]
        recipe = write_recipe(tmp_path / "r.yaml", corpus, urls, clip, run={"max_failed_share": 0.3})
        first = reidforge("run", str(recipe))
        _check_the_ledger(corpus)
        assert first.returncode == 1, first.stderr
        assert "crawl 3 of 6" in first.stderr.splitlines()[-1]
        assert "Traceback" not in first.stderr
        again = reidforge("run", str(recipe), "--set", "run.max_failed_share=1")
        assert again.returncode == 0, again.stderr
        assert "Nothing to do" in again.stdout
        changed = reidforge("run", str(recipe), "--set", "run.max_failed_share=1", "--set", "caption.seed=9")
    assert changed.returncode == 0, changed.stderr
    ran = dict(ask(corpus, "SELECT stage, count(DISTINCT run_id) FROM ledger_history GROUP BY stage"))
    assert ran == {"crawl": 1, "detect": 1, "embed": 1, "dedup": 1, "caption": 2, "publish": 2, "pretrain": 2}
    scores = dict(ask(corpus, "SELECT name, count(*) FROM metrics WHERE phase = 'val' GROUP BY name"))
    assert scores["r1"] == scores["map"] == 2


def _check_the_ledger(corpus: Path) -> None:
    crawled = {
        re.sub(r"generic:(\w+)-.*", r"\1", unit): (status, kind, message)
        for unit, status, kind, message in ask(
            corpus, "SELECT unit_id, status, error_type, error_message FROM ledger WHERE stage = 'crawl'"
        )
    }
    assert crawled["good"][0] == crawled["nobody"][0] == "ok"
    assert crawled["empty"][0] == "empty"
    assert "empty" in crawled["empty"][2]
    assert crawled["truncated"][:2] == ("quarantined", "truncated")
    assert crawled["page"][:2] == ("quarantined", "not_a_video")
    assert "HTML" in crawled["page"][2]
    assert crawled["missing"][:2] == ("quarantined", "http_404")
    detected = ask(
        corpus,
        "SELECT DISTINCT split_part(split_part(unit_id, '/', 1), '-', 1), status FROM ledger WHERE stage = 'detect'",
    )
    assert set(detected) == {("generic:good", "ok"), ("generic:nobody", "empty")}
    assert ask(corpus, "SELECT count(*) > 20 FROM manifest JOIN crops USING (crop_id) WHERE len(captions) = 1") == [
        (True,)
    ]
    assert ask(corpus, "SELECT count(*) FROM crops ANTI JOIN captions USING (crop_id)") == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_the_corpus_ends_as_if_nothing_had_happened(
    tmp_path: Path, captioned: Path, seed: int
) -> None:
    corpus = tmp_path / "corpus"
    # The crawl is done: what is killed is detect, embed and caption.
    shutil.copytree(captioned, corpus, ignore=lambda folder, names: _later_stages(Path(folder), names))
    recipe = captioned / "recipe.yaml"
    chance = random.Random(seed)
    for stage in ("detect", "embed", "caption"):
        _run_and_kill(["run", str(recipe), "--corpus", str(corpus), "--until", "caption"], stage, chance.uniform(0, 6))
    done = reidforge("run", str(recipe), "--corpus", str(corpus), "--until", "caption")
    assert done.returncode == 0, done.stderr
    for view in ("videos", "detections", "crops", "embeddings", "captions"):
        assert rows(corpus, view) == rows(captioned, view), view
    finished = (
        "SELECT stage, unit_id, count(*) FROM ledger_history WHERE status = 'ok' GROUP BY ALL HAVING count(*) > 1"
    )
    assert ask(corpus, finished) == []


def _later_stages(folder: Path, names: list[str]) -> list[str]:
    later = {"detect", "embed", "caption", "detections", "crops", "embeddings", "captions", "runs"}
    return [name for name in names if name in later]


def _run_and_kill(arguments: list[str], stage: str, after: float) -> None:
    """Start a run and SIGKILL its driver some seconds after a stage began; a run that ends before is let be."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    for line in process.stderr:
        if f"{stage}: " in line and "to do" in line:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    process.wait(60)


@pytest.mark.slow
def test_garbage_of_a_superseded_recipe_is_found_and_removed(tmp_path: Path, captioned: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(captioned, corpus)
    before = rows(corpus, "captions")
    redone = reidforge(
        "run", str(captioned / "recipe.yaml"), "--corpus", str(corpus), "--from", "caption", "--until", "caption",
        "--set", "caption.seed=5",
    )  # fmt: skip
    assert redone.returncode == 0, redone.stderr
    assert rows(corpus, "captions") != before
    (corpus / "crops" / "deadbeef.parquet").write_bytes(b"left by a killed run")
    spared = reidforge("gc", str(corpus))
    assert spared.stdout.splitlines()[-1].startswith("0 files")
    after = rows(corpus, "captions")
    listed = reidforge("gc", str(corpus), "--dry-run", "--min-age", "0")
    assert "crops/deadbeef.parquet" in listed.stdout
    removed = reidforge("gc", str(corpus), "--min-age", "0")
    assert removed.returncode == 0
    assert not (corpus / "crops" / "deadbeef.parquet").exists()
    assert rows(corpus, "captions") == after
    assert reidforge("gc", str(corpus), "--min-age", "0").stdout.startswith("0 files")


@pytest.mark.slow
def test_a_further_variant_needs_no_video_and_stands_beside_the_first(tmp_path: Path, captioned: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(captioned, corpus)
    recipe = corpus / "recipe.yaml"
    before = ask(corpus, "FROM captions ORDER BY ALL")
    more = ["variant", "create", str(corpus), "more", "--from", str(recipe), "--publish"]
    made = reidforge(*more, "--set", "caption.captions_per_crop=3")
    assert made.returncode == 0, made.stderr
    assert ask(corpus, "FROM captions WHERE variant = 'test' ORDER BY ALL") == before
    listed = ask(corpus, "SELECT variant, captions / crops, bank, published IS NOT NULL FROM variants")
    assert listed == [("more", 3.0, "unipt14", True), ("test", 1.0, "unipt14", False)]
    stages = ask(corpus, "SELECT DISTINCT stage FROM ledger_history WHERE scope = 'more' ORDER BY stage")
    assert stages == [("caption",), ("publish",)]
    assert "Nothing to do" in reidforge(*more, "--set", "caption.captions_per_crop=3").stdout
