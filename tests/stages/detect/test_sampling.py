from pathlib import Path

import av
import numpy as np
import pytest

from stages.detect.config import SamplingConfig
from stages.detect.sampling import change, facts_to_read, read_sampled, thumbnail
from stages.errors import UnitError
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.stages.crawl.serving import CLIP
from tests.stages.detect.test_chunks import spans_of
from tests.stages.video.clips import make_clip

LIMITS = VideoLimits()
KINDS = {
    "every frames": {"every_frames": 4},
    "every seconds": {"every_seconds": 0.7},
    "key frames": {"key_frames": True},
    "adaptive": {"every_frames": 2, "adaptive": 40, "adaptive_reset": 5},
    "adaptive by seconds": {"every_seconds": 0.3, "adaptive": 25, "adaptive_reset": 3},
    "adaptive key frames": {"key_frames": True, "adaptive": 25, "adaptive_reset": 2},
}
SOURCES = {
    "variable rate": ("a.mp4", {"pts": [0, 1, 2, 3, 10, 11, 12, 30, 31, 32, 40, 55, 56, 57, 58, *range(60, 150, 2)]}),
    "turned": ("b.mp4", {"rotation": 90}),
    "odd sizes": ("c.webm", {"codec": "libvpx-vp9", "crop": (127, 191)}),
    "interlaced": ("d.mp4", {"interlaced": True}),
    "a key frame every other frame": ("e.mp4", {"gop": 2}),
}


def read(path: Path, sampling: dict[str, object], seconds: float) -> list[tuple[int, float, bytes]]:
    """What all chunks of a video give together, each read with a file handle and an excerpt of the facts of its own."""
    config = SamplingConfig.model_validate(sampling)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
    found = []
    for start, stop in spans_of(facts.frames, facts.fps, seconds):
        near = facts_to_read(facts, start, stop, config)
        with path.open("rb") as file:
            for index, pts_s, image in read_sampled(file, near, start, stop, config, LIMITS):
                assert start <= index < stop
                found.append((index, pts_s, image.tobytes()))
    return found


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_length_of_chunks_changes_no_frame(kind: str, source: str, tmp_path: Path) -> None:
    name, arguments = SOURCES[source]
    path = make_clip(tmp_path / name, **arguments)
    whole = read(path, KINDS[kind], 1000)
    assert len(whole) > 3 or kind == "adaptive key frames"
    for seconds in (0.4, 1.3, 2.6):
        assert read(path, KINDS[kind], seconds) == whole


def test_a_chunk_of_a_long_video_knows_few_key_frames(tmp_path: Path) -> None:
    with make_clip(tmp_path / "a.mp4", gop=1).open("rb") as file:
        facts = probe(file, LIMITS)
    assert len(facts.key_frames) == 60
    near = facts_to_read(facts, 40, 44, SamplingConfig(every_frames=4))
    assert len(near.key_frames) < 20
    assert near.key_frames[0] == facts.key_frames[0]


def test_key_frames_are_those_of_the_stream() -> None:
    with CLIP.open("rb") as file:
        facts = probe(file, LIMITS)
        found = list(read_sampled(file, facts, 0, 300, SamplingConfig(key_frames=True), LIMITS))
    assert [index for index, *_ in found] == [index for index, _ in facts.key_frames if index < 300]


def moving(path: Path, moves: set[int], frames: int = 48) -> Path:
    """A clip in which a bright block jumps at the given frames and is still between them."""
    place = 0
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for index in range(frames):
            place += index in moves
            image = np.full((128, 192, 3), 90, np.uint8)
            image[40:100, 10 + 20 * (place % 8) : 30 + 20 * (place % 8)] = 200
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def test_adaptive_keeps_what_moved_and_one_frame_of_each_group(tmp_path: Path) -> None:
    path = moving(tmp_path / "a.mp4", {5, 6, 20, 37})
    sampling = {"every_frames": 1, "adaptive": 8, "adaptive_reset": 16}
    assert [index for index, *_ in read(path, sampling, 100)] == [0, 5, 6, 16, 20, 32, 37]
    assert [index for index, *_ in read(path, sampling, 0.7)] == [0, 5, 6, 16, 20, 32, 37]
    assert len(read(path, {"every_frames": 1, "adaptive": 0}, 100)) == 48


def test_slow_changes_add_up() -> None:
    path_of_light = [np.full((90, 160, 3), level, np.uint8) for level in range(100, 130, 2)]
    seen = [thumbnail(image) for image in path_of_light]
    assert change(seen[0], seen[1]) == 2
    assert change(seen[0], seen[5]) == 10


def test_a_distant_walker_is_a_change_and_noise_is_none() -> None:
    street = np.random.default_rng(0).integers(80, 170, (720, 1280, 3), np.uint8)
    noisy = np.clip(street.astype(int) + np.random.default_rng(1).normal(0, 12, street.shape), 0, 255).astype(np.uint8)
    walker = street.copy()
    walker[300:360, 600:622] = 20
    assert change(thumbnail(street), thumbnail(noisy)) < 2
    assert change(thumbnail(street), thumbnail(walker)) > 8


def test_damaged_frames_are_told_though_those_before_them_are_sound(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.avi", "mpeg4", gop=1)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for packet in packets[30:33]:
        start = content.index(bytes(packet))
        content[start : start + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    config = SamplingConfig.model_validate({"every_frames": 1, "adaptive": 8, "adaptive_reset": 8})
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
        with pytest.raises(UnitError, match="none of the frames wanted between 30 and 33"):
            list(read_sampled(file, facts, 30, 33, config, LIMITS))
