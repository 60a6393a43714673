"""Configuration of the dedup stages."""

from typing import ClassVar, Literal

from pydantic import Field

from stages.config import Config


class StaticConfig(Config):
    """Persons that never move: posters, mannequins, statues. Found by place, so only where the camera stands still."""

    enabled: bool = True
    """Whether they are looked for."""
    min_iou: float = Field(default=0.85, gt=0, le=1)
    """Crops whose boxes overlap the first one's by at least this (intersection over union) stand in one place."""
    max_hash_distance: int = Field(default=16, ge=0, le=64)
    """Most bits in which the perceptual hash of a crop may differ from the typical one of its place."""
    min_seconds: float = Field(default=60, gt=0)
    """Shortest time from the first to the last crop. A person who waits is no poster."""
    min_span: float = Field(default=0.8, gt=0, le=1)
    """Least part of the video, from its first to its last crop, that this time must cover."""
    min_seen: float = Field(default=0.3, gt=0, le=1)
    """Least share of the video's frames with crops in which it was cut out; people walk past in front of it."""


class DedupConfig(Config):
    """Crops that look alike: marked, never removed. ``publish`` says whether they enter a manifest."""

    operational: ClassVar[frozenset[str]] = frozenset({"threads"})

    enabled: bool = True
    """Whether duplicates and static persons are looked for."""
    features: Literal["clip", "reid"] = "clip"
    """Features whose cosine counts: those of ``embed`` (region whole) or those of ``reid``."""
    max_hash_distance: int | None = Field(default=4, ge=0, le=32)
    """Inside a video: crops are alike when their perceptual hashes differ in so many of 64 bits, or fewer; null = the
    hash alone makes no duplicate."""
    min_cosine: float | None = Field(default=None, gt=0, le=1)
    """Inside a video: crops are alike when the cosine of their features is this or more; null = not compared. For the
    features of ``reid`` 0.93 finds the same sight again."""
    min_cosine_across: float | None = Field(default=0.98, gt=0, le=1)
    """The same between crops of different videos; null = not compared."""
    cosine_hash_distance: int | None = Field(default=4, ge=0, le=64)
    """Crops that are alike by cosine must also agree in their hashes to so many bits: a CLIP finds two people in the
    same clothes alike. For the features of ``reid`` 12. Null = the cosine alone decides."""
    exact_below: int = Field(default=50_000, ge=1)
    """So many crops are compared each with each; of more, where the cosine decides alone or across videos, those that
    fall into neighbouring cells of the features."""
    probes: int = Field(default=4, ge=1)
    """Cells that are searched for each crop beyond ``exact_below``."""
    static: StaticConfig = StaticConfig()
    """Persons that never move."""
    threads: int = Field(default=1, ge=1)
    """CPUs of one comparison."""
