"""Small videos made for tests: each frame tells its own index, whatever is done to the file."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, FPS = 192, 128, 10

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}


def picture(index: int) -> npt.NDArray[np.uint8]:
    """RGB frame: noise that drifts, and the index as eight bars along the top, least significant first, white = 1."""
    noise = np.random.default_rng(0).integers(60, 190, (HEIGHT, 2 * WIDTH, 3), np.uint8)
    image = noise[:, index % WIDTH : index % WIDTH + WIDTH].copy()
    for bit in range(8):
        image[:24, bit * 24 : bit * 24 + 24] = 255 * (index >> bit & 1)
    return image


def index_shown(image: npt.NDArray[np.uint8]) -> int:
    """The index that a decoded frame shows."""
    return sum(int(image[4:20, bit * 24 + 4 : bit * 24 + 20].mean() > 127) << bit for bit in range(8))


def make_clip(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 60,
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    rotation: int | None = None,
    bframes: int | None = None,
    gop: int = 12,
    container: dict[str, str] | None = None,
    audio: bool = False,
    crop: tuple[int, int] = (HEIGHT, WIDTH),
    interlaced: bool = False,
) -> Path:
    """Write a clip of ``frames`` frames.

    ``pts`` is in tenths of a second, ``rotation`` in clockwise degrees, ``crop`` the height and width that are left of
    the pictures; ``interlaced`` takes every other line from the picture after.
    """
    base = Fraction(1, FPS)
    with av.open(str(path), "w", options=container or {}) as output:
        stream: Any = output.add_stream(codec, rate=FPS)
        (stream.height, stream.width), stream.pix_fmt = crop, "yuv420p"
        stream.options = (options or {}) | ({"flags": "+ildct+ilme"} if interlaced else {})
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = base
        if bframes is not None:
            stream.codec_context.max_b_frames = bframes
        if rotation is not None:
            stream.set_display_rotation(-rotation)
        sound: Any = output.add_stream("aac", rate=8000, layout="mono") if audio else None
        for index in range(frames):
            shown = picture(index)
            if interlaced:
                shown[1::2] = picture(index + 1)[1::2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown[: crop[0], : crop[1]]), format="rgb24")
            frame.pts, frame.time_base = pts[index] if pts else index, base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound:
            _silence(output, sound)
    return path


def make_sound(path: Path) -> Path:
    """Write a file with sound and no picture."""
    with av.open(str(path), "w") as output:
        _silence(output, output.add_stream("aac", rate=8000, layout="mono"))
    return path


def _silence(output: Any, stream: Any) -> None:
    for start in range(0, 16_000, 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def opened(content: bytes) -> io.BytesIO:
    """Bytes as a file."""
    return io.BytesIO(content)
