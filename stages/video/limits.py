"""What a video may cost before it is refused."""

from pydantic import Field

from stages.config import Config


class VideoLimits(Config):
    """Bounds on untrusted video, checked on its header first and on its contents while they are read."""

    max_pixels: int = Field(default=8192 * 4320, gt=0)
    """Most pixels of a frame (width times height)."""
    max_duration_s: float = Field(default=43_200, gt=0)
    """Longest running time, seconds."""
    max_bytes: int = Field(default=50_000_000_000, gt=0)
    """Largest file, bytes."""
    max_frames: int = Field(default=5_000_000, gt=0)
    """Most frames."""
    max_seconds: float = Field(default=900, gt=0)
    """Longest time that looking through a video, or decoding a chunk of it, may take by the wall clock, seconds."""
