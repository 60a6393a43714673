"""Reading the sampled frames of a chunk."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stages.arrays import Image
from stages.detect.chunks import with_lead_in
from stages.detect.config import SamplingConfig
from stages.errors import UnitError
from stages.video.facts import VideoFacts
from stages.video.frames import excerpt, read_frames
from stages.video.limits import VideoLimits
from stages.video.media import MediaFile

Frame = tuple[int, float, Image]

# Coarse enough to average out noise and compression, fine enough that a distant pedestrian darkens a cell.
_CELLS = 16


def read_sampled(
    file: MediaFile, facts: VideoFacts, start: int, stop: int, sampling: SamplingConfig, limits: VideoLimits
) -> Iterator[Frame]:
    """Decode the frames to process between two frame indices.

    The choice depends on the video and the recipe only, not on ``start`` and ``stop``.

    Args:
        file: Seekable binary file with the video that ``facts`` describes.
        facts: Result of ``probe``.
        start: First frame index.
        stop: Frame index past the last.
        sampling: ``detect.sampling`` of the recipe.
        limits: Limits on frame sizes.

    Yields:
        Frame index, pts in seconds, and image, as ``stages.video.frames.read_frames`` yields them.

    Raises:
        UnitError: None of the frames can be decoded.
    """
    keys = [index for index, _ in facts.key_frames]
    wanted = {index: k for k, index in with_lead_in(start, stop, sampling, facts.fps, keys)}
    first = min(wanted, default=start)
    frames = read_frames(file, facts, min(first, start), stop, list(wanted), limits=limits)
    if sampling.adaptive is None:
        yield from frames
        return
    decoded = 0
    for (index, pts_s, image), changed in _changes(frames, wanted, sampling.adaptive, sampling.adaptive_reset):
        if index >= start:
            decoded += 1
            if changed:
                yield index, pts_s, image
    if wanted and not decoded:
        raise UnitError(f"none of the frames wanted between {start} and {stop} can be decoded", kind="damaged")


def facts_to_read(facts: VideoFacts, start: int, stop: int, sampling: SamplingConfig) -> VideoFacts:
    """The part of a video's facts that ``read_sampled`` needs to read a chunk.

    Args:
        facts: Of the whole video.
        start: First frame index of the chunk.
        stop: Frame index past the chunk.
        sampling: ``detect.sampling`` of the recipe.

    Returns:
        The facts with fewer key frames; with all of them if key frames are sampled, since these are numbered from the
        start of the video.
    """
    if sampling.key_frames:
        return facts
    first = min((index for _, index in with_lead_in(start, stop, sampling, facts.fps, ())), default=start)
    return excerpt(facts, min(first, start), stop)


def _changes(
    frames: Iterator[Frame], numbers: dict[int, int], threshold: float, reset: int
) -> Iterator[tuple[Frame, bool]]:
    """Each frame with whether to process it: the first of its group, or unlike the last one processed."""
    group, kept = None, None
    for frame in frames:
        index, _, image = frame
        seen = thumbnail(image)
        # If the first frame of a group cannot be decoded, the next one takes its place.
        if numbers[index] // reset != group:
            group, kept = numbers[index] // reset, None
        changed = kept is None or kept.shape != seen.shape or change(kept, seen) >= threshold
        kept = seen if changed else kept
        yield frame, changed


def thumbnail(image: Image) -> npt.NDArray[np.float32]:
    """Mean luma of 16x16 cells.

    Args:
        image: uint8 [H, W, 3], BGR.

    Returns:
        float32 [16, 16], 0 to 255.
    """
    import cv2

    small = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    grey: npt.NDArray[np.float32] = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return grey


def change(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Largest difference of a cell between two thumbnails, grey levels."""
    return float(np.abs(one - other).max())
