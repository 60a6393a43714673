"""Chunks, the units of work, and the frames sampled from them."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.detect.config import SamplingConfig

# Products such as 3 * 0.1 s * 30 fps must not land just above the frame that they mean.
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


def sampled(start: int, stop: int, sampling: SamplingConfig, fps: float, key_frames: Sequence[int] = ()) -> list[int]:
    """Frames to process between two frame indices, before ``adaptive`` skips some.

    The choice is made over the whole video and depends on the index alone, so chunks of any length give the same
    frames. ``every_seconds`` uses the mean frame rate: in a video of variable rate the times are approximate, the
    count is right, and the rows hold each frame's true time.

    Args:
        start: First frame index.
        stop: Frame index past the last.
        sampling: ``detect.sampling`` of the recipe.
        fps: Mean frames per second.
        key_frames: Indices of the video's key frames, ascending.

    Returns:
        Frame indices, ascending.
    """
    return [index for _, index in numbered(start, stop, sampling, fps, key_frames)]


def numbered(
    start: int, stop: int, sampling: SamplingConfig, fps: float, key_frames: Sequence[int]
) -> list[tuple[int, int]]:
    """As ``sampled``, each frame with its number among the sampled frames of the whole video."""
    if sampling.key_frames:
        keys = list(dict.fromkeys(key_frames))
        return [(k, keys[k]) for k in range(bisect_left(keys, start), bisect_left(keys, stop))]
    if sampling.every_frames:
        n = sampling.every_frames
        return [(k, k * n) for k in range(-(-start // n), -(-stop // n))]
    return list(_at_seconds(start, stop, max((sampling.every_seconds or 0.0) * fps, 1.0)))


def with_lead_in(
    start: int, stop: int, sampling: SamplingConfig, fps: float, key_frames: Sequence[int]
) -> list[tuple[int, int]]:
    """As ``numbered``, preceded by the frames that ``adaptive`` has to compare with.

    Comparison restarts at every ``adaptive_reset``-th frame of the whole video, so a chunk that begins inside such a
    group reads the group from its start, and makes the same choice as a chunk that began earlier.
    """
    ours = numbered(start, stop, sampling, fps, key_frames)
    before = ours[0][0] % sampling.adaptive_reset if ours and sampling.adaptive is not None else 0
    return numbered(0, start, sampling, fps, key_frames)[-before:] + ours if before else ours


def _at_seconds(start: int, stop: int, step: float) -> Iterator[tuple[int, int]]:
    """Each k with frame ceil(k * step) inside [start, stop)."""
    k = max(math.floor((start - 1) / step), 0)
    while (index := math.ceil(k * step - _HAIR)) < stop:
        if index >= start:
            yield k, index
        k += 1
