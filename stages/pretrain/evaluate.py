"""Text-to-image retrieval on a split of a manifest.

Pseudo-captions come without identities, so relevance is a matter of what is told: an image answers a caption when
the set of attributes told of it (attribute and value, those with ``used``) equals the set told of a crop that bears
the caption. A crop without attributes answers its own captions alone. A text that several crops bear is asked once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from stages.pictures import decode, squash
from stages.pretrain.data import Inputs
from stages.pretrain.model import TwoTowers

RANKS = (1, 5, 10)
QUERY_SLICE = 1024


def retrieval_metrics(similarity: npt.NDArray[Any], relevant: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Recall at 1, 5 and 10, and mean average precision, over the whole gallery.

    R@k is the share of queries with a relevant image among the first k. AP is not interpolated: the mean, over the
    relevant images, of the precision at each one's rank (as IRRA's evaluator has it). Ties are taken at their worst: of
    images that score the same, those that are not relevant come first, so a model that scores all alike gains nothing.

    Args:
        similarity: float [Q, G], score of each image of the gallery for each query.
        relevant: bool [Q, G], which images answer which query.

    Returns:
        ``r1``, ``r5``, ``r10`` and ``map``, shares from 0 to 1 over the queries that have an answer; NaN if none has.

    Raises:
        ValueError: The shapes differ or a score is not a number.
    """
    if similarity.shape != relevant.shape or similarity.ndim != 2:
        raise ValueError(f"similarity {similarity.shape} and relevant {relevant.shape} must both be [queries, gallery]")
    if np.isnan(similarity).any():
        raise ValueError("similarity holds NaN; the features that it was made from are broken")
    return _mean(_per_query(similarity, relevant))


def _per_query(similarity: npt.NDArray[Any], relevant: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """R@1, R@5, R@10 and AP of each query that has an answer: float64 [Q', 4]."""
    answered = relevant.any(axis=1)
    similarity, relevant = similarity[answered], relevant[answered]
    # Stable sorts, wrong images first: that is the worst order among ties.
    worst = np.argsort(relevant, axis=1, kind="stable")
    order = np.argsort(-np.take_along_axis(similarity, worst, axis=1), axis=1, kind="stable")
    hits = np.take_along_axis(np.take_along_axis(relevant, worst, axis=1), order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    ap = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    return np.stack([*(hits[:, :rank].any(axis=1) for rank in RANKS), ap], axis=1).astype(np.float64)


def _mean(rows: npt.NDArray[np.float64]) -> dict[str, float]:
    values = rows.mean(axis=0) if len(rows) else np.full(len(RANKS) + 1, np.nan)
    return dict(zip([*(f"r{rank}" for rank in RANKS), "map"], map(float, values), strict=True))


@dataclass
class _Gallery:
    """Features of a split's images, and which told set each has; texts with the told sets that they answer to."""

    features: list[torch.Tensor] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    texts: dict[str, set[int]] = field(default_factory=dict)
    sets: dict[Any, int] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        number = self.sets.setdefault(told_set(row["attributes"]) or row["crop_id"], len(self.sets))
        self.told.append(number)
        for text in row["captions"] or ():
            self.texts.setdefault(text, set()).add(number)


def told_set(attributes: Iterable[Mapping[str, Any]] | None) -> frozenset[tuple[str, str]]:
    """(attribute, value) pairs that the captions of a crop tell."""
    return frozenset((item["attribute"], item["value"]) for item in attributes or () if item["used"])


def evaluate(
    towers: TwoTowers, inputs: Inputs, stream: Iterable[pa.RecordBatch], *, device: str, dtype: torch.dtype, size: int
) -> dict[str, float]:
    """Text-to-image retrieval of a model on a split.

    Args:
        towers: The model; left in the mode that it was in.
        inputs: Its input size, normalisation and tokeniser.
        stream: Record batches with crop_id, jpeg, captions and attributes. Unreadable crops are passed over.
        device: Where the model is.
        dtype: Number format of the forward pass.
        size: Images or texts in one pass.

    Returns:
        ``r1``, ``r5``, ``r10``, ``map`` as of ``retrieval_metrics``, and the counts ``queries`` and ``gallery``.
    """
    was_training, gallery = towers.training, _Gallery()
    towers.eval()
    with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for batch in stream:
            _add(gallery, towers, inputs, batch, device, size)
        texts = list(gallery.texts)
        tokens = (inputs.tokenize(texts[start : start + size]).to(device) for start in range(0, len(texts), size))
        parts = [towers.clip.encode_text(part, normalize=True).float().cpu() for part in tokens]
    towers.train(was_training)
    counts = {"queries": float(len(texts)), "gallery": float(len(gallery.told))}
    if not texts:
        return _mean(np.empty((0, len(RANKS) + 1))) | counts
    return _score(gallery, torch.cat(parts)) | counts


def _add(gallery: _Gallery, towers: TwoTowers, inputs: Inputs, batch: pa.RecordBatch, device: str, size: int) -> None:
    rows = batch.select(["crop_id", "jpeg", "captions", "attributes"]).to_pylist()
    for start in range(0, len(rows), size):
        images = []
        for row in rows[start : start + size]:
            image = decode(row["jpeg"] or b"")
            if image is not None:
                images.append(squash(image, inputs.height, inputs.width))
                gallery.add(row)
        if images:
            pixels = inputs.pixels(images).to(device)
            gallery.features.append(towers.clip.encode_image(pixels, normalize=True).float().cpu())


def _score(gallery: _Gallery, text: torch.Tensor) -> dict[str, float]:
    images, told = torch.cat(gallery.features), np.array(gallery.told)
    answers, parts = list(gallery.texts.values()), []
    # In slices of queries: the whole matrix of a large split would not fit in memory.
    for start in range(0, len(answers), QUERY_SLICE):
        similarity = (text[start : start + QUERY_SLICE] @ images.T).numpy()
        relevant = np.stack([np.isin(told, list(answer)) for answer in answers[start : start + QUERY_SLICE]])
        parts.append(_per_query(similarity, relevant))
    return _mean(np.concatenate(parts))
