"""Configuration of the track stage; the thresholds' defaults are those of ultralytics' trackers."""

from typing import Literal

from pydantic import Field

from stages.config import Config


class TrackConfig(Config):
    """How detections of the sampled frames are joined to tracklets."""

    tracker: Literal["bytetrack", "botsort"] | None = None
    """ByteTrack or BoT-SORT, as ultralytics has them; null = no tracklets. They want frames sampled densely."""
    high_confidence: float = Field(default=0.25, ge=0, le=1)
    """Detections above this are matched first."""
    low_confidence: float = Field(default=0.1, ge=0, le=1)
    """Detections between this and high_confidence may carry a tracklet on; detect.confidence_floor must let them in."""
    new_confidence: float = Field(default=0.25, ge=0, le=1)
    """Only a detection above this starts a tracklet."""
    max_cost: float = Field(default=0.8, gt=0, le=1)
    """Most that a match may cost: 1 less the boxes' overlap, times the confidence."""
    lost_seconds: float = Field(default=1.0, ge=0)
    """A person who was not seen for longer gets another tracklet."""
    appearance: bool = False
    """BoT-SORT: match by the features of ``reid`` too. Only crops have features; other detections go by their boxes."""
    min_overlap: float = Field(default=0.5, ge=0, le=1)
    """With appearance: boxes that overlap less are never matched by their looks."""
    min_appearance: float = Field(default=0.8, ge=0, le=1)
    """With appearance: matches by looks need (1 + cosine) / 2 of at least this."""
