"""What stages declare about their tables holds together."""

import pytest

from pipeline.flow.order import STAGES, TABLES, WRITERS
from schemas.declaration import Table
from stages.publish.config import PublishConfig


def test_names_and_folders_are_unique() -> None:
    assert len({table.name for table in TABLES}) == len({table.folder for table in TABLES}) == len(TABLES)
    assert len({writer.name for writer in WRITERS}) == len(WRITERS)
    assert all(stage.tables for stage in STAGES)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_each_column_is_documented_and_each_row_names_its_unit(table: Table) -> None:
    assert "unit_id" in table.schema.names
    assert table.row.startswith("one row per ")
    assert all(field.metadata[b"doc"] for field in table.schema)


@pytest.mark.parametrize("table", [table for table in TABLES if table.mark], ids=lambda table: table.name)
def test_a_mark_names_columns_of_its_table_and_an_option_of_publish(table: Table) -> None:
    mark = table.mark
    assert mark is not None
    assert {mark.key, *mark.columns, *mark.selectors} <= set(table.schema.names)
    assert mark.columns or mark.flag
    assert (mark.reason is None) == (mark.keep is None)
    assert mark.keep is None or mark.keep in PublishConfig.model_fields


def test_only_crops_count_as_crops_and_hold_their_files_beside_the_manifest() -> None:
    assert [table.name for table in TABLES if table.counts_crops] == ["crops"]
    assert {table.name: table.blob for table in TABLES if table.blob} == {"crops": "jpeg", "manifest": "jpeg"}


def test_files_of_a_scope_lie_in_a_folder_of_their_own() -> None:
    by_name = {table.name: table for table in TABLES}
    assert by_name["embeddings"].under("clip") == "embeddings/clip"
    assert by_name["manifest"].under("mine") == "manifests/mine"
    assert by_name["crops"].under("") == "crops"
