"""The frame size that published boxes refer to, which LUPerson's lists do not state.

The boxes are in pixels of the file that the authors had downloaded: YouTube's tallest MP4 of at most 720 lines and at
most 500 MB. The site may offer, and a recipe may download, another size of the same video today. Some of a
detector's boxes end at the border of the frame, so their extent over a whole video usually reveals the size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Evidence = Literal["given", "border", "expected", "ambiguous"]

PUBLISHED_HEIGHT = 720
"""Tallest format that the published script downloads, pixels."""

# YouTube's sizes, by the shorter side of a 16:9 frame. The larger ones were downloaded if a page stated no height.
_RUNGS = (144, 240, 360, 480, 720)
_BEYOND = (1080, 1440, 2160)

# A box whose edge is this close to the border ends there; encoders round sizes to even numbers.
_TOUCH = 1.5


@dataclass(frozen=True)
class Reference:
    """Frame size that a video's boxes refer to.

    Attributes:
        width: Pixels.
        height: Pixels.
        evidence: ``given`` by the recipe; ``border``, a box ends at the border of that size, and none beyond it;
            ``expected``, the size that the published script would have downloaded; no smaller one contains the boxes;
            ``ambiguous``, several sizes are possible, and this is the most likely one.
    """

    width: int
    height: int
    evidence: Evidence


def find_reference(extent: tuple[float, float], size: tuple[int, int], fetched_at_most: int) -> Reference:
    """Frame size that a video's boxes refer to.

    Args:
        extent: Largest x2 and y2 of the video's boxes.
        size: Width and height of the available video, pixels; its aspect ratio was the same then.
        fetched_at_most: Tallest format that the recipe downloads. A smaller video has no larger format.
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
    """Parse the recipe's ``1280x720``."""
    width, height = map(int, text.split("x"))
    return Reference(width, height, "given")


def _expected(size: tuple[int, int], known: list[tuple[int, int]], fetched_at_most: int) -> tuple[int, int]:
    """What the published script would have downloaded of a video that is offered as it is now."""
    largest_on_offer = size[1] < 0.9 * fetched_at_most
    return max(at for at in known if not largest_on_offer or at <= size)


def _scaled(size: tuple[int, int], rung: int) -> tuple[int, int]:
    """The frame at one of YouTube's sizes: inside 16:9 of the rung, or 9:16 if it is upright."""
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
