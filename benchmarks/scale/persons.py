"""The persons in the chunks of a synthetic corpus: rows of detections, crops, tracks, duplicates and statics."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.tables
from benchmarks.scale import noise
from benchmarks.scale.columns import Column, floats, joined, lists, pick, ranks, same, table, text
from benchmarks.scale.looks import Looks
from benchmarks.scale.noise import Bits, Doubles, Ints
from benchmarks.scale.videos import Chunks, Videos
from stages.detect.objects import LABELS

# 8.23 detections in a chunk on average, half of them kept: 263 crops in a pack of 64 chunks.
_EMPTY_CHUNKS: Final = 0.25
_MEAN_DETECTIONS: Final = 10.46
_MOST_DETECTIONS: Final = 200
_DROPPED: Final = 0.5
# A person is seen in this many consecutive sampled frames.
_SEEN: Final = 4
_SAMPLED_EVERY: Final = 20
# Room for the numbers of a chunk's detections in one key.
_KEY_BITS: Final = np.uint64(8)

_REASONS: Final = ("low_confidence", "narrow", "aspect_low", "aspect_high")
_REASON_SHARES: Final = np.array([0.6, 0.25, 0.1, 0.05])

_WIDTH, _HEIGHT = 1280, 720


@dataclass(frozen=True)
class Persons:
    """Detections, ordered by chunk, frame and falling confidence.

    Attributes:
        seed: Seed of the corpus.
        chunks: Their chunks.
        chunk: int64 [N], position among ``chunks``.
        key: uint64 [N], names the detection in the random numbers.
        person: uint64 [N], names the person: detections of one share it.
        frame: int64 [N], frame index.
        pts_s: float64 [N], seconds.
        nth: int64 [N], rank in its frame.
        reason: int64 [N], the failed rule; -1 where it is kept.
        box: float32 [N, 4]: x1, y1, x2, y2.
        confidence: float32 [N].
        sampled: int64 [chunks], frames sampled in each chunk.
    """

    seed: int
    chunks: Chunks
    chunk: Ints
    key: Bits
    person: Bits
    frame: Ints
    pts_s: Doubles
    nth: Ints
    reason: Ints
    box: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    sampled: Ints

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Which detections are crops."""
        return self.reason < 0

    def take(self, rows: Ints) -> "Persons":
        """Some of the detections."""
        own = ("chunk", "key", "person", "frame", "pts_s", "nth", "reason", "box", "confidence")
        return replace(self, **{name: getattr(self, name)[rows] for name in own})

    def crops(self) -> "Persons":
        """The kept ones."""
        return self.take(np.flatnonzero(self.kept))


