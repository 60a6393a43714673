import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.pictures import squash
from stages.pretrain.config import AugmentConfig, PretrainConfig
from stages.pretrain.data import Batch, Inputs, Row, augment, batches, choose, rows_of, shuffled
from tests.stages.pretrain.pretrain_toys import config, row, stream_of


def tokenize(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[len(text)] for text in texts])


INPUTS = Inputs(32, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), tokenize)


def made(settings: PretrainConfig, rows: list[dict[str, Any]], **more: Any) -> list[Batch]:
    source = rows_of(stream_of(rows)())
    return list(batches(source, settings, INPUTS, size=4, epoch=0, **more))


def test_batches_hold_each_text_once(tmp_path: Path) -> None:
    rows = [row(n) | {"captions": ["same"] if n < 3 else ["other"]} for n in range(4)]
    (batch,) = made(config(tmp_path), rows)
    assert batch.images.shape == (4, 3, 32, 16)
    assert batch.images.dtype == torch.float32
    assert batch.texts.tolist() == [[0], [0], [0], [1]]
    assert batch.tokens.tolist() == [[4], [5]]
    assert len(set(batch.keys.tolist())) == 2


def test_unreadable_crops_are_counted_and_leave_the_batches_whole(tmp_path: Path) -> None:
    rows = [row(n) for n in range(9)]
    rows[1]["jpeg"], rows[2]["jpeg"], rows[4]["captions"] = b"\xff\xd8 broken", b"", []
    (batch,) = made(config(tmp_path), rows)
    assert len(batch.images) == 4
    assert batch.unreadable == tuple(rows[n]["crop_id"] for n in (1, 2, 4))
    assert batch.position == 7


def test_skipping_goes_on_where_it_stopped(tmp_path: Path) -> None:
    rows = [row(n) for n in range(20)]
    rows[2]["jpeg"] = b""
    whole = made(config(tmp_path), rows)
    rest = made(config(tmp_path), rows, skip=whole[1].position)
    assert [batch.position for batch in whole] == [5, 9, 13, 17]
    for expected, found in zip(whole[2:], rest, strict=True):
        assert torch.equal(expected.images, found.images)
        assert torch.equal(expected.keys, found.keys)


def test_changes_of_a_crop_follow_from_seed_epoch_and_id_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, augment={"colour_jitter": 0.2})
    rows = [row(n) for n in range(4)]
    (forward,), (backward,) = made(settings, rows), made(settings, rows[::-1])
    assert torch.equal(forward.images, backward.images.flip(0))
    (other,) = made(settings.model_copy(update={"seed": 1}), rows)
    assert not torch.equal(forward.images, other.images)


@pytest.mark.parametrize(("order", "count"), [("shuffled", 2), ("shuffled", 5), ("stored", 3)])
def test_choice_of_captions(tmp_path: Path, order: Any, count: int) -> None:
    settings = config(tmp_path, caption_order=order, captions_per_crop=count)
    chosen = choose(["a", "b", "c"], settings, random.Random(0))
    assert len(chosen) == count
    assert len(set(chosen)) == min(3, count)
    if order == "stored":
        assert chosen == ["a", "b", "c"]


def test_a_crop_with_few_captions_repeats_its_own(tmp_path: Path) -> None:
    assert choose(["a"], config(tmp_path, captions_per_crop=3), random.Random(0)) == ["a"] * 3


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_shuffling_loses_no_row(size: int) -> None:
    rows = [Row(str(n), b"", ()) for n in range(50)]
    found = list(shuffled(iter(rows), size, "seed"))
    assert Counter(found) == Counter(rows)
    assert (found == rows) == (size == 1)
    assert found == list(shuffled(iter(rows), size, "seed"))


@pytest.mark.parametrize("shape", [(1, 1, 3), (300, 3, 3), (5, 400, 3), (64, 32, 3)])
def test_any_crop_fits(shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 128, np.uint8)
    part = augment(image, AugmentConfig(crop_scale_min=0.2, colour_jitter=0.5), random.Random(1))
    assert squash(part, 32, 16).shape == (32, 16, 3)


def test_pixels_are_normalised() -> None:
    pixels = INPUTS.pixels([np.full((32, 16, 3), 255, np.uint8)])
    assert torch.allclose(pixels, torch.full((1, 3, 32, 16), 2.0))


def test_no_change_is_no_change() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    assert np.array_equal(augment(image, AugmentConfig(hflip=False, crop_scale_min=1), random.Random(0)), image)
