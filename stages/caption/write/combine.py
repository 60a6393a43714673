"""Combine: write captions by templates and wordings, each chosen by a hash of the crop.

UniPT (ICCV 2023) draws one of its templates at random for each image and then substitutes synonyms. Here a hash of
seed, crop id and caption number takes the place of the draw, so that a crop gets the same captions in any order, batch
and machine.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from stages.arrays import Codes
from stages.caption.bank.bank import Bank
from stages.caption.bank.phrases import WORDS_OF_OTHERS
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig, Style
from stages.caption.read.decisions import Decisions
from stages.caption.read.reader import CropBatch
from stages.caption.write.grammar import load_grammar
from stages.caption.write.lexicon import lexicon
from stages.caption.write.templates import Template, load_templates
from stages.caption.write.wording import Hashes, crop_hashes, salted
from stages.caption.write.writer import Captions

# Where little is stated, two templates may give the same sentence; so many are tried until a crop's captions differ.
_TRIES = 16


class TemplateWriter:
    """Writes captions by the templates of a grammar; implements ``CaptionWriter``.

    Args:
        bank: The bank of the decisions.
        config: Grammar, seed, styles, templates and captions per crop.

    Raises:
        BankError: The grammar does not exist, does not fit the bank, or has too few templates.
    """

    def __init__(self, bank: Bank, config: CaptionConfig) -> None:
        templates_of(bank, config)
        self._bank = bank
        self._config = config

    def digests(self) -> dict[str, object]:
        """The digest of the grammar."""
        return {"grammar": load_grammar(self._config.grammar or self._bank.grammar).digest}

    def write(self, batch: CropBatch, decisions: Decisions) -> Captions:
        """State every value that the decisions allow; images are not needed."""
        return write_sentences(decisions.stated(), batch.crop_ids, self._bank, self._config)


def write_sentences(stated: Codes, crop_ids: Sequence[str], bank: Bank, config: CaptionConfig) -> Captions:
    """Write captions from the stated values alone.

    Args:
        stated: int64 [N, F], for each facet of the bank the index of the value to state, -1 for none.
        crop_ids: N strings; with the seed they determine every choice.
        bank: The bank.
        config: Grammar, seed, styles, templates and captions per crop.
    """
    per_crop = config.captions_per_crop
    hashes = crop_hashes(crop_ids, config.seed, per_crop)
    pools = templates_of(bank, config)
    styles, starts = _draw(hashes, pools)
    words = lexicon(bank)
    parts = words.parts(np.repeat(stated, per_crop, axis=0), hashes.reshape(-1))
    texts: list[str] = []
    templates: list[Template] = []
    for i, ((person, statements, present), style, start) in enumerate(zip(parts, styles, starts, strict=True)):
        earlier = texts[i - i % per_crop :]
        pool = pools[style]
        for step in range(_TRIES):
            template = pool[(start + step) % len(pool)]
            text = words.renderer.render(template, person, statements, present)
            if text not in earlier:
                break
        texts.append(text)
        templates.append(template)
    ids, names = [template.id for template in templates], [template.style for template in templates]
    return Captions(texts, ids, list(names), per_crop, stated >= 0)


def _draw(hashes: Hashes, pools: Sequence[tuple[Template, ...]]) -> tuple[list[int], list[int]]:
    """The style of each caption, and where in its pool to start.

    The captions of a crop take the styles in turn; the hash of the crop selects the first.
    """
    turns = np.arange(hashes.shape[1], dtype=np.uint64) + salted(hashes[:, :1], "style") % np.uint64(len(pools))
    styles = (turns % np.uint64(len(pools))).astype(np.int64)
    sizes = np.array([len(pool) for pool in pools], dtype=np.uint64)
    starts = (salted(hashes, "template") % sizes[styles]).astype(np.int64)
    return styles.ravel().tolist(), starts.ravel().tolist()


def templates_of(bank: Bank, config: CaptionConfig) -> tuple[tuple[Template, ...], ...]:
    """The templates in use, for each style of the configuration.

    Raises:
        BankError: The grammar lacks a style, has too few templates, or does not state a group of the bank.
    """
    source = config.grammar or bank.grammar
    check_groups(bank, source)
    return styled_templates(source, config.styles, config.templates)


@lru_cache(maxsize=64)
def check_groups(bank: Bank, grammar: str) -> None:
    """Raise BankError where an attribute belongs to a group that the grammar does not state."""
    accepted = [*WORDS_OF_OTHERS, *load_grammar(grammar).all_groups]
    for block in bank.attributes:
        if block.group not in accepted:
            raise BankError(
                f"bank {bank.name}: attributes.{block.name}.group: {block.group!r} is not in the grammar {grammar}; "
                f"accepted: {', '.join(accepted)}; or give another grammar as caption.grammar, or in the bank"
            )


@lru_cache(maxsize=64)
def styled_templates(grammar: str, styles: tuple[Style, ...], limit: int | None) -> tuple[tuple[Template, ...], ...]:
    """The templates in use, for each style.

    Args:
        grammar: Name or path of the grammar.
        styles: The styles, in the order in which they take turns.
        limit: Total number of templates, divided evenly between the styles; None takes all.

    Raises:
        BankError: The grammar lacks a style, or has too few templates.
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
    """The first templates of each style by id, in proportion; a smaller limit takes a subset of a larger one's."""
    ranked = [sorted(pool, key=lambda template: template.id) for pool in pools]
    order = sorted((rank / len(pool), turn, rank) for turn, pool in enumerate(ranked) for rank in range(len(pool)))
    taken = {(turn, rank) for _, turn, rank in order[:limit]}
    return tuple(tuple(t for rank, t in enumerate(pool) if (turn, rank) in taken) for turn, pool in enumerate(ranked))
