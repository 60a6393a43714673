"""Configuration of the track stage; the thresholds' defaults are those of ultralytics' trackers."""

from typing import Literal

from pydantic import Field

from stages.config import Config


class TrackConfig(Config):
    """How detections of the sampled frames are joined to tracklets."""

    tracker: Literal["bytetrack", "botsort"] | None = None
    """ByteTrack or BoT-SORT, as implemented by ultralytics; null = no tracklets. They need densely sampled frames."""
    high_confidence: float = Field(default=0.25, ge=0, le=1)
    """Detections above this are matched first."""
    low_confidence: float = Field(default=0.1, ge=0, le=1)
    """Detections between this and high_confidence may continue a tracklet; detect.confidence_floor must keep them."""
    new_confidence: float = Field(default=0.25, ge=0, le=1)
    """Only detections above this start a tracklet."""
    max_cost: float = Field(default=0.8, gt=0, le=1)
    """Highest cost of a match: 1 minus the product of the boxes' overlap and the confidence."""
    lost_seconds: float = Field(default=1.0, ge=0)
    """A person who is not detected for longer gets a new tracklet."""
    appearance: bool = False
    """BoT-SORT: also match by the features of ``reid``. Only crops have features; other detections match by boxes."""
    min_overlap: float = Field(default=0.5, ge=0, le=1)
    """With appearance: boxes that overlap less are never matched by appearance."""
    min_appearance: float = Field(default=0.8, ge=0, le=1)
    """With appearance: matches by appearance need (1 + cosine) / 2 of at least this."""
