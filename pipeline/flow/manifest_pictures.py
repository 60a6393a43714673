"""The pictures of a manifest's rows: its own, or those in the files of crops that it names."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.packs import Pack, read_packs
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import publish
from pipeline.flow.detect import CROPS
from pipeline.flow.detect import STAGE as DETECT
from stages.arrays import arrow
from stages.errors import UnitError

# Rows of a manifest are in the order of their packs of crops, almost: the next rows need one of the last few packs.
_HELD_BYTES: Final = 128 << 20


@dataclass(frozen=True)
class ManifestFiles:
    """Where the manifest of a variant lies, and what may hold its pictures.

    Args:
        packs: Its packs, rows of ``pipeline.corpus.packs.PACK``.
        crops: Packs of crops, likewise; their ``live`` is null, as rows are chosen by crop.
    """

    packs: pa.Table
    crops: pa.Table


def manifest_files(snapshot: Snapshot, variant: str) -> ManifestFiles:
    """The files of a variant's manifest and of its pictures; small, and all that a reader needs of the ledger."""
    crops = snapshot.packs(DETECT.name, CROPS)
    position = crops.schema.get_field_index("live")
    anything = pa.repeat(pa.scalar(None, crops.schema.field(position).type), len(crops))
    crops = crops.set_column(position, crops.schema.field(position), anything)
    return ManifestFiles(snapshot.packs(publish.NAME, publish.MANIFEST, variant), crops)


class Pictures:
    """Reads JPEGs by crop, and holds the packs read last.

    Args:
        corpus: The corpus.
        files: Where packs lie.
        held_bytes: Bytes of the packs that are held; those asked for together are held whatever their size.
    """

    def __init__(self, corpus: Corpus, files: ManifestFiles, held_bytes: int = _HELD_BYTES) -> None:
        self._corpus, self._held_bytes = corpus, held_bytes
        self._tables = ((CROPS, files.crops), (publish.MANIFEST, files.packs))
        self._held: OrderedDict[str, pa.Table] = OrderedDict()

    def of(self, crop_ids: "pa.Array[Any]", paths: "pa.Array[Any]") -> "pa.Array[Any]":
        """JPEGs of crops.

        Args:
            crop_ids: Crops, string [N].
            paths: The pack that has each, string [N]; of crops or of the manifest.

        Returns:
            Binary [N], null for a crop that is no longer in its pack.

        Raises:
            UnitError: A pack does not count any more.
        """
        self.hold(paths)
        named: list[Any] = paths.unique().to_pylist()
        parts, places = [], []
        for path in named:
            rows = np.flatnonzero(pc.equal(paths, pa.scalar(path)).to_numpy(zero_copy_only=False))
            pack = self._held[path]
            found = pc.index_in(crop_ids.take(arrow(rows)), value_set=pack["crop_id"].combine_chunks())
            parts.append(pack["jpeg"].take(found))
            places.append(rows)
        if not parts:
            return pa.array([], pa.binary())
        order = np.argsort(np.concatenate(places), kind="stable")
        chunks = [chunk for part in parts for chunk in part.chunks]
        jpegs: pa.Array[Any] = pa.chunked_array(chunks, pa.binary()).take(arrow(order)).combine_chunks()
        return jpegs

    def hold(self, paths: "pa.Array[Any]") -> None:
        """Read the packs that are not held yet, those of one file together, and drop the packs used longest ago.

        Packs of neighbouring videos lie in one row group after compaction, which is read once for all of them.

        Raises:
            UnitError: A pack does not count any more.
        """
        names: list[Any] = paths.unique().to_pylist()
        for path in names:
            if path in self._held:
                self._held.move_to_end(path)
        missing = [path for path in names if path not in self._held]
        for table, packs in self._tables:
            found: list[Pack] = packs.filter(pc.is_in(packs["path"], pa.array(missing, pa.string()))).to_pylist()
            found.sort(key=lambda pack: (pack["file"], pack["first_row"] or 0))
            for pack, rows in zip(found, read_packs(self._corpus, table, found, ["crop_id", "jpeg"]), strict=True):
                # A copy: a slice would keep its whole row group in memory.
                self._held[pack["path"]] = rows.take(arrow(np.arange(len(rows))))
        gone = next((path for path in missing if path not in self._held), None)
        if gone is not None:
            raise UnitError(
                f"the manifest names {gone}, whose rows do not count any more; publish the variant again",
                kind="crops_gone",
            )
        while len(self._held) > len(names) and self._size() > self._held_bytes:
            self._held.popitem(last=False)

    def _size(self) -> int:
        return sum(table.nbytes for table in self._held.values())


def with_pictures(snapshot: Snapshot, rows: pa.Table) -> pa.Table:
    """A few rows of a manifest with ``jpeg`` filled in.

    Args:
        snapshot: What counts.
        rows: Columns crop_id, crops_path, jpeg and others.

    Raises:
        UnitError: A file of crops that the manifest names does not count any more.
    """
    lacking = pc.is_valid(rows["crops_path"].combine_chunks())
    asked = rows.filter(lacking)
    pictures = Pictures(snapshot.corpus, manifest_files(snapshot, ""))
    found = pictures.of(asked["crop_id"].combine_chunks(), asked["crops_path"].combine_chunks())
    jpegs = pc.replace_with_mask(rows["jpeg"].combine_chunks(), lacking, found)
    return rows.set_column(rows.schema.get_field_index("jpeg"), rows.schema.field("jpeg"), jpegs)
