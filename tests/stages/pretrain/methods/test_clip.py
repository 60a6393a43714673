import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from stages.pretrain.losses import mask_tokens
from stages.pretrain.method import Moment
from stages.pretrain.methods.clip import Clip, choose
from tests.stages.pretrain.pretrain_toys import config, jpeg, row


def collated(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> dict[str, torch.Tensor]:
    method = Clip(config(folder, **changes))
    samples = [method.sample(entry, random.Random(0)) for entry in rows]
    return method.collate([sample for sample in samples if sample is not None])


def test_batches_hold_each_text_once(tmp_path: Path) -> None:
    rows = [row(n) | {"captions": ["same"] if n < 3 else ["other words"]} for n in range(4)]
    batch = collated(tmp_path, rows)
    assert batch["images"].shape == (4, 3, 32, 16)
    assert batch["images"].dtype == torch.float32
    assert batch["texts"].tolist() == [[0], [0], [0], [1]]
    assert batch["tokens"].shape == (2, 16)
    assert (batch["tokens"] > 0).sum(dim=1).tolist() == [3, 4]
    assert len(set(batch["keys"].tolist())) == 2


def test_the_key_of_a_text_is_the_same_on_every_worker(tmp_path: Path) -> None:
    first = collated(tmp_path, [row(0) | {"captions": ["one"]}, row(1) | {"captions": ["two"]}])
    second = collated(tmp_path, [row(2) | {"captions": ["two"]}, row(3) | {"captions": ["three"]}])
    assert first["keys"][1] == second["keys"][0]
    assert first["keys"][0] != second["keys"][1]


@pytest.mark.parametrize("broken", [{"jpeg": b"\xff\xd8 broken"}, {"jpeg": None}, {"captions": []}, {"captions": None}])
def test_a_crop_without_image_or_captions_gives_no_sample(tmp_path: Path, broken: dict[str, Any]) -> None:
    assert Clip(config(tmp_path)).sample(row(0) | broken, random.Random(0)) is None


@pytest.mark.parametrize(("order", "count"), [("shuffled", 2), ("shuffled", 5), ("stored", 3)])
def test_choice_of_captions(tmp_path: Path, order: Any, count: int) -> None:
    settings = config(tmp_path, caption_order=order, captions_per_crop=count)
    chosen = choose(["a", "b", "c"], settings, random.Random(0))
    assert len(chosen) == count
    assert len(set(chosen)) == min(3, count)
    if order == "stored":
        assert chosen == ["a", "b", "c"]


def test_shuffled_captions_are_drawn_anew(tmp_path: Path) -> None:
    drawn = {choose(["a", "b", "c"], config(tmp_path), random.Random(seed))[0] for seed in range(20)}
    assert drawn == {"a", "b", "c"}


def test_a_crop_with_few_captions_repeats_its_own(tmp_path: Path) -> None:
    assert choose(["a"], config(tmp_path, captions_per_crop=3), random.Random(0)) == ["a"] * 3


def figures(method: Clip, folder: Path, step: int = 0) -> dict[str, float]:
    torch.manual_seed(0)
    samples = [method.sample(row(n) | {"jpeg": jpeg("red", "blue", n)}, random.Random(n)) for n in range(6)]
    batch = method.collate([sample for sample in samples if sample is not None])
    losses = method.losses(method.module, batch, Moment(step=step, epoch=0, rank=0, seed=0))
    return {name: float(value.detach()) for name, value in losses.items()}


def test_the_loss_is_the_weighted_sum_of_its_parts(tmp_path: Path) -> None:
    found = figures(Clip(config(tmp_path, mlm={"weight": 0.25, "probability": 0.5})), tmp_path)
    assert found["loss"] == pytest.approx(found["contrastive"] + 0.25 * found["mlm"], rel=1e-6)
    assert found["mlm"] > 5
    assert found["temperature"] == pytest.approx(0.07)


def test_hidden_words_are_the_labels_of_masked_language_modelling(tmp_path: Path) -> None:
    method, moment = Clip(config(tmp_path, mlm={"probability": 0.5})), Moment(step=3, epoch=0, rank=0, seed=0)
    batch = collated(tmp_path, [row(n) for n in range(6)])
    masked, hidden = mask_tokens(
        batch["tokens"], method.special, method.module.vocabulary, 0.5, generator=moment.generator()
    )
    words = method.module(batch["images"], batch["tokens"], masked, hidden).words
    found = method.losses(method.module, batch, moment)["mlm"]
    assert float(found.detach()) == pytest.approx(float(F.cross_entropy(words, batch["tokens"][hidden]).detach()))


def test_several_captions_are_as_many_contrastive_problems(tmp_path: Path) -> None:
    method, moment = Clip(config(tmp_path, mlm={"weight": 0})), Moment(step=0, epoch=0, rank=0, seed=0)
    rows, stored = [row(n) for n in range(4)], {"caption_order": "stored"}
    both = collated(tmp_path, rows, captions_per_crop=2, **stored)
    each = [
        collated(tmp_path, [entry | {"captions": entry["captions"][n:]} for entry in rows], **stored) for n in range(2)
    ]
    found, *parts = (float(method.losses(method.module, batch, moment)["loss"].detach()) for batch in (both, *each))
    assert parts[0] != parts[1]
    assert found == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_every_step_and_worker_hides_words_of_its_own(tmp_path: Path) -> None:
    method = Clip(config(tmp_path, mlm={"probability": 0.5}))
    assert figures(method, tmp_path, step=0)["mlm"] == figures(method, tmp_path, step=0)["mlm"]
    assert figures(method, tmp_path, step=0)["mlm"] != figures(method, tmp_path, step=1)["mlm"]
    moments = [
        Moment(step=step, epoch=0, rank=rank, seed=seed) for step in (0, 1) for rank in (0, 1) for seed in (0, 1)
    ]
    assert len({float(torch.rand((), generator=moment.generator())) for moment in moments}) == len(moments)


def test_vectors_and_scalars_do_not_decay(tmp_path: Path) -> None:
    method = Clip(config(tmp_path))
    decayed = {name for name, value in method.module.named_parameters() if method.decays(name, value)}
    assert "clip.transformer.resblocks.0.attn.in_proj_weight" in decayed
    assert "clip.visual.conv1.weight" in decayed
    assert not [name for name in decayed if name.endswith(("bias", "logit_scale", "class_embedding"))]
    assert "clip.ln_final.weight" not in decayed
