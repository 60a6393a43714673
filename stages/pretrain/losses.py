"""Losses of image and text: symmetric contrastive learning over all workers, and masked language modelling."""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it

from stages.pretrain.collective import distributed, gather, place

MASKED = -1
"""Token id of a hidden word; the model replaces it with a learnt vector."""


def contrastive_loss(
    image: torch.Tensor,
    text: torch.Tensor,
    scale: torch.Tensor,
    keys: torch.Tensor,
    *,
    equal_texts: Literal["positives", "negatives"] = "negatives",
    gathered: bool = True,
) -> torch.Tensor:
    """Symmetric contrastive loss (InfoNCE) of crops and their captions, as in CLIP and UniPT.

    Averaged over the workers it equals the loss of one worker with the whole batch, and so does its gradient after
    DistributedDataParallel's mean.

    Args:
        image: float [B, D] of unit norm.
        text: float [B, D] of unit norm, row i the caption of crop i.
        scale: Scalar, one over the temperature.
        keys: int64 [B], equal where texts are equal.
        equal_texts: Whether another crop with the same text counts as wrong (``negatives``, the paper's) or as right
            (``positives``; each distinct text then stands once in the softmax of an image).
        gathered: Whether to contrast with the crops of all workers.

    Returns:
        Scalar loss.
    """
    images, texts, all_keys, first = image, text, keys, 0
    if gathered and distributed():
        images, texts, all_keys = gather(image), gather(text), gather(keys)
        first = place()[0] * len(image)
    own = torch.arange(first, first + len(image), device=image.device)
    if equal_texts == "negatives":
        return (F.cross_entropy(scale * image @ texts.T, own) + F.cross_entropy(scale * text @ images.T, own)) / 2
    return _grouped_loss(image, images, texts, scale, all_keys, own)


def _grouped_loss(
    image: torch.Tensor,
    images: torch.Tensor,
    texts: torch.Tensor,
    scale: torch.Tensor,
    keys: torch.Tensor,
    own: torch.Tensor,
) -> torch.Tensor:
    distinct, group = torch.unique(keys, return_inverse=True)
    places = torch.arange(len(keys), device=keys.device)
    bearer = torch.full_like(distinct, len(keys)).scatter_reduce(0, group, places, "amin")
    logits = scale * texts[bearer] @ images.T
    bears = F.one_hot(group, len(distinct)).T.to(logits.dtype)
    to_text = F.cross_entropy(scale * image @ texts[bearer].T, group[own])
    to_image = F.cross_entropy(logits, bears / bears.sum(dim=1, keepdim=True))
    return (to_text + to_image) / 2


def mask_tokens(
    tokens: torch.Tensor, special: tuple[int, ...], vocabulary: int, probability: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide words as BERT does: of the chosen ones 80 % are masked, 10 % replaced, 10 % kept.

    Args:
        tokens: int64 [N, L]; left as it is.
        special: Ids that are never chosen: start, end, padding.
        vocabulary: Number of ids.
        probability: Chance of each token to be chosen.
        generator: Source of chance, on the CPU.

    Returns:
        A copy of the tokens, int64 [N, L], with ``MASKED`` or another id where hidden; and bool [N, L], true where the
        loss is taken.
    """
    chance, kind = (torch.rand(tokens.shape, generator=generator).to(tokens.device) for _ in range(2))
    other = torch.randint(vocabulary, tokens.shape, generator=generator).to(tokens.device)
    fixed = torch.isin(tokens, torch.tensor(special, device=tokens.device))
    chosen = (chance < probability) & ~fixed
    # A copy, always: the contrastive pass must see the words themselves (IRRA's authors were bitten by this).
    hidden = tokens.clone()
    hidden[chosen & (kind < 0.8)] = MASKED
    replaced = chosen & (kind >= 0.8) & (kind < 0.9)
    hidden[replaced] = other[replaced]
    return hidden, chosen


def mlm_loss(logits: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the hidden words: logits float [M, V], words int64 [M]; 0 when none was hidden."""
    return F.cross_entropy(logits, words) if len(words) else logits.sum() * 0.0
