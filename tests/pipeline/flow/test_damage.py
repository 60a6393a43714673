"""The worst files through a real run: each has its reason in the ledger, and none takes a neighbour with it."""

import os
import struct
import time
from pathlib import Path

import pytest

from tests.runs import CLIP, ask, reidforge, serve, tiny_clip, write_recipe
from tests.stages.video.clips import make_clip, make_sound
from tests.stages.video.mutants import mutant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LIMIT_S = 20


def worst_files(folder: Path) -> dict[str, str | None]:
    """Write them; gives the kind of error that each must end with, None where it is good after all."""
    clip = CLIP.read_bytes()
    written = {
        "good": (clip, None),
        "truncated": (clip[: len(clip) // 2], "truncated"),
        "flipped": (mutant(clip, 1), "truncated|damaged|no_video_stream|unsupported_codec"),
        "hole": (mutant(clip, 3), "truncated|damaged|no_video_stream|unsupported_codec"),
        "no_frames": (_no_frames(folder), "damaged|truncated|no_video_stream|not_a_video"),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(3000), "not_a_video"),
        "sound": (make_sound(folder / "sound.m4a").read_bytes(), "no_video_stream"),
        "huge": (_huge(folder), "too_large"),
        "ten_hours": (_ten_hours(folder), "truncated"),
        "renamed": (make_clip(folder / "a.mkv", frames=30).read_bytes(), None),
    }
    for name, (content, _) in written.items():
        (folder / f"{name}.mp4").write_bytes(content)
    return {name: kind for name, (_, kind) in written.items()}


def _no_frames(folder: Path) -> bytes:
    content = bytearray(make_clip(folder / "b.mp4", frames=30).read_bytes())
    at = content.index(b"stsz")
    content[at + 8 : at + 16] = struct.pack(">II", 0, 0)
    return bytes(content)


def _huge(folder: Path) -> bytes:
    content = bytearray(make_clip(folder / "c.avi", "ffv1", frames=2).read_bytes())
    at = content.index(b"strf") + 12
    content[at : at + 8] = struct.pack("<ii", 16_384, 16_384)
    return bytes(content)


def _ten_hours(folder: Path) -> bytes:
    content = bytearray(make_clip(folder / "d.mkv", frames=10).read_bytes())
    at = content.index(b"\x44\x89\x88") + 3
    content[at : at + 8] = struct.pack(">d", 36_000_000.0)
    return bytes(content)


def test_the_worst_files_end_in_the_ledger_and_the_good_one_is_cut(tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    kinds = worst_files(web)
    corpus = tmp_path / "corpus"
    with serve(web) as address:
        recipe = write_recipe(
            tmp_path / "r.yaml", corpus, [f"{address}/{name}.mp4" for name in kinds], tiny_clip(tmp_path / "clip"),
            run={"max_failed_share": 1},
        )  # fmt: skip
        crawl = reidforge("run", str(recipe), "--until", "crawl")
    assert crawl.returncode == 0, crawl.stderr
    assert "Traceback" not in crawl.stderr
    found = {
        unit.removeprefix("generic:").rpartition("-")[0]: (status, kind, message)
        for unit, status, kind, message in ask(corpus, "SELECT unit_id, status, error_type, error_message FROM ledger")
    }
    assert set(found) == set(kinds)
    for name, (status, kind, message) in found.items():
        if kinds[name] is None:
            assert status == "ok", (name, kind, message)
        else:
            assert status == "quarantined", name
            assert kind in str(kinds[name]).split("|"), (name, kind, message)
            assert len(message) > 20
    _spoil(corpus)
    began = time.monotonic()
    detect = reidforge("run", str(recipe), "--until", "detect", "--set", f"detect.limits.max_seconds={LIMIT_S}")
    assert detect.returncode == 0, detect.stderr
    assert time.monotonic() - began < 200
    units = ask(corpus, "SELECT unit_id, status, error_type, attempts FROM ledger WHERE stage = 'detect'")
    assert {(status, kind) for unit, status, kind, _ in units if "good" in unit} <= {("ok", None), ("empty", "empty")}
    hung = [(status, kind, attempts) for unit, status, kind, attempts in units if "renamed" in unit]
    assert hung == [("quarantined", "timeout", 1)]
    assert ask(corpus, "SELECT count(*) > 20 FROM crops") == [(True,)]


def _spoil(corpus: Path) -> None:
    """Put a pipe that nobody writes to in the place of one video: opening it hangs."""
    [(path,)] = ask(corpus, "SELECT media_path FROM videos WHERE video_id LIKE '%renamed%'")
    (corpus / path).unlink()
    os.mkfifo(corpus / path)
