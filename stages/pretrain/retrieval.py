"""Text-to-image retrieval on a split of a manifest.

Pseudo-captions come without identities, so relevance follows from what captions state: an image answers a caption if
the attributes stated for it (attribute and value, those with ``used``) equal those stated for a crop that has the
caption. A crop without attributes answers its own captions only. A text that several crops share is queried once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from stages.pictures import decode, squash
from stages.pretrain.two_towers import Inputs, TwoTowers

RANKS = (1, 5, 10)
# Queries scored at once: the whole matrix of a large split does not fit into memory.
QUERY_SLICE = 1024


def retrieval_metrics(similarity: npt.NDArray[Any], relevant: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Recall at 1, 5 and 10, and mean average precision, over the whole gallery.

    R@k is the share of queries with a relevant image among the first k. AP is not interpolated: it is the mean, over
    the relevant images, of the precision at the rank of each (as in IRRA's evaluator). Ties count against the model:
    of images with equal scores, those that are not relevant come first, so constant scores earn nothing.

    Args:
        similarity: float [Q, G], score of each gallery image for each query.
        relevant: bool [Q, G], which images answer which query.

    Returns:
        ``r1``, ``r5``, ``r10`` and ``map``, from 0 to 1, over the queries that have an answer; NaN if none has one.

    Raises:
        ValueError: The shapes differ or a score is not a number.
    """
    if similarity.shape != relevant.shape or similarity.ndim != 2:
        raise ValueError(f"similarity {similarity.shape} and relevant {relevant.shape} must both be [queries, gallery]")
    if np.isnan(similarity).any():
        raise ValueError("similarity holds NaN; the features that it was computed from are broken")
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
    """Features of a split's images and the stated set of each; texts with the stated sets that answer them."""

    features: list[torch.Tensor] = field(default_factory=list)
    stated: list[int] = field(default_factory=list)
    texts: dict[str, set[int]] = field(default_factory=dict)
    sets: dict[Any, int] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        number = self.sets.setdefault(stated_set(row["attributes"]) or row["crop_id"], len(self.sets))
        self.stated.append(number)
        for text in row["captions"] or ():
            self.texts.setdefault(text, set()).add(number)


def stated_set(attributes: Iterable[Mapping[str, Any]] | None) -> frozenset[tuple[str, str]]:
    """(attribute, value) pairs that the captions of a crop state."""
    return frozenset((item["attribute"], item["value"]) for item in attributes or () if item["used"])


def evaluate(
    towers: TwoTowers, inputs: Inputs, stream: Iterable[pa.RecordBatch], *, device: str, size: int
) -> dict[str, float]:
    """Text-to-image retrieval of a model on a split. Inference mode and autocast are the caller's.

    Args:
        towers: The model, in evaluation mode.
        inputs: Its input size, normalisation and tokeniser.
        stream: Record batches with crop_id, jpeg, captions and attributes. Unreadable crops are skipped.
        device: Where the model is.
        size: Images or texts in one forward pass.

    Returns:
        ``r1``, ``r5``, ``r10``, ``map`` as in ``retrieval_metrics``, and the counts ``queries`` and ``gallery``.
    """
    gallery = _Gallery()
    for batch in stream:
        _add(gallery, towers, inputs, batch, device, size)
    texts = list(gallery.texts)
    counts = {"queries": float(len(texts)), "gallery": float(len(gallery.stated))}
    if not texts:
        return _mean(np.empty((0, len(RANKS) + 1))) | counts
    tokens = (inputs.tokenize(texts[start : start + size]).to(device) for start in range(0, len(texts), size))
    features = torch.cat([towers.clip.encode_text(part, normalize=True).float().cpu() for part in tokens])
    return _score(gallery, features) | counts


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
    images, stated = torch.cat(gallery.features), np.array(gallery.stated)
    answers, parts = list(gallery.texts.values()), []
    for start in range(0, len(answers), QUERY_SLICE):
        # In full precision, whatever the towers ran in: bf16 would make ties of near-equal scores.
        with torch.autocast("cpu", enabled=False):
            similarity = (text[start : start + QUERY_SLICE] @ images.T).numpy()
        relevant = np.stack([np.isin(stated, list(answer)) for answer in answers[start : start + QUERY_SLICE]])
        parts.append(_per_query(similarity, relevant))
    return _mean(np.concatenate(parts))
