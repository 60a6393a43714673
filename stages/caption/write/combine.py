"""Combine: sentences from readings, by templates and wordings that the hash of the crop chooses.

UniPT (ICCV 2023) draws one of its templates at random for each image and then substitutes synonyms. Here the draw is
a hash of seed, crop and caption number, so that a crop has the same captions in any order, batch or machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.arrays import Codes
from stages.caption.bank.bank import Bank
from stages.caption.bank.phrases import WORDS_OF_OTHERS
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig, Style
from stages.caption.read.decisions import Decisions
from stages.caption.write.grammar import load_grammar
from stages.caption.write.lexicon import lexicon
from stages.caption.write.templates import Template, load_templates
from stages.caption.write.wording import Hashes, crop_hashes, salted

# Two templates may give one sentence where little is told; so often another is tried for a crop's further captions.
_TRIES = 16


@dataclass(frozen=True)
class Sentences:
    """Captions of a batch, flat: ``per_crop`` for each crop, in the order of the crops."""

    texts: list[str]
    templates: list[Template]
    per_crop: int

    def rows(self) -> list[list[dict[str, str]]]:
        """For each crop its captions as ``{text, template, style}``."""
        pairs = zip(self.texts, self.templates, strict=True)
        flat = [{"text": text, "template": template.id, "style": template.style} for text, template in pairs]
        return [flat[i : i + self.per_crop] for i in range(0, len(flat), self.per_crop)]


def write_captions(
    decisions: Decisions, crop_ids: Sequence[str], bank: Bank, config: CaptionConfig
) -> list[list[dict[str, str]]]:
    """Write the captions of a batch of crops.

    Args:
        decisions: What captions state of N crops.
        crop_ids: Their ids, N strings; with the seed they fix every choice.
        bank: The bank that the decisions are of.
        config: Seed, styles, templates and captions per crop.

    Returns:
        For each crop, ``captions_per_crop`` dicts ``{text, template, style}``.
    """
    return write_sentences(decisions.stated(), crop_ids, bank, config).rows()


def write_sentences(told: Codes, crop_ids: Sequence[str], bank: Bank, config: CaptionConfig) -> Sentences:
    """As ``write_captions``, from the told values alone.

    Args:
        told: int64 [N, F], for each facet of the bank the index of the value to tell, -1 for none.
        crop_ids: N strings.
        bank: The bank.
        config: Seed, styles, templates and captions per crop.
    """
    per_crop = config.captions_per_crop
    hashes = crop_hashes(crop_ids, config.seed, per_crop)
    pools = templates_of(bank, config)
    styles, starts = _draw(hashes, pools)
    words = lexicon(bank)
    parts = words.parts(np.repeat(told, per_crop, axis=0), hashes.reshape(-1))
    texts: list[str] = []
    templates: list[Template] = []
    for i, ((person, statements, present), style, first) in enumerate(zip(parts, styles, starts, strict=True)):
        before = texts[i - i % per_crop :]
        pool = pools[style]
        for step in range(_TRIES):
            template = pool[(first + step) % len(pool)]
            text = words.renderer.render(template, person, statements, present)
            if text not in before:
                break
        texts.append(text)
        templates.append(template)
    return Sentences(texts, templates, per_crop)


def _draw(hashes: Hashes, pools: Sequence[tuple[Template, ...]]) -> tuple[list[int], list[int]]:
    """For each caption its style, and where in the templates of that to begin: styles in turn, from one by the hash."""
    turns = np.arange(hashes.shape[1], dtype=np.uint64) + salted(hashes[:, :1], "style") % np.uint64(len(pools))
    styles = (turns % np.uint64(len(pools))).astype(np.int64)
    sizes = np.array([len(pool) for pool in pools], dtype=np.uint64)
    starts = (salted(hashes, "template") % sizes[styles]).astype(np.int64)
    return styles.ravel().tolist(), starts.ravel().tolist()


def templates_of(bank: Bank, config: CaptionConfig) -> tuple[tuple[Template, ...], ...]:
    """The templates in use, for each style of the configuration.

    Raises:
        BankError: The grammar lacks a style, has too few templates, or does not tell a group of the bank.
    """
    source = config.grammar or bank.grammar
    check_groups(bank, source)
    return styled_templates(source, config.styles, config.templates)


@lru_cache(maxsize=64)
def check_groups(bank: Bank, grammar: str) -> None:
    """Raise BankError where an attribute belongs to a group that the grammar does not tell."""
    accepted = [*WORDS_OF_OTHERS, *load_grammar(grammar).all_groups]
    for block in bank.attributes:
        if block.group not in accepted:
            raise BankError(
                f"bank {bank.name}: attributes.{block.name}.group: {block.group!r} is not in the grammar {grammar}; "
                f"accepted: {', '.join(accepted)}, or another grammar (caption.grammar, or the bank's)"
            )


@lru_cache(maxsize=64)
def styled_templates(grammar: str, styles: tuple[Style, ...], limit: int | None) -> tuple[tuple[Template, ...], ...]:
    """The templates in use, for each style.

    Args:
        grammar: Name or path of the grammar.
        styles: The styles, in the order in which they take turns.
        limit: How many templates in all, shared out evenly; None takes every one.

    Raises:
        BankError: The grammar has no such style, or not as many templates.
    """
    pools = [tuple(t for t in load_templates(grammar) if t.style == style) for style in styles]
    total = sum(len(pool) for pool in pools)
    if not all(pools) or len(set(styles)) < len(styles):
        have = sorted({template.style for template in load_templates(grammar)})
        raise BankError(f"caption.styles: {', '.join(styles)} (given); accepted: each once, of {', '.join(have)}")
    if limit is None:
        return tuple(pools)
    if not len(styles) <= limit <= total:
        raise BankError(f"caption.templates: {limit} (given); accepted: {len(styles)} to {total} in these styles")
    return _share(pools, limit)


def _share(pools: Sequence[tuple[Template, ...]], limit: int) -> tuple[tuple[Template, ...], ...]:
    """The first templates by id, from each style its share; a smaller limit takes a part of what a larger one takes."""
    ranked = [sorted(pool, key=lambda template: template.id) for pool in pools]
    order = sorted((rank / len(pool), turn, rank) for turn, pool in enumerate(ranked) for rank in range(len(pool)))
    taken = {(turn, rank) for _, turn, rank in order[:limit]}
    return tuple(tuple(t for rank, t in enumerate(pool) if (turn, rank) in taken) for turn, pool in enumerate(ranked))
