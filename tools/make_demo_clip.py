"""Re-encode OpenCV's sample street video as the demo clip: all frames, H.264 in MP4, below a given size.

    python -m tools.make_demo_clip vtest.avi demo/street.mp4

The quality is the best constant rate factor (in steps of a quarter) whose file fits; the last line prints the PSNR
against the source. The encoder runs on one thread, so that one version of libx264 always writes the same bytes.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MAX_BYTES = 4_000_000
FPS = 10
GOP = 50


def decode(path: Path) -> Iterator[av.VideoFrame]:
    """Every frame of the first video stream."""
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def encode(source: Path, target: Path, crf: float) -> int:
    """Write all frames of ``source`` as an MP4 whose index stands first (readable while it still downloads).

    Returns:
        Bytes written.
    """
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = None
        for index, frame in enumerate(decode(source)):
            if stream is None:
                stream = container.add_stream("libx264", rate=FPS)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.options = {"crf": f"{crf}", "preset": "veryslow", "g": f"{GOP}", "threads": "1"}
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        if stream is None:
            sys.exit(f"{source} holds no frame")
        container.mux(stream.encode(None))
    return target.stat().st_size


def best_fit(source: Path, target: Path, max_bytes: int) -> float:
    """Write ``target`` with the lowest rate factor that keeps it within ``max_bytes``, and return that factor."""
    low, high, best = 40, 204, None
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        trial = Path(scratch) / target.name
        while low < high:
            quarter = (low + high) // 2
            size = encode(source, trial, quarter / 4)
            print(f"crf {quarter / 4}: {size:,} bytes", flush=True)
            if size <= max_bytes:
                high, best = quarter, quarter / 4
                trial.replace(target)
            else:
                low = quarter + 1
    if best is None:
        sys.exit(f"no rate factor brings {source} below {max_bytes:,} bytes")
    return best


def psnr(source: Path, clip: Path) -> tuple[int, float]:
    """Number of frames and the PSNR of luma over all of them, in dB."""
    frames, error, samples = 0, 0.0, 0
    for old, new in zip(decode(source), decode(clip), strict=True):
        difference = old.to_ndarray(format="gray").astype(np.float32) - new.to_ndarray(format="gray")
        error += float(np.square(difference).sum())
        frames, samples = frames + 1, samples + difference.size
    return frames, 10 * float(np.log10(255**2 * samples / max(error, 1e-9)))


def main() -> None:
    """Read the arguments, write the clip, say how good it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="vtest.avi of OpenCV's samples")
    parser.add_argument("target", type=Path, help="MP4 to write")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES)
    arguments = parser.parse_args()
    crf = best_fit(arguments.source, arguments.target, arguments.max_bytes)
    frames, decibel = psnr(arguments.source, arguments.target)
    size = arguments.target.stat().st_size
    print(f"{arguments.target}: {frames} frames, {size:,} bytes, crf {crf}, luma PSNR {decibel:.2f} dB")


if __name__ == "__main__":
    main()
