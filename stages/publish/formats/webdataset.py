"""WebDataset: tar archives whose successive members with the same name up to the first dot form a sample.

The format is described at https://huggingface.co/docs/hub/datasets-webdataset and read by ``webdataset``, open_clip,
``torchdata`` and Hugging Face ``datasets``. open_clip takes the pair ``.jpg`` and ``.txt``.
"""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from stages.publish.formats.export_format import Format, Sink
from stages.publish.formats.shards import Shards


class WebDatasetFormat(Format):
    """Tar archives with three members per sample: the image, a caption, and the other columns of the manifest."""

    name: ClassVar[str] = "webdataset"

    sample: Literal["crop", "caption"] = "crop"
    """``crop``: one sample per crop; its ``.txt`` is the first caption, its ``.json`` has all of them. ``caption``: one
    sample per caption, for readers that take one caption per image; the image is repeated."""
    max_shard_bytes: int = Field(default=1_000_000_000, gt=0)
    """Size from which a shard is followed by another, bytes."""

    def write(self, rows: Iterable[pa.RecordBatch], sink: Sink) -> dict[str, int]:
        """As ``Format.write``; the archives are ``<split>-<number>.tar``. A crop without captions has no ``.txt``."""
        samples: Counter[str] = Counter()
        with Shards(sink, ".tar", self.max_shard_bytes, _archive) as shards:
            for row in (row for batch in rows for row in batch.to_pylist()):
                for members in self._samples(row):
                    archive = shards.writer(row["split"])
                    for name, content in members.items():
                        _add(archive, name, content)
                    samples[row["split"]] += 1
        return dict(samples)

    def _samples(self, row: dict[str, Any]) -> Iterator[dict[str, bytes]]:
        image, captions = row.pop("jpeg"), row["captions"]
        columns = json.dumps(row, ensure_ascii=False).encode()
        if self.sample == "crop" or not captions:
            yield _members(row["crop_id"], image, captions[:1], columns)
            return
        for position, caption in enumerate(captions):
            yield _members(f"{row['crop_id']}-{position}", image, [caption], columns)


def _members(key: str, image: bytes, caption: list[str], columns: bytes) -> dict[str, bytes]:
    texts = {f"{key}.txt": text.encode() for text in caption}
    return {f"{key}.jpg": image, **texts, f"{key}.json": columns}


def _archive(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    # TarInfo has no time, owner or host of its own, so the same rows give the same bytes.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