def find_persons(videos: Videos, chunks: Chunks) -> Persons:
    """All detections in some chunks."""
    seed, number = videos.seed, chunks.number
    first = -(-chunks.start // _SAMPLED_EVERY) * _SAMPLED_EVERY
    sampled = np.maximum(0, -(-(chunks.stop - first) // _SAMPLED_EVERY))
    counts = _counts(seed, number) * (sampled > 0)
    chunk = np.repeat(np.arange(len(number)), counts)
    rank = ranks(counts)
    key = (number[chunk].astype(np.uint64) << _KEY_BITS) + rank.astype(np.uint64)
    person = (number[chunk].astype(np.uint64) << _KEY_BITS) + (rank // _SEEN).astype(np.uint64)
    slot = (noise.below(seed, "first frame", person, 1 << 20) + rank % _SEEN) % np.maximum(sampled[chunk], 1)
    frame = first[chunk] + slot * _SAMPLED_EVERY
    reason = _reasons(seed, key)
    box, confidence = _boxes(seed, key, person, slot, reason)
    order = np.lexsort((-confidence, frame, chunk))
    nth = np.zeros(len(order), np.int64)
    nth[order] = _rank_in_frame(chunk[order], frame[order])
    found = Persons(
        seed=seed, chunks=chunks, chunk=chunk, key=key, person=person, frame=frame,
        pts_s=frame / videos.fps[chunks.video[chunk]], nth=nth, reason=reason, box=box, confidence=confidence,
        sampled=sampled,
    )  # fmt: skip
    return found.take(order)


def detections_table(persons: Persons) -> pa.Table:
    """Rows of ``schemas.tables.DETECTIONS``."""
    kept, count = persons.kept, len(persons.key)
    names: Any = pa.array(_REASONS, pa.string())
    reason = names.take(pa.array(persons.reason, mask=kept))
    columns = _head(persons) | {
        "kept": pa.array(kept),
        "drop_reason": reason,
        "drop_reasons": lists((~kept).astype(np.int64), reason.drop_null()),
        "reference_width": pa.nulls(count, pa.int32()),
        "reference_height": pa.nulls(count, pa.int32()),
        "reference": pa.nulls(count, pa.string()),
    }
    return table(columns, schemas.tables.DETECTIONS)


def crops_table(persons: Persons, looks: Looks) -> pa.Table:
    """Rows of ``schemas.tables.CROPS``; ``persons`` are crops only."""
    seed, key, count = persons.seed, persons.key, len(persons.key)
    size = np.round(persons.box[:, 2:] - persons.box[:, :2]).astype(np.int32)
    look = look_of(persons, looks)
    columns = _head(persons) | {
        "crop_id": crop_ids(persons),
        "width": pa.array(size[:, 0]),
        "height": pa.array(size[:, 1]),
        "sharpness": floats(np.exp(4.5 + 1.2 * _normal(seed, "sharpness", key))),
        "brightness": floats(np.clip(105 + 35 * _normal(seed, "brightness", persons.person), 5, 250)),
        "contrast": floats(np.clip(48 + 12 * _normal(seed, "contrast", persons.person), 2, 120)),
        "colourfulness": floats(np.abs(24 + 12 * _normal(seed, "colourfulness", persons.person))),
        "truncation": pa.array((noise.uniform(seed, "truncation", key) > 0.88).astype(np.int32)),
        "overlap": floats(np.maximum(0, noise.uniform(seed, "overlap", key) * 1.6 - 0.8)),
        "head_blurred_by": pa.nulls(count, pa.string()),
        "keypoints": pa.nulls(count, pa.list_(pa.float32())),
        "objects": _objects(persons),
        "phash": pa.array(_hashes(persons, looks, look)),
        "jpeg": pick(looks.jpegs, look),
    }
    return table(columns, schemas.tables.CROPS)


def tracks_table(persons: Persons, unit_id: Column) -> pa.Table:
    """Rows of ``schemas.tables.TRACKS``, for the persons seen more than once; by video, as their units are."""
    _, place, counts = np.unique(persons.person, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[place] > 1)
    persons, length = persons.take(rows), counts[place][rows]
    unit_id = pick(unit_id, rows)
    columns = {
        "detection_id": detection_ids(persons),
        "video_id": unit_id,
        "unit_id": unit_id,
        "frame_index": pa.array(persons.frame),
        "track_id": joined("/t", unit_id, text(persons.person.astype(np.int64))),
        "track_frames": pa.array(length * _SAMPLED_EVERY),
    }
    return table(columns, schemas.tables.TRACKS)


def duplicates_table(persons: Persons, unit_id: Column) -> pa.Table:
    """Rows of ``schemas.tables.DUPLICATES``: three in ten persons barely move, and their first crop represents them."""
    _, first, place = np.unique(persons.person, return_index=True, return_inverse=True)
    still = noise.uniform(persons.seed, "still", persons.person) < 0.3
    rows = np.flatnonzero(still & (first[place] != np.arange(len(place))))
    ids = crop_ids(persons)
    unit_id = pick(unit_id, rows)
    columns = {
        "crop_id": pick(ids, rows),
        "video_id": unit_id,
        "unit_id": unit_id,
        "duplicate_of": pick(ids, first[place][rows]),
        "how": same("phash", len(rows)),
        "similarity": floats(1 - noise.below(persons.seed, "similarity", persons.key[rows], 5) / 64),
    }
    return table(columns, schemas.tables.DUPLICATES)


def statics_table(persons: Persons, unit_id: Column) -> pa.Table:
    """Rows of ``schemas.tables.STATICS``: one crop in 200 shows a poster."""
    rows = np.flatnonzero(noise.uniform(persons.seed, "poster", persons.person) < 0.005)
    unit_id = pick(unit_id, rows)
    number = noise.below(persons.seed, "which poster", persons.person[rows], 3)
    columns = {
        "crop_id": crop_ids(persons.take(rows)),
        "video_id": unit_id,
        "unit_id": unit_id,
        "static_id": joined("/s", unit_id, text(number)),
        "span_s": pa.array(60 + 300 * noise.uniform(persons.seed, "span", persons.person[rows])),
        "seen_share": floats(0.3 + 0.6 * noise.uniform(persons.seed, "seen", persons.person[rows])),
    }
    return table(columns, schemas.tables.STATICS)


def embeddings_table(persons: Persons, looks: Looks, unit_id: str) -> pa.Table:
    """Rows of ``schemas.tables.embeddings``, region whole: the look's features, changed by person and by crop."""
    dim, look = looks.features.shape[1], look_of(persons, looks)
    _, first, place = np.unique(persons.person, return_index=True, return_inverse=True)
    generator = np.random.default_rng([persons.seed, int(persons.key[0])])
    own = generator.standard_normal((len(first), dim), dtype=np.float32)[place] * np.float32(0.5 / dim**0.5)
    frame = generator.standard_normal((len(place), dim), dtype=np.float32) * np.float32(0.15 / dim**0.5)
    features = looks.features[look] + own + frame
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    flat = pa.array(features.astype(np.float16).ravel())
    columns = _of_unit(persons, unit_id) | {
        "region": same("whole", len(look)),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, dim),
    }
    return table(columns, schemas.tables.embeddings(dim))


def evidence_table(persons: Persons, looks: Looks, unit_id: str) -> pa.Table:
    """Rows of ``schemas.tables.EVIDENCE``."""
    columns = _of_unit(persons, unit_id) | {
        "colours": pick(looks.colours, look_of(persons, looks)),
        "objects": _objects(persons),
    }
    return table(columns, schemas.tables.EVIDENCE)


def captions_table(persons: Persons, looks: Looks, unit_id: str, seed: int) -> pa.Table:
    """Rows of ``schemas.tables.CAPTIONS``; ``seed`` is the caption block's."""
    captions = pick(looks.captions, look_of(persons, looks)).combine_chunks()
    columns = _of_unit(persons, unit_id) | {
        "seed": same(seed, len(persons.key)),
        "captions": captions["captions"],
        "attributes": captions["attributes"],
    }
    return table(columns, schemas.tables.CAPTIONS)


def look_of(persons: Persons, looks: Looks) -> Ints:
    """Row of each person's look."""
    return noise.below(persons.seed, "look", persons.person, len(looks.hashes))


def detection_ids(persons: Persons) -> Column:
    """``<video_id>/<frame_index>/<n>``."""
    return joined("/", pick(persons.chunks.video_id, persons.chunk), text(persons.frame), text(persons.nth))


def crop_ids(persons: Persons) -> Column:
    """First 16 hex digits of the SHA-1 of each detection_id."""
    names: list[Any] = detection_ids(persons).to_pylist()
    return pa.array([hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:16] for name in names])


def _counts(seed: int, number: Ints) -> Ints:
    """Detections in each chunk: none in a quarter of them, an exponential distribution in the others."""
    share = noise.uniform(seed, "busy", number)
    many = 1 + np.floor(-np.log1p(-noise.uniform(seed, "detections", number)) * _MEAN_DETECTIONS).astype(np.int64)
    return np.where(share < _EMPTY_CHUNKS, 0, np.minimum(many, _MOST_DETECTIONS))


def _reasons(seed: int, key: Bits) -> Ints:
    dropped = noise.uniform(seed, "dropped", key) < _DROPPED
    reason = np.searchsorted(np.cumsum(_REASON_SHARES), noise.uniform(seed, "reason", key) * 0.999)
    return np.where(dropped, reason, -1)


def _boxes(
    seed: int, key: Bits, person: Bits, slot: Ints, reason: Ints
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Boxes and confidences that pass the rules of LUPerson, or fail the given one."""
    share = noise.uniform(seed, "confidence", key)
    confidence = np.where(reason == 0, 0.25 + 0.46 * share, 0.73 + 0.25 * share)
    width = 50 + 120 * noise.uniform(seed, "width", person) ** 2
    width = np.where(reason == 1, 10 + 35 * share, width)
    aspect = 1.8 + 1.6 * noise.uniform(seed, "aspect", person)
    aspect = np.where(reason == 2, 0.6 + 0.8 * share, np.where(reason == 3, 5.1 + share, aspect))
    # A box as high as the frame is narrower, not of another shape.
    height = np.minimum(width * aspect, _HEIGHT - 2)
    width = height / aspect
    x1 = noise.uniform(seed, "left", person) * (_WIDTH - width) + 3 * noise.uniform(seed, "sway", key)
    y1 = noise.uniform(seed, "top", person) * (_HEIGHT - height)
    x1 = np.minimum(x1 + slot % _SEEN, _WIDTH - width)
    return np.stack([x1, y1, x1 + width, y1 + height], axis=1).astype(np.float32), confidence.astype(np.float32)


def _rank_in_frame(chunk: Ints, frame: Ints) -> Ints:
    """Rank of each row among the rows of its frame, which follow each other."""
    new = np.ones(len(frame), np.bool_)
    new[1:] = (frame[1:] != frame[:-1]) | (chunk[1:] != chunk[:-1])
    return ranks(np.diff(np.append(np.flatnonzero(new), len(frame))))


def _head(persons: Persons) -> dict[str, Any]:
    count = len(persons.key)
    return {
        "detection_id": detection_ids(persons),
        "video_id": pick(persons.chunks.video_id, persons.chunk),
        "unit_id": pick(persons.chunks.unit_id, persons.chunk),
        "frame_index": pa.array(persons.frame),
        "pts_s": pa.array(persons.pts_s),
        **{name: pa.array(persons.box[:, place]) for place, name in enumerate(("x1", "y1", "x2", "y2"))},
        "frame_width": same(_WIDTH, count),
        "frame_height": same(_HEIGHT, count),
        "confidence": pa.array(persons.confidence),
    }


def _of_unit(persons: Persons, unit_id: str) -> dict[str, Any]:
    return {
        "crop_id": crop_ids(persons),
        "video_id": pick(persons.chunks.video_id, persons.chunk),
        "unit_id": same(unit_id, len(persons.key)),
    }


def _objects(persons: Persons) -> Column:
    """One object near every fifth person, none near the others."""
    near = noise.uniform(persons.seed, "object", persons.person) < 0.2
    rows = np.flatnonzero(near)
    box = persons.box[rows]
    names: Any = pa.array(LABELS, pa.string())
    fields: list[pa.Array[Any]] = [
        pick(names, noise.below(persons.seed, "label", persons.person[rows], len(LABELS))),
        floats(0.3 + 0.6 * noise.uniform(persons.seed, "object confidence", persons.key[rows])),
        *(pa.array(box[:, side]) for side in range(4)),
        floats(noise.uniform(persons.seed, "object overlap", persons.key[rows])),
    ]
    found = pa.StructArray.from_arrays(fields, fields=list(schemas.tables.OBJECT))
    return lists(near.astype(np.int64), found)


def _hashes(persons: Persons, looks: Looks, look: Ints) -> Bits:
    """The look's hash, with 20 bits of the person and up to two of the crop changed."""
    person = noise.bits(persons.seed, "hash", persons.person) & noise.bits(persons.seed, "hash mask", persons.person)
    moved = np.uint64(1) << (noise.bits(persons.seed, "hash bit", persons.key) & np.uint64(63))
    return np.asarray(looks.hashes[look] ^ person ^ moved, np.uint64)


def _normal(seed: int, name: str, positions: Bits) -> Doubles:
    """Standard normal numbers (Box and Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-noise.uniform(seed, name, positions)))
    return np.asarray(radius * np.cos(2 * np.pi * noise.uniform(seed, f"{name}, angle", positions)), np.float64)
