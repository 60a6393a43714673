"""Chunks, the units of work, and the frames sampled from them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stages.detect.config import SamplingConfig

# Products such as 3 * 0.1 s * 30 fps must not land a hair above the frame that they mean.
_HAIR = 1e-6


@dataclass(frozen=True)
class Chunk:
    """Frames ``start`` to ``stop`` (excluded) of a video."""

    unit_id: str
    start: int
    stop: int


def cut_chunks(video_id: str, frames: int, fps: float, chunk_seconds: float) -> Iterator[Chunk]:
    """Cut a video into chunks of about ``chunk_seconds``, by its mean frame rate.

    Args:
        video_id: Video; the chunk's unit_id is ``<video_id>/<start>-<stop>``, eight digits each.
        frames: Frames of the video.
        fps: Mean frames per second.
        chunk_seconds: Running time of a chunk, seconds.
    """
    length = max(1, round(fps * chunk_seconds))
    for start in range(0, frames, length):
        stop = min(start + length, frames)
        yield Chunk(f"{video_id}/{start:08d}-{stop:08d}", start, stop)


def sampled(start: int, stop: int, sampling: SamplingConfig, fps: float) -> list[int]:
    """Frames to look at between two frame indices.

    The choice is made over the whole video and depends on the index alone, so chunks of any length give the same
    frames. ``every_seconds`` goes by the mean frame rate: in a video of variable rate the moments are approximate, the
    count is right, and the rows tell each frame's true time.

    Args:
        start: First frame index.
        stop: Frame index past the last.
        sampling: What the recipe says.
        fps: Mean frames per second.

    Returns:
        Frame indices, rising.
    """
    if sampling.every_frames:
        first = -(-start // sampling.every_frames) * sampling.every_frames
        return list(range(first, stop, sampling.every_frames))
    return list(_at_seconds(start, stop, max((sampling.every_seconds or 0.0) * fps, 1.0)))


def _at_seconds(start: int, stop: int, step: float) -> Iterator[int]:
    """Frames ceil(k * step) inside [start, stop)."""
    k = max(math.floor((start - 1) / step), 0)
    while (index := math.ceil(k * step - _HAIR)) < stop:
        if index >= start:
            yield index
        k += 1
