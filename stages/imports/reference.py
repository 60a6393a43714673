"""The size of the frames that published boxes refer to, which LUPerson's lists do not tell.

The boxes are in pixels of the file that the authors had downloaded: YouTube's tallest MP4 of at most 720 lines and at
most 500 MB. What is on offer today, and what a recipe fetches, may be another size of the same video. A detector's
boxes end at the frame's border now and then, so their extent over a whole video mostly tells the size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Evidence = Literal["given", "border", "expected", "ambiguous"]

PUBLISHED_HEIGHT = 720
"""Tallest format that the published script fetches, pixels."""

# YouTube's sizes, by the shorter side of a 16:9 frame. The larger ones were fetched where a page stated no height.
_RUNGS = (144, 240, 360, 480, 720)
_BEYOND = (1080, 1440, 2160)

# A box that ends within this of the border ends there; the encoder rounds sizes to even numbers.
_TOUCH = 1.5


@dataclass(frozen=True)
class Reference:
    """Frame size that a video's boxes refer to.

    Attributes:
        width: Pixels.
        height: Pixels.
        evidence: ``given`` by the recipe; ``border``, a box ends at the border of that size, and none beyond;
            ``expected``, the size that the published script would have fetched, and no smaller one holds the boxes;
            ``ambiguous``, several sizes are possible, and this is the most likely one.
    """

    width: int
    height: int
    evidence: Evidence


def find_reference(extent: tuple[float, float], size: tuple[int, int], fetched_at_most: int) -> Reference:
    """Frame size that a video's boxes refer to.

    Args:
        extent: Largest x2 and y2 of the video's boxes.
        size: Width and height of the video at hand, pixels; the shape of its frames was the same then.
        fetched_at_most: Tallest format that the recipe fetches. A video smaller than that has no larger format.
    """
    sizes = [_scaled(size, rung) for rung in _RUNGS]
    known = sorted({at for at in (*sizes, size) if at[1] <= PUBLISHED_HEIGHT})
    fitting = [at for at in known if _fits(extent, at)]
    if not fitting:
        beyond = [at for at in (size, *(_scaled(size, rung) for rung in _BEYOND)) if _fits(extent, at)]
        width, height = min(beyond, default=size)
        return Reference(width, height, "border" if _touches(extent, (width, height)) else "ambiguous")
    if _touches(extent, fitting[0]):
        return Reference(*fitting[0], "border")
    likely = _expected(size, known, fetched_at_most)
    if likely not in fitting:
        return Reference(*fitting[0], "ambiguous")
    return Reference(*likely, "expected" if likely == fitting[0] else "ambiguous")


def parse_reference(text: str) -> Reference:
    """``1280x720`` as given by the recipe."""
    width, height = map(int, text.split("x"))
    return Reference(width, height, "given")


def _expected(size: tuple[int, int], known: list[tuple[int, int]], fetched_at_most: int) -> tuple[int, int]:
    """What the published script would have fetched of a video that is on offer as it is now."""
    largest_on_offer = size[1] < 0.9 * fetched_at_most
    return max(at for at in known if not largest_on_offer or at <= size)


def _scaled(size: tuple[int, int], rung: int) -> tuple[int, int]:
    """The frame at one of YouTube's sizes: inside 16:9 of the rung, or 9:16 where it is upright."""
    long, short = rung * 16 / 9, float(rung)
    room = (long, short) if size[0] >= size[1] else (short, long)
    scale = min(room[0] / size[0], room[1] / size[1])
    width, height = (round(side * scale / 2) * 2 for side in size)
    return width, height


def _fits(extent: tuple[float, float], size: tuple[int, int]) -> bool:
    return all(reach <= side + _TOUCH for reach, side in zip(extent, size, strict=True))


def _touches(extent: tuple[float, float], size: tuple[int, int]) -> bool:
    return any(_ends(extent, size))


def _ends(extent: tuple[float, float], size: tuple[int, int]) -> Iterator[bool]:
    return (abs(reach - side) <= _TOUCH for reach, side in zip(extent, size, strict=True))
