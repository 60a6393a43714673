from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from schemas.tables import METRICS
from stages.errors import UnitError
from stages.pretrain.checkpoint import latest
from stages.pretrain.config import PretrainConfig
from stages.pretrain.loop import Result, schedule, train
from stages.pretrain.methods import METHODS
from stages.pretrain.methods.clip import Clip
from stages.pretrain.two_towers import TwoTowers, export
from tests.stages.pretrain.pretrain_toys import architecture, config, row, stream_of

ROWS = [row(number) for number in range(36)]


class Interrupted(Exception):
    """Stands for a lost machine."""


def run(settings: PretrainConfig, folder: Path, report: Any = None, **more: Any) -> Result:
    stream = stream_of(more.pop("data", ROWS))
    return train(settings, stream, more.pop("val", None), folder, report or (lambda *_: None), rows=36, **more)


def weights(result: Result) -> dict[str, torch.Tensor]:
    assert result.model is not None
    loaded = open_clip.create_model(f"local-dir:{result.model}")
    return dict(loaded.state_dict())


def breaking_at(step: int) -> Callable[[dict[str, Any], Path | None], None]:
    def report(metrics: dict[str, Any], checkpoint: Path | None) -> None:
        if metrics["phase"] == "train" and metrics["step"] == step:
            raise Interrupted

    return report


def test_it_learns(tmp_path: Path) -> None:
    settings = config(tmp_path, epochs=25, log_every_steps=5, checkpoint_every_steps=1000)
    result = run(settings, tmp_path / "run", val=stream_of([row(number) for number in range(36, 72)]))
    found = {(entry["phase"], entry["name"], entry["step"]): entry["value"] for entry in result.metrics}
    assert result.step == 75
    assert found["train", "loss", 75] < 0.7 * found["train", "loss", 5]
    assert found["val", "r1", 75] > found["val", "r1", 0] + 0.3
    assert found["val", "map", 75] > found["val", "map", 0]
    assert {"contrastive", "mlm", "learning_rate"} <= {name for _, name, _ in found}


def test_metrics_are_rows_of_the_table(tmp_path: Path) -> None:
    result = run(config(tmp_path, epochs=1), tmp_path / "run", val=stream_of(ROWS[:4]))
    table = pa.Table.from_pylist([entry | {"unit_id": "run"} for entry in result.metrics], schema=METRICS)
    assert set(table["phase"].to_pylist()) == {"train", "val"}
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    scalars = [event.value for event in events.Scalars("train/loss")]
    rows = [entry["value"] for entry in result.metrics if (entry["phase"], entry["name"]) == ("train", "loss")]
    assert scalars == pytest.approx(rows)


