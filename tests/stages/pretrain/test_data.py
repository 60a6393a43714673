from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.errors import UnitError
from stages.pretrain.config import PretrainConfig
from stages.pretrain.data import Batch, batches, epoch_rows, rows_of, shuffled
from stages.pretrain.methods.clip import Clip
from tests.stages.pretrain.pretrain_toys import config, row, stream_of


def made(settings: PretrainConfig, rows: list[dict[str, Any]], *, seed: str = "0/0", **more: Any) -> list[Batch]:
    source = rows_of(stream_of(rows)(), Clip.columns)
    return list(batches(source, Clip(settings), size=4, seed=seed, **more))


def test_unreadable_crops_are_counted_and_leave_the_batches_whole(tmp_path: Path) -> None:
    rows = [row(n) for n in range(9)]
    rows[1]["jpeg"], rows[2]["jpeg"], rows[4]["captions"] = b"\xff\xd8 broken", b"", []
    (batch,) = made(config(tmp_path), rows)
    assert len(batch.tensors["images"]) == 4
    assert batch.unreadable == tuple(rows[n]["crop_id"] for n in (1, 2, 4))
    assert batch.position == 7


@pytest.mark.parametrize("threads", [1, 3])
def test_skipping_continues_after_the_last_batch(tmp_path: Path, threads: int) -> None:
    rows = [row(n) for n in range(20)]
    rows[2]["jpeg"] = b""
    whole = made(config(tmp_path), rows)
    rest = made(config(tmp_path), rows, skip=whole[1].position, threads=threads)
    assert [batch.position for batch in whole] == [5, 9, 13, 17]
    for expected, found in zip(whole[2:], rest, strict=True):
        assert torch.equal(expected.tensors["images"], found.tensors["images"])
        assert torch.equal(expected.tensors["keys"], found.tensors["keys"])


def test_changes_of_a_crop_follow_from_seed_and_id_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, augment={"colour_jitter": 0.2})
    rows = [row(n) for n in range(4)]
    (forward,), (backward,) = made(settings, rows), made(settings, rows[::-1])
    assert torch.equal(forward.tensors["images"], backward.tensors["images"].flip(0))
    (other,) = made(settings, rows, seed="0/1")
    assert not torch.equal(forward.tensors["images"], other.tensors["images"])


def test_crops_with_one_image_are_changed_each_in_its_own_way(tmp_path: Path) -> None:
    rows = [row(0) | {"crop_id": str(n)} for n in range(4)]
    (batch,) = made(config(tmp_path, augment={"crop_scale_min": 0.5}), rows)
    images = batch.tensors["images"]
    assert len({tuple(image.flatten().tolist()) for image in images}) > 1


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_shuffling_loses_no_row(size: int) -> None:
    rows = [{"crop_id": str(n)} for n in range(50)]
    found = list(shuffled(iter(rows), size, "seed"))
    assert Counter(entry["crop_id"] for entry in found) == Counter(entry["crop_id"] for entry in rows)
    assert (found == rows) == (size == 1)
    assert found == list(shuffled(iter(rows), size, "seed"))


def order(rows: list[dict[str, Any]], *, epoch: int = 0, seed: int = 0, count: int = 20) -> list[str]:
    source = epoch_rows(stream_of(rows), ("crop_id",), epoch=epoch, buffer=50, seed=seed)
    return [next(source)["crop_id"] for _ in range(count)]


def test_seed_and_epoch_decide_the_order() -> None:
    rows = [row(n) for n in range(20)]
    assert order(rows) == order(rows)
    assert order(rows) != order(rows, epoch=1)
    assert order(rows) != order(rows, seed=1)
    assert sorted(order(rows)) == sorted(order(rows, epoch=1)) == sorted(entry["crop_id"] for entry in rows)


def test_a_short_stream_is_repeated_ten_times_at_most() -> None:
    rows = [row(n) for n in range(2)]
    assert Counter(order(rows)) == {entry["crop_id"]: 10 for entry in rows}
    with pytest.raises(UnitError, match="did not fill one epoch"):
        order(rows, count=21)
