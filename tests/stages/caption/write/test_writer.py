"""The seam of writing: a second writer, which looks at the crops, in place of the templates."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import schemas.tables
from stages.caption.captions import caption_table
from stages.caption.config import CaptionConfig
from stages.caption.read.decisions import Decisions
from stages.caption.read.reader import CropBatch
from stages.caption.write.grammar import load_grammar
from stages.caption.write.known_writers import caption_writer
from stages.caption.write.writer import Captions, CaptionWriter
from tests.stages.caption.captioning import decided, look, persons, unipt, unipt_features

IDS = ["a", "b", "c"]
CONFIG = CaptionConfig(seed=3, captions_per_crop=2)


class SizeWriter:
    """States how many bytes each JPEG has, and of the attributes the gender alone."""

    def digests(self) -> dict[str, object]:
        return {}

    def write(self, batch: CropBatch, decisions: Decisions) -> Captions:
        assert batch.crops is not None
        texts = [f"An image of {len(jpeg)} bytes." for jpeg in batch.crops["jpeg"].to_pylist()]
        stated = np.zeros_like(decisions.used)
        stated[:, decisions.readings.bank.column["gender"]] = True
        return Captions(texts, ["size"] * len(texts), ["plain"] * len(texts), 1, stated)


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    crops = np.stack([look(person) for person in persons(3, seed=1)])
    return decided({"whole": crops}, unipt_features(), CaptionConfig(faithful=True))


def batch() -> CropBatch:
    return CropBatch(IDS, pa.array(["v1", "v1", "v2"]), crops=pa.table({"jpeg": [b"1", b"22", b"333"]}))


def written(writer: CaptionWriter, decisions: Decisions) -> pa.Table:
    table = caption_table(batch(), decisions, writer, "unit", seed=3)
    table.validate(full=True)
    assert table.schema.equals(schemas.tables.CAPTIONS, check_metadata=True)
    return table


def test_another_writer_sees_the_images_and_reports_what_it_states(decisions: Decisions) -> None:
    table = written(SizeWriter(), decisions)
    texts = [[caption["text"] for caption in row] for row in table["captions"].to_pylist()]
    assert texts == [["An image of 1 bytes."], ["An image of 2 bytes."], ["An image of 3 bytes."]]
    used = [{item["attribute"] for item in row if item["used"]} for row in table["attributes"].to_pylist()]
    assert used == [{"gender"}] * 3


def test_templates_state_what_was_decided(decisions: Decisions) -> None:
    table = written(caption_writer(unipt(), CONFIG), decisions)
    assert [len(row) for row in table["captions"].to_pylist()] == [2, 2, 2]
    used = [[item["used"] for item in row] for row in table["attributes"].to_pylist()]
    assert used == decisions.used.tolist()
    nothing = replace(decisions, used=np.zeros_like(decisions.used))
    bare = written(caption_writer(unipt(), CONFIG), nothing)["captions"].to_pylist()
    assert all(row[0]["text"].removesuffix(".").endswith(("person", "pedestrian")) for row in bare)


def test_the_fingerprint_has_the_grammar() -> None:
    assert caption_writer(unipt(), CONFIG).digests() == {"grammar": load_grammar("english").digest}
    other = CaptionConfig(grammar="street")
    assert caption_writer(unipt(), other).digests() == {"grammar": load_grammar("street").digest}
