"""The videos of a synthetic corpus and their chunks."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.scale import noise
from benchmarks.scale.columns import Column, joined, pick, ranks
from benchmarks.scale.noise import Doubles, Ints
from stages.detect.chunks import chunk_table

# As measured on LUPerson: 1,017,720 chunks of 20 s in 46,260 videos.
CHUNKS_PER_VIDEO: Final = 22
CHUNK_SECONDS: Final = 20.0

_RATES: Final = np.array([30.0, 30000 / 1001, 25.0, 24.0, 60000 / 1001, 60.0])
_RATE_SHARES: Final = np.array([0.34, 0.30, 0.18, 0.06, 0.06, 0.06])
_LETTERS: Final = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)


@dataclass(frozen=True)
class Videos:
    """All videos, in the order in which they were found; chunks are numbered through all of them.

    Attributes:
        seed: Seed of the corpus.
        ids: string [V]: ``youtube:<id>``.
        fps: float64 [V], frames per second.
        frames: int64 [V].
        first_chunk: int64 [V + 1]: number of each video's first chunk, and the number of all chunks.
    """

    seed: int
    ids: Column
    fps: Doubles
    frames: Ints
    first_chunk: Ints

    @property
    def count(self) -> int:
        """Number of videos."""
        return len(self.fps)

    @property
    def chunk_frames(self) -> Ints:
        """Frames of a full chunk of each video, as ``stages.detect.chunks.cut_chunks`` cuts them."""
        return np.maximum(1, np.round(self.fps * CHUNK_SECONDS)).astype(np.int64)

    def chunks_of(self, videos: Ints) -> Ints:
        """Numbers of the chunks of some videos, in their order."""
        counts = (self.first_chunk[1:] - self.first_chunk[:-1])[videos]
        return np.repeat(self.first_chunk[videos], counts) + ranks(counts)


@dataclass(frozen=True)
class Chunks:
    """Some chunks: the columns that everything in them follows from.

    Attributes:
        number: int64 [N], through all videos.
        video: int64 [N], position of the video.
        start: int64 [N], first frame.
        stop: int64 [N], past the last frame.
        video_id: string [N].
        unit_id: string [N].
    """

    number: Ints
    video: Ints
    start: Ints
    stop: Ints
    video_id: Column
    unit_id: Column


def make_videos(seed: int, count: int) -> Videos:
    """The videos of a corpus; all of them together have 22 chunks each on average, exactly."""
    positions = np.arange(count, dtype=np.int64)
    fps = _RATES[np.searchsorted(np.cumsum(_RATE_SHARES), noise.uniform(seed, "fps", positions) * 0.999)]
    # Street walks are long, most other videos short: a skewed distribution, from 2 chunks to some 110.
    more = -np.log1p(-noise.uniform(seed, "length", positions)) * (CHUNKS_PER_VIDEO - 2)
    counts = np.minimum(2 + np.floor(more).astype(np.int64), 6 * CHUNKS_PER_VIDEO)
    counts = _with_sum(counts, count * CHUNKS_PER_VIDEO)
    length = np.maximum(1, np.round(fps * CHUNK_SECONDS)).astype(np.int64)
    frames = (counts - 1) * length + 1 + noise.below(seed, "last chunk", positions, length)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Videos(seed, video_ids(seed, positions), fps, frames, first)


def video_ids(seed: int, positions: Ints) -> Column:
    """Ids as YouTube forms them: 11 letters of 64."""
    codes = [noise.below(seed, f"letter {place}", positions, len(_LETTERS)) for place in range(11)]
    letters = np.ascontiguousarray(_LETTERS[np.stack(codes, axis=1)])
    return joined(":", "youtube", pa.array(letters.view("S11").ravel().astype("U11"), pa.string()))


def chunks(videos: Videos, numbers: Ints) -> Chunks:
    """The chunks with these numbers."""
    video = np.searchsorted(videos.first_chunk, numbers, side="right") - 1
    length = videos.chunk_frames[video]
    start = (numbers - videos.first_chunk[video]) * length
    stop = np.minimum(start + length, videos.frames[video])
    ids = pick(videos.ids, video)
    return Chunks(numbers, video, start, stop, ids, chunk_table(ids, start, stop)["unit_id"])


def _with_sum(counts: Ints, total: int) -> Ints:
    """Counts of at least 2, changed evenly until they have this sum, which is more than twice their number."""
    counts = counts.copy()
    while missing := total - int(counts.sum()):
        room = np.flatnonzero(counts > 2) if missing < 0 else np.arange(len(counts))
        chosen = np.unique(np.linspace(0, len(room) - 1, min(abs(missing), len(room))).astype(np.int64))
        counts[room[chosen]] += np.sign(missing)
    return counts
