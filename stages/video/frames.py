"""Frames by their index; the result does not depend on which stretch of the video is read.

A frame's index is the rank of its pts among the packets' (``stages.video.probe``). Counting the
decoder's output would break after a seek (leading frames of an open group of pictures), at damaged frames and with
hidden frames; ranks do not.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from stages.arrays import Image
from stages.errors import UnitError
from stages.video.facts import VideoFacts
from stages.video.fields import without_combing
from stages.video.limits import VideoLimits
from stages.video.media import MediaFile, open_video, stamp

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream


# A seek that skips fewer frames than this costs more than decoding them.
_WORTH_A_SEEK = 12

# How many key frames back to look for one that decodes by itself. With gradual refresh only the first does.
_LOOK_BACK = 3

# How many key frames before the wanted one a seek aims at, tried in this order.
_AIMS = (0, 1, 3)

# Far enough before the first key frame for any demuxer to land at the start of the file.
_BEFORE_ALL_S = 3600


def read_frames(
    file: MediaFile,
    facts: VideoFacts,
    start: int,
    stop: int,
    wanted: Sequence[int],
    *,
    threads: int = 1,
    limits: VideoLimits | None = None,
) -> Iterator[tuple[int, float, Image]]:
    """Decode the wanted frames of a stretch of a video.

    A frame that cannot be decoded is skipped; the others keep their index.

    Args:
        file: Seekable binary file with the video that ``facts`` describes.
        facts: The result of ``probe``.
        start: First frame index of the stretch.
        stop: Frame index past the stretch.
        wanted: Frame indices inside the stretch, in ascending order.
        threads: Threads of the decoder.
        limits: Limits on the frames' size.

    Yields:
        Frame index, pts in seconds, and the frame: uint8 [H, W, 3], BGR, rotation applied, without the combing of
        interlaced sources.

    Raises:
        UnitError: None of the wanted frames can be decoded.
        ValueError: ``wanted`` is not ascending, or leaves the stretch.
    """
    import av

    if any(b <= a for a, b in pairwise(wanted)) or not all(start <= i < stop for i in wanted):
        raise ValueError(f"wanted frames must be ascending and lie in [{start}, {stop}), not {list(wanted)}")
    found = 0
    max_pixels = (limits or VideoLimits()).max_pixels
    try:
        if wanted:
            with open_video(file, max_pixels, threads) as (container, stream):
                for run in _runs(facts, wanted):
                    for index, frame in _read_run(container, stream, facts, run):
                        found += 1
                        yield index, float((stamp(frame) or 0) * facts.time_base), _picture(frame, facts.rotation)
    except av.FFmpegError as error:
        raise UnitError(f"the video can no longer be read ({error.strerror})", kind="damaged") from error
    if wanted and not found:
        text = f"none of the {len(wanted)} frames wanted between {start} and {stop} can be decoded"
        raise UnitError(text, kind="damaged")


def excerpt(facts: VideoFacts, start: int, stop: int) -> VideoFacts:
    """Facts reduced to what ``read_frames`` needs inside a stretch.

    An hour of video has thousands of key frames; a chunk carries the few that it may seek to.

    Args:
        facts: Of the whole video.
        start: First frame index of the stretch.
        stop: Frame index past the stretch.

    Returns:
        The facts, with the first key frame and those near and inside the stretch.
    """
    nearest = max(_key_of(facts, start) - _LOOK_BACK - max(_AIMS), 1)
    near = facts.key_frames[nearest : _key_of(facts, stop) + 1]
    return replace(facts, key_frames=[facts.key_frames[0], *near])


def _picture(frame: "av.VideoFrame", rotation: int) -> Image:
    image: Image = np.asarray(frame.to_ndarray(format="bgr24", threads=1), np.uint8)
    if frame.interlaced_frame:
        image = without_combing(image)
    return np.ascontiguousarray(np.rot90(image, -rotation // 90)) if rotation else image


def _key_of(facts: VideoFacts, index: int) -> int:
    """Position in ``key_frames`` of the last key frame at or before a frame."""
    return max(bisect_right(facts.key_frames, index, key=lambda key: key[0]) - 1, 0)


def _runs(facts: VideoFacts, wanted: Sequence[int]) -> Iterator[list[int]]:
    """Cut ``wanted`` wherever a seek to the next key frame skips enough frames."""
    run: list[int] = []
    for index in wanted:
        if run and facts.key_frames[_key_of(facts, index)][0] - run[-1] >= _WORTH_A_SEEK:
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _read_run(
    container: "InputContainer", stream: "VideoStream", facts: VideoFacts, run: list[int]
) -> Iterator[tuple[int, "av.VideoFrame"]]:
    """Decode from a key frame to the last frame of the run.

    If the key frame itself is not decoded (it is damaged, or begins a gradual refresh), the frames after it are not
    reliable. Decoding then starts one key frame earlier, so that every stretch yields the frames of a single pass.
    """
    nearest = _key_of(facts, run[0])
    decoded: Iterator[tuple[int, av.VideoFrame]] = iter(())
    for position in range(nearest, max(nearest - _LOOK_BACK, 0) - 1, -1):
        decoded = _decode_from(container, stream, facts, position)
        first = next(decoded, None)
        if first is not None:
            decoded = chain([first], decoded)
            if first[0] == facts.key_frames[position][0]:
                break
    targets = set(run)
    for index, frame in decoded:
        if index in targets:
            yield index, frame
        if index >= run[-1]:
            break


def _decode_from(
    container: "InputContainer", stream: "VideoStream", facts: VideoFacts, position: int
) -> Iterator[tuple[int, "av.VideoFrame"]]:
    """All frames from a key frame on, each with its index, in presentation order."""
    key_index, key_pts = facts.key_frames[position]
    seen: list[int] = []
    last = key_index - 1
    for packet in _packets_from(container, stream, facts, position):
        time = stamp(packet)
        if time is not None and packet.size and time >= key_pts and not packet.is_discard:
            insort(seen, time)
        for frame in _decode(packet):
            shown = stamp(frame)
            # The decoder conceals damage with what it decoded before, which differs from stretch to stretch.
            if shown is None or shown < key_pts or frame.is_corrupt:
                continue
            index = key_index + bisect_left(seen, shown)
            if index > last:
                last = index
                yield index, frame


def _decode(packet: "av.Packet[VideoStream]") -> "list[av.VideoFrame]":
    """Frames that the packet completes; none if it is damaged."""
    import av

    try:
        return packet.decode()
    except av.FFmpegError:
        return []


def _packets_from(
    container: "InputContainer", stream: "VideoStream", facts: VideoFacts, position: int
) -> Iterable["av.Packet[VideoStream]"]:
    """Packets from a key frame on.

    Demuxers seek by decoding time or by position and may land past the key frame; the next seek then aims at an
    earlier key frame, and the last one at a time before the first.
    """
    key_pts = facts.key_frames[position][1]
    aims = [facts.key_frames[position - back][1] for back in _AIMS if back <= position]
    for aim in [*aims, facts.key_frames[0][1] - round(_BEFORE_ALL_S / facts.time_base)]:
        if not _seek(container, stream, aim):
            continue
        packets = _demux(container, stream)
        for packet in packets:
            if packet.is_keyframe and (stamp(packet) or 0) >= key_pts:
                break
        else:
            continue
        if stamp(packet) == key_pts:
            return chain([packet], packets)
    return ()


def _seek(container: "InputContainer", stream: "VideoStream", pts: int) -> bool:
    import av

    try:
        container.seek(pts, stream=stream)
    except av.FFmpegError:
        return False
    return True


def _demux(container: "InputContainer", stream: "VideoStream") -> Iterator["av.Packet[VideoStream]"]:
    """Packets of the stream; they end at the first error of the demuxer, as they did in the probe."""
    import av

    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        return
