"""From a table of embeddings or crops to the ``captions`` table."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import CAPTION, CAPTIONS
from stages.caption.bank.bank import Bank
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.decisions import Decisions, decide
from stages.caption.read.evidence import read_evidence
from stages.caption.read.reader import AttributeReader, CropBatch, Needs
from stages.caption.write.known_writers import caption_writer
from stages.caption.write.writer import Captions, CaptionWriter
from stages.errors import UnitError


def caption_crops(
    table: pa.Table,
    reader: AttributeReader,
    bank: Bank,
    config: CaptionConfig,
    unit_id: str,
    *,
    evidence: pa.Table | None = None,
) -> pa.Table:
    """Caption every crop of a table.

    Args:
        table: What the reader needs. Embeddings: ``schemas.tables.embeddings(dim)``, one row per crop and region, in
            any order. Crops: ``schemas.tables.CROPS``, one row per crop.
        reader: Reads the attributes, in the terms of ``bank``.
        bank: The bank that sentences are written with.
        config: Thresholds, evidence, and how sentences are written.
        unit_id: Unit of work that the rows belong to.
        evidence: ``schemas.tables.EVIDENCE`` of the same crops, in any order; None for none.

    Returns:
        ``schemas.tables.CAPTIONS``, one row per crop, in the order in which the table first names them.

    Raises:
        UnitError: The table holds a crop twice, lacks a region or rows of one, or does not fit the reader.
        BankError: The reader reads in the terms of another bank.
    """
    if not table.num_rows:
        return CAPTIONS.empty_table()
    batch = _BATCHES[reader.needs](table)
    readings = reader.read(batch)
    if readings.bank.digest != bank.digest:
        raise BankError(f"readings are of bank {readings.bank.name}, not of {bank.name}; read with that bank")
    found = read_evidence(evidence, batch.crop_ids, bank, config)
    decisions = decide(readings, config, found)
    return caption_table(batch, decisions, caption_writer(bank, config), unit_id, seed=config.seed)


def caption_table(
    batch: CropBatch, decisions: Decisions, writer: CaptionWriter, unit_id: str, *, seed: int
) -> pa.Table:
    """Write the captions of N crops.

    Args:
        batch: The crops.
        decisions: What captions may state of them.
        writer: Writes the captions, and reports what they state.
        unit_id: Unit of work that the rows belong to.
        seed: The seed of the writer, for the table.

    Returns:
        ``schemas.tables.CAPTIONS``, one row per crop, in the order of the batch.
    """
    captions = writer.write(batch, decisions)
    count = len(batch.crop_ids)
    columns: list[pa.Array[Any]] = [
        pa.array(batch.crop_ids, pa.string()),
        pa.array(batch.video_ids, pa.string()),
        pa.repeat(pa.scalar(unit_id, pa.string()), count),
        pa.repeat(pa.scalar(seed, pa.int64()), count),
        _caption_column(captions, count),
        replace(decisions, used=captions.stated).to_arrow(),
    ]
    return pa.Table.from_arrays(columns, schema=CAPTIONS)


def _caption_column(captions: Captions, count: int) -> "pa.ListArray[Any]":
    columns = [
        pa.array(captions.texts, pa.string()),
        pa.array(captions.templates, pa.string()),
        pa.array(captions.styles, pa.string()),
    ]
    structs = pa.StructArray.from_arrays(columns, fields=list(CAPTION))
    offsets = np.arange(count + 1) * captions.per_crop
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


def features_by_region(table: pa.Table) -> CropBatch:
    """The crops of an embeddings table, with their features by region.

    Raises:
        UnitError: A crop has no row, or two, for a region that others have; or an embedding is null.
    """
    coded = table["crop_id"].combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    vectors = _vectors(table["embedding"])
    regions: list[Any] = pc.unique(table["region"]).to_pylist()
    features = {}
    for region in sorted(regions):
        rows = np.flatnonzero(pc.equal(table["region"], pa.scalar(region)).to_numpy())
        _check_rows(codes[rows], coded.dictionary, region)
        features[region] = vectors[rows[np.argsort(codes[rows])]]
    ids: list[Any] = coded.dictionary.to_pylist()
    videos = table["video_id"].take(pa.array(first, pa.int64())).combine_chunks()
    return CropBatch(ids, videos, features=features)


def crops_as_stored(table: pa.Table) -> CropBatch:
    """The crops of a crops table.

    Raises:
        UnitError: A crop has two rows.
    """
    ids: list[Any] = table["crop_id"].to_pylist()
    if len(set(ids)) < len(ids):
        raise UnitError(f"{len(ids) - len(set(ids))} crops have two rows; detect this chunk again", kind="crop_rows")
    return CropBatch(ids, table["video_id"].combine_chunks(), crops=table)


_BATCHES: Final[Mapping[Needs, Callable[[pa.Table], CropBatch]]] = {
    "embeddings": features_by_region,
    "crops": crops_as_stored,
}


def _vectors(column: "pa.ChunkedArray[Any]") -> npt.NDArray[np.float16]:
    if column.null_count:
        raise UnitError("an embedding is null; embed these crops again", kind="embedding_value")
    vectors: Any = column.combine_chunks()
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float16).reshape(-1, column.type.list_size)


def _check_rows(codes: npt.NDArray[np.int32], crops: "pa.Array[Any]", region: str) -> None:
    counts = np.bincount(codes, minlength=len(crops))
    wrong = np.flatnonzero(counts != 1)
    if len(wrong):
        raise UnitError(
            f"crop {crops[int(wrong[0])]} has {counts[wrong[0]]} embeddings of region {region} instead of 1 "
            f"({len(wrong)} such crops); embed this file again",
            kind="embedding_rows",
        )
