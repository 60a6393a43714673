"""The loop knows nothing of the method that it runs: a second one trains, resumes and reports through it, too."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from stages.pretrain.checkpoint import latest
from stages.pretrain.config import PretrainConfig
from stages.pretrain.loop import Pace, Result, train
from stages.pretrain.methods import METHODS
from tests.stages.pretrain.momentum_toy import Momentum
from tests.stages.pretrain.pretrain_toys import PAINTS, jpeg, row, stream_of

ROWS = [row(number) for number in range(36)]
# Two crops of each kind: one is the answer to the other.
KINDS = [(upper, lower) for upper in list(PAINTS)[:3] for lower in list(PAINTS)[3:]]
VAL = [
    row(n) | {"jpeg": jpeg(*kind, seed=seed), "captions": [str(kind)]}
    for n, kind in enumerate(KINDS)
    for seed in (70 + n, 90 + n)
]


class Interrupted(Exception):
    """Stands for a lost machine."""


@pytest.fixture(autouse=True)
def _second_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "momentum", Momentum)


def settings(**changes: Any) -> PretrainConfig:
    config = PretrainConfig(
        batch_size=12, epochs=2, learning_rate=0.01, device="cpu", threads=1, log_every_steps=1, **changes
    )
    return config.model_copy(update={"method": "momentum"})


def run(config: PretrainConfig, folder: Path, report: Any = lambda *_: None, **more: Any) -> Result:
    return train(config, stream_of(ROWS), stream_of(VAL), folder, report, rows=36, **more)


def test_the_recipe_names_every_method() -> None:
    assert set(get_args(PretrainConfig.model_fields["method"].annotation)) == set(METHODS) - {"momentum"}


def test_a_second_method_trains_and_reports_its_own_figures(tmp_path: Path) -> None:
    paces: list[Pace] = []
    result = run(settings(augment={"crop_scale_min": 0.5}), tmp_path, pace=paces.append)
    found = {(entry["phase"], entry["name"], entry["step"]): entry["value"] for entry in result.metrics}
    assert result.step == 6
    assert [found["train", "at_step", step] for step in range(1, 7)] == [0, 1, 2, 3, 4, 5]
    assert {name for phase, name, _ in found if phase == "train"} == {
        "loss",
        "similarity",
        "at_step",
        "learning_rate",
    }
    assert {name for phase, name, _ in found if phase == "val"} == {"r1", "r5", "r10", "map", "gallery"}
    assert 0 < found["val", "map", 6] <= 1
    assert result.model is not None
    exported = torch.load(result.model / "encoder.pt", weights_only=True)
    assert exported.keys() == Momentum(settings()).module.query.state_dict().keys()
    assert (paces[-1].step, paces[-1].total, paces[-1].seconds_left) == (6, 6, 0)
    assert paces[-1].loss == pytest.approx(found["train", "loss", 6])
    assert paces[-1].rate > 0


# Stops inside the first epoch, at its last step, and inside the second.
@pytest.mark.parametrize("stop", [2, 3, 5])
def test_its_queue_and_key_encoder_resume_exactly(tmp_path: Path, stop: int) -> None:
    config = settings(checkpoint_every_steps=1)

    def break_off(entry: dict[str, Any], _: Path | None) -> None:
        if entry["phase"] == "train" and entry["step"] == stop + 1:
            raise Interrupted

    whole = run(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(config, tmp_path / "cut", break_off)
    (tmp_path / "cut" / "checkpoints" / f"step-{stop + 1:08d}").rename(tmp_path / "lost")
    resumed = run(config, tmp_path / "cut", resume_from=latest(tmp_path / "cut" / "checkpoints"))
    assert whole.metrics == resumed.metrics
    assert whole.checkpoint is not None
    assert resumed.checkpoint is not None
    first, second = (
        torch.load(result.checkpoint / "state.pt", weights_only=True)["model"] for result in (whole, resumed)
    )
    assert torch.equal(first["queue"], second["queue"])
    assert all(torch.equal(value, second["module"][name]) for name, value in first["module"].items())


def test_only_the_query_encoder_has_state_in_the_optimiser(tmp_path: Path) -> None:
    result = run(settings(weight_decay=0.5), tmp_path)
    assert result.checkpoint is not None
    state = torch.load(result.checkpoint / "state.pt", weights_only=True)["optimizer"]
    parameters = list(Momentum(settings()).module.query.parameters())
    assert [len(group["params"]) for group in state["param_groups"]] == [len(parameters), 0]
    assert state["param_groups"][0]["weight_decay"] == 0.5
