"""Configuration of the publish stage."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from stages.config import Config

Split = Literal["train", "val", "test"]

# Also the order in time if one video is cut into stretches, and the order that breaks ties.
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")


class PublishConfig(Config):
    """Which crops enter the manifest, and in which split."""

    splits: dict[Split, float] = Field(default={"train": 0.8, "val": 0.1, "test": 0.1})
    """Share of the crops in each split; splits that are not named are not made. The shares sum to 1."""
    split_seed: int = 0
    """Another seed assigns videos of about the same size to other splits."""
    time_segment_seconds: float = Field(default=10, gt=0)
    """Corpora of one video: borders between splits are multiples of this, counted from the first crop."""
    time_guard_seconds: float = Field(default=2, ge=0)
    """Corpora of one video: crops this close before a border are in no split, as the same people appear after it."""
    min_sharpness: float = Field(default=0, ge=0)
    """Crops less sharp than this are left out, in the unit of crops.sharpness."""
    require_caption: bool = True
    """Leave out crops without a caption."""
    keep_duplicates: bool = False
    """Include duplicates of other crops (crops.duplicate_of)."""
    keep_static: bool = False
    """Include crops of persons that never move, such as posters (crops.static)."""
    min_track_frames: int | None = Field(default=None, ge=1)
    """Include only crops of tracklets of at least this many frames (tracks.track_frames); null = all crops, with or
    without a tracklet."""
    self_contained: bool = False
    """Copy the JPEGs into the manifest, so that it can be read without the crops. Otherwise it names the file of crops
    that has them, which makes a further variant cheap."""
    licences: tuple[str, ...] | None = None
    """Accepted licences, as videos.license states them; null = any, and videos that state none."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = sum(self.splits.values())
        if any(share <= 0 for share in self.splits.values()) or abs(total - 1) > 1e-6:
            raise ValueError(f"splits must be shares above 0 that sum to 1; these sum to {total:g}")
        return self
