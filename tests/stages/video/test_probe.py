import io
import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stages.errors import UnitError
from stages.video.facts import VideoFacts
from stages.video.frames import read_frames
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.stages.crawl.serving import CLIP, PAGE
from tests.stages.video.clips import OPEN_GOP, index_shown, make_clip, make_sound

LIMITS = VideoLimits()


def refusal(content: bytes, limits: VideoLimits = LIMITS) -> UnitError:
    with pytest.raises(UnitError) as caught:
        probe(io.BytesIO(content), limits)
    return caught.value


def test_facts_of_the_demo_clip() -> None:
    with CLIP.open("rb") as file:
        facts = probe(file, LIMITS)
    assert (facts.codec, facts.width, facts.height, facts.rotation, facts.frames) == ("h264", 768, 576, 0, 795)
    assert facts.fps == pytest.approx(10)
    assert facts.duration_s == pytest.approx(79.5)
    assert facts.key_frames[:3] == [(0, 0), (50, 5 / facts.time_base), (100, 10 / facts.time_base)]
    assert len(facts.key_frames) >= 795 // 50


def test_facts_survive_the_row_of_a_table() -> None:
    facts = VideoFacts("avi", "mpeg4", 640, 480, 90, 29.97, 12.5, 374, Fraction(1001, 30_000), [(0, 0), (250, 250)])
    assert VideoFacts.from_row(json.loads(json.dumps(facts.to_row() | {"title": "more"}))) == facts


def test_frame_index_of_key_frames_is_their_rank_in_time(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", options=OPEN_GOP)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
    assert [index for index, _ in facts.key_frames] == [0, 12, 24, 36, 48]


def test_mean_rate_of_uneven_times(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=5, pts=[0, 1, 2, 30, 40])
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
    assert facts.fps == pytest.approx(1.0)
    assert facts.duration_s == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"", "the file is empty"),
        (PAGE, "an HTML page"),
        (b"\n  <html><body>x</body></html>", "an HTML page"),
        (b'{"error": "quota exceeded"}', "JSON text"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n", "an M3U playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "plain text that begins 'ffconcat"),
        (b"\xff\xd8\xff\xe0" + bytes(400), "a JPEG image"),
        (b"PK\x03\x04" + bytes(400), "a ZIP archive"),
        (b"\x1f\x8b" + bytes(400), "gzip"),
        (b"nothing much", "plain text that begins 'nothing much'"),
        (bytes(range(1, 250)), "no video container begins with the bytes 01 02"),
    ],
)
def test_what_is_no_video_is_named(content: bytes, looks_like: str) -> None:
    error = refusal(content)
    assert (error.kind, error.retryable) == ("not_a_video", False)
    assert looks_like in str(error)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    error = refusal(make_sound(tmp_path / "a.m4a").read_bytes())
    assert (error.kind, str(error)) == ("no_video_stream", "the file has no video, only audio streams")


