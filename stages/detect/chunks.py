"""Chunks, the units of work, and the frames sampled from them."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.arrays import Codes, Column, arrow, table_of
from stages.detect.config import SamplingConfig

# Products such as 3 * 0.1 s * 30 fps must not land just above the frame that they mean.
_HAIR = 1e-6


def cut_chunks(videos: pa.Table, chunk_seconds: float) -> pa.Table:
    """Cut videos into chunks of about ``chunk_seconds``, by their mean frame rates.

    Args:
        videos: Columns video_id, frames and fps.
        chunk_seconds: Running time of a chunk, seconds.

    Returns:
        One row per chunk, in the order of the videos and of time: unit_id, which is
        ``<video_id>/<start>-<stop>`` with eight digits each; start and stop, its frame indices, stop excluded; and
        video, the position of its video.
    """
    frames = np.asarray(videos["frames"].to_numpy(), np.int64)
    length = np.maximum(1, np.rint(videos["fps"].to_numpy() * chunk_seconds)).astype(np.int64)
    counts = -(-frames // length)
    video = np.repeat(np.arange(len(frames)), counts)
    number = np.arange(len(video)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = number * length[video]
    stop = np.minimum(start + length[video], frames[video])
    return chunk_table(videos["video_id"].take(arrow(video)), start, stop).append_column("video", arrow(video))


def chunk_table(video_id: Column, start: Codes, stop: Codes) -> pa.Table:
    """Columns unit_id, start and stop of chunks.

    Args:
        video_id: Videos, strings [N].
        start: First frame index of each, int64 [N].
        stop: Frame index past its last, int64 [N].
    """
    # Any: the stubs admit a lone kind of column only.
    join: Any = pc.binary_join_element_wise
    spans: list[Any] = [pc.utf8_lpad(pc.cast(arrow(ends), pa.string()), 8, "0") for ends in (start, stop)]
    unit_id = join(video_id, join(*spans, "-"), "/")
    return table_of({"unit_id": unit_id, "start": arrow(start), "stop": arrow(stop)})


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
