"""Facts of a video from one pass over its packets, and refusal of files whose packets contradict the header."""

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stages.errors import UnitError
from stages.video.facts import VideoFacts
from stages.video.limits import VideoLimits
from stages.video.media import MediaFile, open_video, stamp
from stages.video.sniff import size_of, unreadable

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Containers whose header states a duration. For others FFmpeg estimates one, often far off.
_STATES_DURATION = ("mov", "matroska", "avi", "asf")

# A file that lacks its last frames is still worth reading; one that lacks more was cut during the download.
_WHOLE = 0.95

_TRIES_TO_DECODE = 100


@dataclass
class _Scan:
    """Times of the packets, in stream ticks."""

    stamps: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    end_s: float = 0.0
    error: str = ""


def probe(file: MediaFile, limits: VideoLimits) -> VideoFacts:
    """Read every packet of a video, decode its first frame, and return its facts.

    Args:
        file: Seekable binary file: an open local file, or a stream of an object store.
        limits: Limits beyond which the video is refused.

    Returns:
        The facts; ``frame_index`` of a key frame is the rank of its pts among those of all packets.

    Raises:
        UnitError: Of kind ``not_a_video``, ``no_video_stream``, ``unsupported_codec``, ``truncated``, ``damaged``
            or ``too_large``.
    """
    import av

    _refuse_above(size_of(file), limits.max_bytes, "bytes")
    try:
        with open_video(file, limits.max_pixels) as (container, stream):
            _check_header(container, stream, limits)
            scan = _scan(container, stream, limits)
            _check_whole(container, stream, scan)
            facts = _facts(container, stream, scan)
        _refuse_above(facts.duration_s, limits.max_duration_s, "seconds")
        with open_video(file, limits.max_pixels) as (container, stream):
            return _displayed(facts, _first_frame(container, stream))
    except av.FFmpegError as error:
        raise unreadable(file, str(error.strerror)) from error


def _refuse_above(value: float, most: float, unit: str) -> None:
    if value > most:
        raise UnitError(f"the video has {value:,.15g} {unit}; the recipe allows {most:,.15g}", kind="too_large")


def _check_header(container: "InputContainer", stream: "VideoStream", limits: VideoLimits) -> None:
    """Refuse by the header alone, before a frame is decoded."""
    context = stream.codec_context
    if not context.width * context.height:
        # FFmpeg drops a size that it refuses.
        text = f"the header states no frame size, or one above the {limits.max_pixels:,} pixels that the recipe allows"
        raise UnitError(text, kind="too_large")
    _refuse_above(context.width * context.height, limits.max_pixels, f"pixels ({context.width}x{context.height})")
    _refuse_above(_stated_duration(container) or 0, limits.max_duration_s, "seconds")
    _refuse_above(stream.frames, limits.max_frames, "frames")


def _stated_duration(container: "InputContainer") -> float | None:
    if container.duration is None or not container.format.name.startswith(_STATES_DURATION):
        return None
    return float(container.duration) / 1e6


def _scan(container: "InputContainer", stream: "VideoStream", limits: VideoLimits) -> _Scan:
    """Read all packets of all streams, up to the first error of the demuxer."""
    import av

    scan = _Scan()
    start = None
    try:
        for packet in container.demux():
            time = stamp(packet)
            if time is None or not packet.size:
                continue
            seconds = float(time * packet.time_base)
            start = seconds if start is None else min(start, seconds)
            scan.end_s = max(scan.end_s, seconds + float((packet.duration or 0) * packet.time_base) - start)
            if packet.stream_index == stream.index:
                _count(scan, packet, time, limits)
    except av.FFmpegError as error:
        scan.error = str(error.strerror)
    return scan


def _count(scan: _Scan, packet: "av.Packet[Any]", time: int, limits: VideoLimits) -> None:
    if packet.is_keyframe:
        scan.keys.append(time)
    # Packets that an edit list hides are decoded because others refer to them, and never shown.
    if not packet.is_discard:
        scan.stamps.append(time)
        _refuse_above(len(scan.stamps), limits.max_frames, "frames")


def _check_whole(container: "InputContainer", stream: "VideoStream", scan: _Scan) -> None:
    """Compare the packets that were found with those that the header announces."""
    found, announced = len(scan.stamps), stream.frames
    if found < _WHOLE * announced:
        text = f"the file holds {found:,} of the {announced:,} frames that its header announces"
        raise UnitError(f"{text}: it was cut; download it again", kind="truncated")
    stated = _stated_duration(container) or 0.0
    if scan.end_s < _WHOLE * stated - 1:
        text = f"the file holds {scan.end_s:,.1f} of the {stated:,.1f} seconds that its header announces"
        raise UnitError(f"{text}: it was cut; download it again", kind="truncated")
    if not found or not scan.keys:
        lack = "key frame" if found else "frame"
        raise UnitError(f"the video stream has no {lack} {scan.error}".rstrip(), kind="damaged")


def _facts(container: "InputContainer", stream: "VideoStream", scan: _Scan) -> VideoFacts:
    base = stream.time_base or Fraction(1, 1000)
    ordered = sorted(scan.stamps)
    span = float((ordered[-1] - ordered[0]) * base)
    fps = (len(ordered) - 1) / span if span > 0 else float(stream.average_rate or 1)
    return VideoFacts(
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        rotation=0,
        fps=fps,
        duration_s=span + 1 / fps,
        frames=len(ordered),
        time_base=base,
        key_frames=[(bisect_left(ordered, pts), pts) for pts in _rising(scan.keys, base)],
    )


def _rising(keys: list[int], base: Fraction) -> list[int]:
    """The key frames' times in decoding order, which is ascending unless the clock is broken."""
    for before, after in pairwise(keys):
        if after <= before:
            jump = f"jumps from {float(before * base):.3f} s to {float(after * base):.3f} s"
            advice = "rewrite the file with one clock (ffmpeg -i in -c copy out.mkv)"
            raise UnitError(f"the video's clock {jump}: {advice}", kind="damaged")
    return keys


def _first_frame(container: "InputContainer", stream: "VideoStream") -> "av.VideoFrame":
    """The first frame that decodes, among the first packets."""
    import av

    reason = "the decoder returned nothing"
    for tries, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            reason, frames = str(error.strerror), []
        if frames:
            return frames[0]
        if tries == _TRIES_TO_DECODE:
            break
    raise UnitError(f"none of the first frames can be decoded ({reason})", kind="damaged")


def _displayed(facts: VideoFacts, frame: "av.VideoFrame") -> VideoFacts:
    """Facts with the size and rotation of the displayed frame."""
    clockwise = round(-frame.rotation / 90) * 90 % 360
    width, height = frame.width, frame.height
    if clockwise in (90, 270):
        width, height = height, width
    return replace(facts, width=width, height=height, rotation=clockwise)
