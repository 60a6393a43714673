"""Configuration of the publish stage."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from stages.config import Config

Split = Literal["train", "val", "test"]

# Also the order in time where one video is cut into stretches, and the order in which ties go.
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")


class PublishConfig(Config):
    """Which crops enter the manifest, and in which split."""

    splits: dict[Split, float] = Field(default={"train": 0.8, "val": 0.1, "test": 0.1})
    """Share of the crops in each split; a split that is not named is not made. The shares sum to 1."""
    split_seed: int = 0
    """Another seed deals videos of about the same size to other splits."""
    time_segment_seconds: float = Field(default=10, gt=0)
    """Corpora of one video: borders between the splits fall on multiples of this, from the first crop on."""
    time_guard_seconds: float = Field(default=2, ge=0)
    """Corpora of one video: crops this close before a border stand in no split, as the same people walk beyond it."""
    min_sharpness: float = Field(default=0, ge=0)
    """Crops less sharp than this are left out; the unit is that of crops.sharpness."""
    require_caption: bool = True
    """Leave out crops without a caption."""
    keep_duplicates: bool = False
    """Take in crops that another crop stands for (crops.duplicate_of)."""
    keep_static: bool = False
    """Take in crops of persons that never move, such as posters (crops.static)."""
    min_track_frames: int | None = Field(default=None, ge=1)
    """Take in only crops of tracklets that were seen in so many frames (tracks.track_frames); null = any, and crops of
    no tracklet."""
    licences: tuple[str, ...] | None = None
    """Licences to accept, as videos.license states them; null = any, and those that state none."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = sum(self.splits.values())
        if any(share <= 0 for share in self.splits.values()) or abs(total - 1) > 1e-6:
            raise ValueError(f"splits are shares above 0 that sum to 1; these sum to {total:g}")
        return self