# Stops: inside the first epoch, at its last step, inside the second; checkpoints are at 2, 4 and 6.
@pytest.mark.parametrize("stop", [3, 5, 6])
def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path: Path, stop: int) -> None:
    broken = [dict(entry) for entry in ROWS]
    broken[5]["jpeg"] = b"no image"
    settings = config(tmp_path, checkpoint_every_steps=2, shuffle_buffer=10)
    more = {"data": broken, "val": stream_of(ROWS[:4])}
    whole = run(settings, tmp_path / "whole", **more)
    with pytest.raises(Interrupted):
        run(settings, tmp_path / "cut", breaking_at(stop), **more)
    checkpoint = latest(tmp_path / "cut" / "checkpoints")
    assert checkpoint is not None
    resumed = run(settings, tmp_path / "cut", resume_from=checkpoint, **more)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert whole.metrics == resumed.metrics
    assert whole.unreadable == resumed.unreadable >= 2
    # Events of the lost steps, written before the machine was lost, are shown once.
    events = EventAccumulator(str(tmp_path / "cut" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    settings, reports = config(tmp_path, max_steps=2), []
    val = stream_of(ROWS[:4])

    def keep(metrics: dict[str, Any], _: Path | None) -> None:
        reports.append((metrics["phase"], metrics["step"]))

    run(settings, tmp_path / "run", keep, val=val)
    assert reports == [("val", 0), ("train", 1), ("train", 2), ("val", 2)]
    checkpoint = latest(tmp_path / "run" / "checkpoints")
    # The last checkpoint precedes the last evaluation, so only that is repeated.
    run(settings, tmp_path / "run", keep, val=val, resume_from=checkpoint)
    assert reports[4:] == [("val", 2)]


def test_a_checkpoint_of_more_workers_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, max_steps=1)
    checkpoint = run(settings, tmp_path / "run").checkpoint
    assert checkpoint is not None
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    torch.save(state | {"workers": state["workers"] * 2}, checkpoint / "state.pt")
    with pytest.raises(UnitError, match="was written by 2 workers and cannot be resumed with 1"):
        run(settings, tmp_path / "run", resume_from=checkpoint)


def test_losses_are_reported_every_so_many_steps_and_with_every_checkpoint(tmp_path: Path) -> None:
    settings = config(tmp_path, log_every_steps=2, checkpoint_every_steps=3, epochs=3, max_steps=7)
    result = run(settings, tmp_path / "run")
    assert [entry["step"] for entry in result.metrics if entry["name"] == "loss"] == [2, 3, 4, 6, 7]


def test_an_epoch_has_as_many_steps_as_it_has_whole_batches(tmp_path: Path) -> None:
    data = [row(number) for number in range(23)]
    result = train(config(tmp_path), stream_of(data), None, tmp_path / "run", lambda *_: None, rows=23)
    assert result.step == 2
    assert [entry["epoch"] for entry in result.metrics if entry["name"] == "loss"] == [1, 2]


@pytest.mark.parametrize("limit", [None, 0.01])
def test_gradients_are_clipped_to_their_norm(tmp_path: Path, limit: float | None) -> None:
    result = run(config(tmp_path, clip_norm=limit, max_steps=1, betas=(0.8, 0.9)), tmp_path / "run")
    assert result.checkpoint is not None
    optimizer = torch.load(result.checkpoint / "state.pt", weights_only=True)["optimizer"]
    # After the first step the mean of the gradients is a fifth of the gradient.
    norm = 5 * torch.stack([value["exp_avg"].norm() for value in optimizer["state"].values()]).norm()
    if limit is None:
        assert norm > 0.1
    else:
        assert float(norm) == pytest.approx(limit, rel=1e-3)
    assert {tuple(group["betas"]) for group in optimizer["param_groups"]} == {(0.8, 0.9)}


def test_the_learning_rate_of_a_step_is_that_of_the_schedule(tmp_path: Path) -> None:
    result = run(config(tmp_path, warmup_share=0.5, learning_rate=6e-3), tmp_path / "run")
    rates = [entry["value"] for entry in result.metrics if entry["name"] == "learning_rate"]
    assert rates == pytest.approx([2e-3, 4e-3, 6e-3, 6e-3, 4e-3, 2e-3])


def test_checkpoints_are_pruned_and_reported(tmp_path: Path) -> None:
    seen: list[str] = []
    settings = config(tmp_path, checkpoint_every_steps=2, keep_checkpoints=2)
    result = run(settings, tmp_path / "run", lambda _, checkpoint: seen.extend([checkpoint.name] if checkpoint else []))
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert seen == ["step-00000002", "step-00000004", "step-00000006"]
    assert kept == seen[1:]
    assert result.checkpoint is not None
    assert result.checkpoint.name == seen[-1]


def test_max_steps_ends_the_schedule(tmp_path: Path) -> None:
    result = run(config(tmp_path, max_steps=4), tmp_path / "run")
    rates = [entry["value"] for entry in result.metrics if entry["name"] == "learning_rate"]
    assert result.step == 4
    assert len(rates) == 4
    assert rates[-1] < rates[1]


@pytest.mark.parametrize(("decay", "later"), [("linear", 2 / 3), ("cosine", 3 / 4)])
def test_schedule_rises_and_falls(tmp_path: Path, decay: str, later: float) -> None:
    settings = config(tmp_path, decay=decay, warmup_share=0.1)
    factors = [schedule(step, 100, settings) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[10] == pytest.approx(1.0)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[40] == pytest.approx(later)
    assert schedule(100, 100, settings) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("data", "rows", "kind"),
    [
        pytest.param([], 0, "no_rows", id="no rows"),
        pytest.param([], 5, "no_rows", id="empty stream"),
        pytest.param([row(0) | {"jpeg": b""}], 1, "no_rows", id="nothing readable"),
    ],
)
def test_nothing_to_train_on(tmp_path: Path, data: list[Any], rows: int, kind: str) -> None:
    with pytest.raises(UnitError) as error:
        train(config(tmp_path), stream_of(data), None, tmp_path / "run", lambda *_: None, rows=rows)
    assert error.value.kind == kind


def test_fewer_rows_than_a_batch_are_a_batch(tmp_path: Path) -> None:
    result = train(
        config(tmp_path, batch_size=512), stream_of(ROWS[:5]), None, tmp_path / "run", lambda *_: None, rows=5
    )
    assert result.step == 2


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    (folder / "state.pt").write_bytes(b"damaged")
    with pytest.raises(UnitError, match="cannot be resumed from"):
        run(config(tmp_path), tmp_path / "run", resume_from=folder)


def test_a_diverging_loss_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="learning_rate"):
        run(config(tmp_path, learning_rate=1e12, clip_norm=None, epochs=30), tmp_path / "run")


def test_captions_can_be_contrasted_column_by_column(tmp_path: Path) -> None:
    settings = config(tmp_path, captions_per_crop=2, caption_order="stored", shuffle_buffer=1, mlm={"weight": 0})
    names = {entry["name"] for entry in run(settings, tmp_path / "run").metrics}
    assert "mlm" not in names
    assert "contrastive" in names


def test_a_locked_image_tower_stays_and_the_text_tower_moves(tmp_path: Path) -> None:
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": [32, 16]}
    model = architecture(tmp_path, vision_cfg=vision)
    start = export(TwoTowers(config(tmp_path, model=model)), tmp_path / "start")
    settings = config(tmp_path, model=model, init=str(start), lock_image=True, max_steps=3)
    before = dict(open_clip.create_model(f"local-dir:{start}").state_dict())
    after = weights(run(settings, tmp_path / "out"))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert not [name for name in moved if name.startswith("visual.")]


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    settings = config(Path(folder) / str(rank), workers=2, checkpoint_every_steps=2)
    # The second worker has fewer rows, and must still do as many steps.
    mine = ROWS[:20] if rank == 0 else ROWS[20:]
    made: list[Clip] = []

    class Kept(Clip):
        def __init__(self, config: PretrainConfig) -> None:
            super().__init__(config)
            made.append(self)

    METHODS["clip"] = Kept
    result = train(settings, stream_of(mine), None, Path(folder), lambda *_: None, rows=36)
    torch.save(made[0].state_dict(), f"{folder}/weights{rank}.pt")
    torch.save([result.step, str(result.model), result.checkpoint is None], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_train_together(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    torch.multiprocessing.spawn(_worker, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first == [6, str(tmp_path / "model"), False]
    assert second == [6, "None", True]
    assert latest(tmp_path / "checkpoints") is not None
    one, other = (torch.load(tmp_path / f"weights{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
