"""Limits beyond which a video is refused."""

from pydantic import Field

from stages.config import Config


class VideoLimits(Config):
    """Limits on untrusted video, checked against its header first and against its contents while they are read."""

    max_pixels: int = Field(default=8192 * 4320, gt=0)
    """Largest frame, pixels (width times height)."""
    max_duration_s: float = Field(default=43_200, gt=0)
    """Longest duration, seconds."""
    max_bytes: int = Field(default=50_000_000_000, gt=0)
    """Largest file, bytes."""
    max_frames: int = Field(default=5_000_000, gt=0)
    """Most frames."""
    max_seconds: float = Field(default=900, gt=0)
    """Longest wall-clock time for probing a video or decoding a chunk of it, seconds."""