def test_cut_with_the_index_in_front_tells_frames() -> None:
    content = CLIP.read_bytes()
    error = refusal(content[: len(content) // 2])
    assert error.kind == "truncated"
    assert " of the 795 frames that its header announces" in str(error)


def test_cut_before_the_index_tells_bytes(tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") > content.index(b"mdat")
    error = refusal(content[: len(content) // 2])
    assert error.kind == "truncated"
    assert f"it holds {len(content) // 2:,} bytes, of " in str(error)


def test_cut_matroska_tells_seconds(tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.mkv").read_bytes()
    error = refusal(content[: len(content) // 2])
    assert error.kind == "truncated"
    assert "of the 6.0 seconds that its header announces" in str(error)


def test_a_file_that_lost_its_last_frames_is_read(tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.avi", "mpeg4", gop=1).read_bytes()
    with_index_cut = content[: int(len(content) * 0.97)]
    assert 57 <= probe(io.BytesIO(with_index_cut), LIMITS).frames < 60


@pytest.mark.parametrize("share", [0.93, 0.9, 0.83])
def test_a_file_that_lost_a_tenth_of_its_frames_is_cut(share: float, tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.avi", "mpeg4", gop=1).read_bytes()
    error = refusal(content[: int(len(content) * share)])
    assert error.kind == "truncated"
    assert "of the 60 frames that its header announces" in str(error)


@pytest.mark.parametrize(("frames", "whole"), [(60, True), (50, True), (48, True), (46, False)])
def test_a_clip_of_seconds_may_lack_its_last_second(frames: int, whole: bool, tmp_path: Path) -> None:
    """A sound track that ends later, or a rounded running time, is no damage."""
    path = make_clip(tmp_path / "a.mkv", gop=1)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()[: places[frames] if frames < 60 else None]
    if whole:
        assert probe(io.BytesIO(content), LIMITS).frames == frames
    else:
        assert "4.6 of the 6.0 seconds" in str(refusal(content))


def test_a_video_that_equals_every_limit_is_read() -> None:
    limits = VideoLimits(max_bytes=3_962_779, max_pixels=768 * 576, max_duration_s=79.5, max_frames=795)
    with CLIP.open("rb") as file:
        assert probe(file, limits).frames == 795


@pytest.mark.parametrize(
    ("limits", "said"), [({"max_duration_s": 3}, "6 seconds"), ({"max_frames": 10}, "11 frames")], ids=str
)
def test_limits_hold_where_the_header_states_nothing(limits: dict[str, float], said: str, tmp_path: Path) -> None:
    error = refusal(make_clip(tmp_path / "a.ts").read_bytes(), VideoLimits.model_validate(limits))
    assert error.kind == "too_large"
    assert said in str(error)


def test_a_clock_that_jumps_back_is_damage(tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.ts").read_bytes()
    error = refusal(content + content)
    assert error.kind == "damaged"
    assert "the video's clock jumps from 5.000 s to 0.200 s" in str(error)


def test_frames_that_an_edit_list_hides_have_no_index(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", pts=list(range(-2, 58)), bframes=0)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
        assert (facts.frames, facts.duration_s) == (58, pytest.approx(5.8))
        found = {index: index_shown(image) for index, _, image in read_frames(file, facts, 0, 58, range(58))}
    assert found == {index: index + 2 for index in range(58)}


def test_a_clock_that_starts_late_does_not_make_a_cut_file_whole(tmp_path: Path) -> None:
    """A recording's first frame may be stamped 100 s; the stated length counts from there."""
    content = bytearray(make_clip(tmp_path / "a.mkv", gop=1, pts=range(1000, 1060)).read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # Duration, as in the next test; FFmpeg states the time of the end
    content[at : at + 8] = struct.pack(">d", 6000.0)
    facts = probe(io.BytesIO(content), LIMITS)
    assert (facts.frames, facts.duration_s) == (60, pytest.approx(6.0))
    error = refusal(bytes(content[: len(content) // 2]))
    assert error.kind == "truncated"
    assert " of the 6.0 seconds" in str(error)


def test_a_header_of_ten_hours_on_six_seconds_is_cut(tmp_path: Path) -> None:
    content = bytearray(make_clip(tmp_path / "a.mkv").read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes, in milliseconds
    content[at : at + 8] = struct.pack(">d", 36_000_000.0)
    error = refusal(bytes(content))
    assert error.kind == "truncated"
    assert "6.0 of the 36,000.0 seconds" in str(error)
    assert refusal(bytes(content), VideoLimits(max_duration_s=3600)).kind == "too_large"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_bytes": 1000}, "3,962,779 bytes; the recipe allows 1,000"),
        ({"max_pixels": 300_000}, "442,368 pixels (768x576); the recipe allows 300,000"),
        ({"max_duration_s": 60}, "79.5 seconds; the recipe allows 60"),
        ({"max_frames": 100}, "795 frames; the recipe allows 100"),
    ],
)
def test_limits(limits: dict[str, float], said: str) -> None:
    error = refusal(CLIP.read_bytes(), VideoLimits.model_validate(limits))
    assert error.kind == "too_large"
    assert said in str(error)


def test_a_header_of_huge_pictures_is_refused(tmp_path: Path) -> None:
    content = bytearray(make_clip(tmp_path / "a.avi", "ffv1", frames=2).read_bytes())
    at = content.index(b"strf") + 12
    assert struct.unpack("<ii", content[at : at + 8]) == (192, 128)
    content[at : at + 8] = struct.pack("<ii", 16_384, 16_384)
    error = refusal(bytes(content))
    assert (error.kind, "above the 35,389,440 pixels that the recipe allows" in str(error)) == ("too_large", True)


def test_frames_that_do_not_decode_are_damage(tmp_path: Path) -> None:
    content = bytearray(make_clip(tmp_path / "a.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    stop = content.index(b"moov") - 4
    content[start:stop] = bytes(stop - start)
    assert refusal(bytes(content)).kind == "damaged"
