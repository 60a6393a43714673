"""An image of crops beside their captions, for a look at a corpus."""

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.pictures import decode

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

MARGIN: Final = 40
GAP: Final = 16
CARD: Final = (372, 216)
"""Width and height of a card, pixels."""
PHOTO: Final = (96, 192)
"""Width and height of the area for the crop, pixels."""

_PAGE, _CARD, _EDGE, _FRAME = (245, 245, 242), (255, 255, 255), (224, 224, 219), (236, 236, 232)
_INK, _SOFT = (28, 30, 33), (120, 122, 126)


def contact_sheet(
    rows: pa.Table, *, title: str, subtitle: str = "", footer: Sequence[str] = (), columns: int = 4
) -> npt.NDArray[np.uint8]:
    """Draw crops beside their first captions.

    Args:
        rows: Columns of ``schemas.tables.MANIFEST``: video_id, pts_s, width, height, split, captions, jpeg. Drawn in
            the order given.
        title: Heading.
        subtitle: A line below it.
        footer: Lines at the bottom, wrapped to the page.
        columns: Cards side by side.

    Returns:
        RGB uint8 [H, W, 3].
    """
    from PIL import Image, ImageDraw

    width = 2 * MARGIN + columns * CARD[0] + (columns - 1) * GAP
    foot = [line for text in footer for line in _wrap(text, _font(15), width - 2 * MARGIN)]
    top = MARGIN + 44 + (26 if subtitle else 0) + 14
    grid = -(-len(rows) // columns) * (CARD[1] + GAP)
    page = Image.new("RGB", (width, top + grid + (12 + 22 * len(foot) if foot else 0) + MARGIN - GAP), _PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 8), title, _INK, _font(34))
    draw.text((MARGIN, MARGIN + 40), subtitle, _SOFT, _font(17))
    for number, row in enumerate(rows.to_pylist()):
        left = MARGIN + number % columns * (CARD[0] + GAP)
        _card(page, draw, row, left, top + number // columns * (CARD[1] + GAP))
    for number, line in enumerate(foot):
        draw.text((MARGIN, top + grid + 8 + 22 * number), line, _SOFT, _font(15))
    return np.asarray(page)


def to_png(picture: npt.NDArray[np.uint8]) -> bytes:
    """RGB uint8 [H, W, 3] as PNG."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _card(page: "Image.Image", draw: "ImageDraw.ImageDraw", row: dict[str, Any], left: int, top: int) -> None:
    draw.rounded_rectangle((left, top, left + CARD[0] - 1, top + CARD[1] - 1), 8, fill=_CARD, outline=_EDGE)
    _photo(page, draw, row["jpeg"], left + 12, top + 12)
    text_left = left + 12 + PHOTO[0] + 16
    room = CARD[0] - (text_left - left) - 14
    lines = _wrap(row["captions"][0] if row["captions"] else "(no caption)", _font(16), room)
    for number, line in enumerate(_fit(lines, 7)):
        draw.text((text_left, top + 12 + 22 * number), line, _INK, _font(16))
    facts = f"{_moment(row['pts_s'])}  ·  {row['width']}x{row['height']} px  ·  {row['split']}"
    draw.text((text_left, top + CARD[1] - 30), facts, _SOFT, _font(13))


def _photo(page: "Image.Image", draw: "ImageDraw.ImageDraw", jpeg: bytes, left: int, top: int) -> None:
    from PIL import Image

    draw.rectangle((left, top, left + PHOTO[0] - 1, top + PHOTO[1] - 1), fill=_FRAME)
    pixels = decode(jpeg)
    if pixels is None:
        draw.text((left + 10, top + PHOTO[1] // 2 - 8), "unreadable", _SOFT, _font(14))
        return
    scale = min(PHOTO[0] / pixels.shape[1], PHOTO[1] / pixels.shape[0])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    page.paste(image, (left + (PHOTO[0] - size[0]) // 2, top + (PHOTO[1] - size[1]) // 2))


@functools.cache
def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _wrap(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", room: int) -> list[str]:
    """Break at spaces; a word that is too long for a line gets a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _fit(lines: list[str], count: int) -> list[str]:
    return lines if len(lines) <= count else [*lines[: count - 1], f"{lines[count - 1]} …"]


def _moment(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
