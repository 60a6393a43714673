"""How the persons of a synthetic corpus look: rendered pedestrians, embedded and captioned by the real steps once."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.scale.columns import Column
from pipeline.recipe import Recipe
from stages.arrays import Floats
from stages.detect.phash import perceptual_hash

COUNT: Final = 1024
"""Persons to choose from. Corpora of any size have this many different captions a variant, and more features."""

_JPEG_QUALITY: Final = 70


@dataclass(frozen=True)
class Looks:
    """Persons to choose from, row by row.

    Attributes:
        jpegs: binary [K]: pictures, reduced in size.
        hashes: uint64 [K]: perceptual hashes.
        features: float32 [K, D], of unit L2 norm.
        colours: The column of ``schemas.tables.EVIDENCE``.
        captions: Columns captions and attributes of ``schemas.tables.CAPTIONS``.
    """

    jpegs: Column
    hashes: npt.NDArray[np.uint64]
    features: Floats
    colours: Column
    captions: pa.Table


def make_looks(recipe: Recipe, seed: int, jpeg_height: int, count: int) -> Looks:
    """Render, embed and caption the persons to choose from; processes that only use them need no torch.

    Args:
        recipe: Its embed and caption blocks.
        seed: Seed of the renders.
        jpeg_height: Height of the stored pictures, pixels; the whole corpus shall fit on one disk.
        count: Number of persons.
    """
    from evaluation.render.rendered_crops import render_table
    from stages.caption.bank.bank import load_bank
    from stages.caption.captions import caption_crops
    from stages.caption.read.conquer import ClipReader, encode_bank
    from stages.embed.clip_model import ClipModel
    from stages.embed.embed_crops import embed_crops

    table = render_table(seed, 0, count)
    ids = [f"{number:016x}" for number in range(count)]
    rendered: list[Any] = table["jpeg"].to_pylist()
    crops = pa.table({"crop_id": ids, "video_id": ["looks"] * count, "jpeg": pa.array(rendered, pa.binary())})
    model, bank = ClipModel(recipe.embed), load_bank(recipe.caption.bank)
    embedded = embed_crops(crops, model, ["whole"], "looks")
    reader = ClipReader(encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale), recipe.caption, {})
    captions = caption_crops(embedded.embeddings, reader, bank, recipe.caption, "looks", evidence=embedded.evidence)
    features: Any = embedded.embeddings["embedding"].combine_chunks()
    flat = features.flatten().to_numpy(zero_copy_only=False)
    small = [_reduced(jpeg, jpeg_height) for jpeg in rendered]
    return Looks(
        jpegs=pa.array([jpeg for jpeg, _ in small], pa.binary()),
        hashes=np.array([value for _, value in small], np.uint64),
        features=flat.astype(np.float32).reshape(count, -1),
        colours=embedded.evidence["colours"].combine_chunks(),
        captions=captions.select(["captions", "attributes"]).combine_chunks(),
    )


def _reduced(jpeg: bytes, height: int) -> tuple[bytes, int]:
    image: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    grey: Any = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return encoded.tobytes(), perceptual_hash(grey)
