"""Features of crops for later stages: files of crops by video, each with its file of embeddings."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.grouping import digest_text, filled, grouped, joined, lists_of, places_of, runs, structs
from pipeline.corpus.packs import PACK, PACK_FIELDS, PACK_STRUCT, Pack, pack_parts, read_packs
from pipeline.corpus.snapshot import Snapshot, derived, first_parts, stems
from pipeline.errors import UserError
from pipeline.flow import embed, reid
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.units import Row
from schemas.declaration import Table
from stages.arrays import arrow, table_of

Features = tuple[dict[str, int], npt.NDArray[np.float16]]
"""Row by crop_id, and the features: float16 [N, D]."""

PIECE = pa.struct(
    [
        *PACK_FIELDS,
        # Null where the crops have no features.
        pa.field("features", PACK_STRUCT),
    ]
)

NO_FEATURES: Features = ({}, np.zeros((0, 0), np.float16))


def pieces_by_video(snapshot: Snapshot, table: Table, features: pa.Table) -> pa.Table:
    """Packs of one of detect's tables, by video.

    Args:
        snapshot: What counts.
        table: ``CROPS`` or ``DETECTIONS``.
        features: Packs of features by the stem of their pack of crops, from ``feature_packs``.

    Returns:
        One row per video, sorted: video_id; pieces, rows of ``PIECE`` sorted by path; and text, what the result of a
        unit that reads them depends on, for its digest of inputs.
    """
    live = snapshot.live_of(DETECT.name, table)
    live = live.append_column("video_id", first_parts(live["unit_id"]))
    pieces = snapshot.locate(grouped(live, ["video_id", "path"], "unit_id").rename_columns({"unit_id": "live"}))
    places = places_of(stems(pieces["path"]), features, "stem")
    own = features.take(places)
    pieces = pieces.append_column("features", structs(own, PACK_FIELDS, missing=places.is_null()))
    parts = joined(":", pack_parts(pieces), filled(own["path"], ""))
    starts = runs(pieces["video_id"])
    return table_of(
        {
            "video_id": pieces["video_id"].take(arrow(starts)),
            "pieces": lists_of(structs(pieces, list(PIECE)), starts),
            "text": digest_text(lists_of(parts, starts)),
        }
    )


def feature_packs(snapshot: Snapshot, recipe: Recipe, kind: str | None) -> pa.Table:
    """Packs of features, by the stem of their pack of crops.

    Args:
        snapshot: What counts.
        recipe: Names the models.
        kind: clip or reid; None = no features.

    Returns:
        Column stem, and those of ``PACK``.
    """
    if kind is None:
        return derived(PACK.empty_table())
    stage, slug = (reid.STAGE, recipe.reid.slug) if kind == "reid" else (embed.STAGE, recipe.embed.slug)
    return derived(snapshot.packs(stage.name, embed.EMBEDDINGS, slug))


def read_pieces(corpus: Corpus, table: Table, pieces: list[Row], columns: list[str]) -> pa.Table:
    """Rows of a video's pieces of a table."""
    return pa.concat_tables(read_packs(corpus, table, pieces, columns))


def read_features(corpus: Corpus, pieces: list[Row], video: str | None = None) -> Features:
    """Features of whole crops; ``video`` None = of all videos."""
    names: list[Any] = []
    vectors = []
    packs = {piece["features"]["path"]: piece["features"] for piece in pieces if piece["features"]}
    for known, found in pack_features(corpus, list(packs.values()), video):
        # A file has no rows of a video whose crops could not be decoded, and zero rows have no length to infer.
        if known:
            names += known
            vectors.append(found)
    if not vectors:
        return NO_FEATURES
    return {name: row for row, name in enumerate(names)}, np.concatenate(vectors)


def pack_features(
    corpus: Corpus, packs: list[Pack], video: str | None = None
) -> Iterator[tuple[list[Any], npt.NDArray[np.float16]]]:
    """crop_ids and features of whole crops, pack by pack: float16 [N, D], or [0, 0] where a pack has none."""
    for table in read_packs(corpus, embed.EMBEDDINGS, packs, ["crop_id", "video_id", "region", "embedding"]):
        wanted = pc.equal(table["region"], pa.scalar("whole"))
        if video is not None:
            wanted = pc.and_(wanted, pc.equal(table["video_id"], pa.scalar(video)))
        rows = table.filter(wanted)
        column = rows["embedding"].combine_chunks()
        numbers = pc.list_flatten(column).to_numpy(zero_copy_only=False)
        yield rows["crop_id"].to_pylist(), numbers.reshape(len(rows), -1) if len(rows) else NO_FEATURES[1]


def check_features(recipe: Recipe, kind: str, wanted_by: str) -> None:
    """Check that the recipe produces the features that a key needs.

    Raises:
        UserError: It does not; the message names the key that needs them and the one that produces them.
    """
    if kind == "reid" and recipe.reid.model is None:
        raise UserError(f"{wanted_by} needs features of a re-identification network, and reid.model is null; set it")
    if kind == "clip" and "whole" not in recipe.embed.regions:
        given = ", ".join(recipe.embed.regions)
        raise UserError(
            f"{wanted_by} compares whole crops, and embed.regions is {given}; add whole, or switch the comparison off"
        )
