import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.tables import CAPTIONS, embeddings
from stages.caption.bank.bank import SHIPPED, parse_bank
from stages.caption.bank.problems import BankError
from stages.caption.captions import caption_crops, features_by_region
from stages.caption.config import CaptionConfig
from stages.caption.read.conquer import ClipReader
from stages.errors import UnitError
from tests.stages.caption.captioning import DIM, look, persons, unipt, unipt_features

COUNT = 60
CONFIG = CaptionConfig(captions_per_crop=2, seed=9)


@pytest.fixture(scope="module")
def reader() -> ClipReader:
    return ClipReader(unipt_features(), CONFIG)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Two regions per crop, crop after crop."""
    crops = np.stack([look(person) for person in persons(COUNT)]).repeat(2, axis=0)
    ids = np.repeat([f"{i * 7919:016x}" for i in range(COUNT)], 2)
    videos = np.repeat([f"web:{i % 3}" for i in range(COUNT)], 2)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(crops.astype(np.float16).ravel()), DIM)
    columns = [
        pa.array(ids),
        pa.array(videos),
        pa.array(["u"] * 2 * COUNT),
        pa.array(["whole", "upper"] * COUNT),
        vectors,
    ]
    return pa.Table.from_arrays(columns, schema=embeddings(DIM))


def test_one_row_per_crop_with_the_schema(table: pa.Table, reader: ClipReader) -> None:
    captions = caption_crops(table, reader, unipt(), CONFIG, "unit-1")
    captions.validate(full=True)
    assert captions.schema.equals(CAPTIONS, check_metadata=True)
    assert captions["crop_id"].to_pylist() == table["crop_id"].to_pylist()[::2]
    assert captions["video_id"].to_pylist() == table["video_id"].to_pylist()[::2]
    assert set(captions["unit_id"].to_pylist()) == {"unit-1"}
    assert set(captions["seed"].to_pylist()) == {9}
    assert {len(row) for row in captions["captions"].to_pylist()} == {2}
    regions = {item["attribute"]: item["region"] for item in captions["attributes"][0].as_py()}
    assert (regions["upper_colour"], regions["lower_colour"]) == ("upper", "whole")


def test_rows_in_any_order_and_any_file_give_the_same_captions(table: pa.Table, reader: ClipReader) -> None:
    whole = caption_crops(table, reader, unipt(), CONFIG, "u").sort_by("crop_id")
    order = np.random.default_rng(0).permutation(2 * COUNT)
    shuffled = caption_crops(table.take(pa.array(order)), reader, unipt(), CONFIG, "u").sort_by("crop_id")
    parts = [caption_crops(table.slice(i, 14), reader, unipt(), CONFIG, "u") for i in range(0, 2 * COUNT, 14)]
    assert shuffled.equals(whole)
    assert pa.concat_tables(parts).sort_by("crop_id").equals(whole)


def test_a_table_of_many_chunks(table: pa.Table, reader: ClipReader) -> None:
    pieces = pa.concat_tables([table.slice(0, 10), table.slice(10, 1), table.slice(11)])
    expected = caption_crops(table, reader, unipt(), CONFIG, "u")
    assert caption_crops(pieces, reader, unipt(), CONFIG, "u").equals(expected)


def test_parquet_keeps_every_column(table: pa.Table, reader: ClipReader, tmp_path: object) -> None:
    captions = caption_crops(table, reader, unipt(), CONFIG, "u")
    pq.write_table(captions, f"{tmp_path}/captions.parquet")
    assert pq.read_table(f"{tmp_path}/captions.parquet").equals(captions)


def test_no_crops(table: pa.Table, reader: ClipReader) -> None:
    captions = caption_crops(table.slice(0, 0), reader, unipt(), CONFIG, "u")
    assert captions.num_rows == 0
    assert captions.schema.equals(CAPTIONS)


def test_features_follow_the_crops(table: pa.Table) -> None:
    batch = features_by_region(table.take(pa.array(np.arange(2 * COUNT)[::-1])))
    assert batch.crop_ids == table["crop_id"].to_pylist()[::-2]
    assert batch.video_ids.to_pylist() == table["video_id"].to_pylist()[::-2]
    expected = np.array(table["embedding"].to_pylist(), dtype=np.float16)[::-2]
    assert (batch.features["whole"] == expected).all()
    assert (batch.features["upper"] == expected).all()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (list(range(2 * COUNT - 1)), "has 0 embeddings of region upper instead of 1"),
        ([*range(2 * COUNT), 0], "has 2 embeddings of region whole instead of 1"),
    ],
)
def test_a_crop_without_or_with_two_rows_of_a_region(
    table: pa.Table, reader: ClipReader, rows: list[int], text: str
) -> None:
    with pytest.raises(UnitError, match=text) as caught:
        caption_crops(table.take(pa.array(rows)), reader, unipt(), CONFIG, "u")
    assert caught.value.kind == "embedding_rows"


def test_a_null_embedding_is_refused(table: pa.Table, reader: ClipReader) -> None:
    vectors: list[object] = table["embedding"].to_pylist()
    vectors[3] = None
    column = pa.array(vectors, table.schema.field("embedding").type)
    holed = table.set_column(table.schema.get_field_index("embedding"), "embedding", column)
    with pytest.raises(UnitError, match="an embedding is null; embed these crops again") as caught:
        caption_crops(holed, reader, unipt(), CONFIG, "u")
    assert caught.value.kind == "embedding_value"


def test_a_table_without_the_whole_crop(table: pa.Table, reader: ClipReader) -> None:
    upper = table.filter(pa.compute.equal(table["region"], "upper"))
    with pytest.raises(UnitError, match="no embedding of region whole"):
        caption_crops(upper, reader, unipt(), CONFIG, "u")


def test_features_of_another_bank_are_refused(table: pa.Table, reader: ClipReader) -> None:
    other = parse_bank((SHIPPED / "unipt14.yaml").read_text().replace("name: unipt14", "name: other"))
    with pytest.raises(BankError, match="of bank unipt14, not of other"):
        caption_crops(table, reader, other, CONFIG, "u")
