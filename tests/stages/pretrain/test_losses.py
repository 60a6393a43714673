import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812

from stages.pretrain.losses import MASKED, contrastive_loss, mask_tokens, mlm_loss

SCALE = torch.tensor(10.0, dtype=torch.float64)


def features(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64)


def unit(rows: torch.Tensor) -> torch.Tensor:
    return F.normalize(rows, dim=-1)


def test_contrastive_loss_by_hand() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    loss = contrastive_loss(image, text, torch.tensor(1.0), torch.tensor([1, 2]))
    to_text = (math.log(math.e + math.exp(0.6)) - 1 + math.log(1 + math.exp(0.8)) - 0.8) / 2
    to_image = (math.log(math.e + 1) - 1 + math.log(math.exp(0.6) + math.exp(0.8)) - 0.8) / 2
    assert float(loss) == pytest.approx((to_text + to_image) / 2)


def test_contrastive_loss_equals_the_reference() -> None:
    golden = json.loads(Path(__file__).with_name("golden.json").read_text())["itc"]
    draw = np.random.RandomState(0)
    image, text = (unit(torch.from_numpy(draw.randn(12, 16))) for _ in range(2))
    loss = contrastive_loss(image, text, torch.tensor(50.0, dtype=torch.float64), torch.zeros(12, dtype=torch.long))
    assert float(loss) == pytest.approx(golden["loss"], rel=1e-6)


@pytest.mark.parametrize("equal_texts", ["positives", "negatives"])
@pytest.mark.parametrize("keys", [[1, 2, 3, 4], [1, 1, 2, 2], [7, 7, 7, 7]])
def test_gradients_are_those_of_the_loss(equal_texts: Any, keys: list[int]) -> None:
    image, text, scale = (value.requires_grad_() for value in (features(4, 0), features(4, 1), SCALE.clone()))

    def loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(unit(image), unit(text), scale, torch.tensor(keys), equal_texts=equal_texts)

    assert torch.autograd.gradcheck(loss, (image, text, scale))


def test_without_equal_texts_the_two_ways_agree() -> None:
    image, text, keys = unit(features(6, 0)), unit(features(6, 1)), torch.arange(6)
    losses = [contrastive_loss(image, text, SCALE, keys, equal_texts=way) for way in ("positives", "negatives")]
    assert float(losses[0]) == pytest.approx(float(losses[1]))


def test_equal_texts_are_no_error_when_positives() -> None:
    """Two crops with one caption, told apart from the third perfectly: only the choice between the two is left."""
    text = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    loss = contrastive_loss(text, text, torch.tensor(100.0), torch.tensor([5, 5, 9]), equal_texts="positives")
    assert float(loss) == pytest.approx(math.log(2) / 4, abs=1e-6)


TOKENS = torch.tensor([[100, 5, 6, 7, 101, 0, 0, 0], [100, 8, 9, 101, 0, 0, 0, 0]]).repeat(200, 1)
SPECIAL = (0, 100, 101)


def masked(probability: float = 0.15, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return mask_tokens(TOKENS, SPECIAL, 102, probability, torch.Generator().manual_seed(seed))


def test_masking_leaves_the_tokens_alone() -> None:
    before = TOKENS.clone()
    hidden, _ = masked(0.9)
    assert torch.equal(before, TOKENS)
    assert hidden.untyped_storage().data_ptr() != TOKENS.untyped_storage().data_ptr()


def test_masking_spares_special_tokens() -> None:
    hidden, chosen = masked(0.9)
    special = torch.isin(TOKENS, torch.tensor(SPECIAL))
    assert not chosen[special].any()
    assert torch.equal(hidden[~chosen], TOKENS[~chosen])


def test_masking_shares_are_those_of_bert() -> None:
    hidden, chosen = masked(0.5)
    words = ~torch.isin(TOKENS, torch.tensor(SPECIAL))
    assert float(chosen.sum() / words.sum()) == pytest.approx(0.5, abs=0.05)
    assert float((hidden[chosen] == MASKED).double().mean()) == pytest.approx(0.8, abs=0.06)
    assert float((hidden[chosen] == TOKENS[chosen]).double().mean()) == pytest.approx(0.1, abs=0.05)


def test_masking_is_repeatable() -> None:
    assert torch.equal(masked(seed=3)[0], masked(seed=3)[0])
    assert not torch.equal(masked(seed=3)[0], masked(seed=4)[0])


def test_mlm_loss_without_hidden_words_is_zero_and_differentiable() -> None:
    logits = torch.empty(0, 10, requires_grad=True)
    loss = mlm_loss(logits, torch.empty(0, dtype=torch.long))
    loss.backward()
    assert float(loss) == 0.0


def _worker(rank: int, world: int, folder: str, equal_texts: Any) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    layers = [torch.nn.Linear(5, 3, dtype=torch.float64) for _ in range(2)]
    for seed, layer in enumerate(layers):
        layer.load_state_dict({"weight": features(3, seed), "bias": torch.zeros(3, dtype=torch.float64)})
    wrapped = torch.nn.parallel.DistributedDataParallel(torch.nn.ModuleList(layers))
    part = slice(rank * 4, rank * 4 + 4)
    image, text = (unit(layer(features(8, 9 + i)[part])) for i, layer in enumerate(wrapped.module))
    keys = torch.tensor([1, 2, 3, 1, 4, 5, 1, 2])[part]
    loss = contrastive_loss(image, text, SCALE, keys, equal_texts=equal_texts)
    loss.backward()
    for layer in layers:
        dist.all_reduce(layer.weight.grad)
    dist.all_reduce(loss.data)
    torch.save([loss.data / world, *(layer.weight.grad / world for layer in layers)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("equal_texts", ["positives", "negatives"])
def test_two_workers_equal_one_with_the_whole_batch(tmp_path: Path, equal_texts: Any) -> None:
    torch.multiprocessing.spawn(_worker, (2, str(tmp_path), equal_texts), nprocs=2)
    layers = [torch.nn.Linear(5, 3, dtype=torch.float64) for _ in range(2)]
    for seed, layer in enumerate(layers):
        layer.load_state_dict({"weight": features(3, seed), "bias": torch.zeros(3, dtype=torch.float64)})
    image, text = (unit(layer(features(8, 9 + i))) for i, layer in enumerate(layers))
    loss = contrastive_loss(image, text, SCALE, torch.tensor([1, 2, 3, 1, 4, 5, 1, 2]), equal_texts=equal_texts)
    loss.backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for value, expected in zip(found, [loss.detach(), *(layer.weight.grad for layer in layers)], strict=True):
            torch.testing.assert_close(value, expected)
