"""The macro ``caption_diversity``: counted by hand, and counted again in Python over many captions."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from evaluation.captions.sentence_checks import words
from stages.caption.config import CaptionConfig
from stages.caption.write.combine import write_sentences
from tests.stages.caption.captioning import random_stated, unipt

VIEWS = Path(__file__).parents[2] / "schemas" / "views.sql"


def diversity(texts: Sequence[str]) -> tuple[Any, ...]:
    """The row of the macro for these captions."""
    captions = pa.table({"variant": ["v"] * len(texts), "text": pa.array(texts, pa.string())})
    macro = re.search(r"CREATE MACRO caption_diversity.*?;", VIEWS.read_text(), re.DOTALL)
    assert macro
    with duckdb.connect() as connection:
        connection.register("captions", captions)
        connection.execute(macro.group())
        row = connection.execute("SELECT * FROM caption_diversity('v')").fetchone()
    assert row is not None
    return row


def entropy(items: Iterable[Hashable]) -> float:
    counts = Counter(items)
    return -math.fsum(n / counts.total() * math.log2(n / counts.total()) for n in counts.values())


def test_sentences_words_and_pairs_are_counted() -> None:
    singles = -(0.3 * math.log2(0.3) + 3 * 0.2 * math.log2(0.2) + 0.1 * math.log2(0.1))
    pairs = -(3 * 2 / 7 * math.log2(2 / 7) + 1 / 7 * math.log2(1 / 7))
    counted = diversity(["A man is walking.", "A man is walking.", "A woman."])
    assert counted == pytest.approx((3, 2, 5, 10 / 3, 5 / 10, 4 / 7, singles, pairs), abs=0.01)


def test_many_captions_are_counted_as_python_counts_them() -> None:
    stated = random_stated(40, known=0.8, seed=1)
    config = CaptionConfig(captions_per_crop=3)
    texts = write_sentences(stated, [str(i) for i in range(len(stated))], unipt(), config).texts
    singles = [word for text in texts for word in words(text)]
    pairs = [pair for text in texts for pair in itertools.pairwise(words(text))]
    expected = (
        len(texts),
        len(set(texts)),
        len(set(singles)),
        len(singles) / len(texts),
        len(set(singles)) / len(singles),
        len(set(pairs)) / len(pairs),
        entropy(singles),
        entropy(pairs),
    )
    assert diversity(texts) == pytest.approx(expected, abs=0.01)
