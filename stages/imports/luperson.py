"""LUPerson's and LUPerson-NL's published lists: names of videos, and boxes by frame.

``vnames.txt`` has one ``country+city+videoId`` per line. The boxes are pickles, ``{frame: [(n, {"bbox": ...}), ...]}``
for each video: one file per video (LUPerson-NL's archive), or all in one file under the videos' names. LUPerson adds
``conf``, ``pose`` (17 key points of COCO) and ``prob`` (their scores); LUPerson-NL adds ``pid``, the tracklet.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

import schemas.tables
from stages.imports.pickles import RefusedPickleError, load_plain

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_SUFFIX = re.compile(r"\.(mp4|pkl)$")

FIRST_FRAME = {"luperson": 1, "luperson-nl": 0}
"""Number of a video's first frame: LUPerson's script seeks to the number less one, LUPerson-NL's to the number."""


@dataclass(frozen=True)
class Name:
    """Name of a video in the lists.

    Attributes:
        text: ``country+city+videoId``.
        place: ``country+city``.
        youtube_id: The last part.
    """

    text: str
    place: str
    youtube_id: str


def parse_name(text: str) -> Name:
    """Read ``country+city+videoId``, with or without ``.mp4`` or ``.pkl`` behind it.

    Raises:
        ValueError: The text has another form.
    """
    name = _SUFFIX.sub("", text.strip())
    place, _, youtube_id = name.rpartition("+")
    if "+" not in place or not _YOUTUBE_ID.fullmatch(youtube_id):
        raise ValueError(f"{text.strip()[:80]!r} is not a country+city+videoId with a YouTube id of 11 characters")
    return Name(name, place, youtube_id)


def read_names(path: Path) -> dict[str, Name]:
    """Names in a ``vnames.txt``, without repetitions, in the file's order.

    Raises:
        ValueError: The file cannot be read, or a line is not a name; the text names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    names: dict[str, Name] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                name = parse_name(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            names[name.text] = name
    return names


def read_detections(path: Path, memory: int) -> Iterator[tuple[str, Any]]:
    """Published boxes video by video: name, and boxes by frame, not validated yet.

    A folder or a zip archive with one pickle per video is read video by video. A single pickle of all videos has to
    be read as a whole.

    Args:
        path: A pickle, a folder of pickles, or a zip archive of pickles.
        memory: Most bytes that one pickle may take.

    Raises:
        ValueError: The file does not exist, or contains something else.
    """
    if path.is_dir():
        for file in sorted(path.rglob("*.pkl")):
            with file.open("rb") as opened:
                yield from _videos_of(opened, file, memory)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(name for name in archive.namelist() if name.endswith(".pkl")):
                with archive.open(member) as opened:
                    yield from _videos_of(opened, path / member, memory)  # type: ignore[arg-type]
    elif path.is_file():
        with path.open("rb") as opened:
            yield from _videos_of(opened, path, memory)
    else:
        raise ValueError(f"{path}: no such file or folder; expected dets.pkl, or a folder or zip archive of .pkl files")


def _videos_of(file: BinaryIO, path: PurePath, memory: int) -> Iterator[tuple[str, Any]]:
    try:
        content = load_plain(file, memory)
    except (RefusedPickleError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: refused: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is a {type(content).__name__.strip('_')}, expected a dict of videos or of frames")
    if all(isinstance(key, int) for key in content):
        yield path.stem, content
        return
    for key in list(content):
        # Popped, so that memory is released while the rest is processed.
        yield _SUFFIX.sub("", PurePath(str(key)).name), content.pop(key)


def box_rows(frames: Any, first_frame: int, video_id: str, unit_id: str) -> pa.Table:
    """Published boxes of a video as rows.

    Args:
        frames: ``{frame: [(n, {"bbox": [x1, y1, x2, y2], ...}), ...]}``.
        first_frame: Number of the first frame in the list.
        video_id: Video.
        unit_id: Unit of work.

    Returns:
        Rows of ``schemas.tables.IMPORTED``, by frame, then by descending confidence.

    Raises:
        ValueError: The boxes have another form; the text names the frame.
    """
    rows: list[dict[str, Any]] = []
    if not isinstance(frames, dict):
        raise ValueError(f"its boxes are a {type(frames).__name__.strip('_')}, expected a dict by frame")
    for frame_id in sorted(frames, key=_number):
        try:
            found = sorted((_box(pair) for pair in frames[frame_id]), key=lambda box: -(box["confidence"] or 0.0))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"frame {frame_id}: {error!r} in its boxes") from error
        index = _number(frame_id) - first_frame
        if index < 0:
            raise ValueError(f"frame {frame_id} comes before the first, number {first_frame}; try --first-frame 0")
        shared = {"video_id": video_id, "unit_id": unit_id, "frame_id": _number(frame_id), "frame_index": index}
        rows += [shared | box | {"detection_id": f"{video_id}/{index}/{n}"} for n, box in enumerate(found)]
    return pa.Table.from_pylist(rows, schema=schemas.tables.IMPORTED)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a frame number")
    return value


def _box(pair: Any) -> dict[str, Any]:
    """One ``(n, {"bbox": ...})``."""
    n, found = pair
    corners = np.asarray(found["bbox"], np.float32)
    if corners.shape != (4,) or not np.isfinite(corners).all() or (corners[:2] > corners[2:]).any():
        raise ValueError(f"bbox {corners.tolist()} is not x1, y1, x2, y2")
    box: dict[str, Any] = dict(zip(("x1", "y1", "x2", "y2"), map(float, corners), strict=True))
    box |= {"n": _number(n), "confidence": float(found["conf"]) if "conf" in found else None}
    box |= {"person": _number(found["pid"]) if "pid" in found else None, "keypoints": _keypoints(found)}
    return box


def _keypoints(found: Mapping[str, Any]) -> list[float] | None:
    """x, y and score of all key points, in one list."""
    if "pose" not in found or "prob" not in found:
        return None
    pose, scores = np.asarray(found["pose"], np.float32), np.asarray(found["prob"], np.float32)
    points: list[float] = np.column_stack([pose.reshape(-1, 2), scores.reshape(-1)]).ravel().tolist()
    return points


def remainders(frame_ids: Iterable[int], step: int) -> dict[int, int]:
    """Counts of the frame numbers modulo ``step``, most frequent first: they show where sampling began."""
    values, counts = np.unique(np.fromiter(frame_ids, np.int64) % step, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(values[place]): int(counts[place]) for place in order}
