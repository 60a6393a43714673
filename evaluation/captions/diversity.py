"""How much a table of captions says in how many ways: sentences, words and n-grams, counted."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from evaluation.captions.lint import words


class Diversity(NamedTuple):
    """Counts over a corpus of captions; the macro ``caption_diversity`` gives the same in SQL.

    LUPerson-T's published vocabulary is 459 words (GA-DMS, EMNLP 2025, table 6).
    """

    captions: int
    """Captions in all."""
    distinct_captions: int
    """Captions that differ."""
    vocabulary: int
    """Words that differ, in lower case."""
    mean_words: float
    """Words per caption."""
    distinct_1: float
    """Words that differ, as a share of all words (Li et al. 2016, distinct-n)."""
    distinct_2: float
    """Pairs of neighbours that differ, as a share of all pairs."""
    entropy_1: float
    """Shannon entropy of the words, bits: 2 to this power is the number of words, were all equally frequent."""
    entropy_2: float
    """Shannon entropy of the pairs of neighbours, bits."""


def caption_diversity(captions: pa.Table) -> Diversity:
    """Count over a ``captions`` table (``schemas.tables.CAPTIONS``), every sentence of every crop."""
    rows = captions["captions"].combine_chunks()
    return text_diversity(rows.flatten().field("text").to_pylist())


def text_diversity(texts: Iterable[str]) -> Diversity:
    """Count over captions. The n-grams of each stay within it."""
    said, singles, pairs = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for text in texts:
        said[text] += 1
        given = words(text)
        singles.update(given)
        pairs.update(itertools.pairwise(given))
    count = said.total()
    return Diversity(
        captions=count,
        distinct_captions=len(said),
        vocabulary=len(singles),
        mean_words=singles.total() / max(count, 1),
        distinct_1=len(singles) / max(singles.total(), 1),
        distinct_2=len(pairs) / max(pairs.total(), 1),
        entropy_1=_entropy(list(singles.values())),
        entropy_2=_entropy(list(pairs.values())),
    )


def _entropy(counts: Sequence[int]) -> float:
    total = sum(counts)
    return math.fsum(-count / total * math.log2(count / total) for count in counts)
