"""From a file of embeddings to the ``captions`` table."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import CAPTION, CAPTIONS
from stages.arrays import Doubles
from stages.caption.bank.bank import Bank
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import BankFeatures, read_attributes
from stages.caption.read.evidence import read_evidence
from stages.caption.read.readings import Readings
from stages.caption.write.combine import Sentences, write_sentences
from stages.errors import UnitError


def caption_embeddings(
    table: pa.Table,
    bank_features: BankFeatures,
    bank: Bank,
    config: CaptionConfig,
    unit_id: str,
    *,
    evidence: pa.Table | None = None,
    means: Mapping[str, Doubles] | None = None,
) -> pa.Table:
    """Caption every crop of an embeddings table.

    Args:
        table: ``schemas.tables.embeddings(dim)``, one row per crop and region, in any order.
        bank_features: The encoded bank, of the model that made the embeddings.
        bank: The bank itself.
        config: The stage's configuration.
        unit_id: Unit of work that the rows will name.
        evidence: ``schemas.tables.EVIDENCE`` of the same crops, in any order; None where there is none.
        means: Mean features of the prior, as ``stages.caption.read.prior`` gives them.

    Returns:
        ``schemas.tables.CAPTIONS``, one row per crop, in the order in which the table first names them.

    Raises:
        UnitError: The table lacks a region, lacks rows of one, holds a crop twice, or does not fit the bank's features.
        BankError: The features are of another bank.
    """
    if bank_features.bank.digest != bank.digest:
        raise BankError(f"text features are of bank {bank_features.bank.name}, not of {bank.name}; encode this bank")
    if not table.num_rows:
        return CAPTIONS.empty_table()
    crop_ids, video_ids, features = features_by_region(table)
    said = read_evidence(evidence, crop_ids, bank, config)
    readings = read_attributes(features, bank_features, config, means=means, evidence=said)
    return caption_table(crop_ids, video_ids, unit_id, readings, bank, config)


def caption_table(
    crop_ids: Sequence[str],
    video_ids: Sequence[str] | pa.Array,
    unit_id: str,
    readings: Readings,
    bank: Bank,
    config: CaptionConfig,
) -> pa.Table:
    """Write the captions of N crops as a table of ``schemas.tables.CAPTIONS``; arguments as in ``write_captions``."""
    sentences = write_sentences(readings.told(), crop_ids, bank, config)
    count = len(crop_ids)
    columns = [
        pa.array(crop_ids, pa.string()),
        pa.array(video_ids, pa.string()),
        pa.repeat(pa.scalar(unit_id, pa.string()), count),
        pa.repeat(pa.scalar(config.seed, pa.int64()), count),
        _captions(sentences, count),
        readings.to_arrow(),
    ]
    return pa.Table.from_arrays(columns, schema=CAPTIONS)


def _captions(sentences: Sentences, count: int) -> pa.ListArray:
    columns = [
        pa.array(sentences.texts, pa.string()),
        pa.array([template.id for template in sentences.templates], pa.string()),
        pa.array([template.style for template in sentences.templates], pa.string()),
    ]
    structs = pa.StructArray.from_arrays(columns, fields=list(CAPTION))
    offsets = np.arange(count + 1, dtype=np.int32) * sentences.per_crop
    return pa.ListArray.from_arrays(pa.array(offsets), structs)


def features_by_region(table: pa.Table) -> tuple[list[str], pa.Array, dict[str, npt.NDArray[np.float16]]]:
    """Crop ids [N], their video ids [N], and for each region the features of all of them, float16 [N, D].

    Raises:
        UnitError: A crop has no row, or two, for a region that others have; or an embedding is null.
    """
    coded = table["crop_id"].combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    vectors = _vectors(table["embedding"])
    features = {}
    for region in sorted(pc.unique(table["region"]).to_pylist()):
        rows = np.flatnonzero(pc.equal(table["region"], region).to_numpy())
        _check_rows(codes[rows], coded.dictionary, region)
        features[region] = vectors[rows[np.argsort(codes[rows])]]
    return coded.dictionary.to_pylist(), table["video_id"].take(pa.array(first)).combine_chunks(), features


def _vectors(column: pa.ChunkedArray) -> npt.NDArray[np.float16]:
    if column.null_count:
        raise UnitError("an embedding is null; embed these crops again", kind="embedding_value")
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float16).reshape(-1, column.type.list_size)


def _check_rows(codes: npt.NDArray[np.int32], crops: pa.Array, region: str) -> None:
    counts = np.bincount(codes, minlength=len(crops))
    wrong = np.flatnonzero(counts != 1)
    if len(wrong):
        raise UnitError(
            f"crop {crops[int(wrong[0])]} has {counts[wrong[0]]} embeddings of region {region}, where 1 is due "
            f"({len(wrong)} such crops); embed this file again",
            kind="embedding_rows",
        )
