import math
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

from evaluation.captions.diversity import caption_diversity, text_diversity
from evaluation.captions.sample import random_told
from stages.caption.captions import caption_table
from stages.caption.config import CaptionConfig
from stages.caption.read.decisions import decide
from stages.caption.read.readings import Readings
from stages.caption.write.combine import write_sentences
from tests.stages.caption.captioning import street, unipt

VIEWS = Path(__file__).parents[3] / "schemas" / "views.sql"


def test_sentences_words_and_pairs_are_counted() -> None:
    counted = text_diversity(["A man is walking.", "A man is walking.", "A woman."])
    assert counted[:4] == (3, 2, 5, 10 / 3)
    assert (counted.distinct_1, counted.distinct_2) == (5 / 10, 4 / 7)
    assert counted.entropy_1 == pytest.approx(-(0.3 * math.log2(0.3) + 3 * 0.2 * math.log2(0.2) + 0.1 * math.log2(0.1)))


def test_no_captions() -> None:
    assert text_diversity([]) == (0,) * 8


def test_over_a_captions_table_and_in_sql_alike() -> None:
    count = 40
    told = random_told(unipt(), count, known=0.8, seed=1)
    facets = unipt().facets
    sure = np.ones(told.shape, np.float32)
    readings = Readings(unipt(), ("whole",) * len(facets), ("clip",) * len(facets), told, sure, sure)
    decisions = decide(readings, CaptionConfig())
    ids = [str(i) for i in range(count)]
    table = caption_table(ids, ids, "u", decisions, unipt(), CaptionConfig(captions_per_crop=3))
    counted = caption_diversity(table)
    assert (counted.captions, counted.distinct_captions) == (120, 120)

    connection = duckdb.connect()
    connection.register("sentences", table)
    connection.execute("CREATE VIEW captions AS SELECT 'v' AS variant, unnest(captions).text AS text FROM sentences")
    macro = re.search(r"CREATE MACRO caption_diversity.*?;", VIEWS.read_text(), re.DOTALL)
    assert macro
    connection.execute(macro.group())
    row = connection.execute("SELECT * FROM caption_diversity('v')").fetchone()
    assert row == pytest.approx(counted, abs=0.01)


def test_captions_of_the_street_bank_use_more_words_than_those_of_luperson_t() -> None:
    told = random_told(street(), 6_000, known=0.9, seed=5, optional=0.2)
    texts = write_sentences(told, [f"{i:016x}" for i in range(len(told))], street(), CaptionConfig(bank="street")).texts
    counted = text_diversity(texts)
    assert counted.vocabulary > 459
    assert counted.distinct_captions > 0.999 * len(texts)
