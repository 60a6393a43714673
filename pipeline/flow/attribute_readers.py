"""Attribute readers on Ray: what each loads once for a variant, and how a worker makes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.packs import Pack, read_packs
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import embed
from pipeline.recipe import Recipe
from pipeline.run.weights_digest import weights_digest

if TYPE_CHECKING:
    from stages.arrays import Doubles
    from stages.caption.config import CaptionConfig
    from stages.caption.read.conquer import BankFeatures
    from stages.caption.read.reader import AttributeReader, Needs

TEXTS = "texts"

# Raised when the same bank and model would be encoded differently than before.
_ENCODING = "1"

# A mean settles within some ten thousand crops. Reading all of a large corpus for it would gain nothing.
_PRIOR_PACKS = 16


@dataclass(frozen=True, kw_only=True)
class ReaderKind:
    """One kind of attribute reader, as the caption stage runs it.

    Args:
        needs: What its units are made of: files of embeddings, or files of crops.
        prepare: Called once on the driver. Loads what is the same for all units of a variant; workers share it.
        make: Called in every worker with what ``prepare`` returned; returns the reader.
    """

    needs: "Needs"
    prepare: Callable[[Snapshot, Recipe], Any]
    make: "Callable[[Any, CaptionConfig], AttributeReader]"


def embedding_packs(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    """Packs of the recipe's embeddings."""
    return snapshot.packs(embed.STAGE.name, embed.EMBEDDINGS, recipe.embed.slug)


def prior_packs(packs: pa.Table) -> list[Pack]:
    """Packs whose features make the corpus's prior. Their names are digests, so the first ones are a random sample."""
    first: list[Pack] = packs.slice(0, _PRIOR_PACKS).to_pylist()
    return first


def encode_texts(corpus: Corpus, recipe: Recipe) -> "BankFeatures":
    """Text features of the recipe's bank, kept in the corpus: encoded once per model and bank."""
    from stages.caption.bank.bank import load_bank
    from stages.caption.read.conquer import encode_bank, pack_bank, unpack_bank
    from stages.embed.clip_model import ClipModel

    bank, config = load_bank(recipe.caption.bank), recipe.embed
    weights = config.pretrained and weights_digest(config.pretrained)
    key = digest(_ENCODING, weights_digest(config.model), str(weights), bank.digest, length=32)
    path = f"{TEXTS}/{config.slug}/{key}.npz"
    if corpus.exists(path):
        return unpack_bank(corpus.read(path), bank)
    model = ClipModel(config.model_copy(update={"device": "cpu", "precision": "fp32"}))
    encoded = encode_bank(bank, model.encode_texts, logit_scale=model.logit_scale)
    corpus.put(path, pack_bank(encoded))
    return encoded


def prior_means(snapshot: Snapshot, recipe: Recipe) -> "dict[str, Doubles]":
    """Mean features of the prior, by region; empty without a prior."""
    from stages.caption.read.prior import mean_features, reference_means

    if recipe.caption.prior == "reference":
        return reference_means(recipe.caption)
    packs = prior_packs(embedding_packs(snapshot, recipe)) if recipe.caption.prior == "corpus" else []
    return mean_features(read_packs(snapshot.corpus, embed.EMBEDDINGS, packs, ["region", "embedding"]))


def _prepare_clip(snapshot: Snapshot, recipe: Recipe) -> "tuple[BankFeatures, dict[str, Doubles]]":
    return encode_texts(snapshot.corpus, recipe), prior_means(snapshot, recipe)


def _make_clip(prepared: "tuple[BankFeatures, dict[str, Doubles]]", config: "CaptionConfig") -> "AttributeReader":
    from stages.caption.read.conquer import ClipReader

    encoded, means = prepared
    return ClipReader(encoded, config, means)


CLIP = ReaderKind(needs="embeddings", prepare=_prepare_clip, make=_make_clip)
