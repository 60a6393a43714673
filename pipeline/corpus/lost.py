"""Files that the ledger counts on and that are gone, as listings show them: one per data folder, not one per file."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.grouping import places_of, whole
from pipeline.corpus.layout import Layout
from pipeline.corpus.snapshot import Snapshot
from stages.arrays import Column

# A Parquet file begins and ends with four bytes, and has four bytes for the size of its footer.
_LEAST_BYTES: Final = 12


def files_of(snapshot: Snapshot, stage: str) -> pa.Table:
    """The outputs of a stage's units that count.

    Returns:
        Columns path (as the ledger names it), file (that holds it now), first_row and num_rows (which of its rows;
        null: all of them) and bytes (its size; null: it does not exist), one row per path.
    """
    found = snapshot.locate(pa.table([snapshot.live(stage)["path"].unique()], names=["path"]))
    sizes = snapshot.sizes(_folders(found["file"]))
    return found.append_column("bytes", sizes["bytes"].take(places_of(found["file"], sizes, "file")))


def lost(files: pa.Table) -> pa.Table:
    """Those rows of ``files_of`` whose table is gone: no file, or one that is too small to be a Parquet file.

    Files that are not tables, such as the checkpoints of a training, may be deleted by hand: no unit is repeated for
    them.
    """
    gone = pc.less(pc.coalesce(files["bytes"], pa.scalar(0)), pa.scalar(_LEAST_BYTES))
    return files.filter(pc.and_(gone, pc.ends_with(files["path"], ".parquet")))


def lost_units(snapshot: Snapshot, stage: str, scope: str) -> "pa.Array[Any]":
    """Units of a stage and scope that count on a file that is gone."""
    paths = lost(files_of(snapshot, stage))["path"]
    if not len(paths):
        return pa.array([], pa.string())
    live = snapshot.live(stage)
    live = live.filter(
        pc.and_(pc.equal(live["scope"], pa.scalar(scope)), pc.is_in(live["path"], value_set=whole(paths)))
    )
    return whole(live["unit_id"].unique())


def put_back(snapshot: Snapshot) -> None:
    """Record that packs lie in files of their own again, where those are there and the larger file is gone.

    A run that was killed after it had written such a pack, before it recorded so, leaves that behind.
    """
    moved = snapshot.locations()
    moved = moved.filter(pc.not_equal(moved["file"], moved["path"]))
    if not len(moved):
        return
    there = whole(snapshot.sizes({*_folders(moved["file"]), *_folders(moved["path"])})["file"])
    back = pc.and_(pc.invert(pc.is_in(moved["file"], value_set=there)), pc.is_in(moved["path"], value_set=there))
    layout = Layout(snapshot.corpus)
    layout.refresh()
    layout.bring_home(str(path) for path in moved["path"].filter(back).to_pylist())
    snapshot.refresh()


def _folders(paths: Column) -> list[str]:
    heads: Any = pc.list_element(pc.split_pattern(whole(paths), "/", max_splits=1), 0)
    return sorted(str(name) for name in heads.unique().to_pylist())
