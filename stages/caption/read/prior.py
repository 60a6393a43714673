"""Prior correction: what all image features have in common is subtracted before they are compared with phrases.

A phrase that is similar to every image wins everywhere. Its mean similarity over many images equals its similarity to
their mean feature. So one mean vector per region is enough, whatever the phrases are.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from stages.arrays import Doubles
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.exact import in_units
from stages.resources import locate


@dataclass
class MeanFeature:
    """Mean of unit features by region, summed exactly: the same to the last bit in any order and any batches."""

    sums: dict[str, Doubles] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, region: str, features: npt.NDArray[np.floating]) -> None:
        """Add the features [n, D] of one region."""
        total = in_units(features).sum(axis=0)
        self.sums[region] = self.sums[region] + total if region in self.sums else total
        self.counts[region] = self.counts.get(region, 0) + len(features)

    def means(self) -> dict[str, Doubles]:
        """float64 [D] by region, in whole UNITS; regions without features are absent."""
        return {region: np.rint(total / self.counts[region]) for region, total in self.sums.items()}


def mean_features(tables: Iterable[pa.Table]) -> dict[str, Doubles]:
    """Mean feature of each region.

    Args:
        tables: Columns region and embedding, as in ``schemas.tables.embeddings``.

    Returns:
        float64 [D] by region, in whole UNITS.
    """
    total = MeanFeature()
    for table in tables:
        names: Any = table["region"].combine_chunks().dictionary_encode()
        column: Any = table["embedding"].combine_chunks()
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
        for code, region in enumerate(names.dictionary.to_pylist()):
            total.add(region, vectors[names.indices.to_numpy() == code])
    return total.means()


def reference_digest(config: CaptionConfig) -> str:
    """SHA-256 of the reference set's file; empty if the recipe names none.

    Raises:
        BankError: The file does not exist.
    """
    if config.reference is None:
        return ""
    with _existing(config.reference).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reference_means(config: CaptionConfig) -> dict[str, Doubles]:
    """Mean features of the reference set that the recipe names.

    Raises:
        BankError: The file does not exist, or holds no embeddings.
    """
    path = _existing(str(config.reference))
    try:
        return mean_features([pq.read_table(path, columns=["region", "embedding"])])
    except (pa.ArrowException, KeyError, AttributeError) as error:
        raise BankError(
            f"caption.reference: {path} is not a Parquet file of embeddings; 'reidforge calibrate --reference' writes "
            "one"
        ) from error


def prior_rows(means: Mapping[str, Doubles], config: CaptionConfig) -> dict[str, Doubles]:
    """What is subtracted from every feature of a region, float64 [D] in whole UNITS; empty without a prior."""
    if config.prior == "none":
        return {}
    return {region: np.rint(mean * config.prior_strength) for region, mean in means.items()}


def _existing(name: str) -> Path:
    path = Path(locate(name))
    if not path.is_file():
        raise BankError(f"caption.reference: no file {name!r}; 'reidforge calibrate --reference' writes one")
    return path
