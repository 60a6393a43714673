"""Configuration of the dedup stages."""

from typing import ClassVar, Literal

from pydantic import Field

from stages.config import Config


class StaticConfig(Config):
    """Persons that never move: posters, mannequins, statues. Found by position, so only if the camera is fixed."""

    enabled: bool = True
    """Whether to search for them."""
    min_iou: float = Field(default=0.85, gt=0, le=1)
    """Crops whose boxes overlap the first one's by at least this (intersection over union) share a place."""
    max_hash_distance: int = Field(default=16, ge=0, le=64)
    """Most bits in which the perceptual hash of a crop may differ from the typical one of its place."""
    min_seconds: float = Field(default=60, gt=0)
    """Shortest time from the first to the last crop. A person who waits is not a poster."""
    min_span: float = Field(default=0.8, gt=0, le=1)
    """Least share of the video, from its first to its last crop, that this time must cover."""
    min_seen: float = Field(default=0.3, gt=0, le=1)
    """Least share of the video's frames with crops in which it has a crop; passers-by may hide it."""


class DedupConfig(Config):
    """Crops that look alike: marked, never removed. ``publish`` decides whether they enter a manifest."""

    operational: ClassVar[frozenset[str]] = frozenset({"threads"})

    enabled: bool = True
    """Whether to search for duplicates and static persons."""
    features: Literal["clip", "reid"] = "clip"
    """Features whose cosine is compared: those of ``embed`` (region whole) or those of ``reid``."""
    max_hash_distance: int | None = Field(default=4, ge=0, le=32)
    """Inside a video: crops are alike if their perceptual hashes differ in at most this many of 64 bits; null = the
    hash alone makes no duplicates."""
    min_cosine: float | None = Field(default=None, gt=0, le=1)
    """Inside a video: crops are alike if the cosine of their features is at least this; null = not compared. With the
    features of ``reid``, 0.93 finds the same person in the same pose."""
    min_cosine_across: float | None = Field(default=0.98, gt=0, le=1)
    """The same between crops of different videos; null = not compared."""
    cosine_hash_distance: int | None = Field(default=4, ge=0, le=64)
    """The hashes of crops that are alike by cosine must also differ in at most this many bits: CLIP finds two people in
    the same clothes alike. With the features of ``reid``, 12. Null = the cosine alone decides."""
    exact_below: int = Field(default=50_000, ge=1)
    """Up to this many crops, one task compares all of them across videos. Beyond it, many tasks do, and each crop is
    compared with those that share a part of its hash; if ``cosine_hash_distance`` is null or above 7, with those of
    the nearest cells of the feature space."""
    probes: int = Field(default=4, ge=1)
    """Cells in which each crop lies beyond ``exact_below``; the more, the fewer duplicates are missed."""
    static: StaticConfig = StaticConfig()
    """Persons that never move."""
    threads: int = Field(default=1, ge=1)
    """CPUs per comparison."""
