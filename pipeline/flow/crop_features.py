"""Features of crops for later stages: files of crops by video, each with its file of embeddings."""

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.live import derived, live_files, read_live, stem
from pipeline.errors import UserError
from pipeline.flow import embed, reid
from pipeline.flow.detect import STAGE as DETECT
from pipeline.recipe import Recipe
from pipeline.run.units import Row
from schemas.declaration import Table

Features = tuple[dict[str, int], npt.NDArray[np.float16]]
"""Row by crop_id, and the features: float16 [N, D]."""

PIECE = pa.struct(
    [
        pa.field("path", pa.string()),
        pa.field("live", pa.list_(pa.string())),
        # Empty where the crops have no features.
        pa.field("features", pa.string()),
    ]
)

NO_FEATURES: Features = ({}, np.zeros((0, 0), np.float16))


def pieces_by_video(corpus: Corpus, table: Table, features: dict[str, str]) -> dict[str, list[Row]]:
    """Files of one of detect's tables, by video.

    Args:
        corpus: The corpus.
        table: ``CROPS`` or ``DETECTIONS``.
        features: Files of features by the stem of the file of crops; empty if none are needed.

    Returns:
        Rows of ``PIECE`` by video_id.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for path, units in live_files(corpus, DETECT.name, table).items():
        for unit in units:
            found[unit.rpartition("/")[0]].setdefault(path, []).append(unit)
    return {
        video: [{"path": path, "live": live, "features": features.get(stem(path), "")} for path, live in files.items()]
        for video, files in sorted(found.items())
    }


def digest_parts(pieces: list[Row]) -> list[str]:
    """What a result depends on, for its digest of inputs."""
    return [f"{piece['path']}:{','.join(piece['live'])}:{piece['features']}" for piece in pieces]


def feature_files(corpus: Corpus, recipe: Recipe, kind: str) -> dict[str, str]:
    """Files of features by the stem of their file of crops; ``kind`` is clip or reid."""
    if kind == "reid":
        return derived(corpus, reid.STAGE.name, embed.EMBEDDINGS, recipe.reid.slug)
    return derived(corpus, embed.STAGE.name, embed.EMBEDDINGS, recipe.embed.slug)


def read_pieces(corpus: Corpus, table: Table, pieces: list[Row], columns: list[str]) -> pa.Table:
    """Rows of a video's pieces of a table."""
    return pa.concat_tables(read_live(corpus, table, piece["path"], piece["live"], columns) for piece in pieces)


def read_features(corpus: Corpus, pieces: list[Row], video: str | None = None) -> Features:
    """Features of whole crops; ``video`` None = of all videos."""
    names: list[Any] = []
    vectors = []
    for path in dict.fromkeys(piece["features"] for piece in pieces if piece["features"]):
        table = corpus.read_table(path, columns=["crop_id", "video_id", "region", "embedding"])
        wanted = pc.equal(table["region"], pa.scalar("whole"))
        if video is not None:
            wanted = pc.and_(wanted, pc.equal(table["video_id"], pa.scalar(video)))
        table = table.filter(wanted)
        # A file has no rows of a video whose crops could not be decoded, and zero rows have no length to infer.
        if not len(table):
            continue
        column = table["embedding"].combine_chunks()
        names += table["crop_id"].to_pylist()
        vectors.append(pc.list_flatten(column).to_numpy(zero_copy_only=False).reshape(len(table), -1))
    if not vectors:
        return NO_FEATURES
    return {name: row for row, name in enumerate(names)}, np.concatenate(vectors)


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
