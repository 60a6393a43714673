import io
import random
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.fs
import pytest

from stages.errors import UnitError
from stages.video.facts import VideoFacts
from stages.video.fields import without_combing
from stages.video.frames import excerpt, read_frames
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.stages.crawl.serving import CLIP
from tests.stages.video.clips import FPS, HEIGHT, OPEN_GOP, REFRESH, WIDTH, index_shown, make_clip

LIMITS = VideoLimits()
UNEVEN = [0, 1, 2, 3, 10, 11, 12, 30, 31, 32, 40, 55, 56, 57, 58, *range(60, 150, 2)]

CASES = {
    "open group of pictures": ("a.mp4", {"options": OPEN_GOP}),
    "open group, transport stream": ("b.ts", {"options": OPEN_GOP}),
    "open group, matroska": ("c.mkv", {"options": OPEN_GOP}),
    "gradual refresh": ("d.mp4", {"options": REFRESH}),
    "fragmented": ("e.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "variable rate": ("f.mp4", {"pts": UNEVEN}),
    "variable rate, matroska": ("g.mkv", {"pts": UNEVEN}),
    "with sound": ("h.mp4", {"audio": True}),
    "mpeg4 in avi": ("i.avi", {"codec": "mpeg4"}),
    "mpeg4 with B-frames in avi": ("j.avi", {"codec": "mpeg4", "bframes": 2}),
    "vp9": ("k.webm", {"codec": "libvpx-vp9"}),
    "vp8 with hidden frames": ("l.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "one key frame": ("m.mp4", {"gop": 250}),
    "every frame a key": ("n.mp4", {"gop": 1}),
    "turned": ("o.mp4", {"rotation": 90}),
    "odd sizes": ("p.mkv", {"codec": "ffv1", "crop": (127, 191)}),
    "odd sizes, vp9": ("q.webm", {"codec": "libvpx-vp9", "crop": (101, 191)}),
    "interlaced": ("r.mp4", {"interlaced": True}),
    "interlaced, mpeg2 in a transport stream": ("s.ts", {"codec": "mpeg2video", "interlaced": True}),
}


def read_all(path: Path, facts: VideoFacts, size: int, step: int = 1) -> dict[int, tuple[float, np.ndarray]]:
    """Frames of the whole file, read chunk by chunk, each chunk with a file handle and an excerpt of its own."""
    found = {}
    for start in range(0, facts.frames, size):
        stop = min(start + size, facts.frames)
        wanted = [index for index in range(start, stop) if index % step == 0]
        with path.open("rb") as file:
            frames = read_frames(file, excerpt(facts, start, stop), start, stop, wanted)
            found |= {index: (pts, image) for index, pts, image in frames}
    return found


def assert_same(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    for index, (pts, image) in one.items():
        assert other[index][0] == pts
        np.testing.assert_array_equal(other[index][1], image)


@pytest.mark.parametrize("case", CASES)
def test_any_chunking_gives_the_frames_of_one_pass(case: str, tmp_path: Path) -> None:
    name, arguments = CASES[case]
    path = make_clip(tmp_path / name, **arguments)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
    whole = read_all(path, facts, facts.frames)
    assert list(whole) == list(range(60))
    upright = [np.rot90(image, facts.rotation // 90) for _, image in whole.values()]
    assert [index_shown(image) for image in upright] == list(range(60))
    for size in (1, 7, 20, 33):
        assert_same(whole, read_all(path, facts, size))
    for step in (2, 13, 25):
        assert_same(
            {index: frame for index, frame in whole.items() if index % step == 0}, read_all(path, facts, 20, step)
        )


@pytest.mark.parametrize("threads", [1, 2])
def test_demo_clip_by_chunks_is_what_ffmpeg_decodes(threads: int) -> None:
    with CLIP.open("rb") as file:
        facts = probe(file, LIMITS)
        with av.open(str(CLIP)) as container:
            expected = {
                i: f.to_ndarray(format="bgr24") for i, f in enumerate(container.decode(video=0)) if 180 <= i < 260
            }
        found = {}
        for start in range(180, 260, 16):
            frames = read_frames(file, facts, start, start + 16, range(start, start + 16), threads=threads)
            found |= {index: image for index, _, image in frames}
    assert list(found) == list(expected)
    assert all(np.array_equal(found[index], expected[index]) for index in expected)


def test_times_are_the_streams_own(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", pts=UNEVEN)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
        times = [pts for _, pts, _ in read_frames(file, facts, 0, 60, range(60))]
    assert times == pytest.approx([tick / FPS for tick in UNEVEN])


@pytest.mark.parametrize(
    ("rotation", "shape"), [(0, (HEIGHT, WIDTH)), (90, (WIDTH, HEIGHT)), (180, (HEIGHT, WIDTH)), (270, (WIDTH, HEIGHT))]
)
def test_rotation_is_applied_clockwise(rotation: int, shape: tuple[int, int], tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=3, rotation=rotation)
    plain = make_clip(tmp_path / "b.mp4", frames=3)
    with path.open("rb") as file, plain.open("rb") as upright:
        facts = probe(file, LIMITS)
        [(_, _, image)] = read_frames(file, facts, 0, 3, [1])
        [(_, _, expected)] = read_frames(upright, probe(upright, LIMITS), 0, 3, [1])
    assert (facts.rotation, facts.height, facts.width) == (rotation, *shape)
    np.testing.assert_array_equal(image, np.rot90(expected, -rotation // 90))


@pytest.mark.parametrize("crop", [(127, 191), (101, 191), (128, 64)])
def test_odd_sizes_are_kept(crop: tuple[int, int], tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", "ffv1", frames=3, crop=crop)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
        shapes = {image.shape for _, _, image in read_frames(file, facts, 0, 3, range(3))}
    assert (facts.height, facts.width) == crop
    assert shapes == {(*crop, 3)}


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "mpeg2video")])
def test_interlaced_pictures_lose_their_combing(name: str, codec: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / name, codec, frames=13, interlaced=True)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
        [(_, _, found)] = read_frames(file, facts, 0, 13, [7])
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    woven = frames[7].to_ndarray(format="bgr24")
    # Bit 3 turns on between pictures 7 and 8: its bar is black in the upper field and white in the lower.
    bar = (slice(4, 20), slice(3 * 24 + 4, 3 * 24 + 20))
    assert frames[7].interlaced_frame
    assert np.ptp(woven[bar].mean((1, 2))) > 200
    assert np.ptp(found[bar].mean((1, 2))) < 40
    np.testing.assert_array_equal(found[::2], woven[::2])
    assert index_shown(found) == 7


def test_still_parts_of_interlaced_pictures_keep_every_line() -> None:
    still = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8), (0, 0), 2)
    moved = still.copy()
    moved[1::2, 40:60] = 255 - moved[1::2, 40:60]
    found = without_combing(moved)
    np.testing.assert_array_equal(found[:, :36], still[:, :36])
    np.testing.assert_array_equal(found[:, 64:], still[:, 64:])
    assert np.abs(found[:, 40:60].astype(int) - still[:, 40:60]).mean() < 8
    for shape in ((1, 5, 3), (2, 5, 3), (3, 5, 3)):
        assert without_combing(np.zeros(shape, np.uint8)).shape == shape


def test_a_damaged_frame_costs_itself_and_no_index(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.avi", "mpeg4", gop=1)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start = content.index(bytes(packets[30]))
    content[start : start + packets[30].size] = bytes(packets[30].size)
    file = io.BytesIO(content)
    facts = probe(file, LIMITS)
    found = {index: index_shown(image) for index, _, image in read_frames(file, facts, 0, 60, range(60))}
    assert found == {index: index for index in range(60) if index != 30}
    assert [index for index, *_ in read_frames(file, facts, 20, 40, [25, 30, 35])] == [25, 35]
    with pytest.raises(UnitError, match="none of the 1 frames wanted between 30 and 31"):
        list(read_frames(file, facts, 30, 31, [30]))


def test_a_frame_that_the_decoder_painted_over_damage_is_left_out(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.avi", "mpeg4")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    middle = content.index(packets[30]) + len(packets[30]) // 2
    content[middle : middle + 8] = bytes(8)
    with av.open(io.BytesIO(content)) as container:
        painted = {frame.pts for frame in container.decode(video=0) if frame.is_corrupt}
    assert 30 in painted
    facts = probe(io.BytesIO(content), LIMITS)
    found = [index for index, *_ in read_frames(io.BytesIO(content), facts, 0, 60, range(60))]
    assert found == [index for index in range(60) if index not in painted]


def test_an_excerpt_reaches_back_as_far_as_reading_may_seek() -> None:
    facts = VideoFacts("mov", "h264", 8, 8, 0, 10.0, 100.0, 1000, Fraction(1, 10), [(n, n) for n in range(0, 1000, 10)])
    near = excerpt(facts, 500, 520).key_frames
    # Three key frames back for one that decodes by itself, and three more for a demuxer that lands past it.
    assert near == [(0, 0), *((n, n) for n in range(440, 530, 10))]
    assert excerpt(facts, 0, 5).key_frames == [(0, 0)]


def test_of_two_frames_of_one_time_the_first_has_the_index(tmp_path: Path) -> None:
    path = tmp_path / "equal.mkv"
    source = make_clip(tmp_path / "a.mkv", "mpeg4", bframes=0)
    with av.open(str(source)) as clip, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(clip.streams.video[0])
        for index, packet in enumerate(clip.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = 400 if index == 5 else packet.pts
                packet.stream = stream
                output.mux(packet)
    with path.open("rb") as file:
        facts = probe(file, LIMITS)
        found = [(index, index_shown(image)) for index, _, image in read_frames(file, facts, 0, 60, range(60))]
    assert facts.frames == 60
    assert found == [(index, index) for index in range(60) if index != 5]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_flipped_bits_never_shift_an_index(codec: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / ("a.webm" if "vpx" in codec else "a.mkv"), codec)
    right = []
    for seed in range(15):
        chance = random.Random(seed)
        content = bytearray(path.read_bytes())
        for _ in range(3):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        try:
            facts = probe(io.BytesIO(content), LIMITS)
            frames = list(read_frames(io.BytesIO(content), facts, 0, facts.frames, range(facts.frames)))
        except UnitError:
            continue
        if facts.frames == 60:  # else whole packets are lost, and with them their places
            right += [index_shown(image) == index for index, _, image in frames]
    # Pictures that damage has made unreadable tell anything; a shift would make all of a file's wrong.
    assert len(right) > 400
    assert np.mean(right) > 0.85


def test_files_of_an_object_store_read_like_local_ones() -> None:
    with CLIP.open("rb") as local, pyarrow.fs.LocalFileSystem().open_input_file(str(CLIP)) as remote:
        facts = probe(local, LIMITS)
        assert probe(remote, LIMITS) == facts
        [(_, _, here)] = read_frames(local, facts, 400, 420, [417])
        [(_, _, there)] = read_frames(remote, facts, 400, 420, [417])
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("wanted", [[5, 4], [5, 5], [-1], [20]])
def test_wanted_frames_must_rise_inside_the_stretch(wanted: list[int]) -> None:
    with CLIP.open("rb") as file:
        facts = probe(file, LIMITS)
        with pytest.raises(ValueError, match="must be ascending and lie in"):
            list(read_frames(file, facts, 0, 20, wanted))


def test_nothing_wanted_reads_nothing() -> None:
    facts = VideoFacts("mov", "h264", 8, 8, 0, 10.0, 1.0, 10, Fraction(1, 10), [(0, 0)])
    assert list(read_frames(io.BytesIO(b""), facts, 0, 10, [])) == []
