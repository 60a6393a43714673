"""Facts of a video, known once its packets have been read."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class VideoFacts:
    """Facts of one video stream, named like the columns of ``videos``.

    Attributes:
        container: Container format, as FFmpeg names it.
        codec: Video codec, as FFmpeg names it.
        width: Pixels, as displayed (rotation applied).
        height: Pixels, as displayed (rotation applied).
        rotation: Clockwise degrees that the container asks for: 0, 90, 180 or 270.
        fps: Mean frames per second.
        duration_s: Seconds from the first to past the last frame.
        frames: Video packets, each one frame.
        time_base: Seconds per tick of the stream's clock.
        key_frames: Seek points, in order: (frame_index, pts in ticks).
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    fps: float
    duration_s: float
    frames: int
    time_base: Fraction
    key_frames: list[tuple[int, int]]

    def to_row(self) -> dict[str, Any]:
        """The columns of ``videos`` that these facts fill."""
        row = {name: value for name, value in vars(self).items() if name not in ("time_base", "key_frames")}
        row["time_base_num"], row["time_base_den"] = self.time_base.numerator, self.time_base.denominator
        row["key_frames"] = [{"frame_index": index, "pts": pts} for index, pts in self.key_frames]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "VideoFacts":
        """Facts from a row of ``videos``; other columns are ignored."""
        plain = {name: row[name] for name in cls.__dataclass_fields__ if name not in ("time_base", "key_frames")}
        return cls(
            **plain,
            time_base=Fraction(row["time_base_num"], row["time_base_den"]),
            key_frames=[(key["frame_index"], key["pts"]) for key in row["key_frames"]],
        )
