"""The training loop, the same for every method: evaluate, train, write checkpoints, evaluate again."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from stages.devices import pick_device, pick_dtype, set_threads
from stages.errors import UnitError
from stages.heap import keep_freed_memory
from stages.prefetch import ahead
from stages.pretrain.checkpoint import Progress, Stateful, restore, save
from stages.pretrain.collective import barrier, place
from stages.pretrain.config import PretrainConfig
from stages.pretrain.data import Batch, Stream, batches, epoch_rows
from stages.pretrain.method import Moment, Tensors
from stages.pretrain.methods import METHODS
from stages.pretrain.optimization import make_optimizer, schedule

Evaluation = Callable[[], Iterable[pa.RecordBatch]]
"""Record batches of the split to evaluate on."""
Report = Callable[[dict[str, Any], Path | None], None]
"""Takes ``{step, epoch, phase, <metric>: value, ...}`` and, if one was written, the checkpoint's folder."""

# Reading the loss waits for the GPU, so the pace is not reported after every step.
PACE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast training goes, for progress reports."""

    step: int
    """Optimiser steps done."""
    total: int
    """Steps of the whole training."""
    loss: float
    """Loss of the last step."""
    rate: float
    """Crops per second of all workers, since the report before."""
    seconds_left: float
    """Estimated time to the last step."""


@dataclass(frozen=True)
class Result:
    """What a training produced."""

    step: int
    """Optimiser steps done."""
    metrics: list[dict[str, Any]]
    """Rows of ``schemas.tables.METRICS`` without unit_id, from the first step on, across resumptions."""
    checkpoint: Path | None
    """Folder of the last checkpoint; None on workers other than the first."""
    model: Path | None
    """Folder of the exported model; None on workers other than the first."""
    unreadable: int
    """Crops of this worker that could not be used, over all epochs."""


def train(
    config: PretrainConfig,
    train_stream: Stream,
    val_stream: Evaluation | None,
    directory: Path,
    report: Report,
    *,
    rows: int,
    resume_from: Path | None = None,
    pace: Callable[[Pace], None] = lambda _: None,
) -> Result:
    """Pre-train with the method that the configuration names.

    Under torch.distributed every worker calls this with its own share of the rows.

    Args:
        config: Method, model, losses, schedule.
        train_stream: Record batches of an epoch with the columns of the method; read again if it ends too soon.
        val_stream: Split to evaluate on before the first and after the last step, with the method's
            ``evaluation_columns``; None for no evaluation.
        directory: Folder for ``checkpoints/``, ``tensorboard/`` and ``model/``.
        report: Called on every worker at the same moments: evaluation, losses, checkpoints.
        rows: Rows of the training split, all workers together.
        resume_from: Checkpoint to resume from.
        pace: Called on the first worker every second or so, and after the last step.

    Returns:
        What the training produced.

    Raises:
        UnitError: There are no rows to train on, the loss is not finite, or the checkpoint does not fit.
    """
    if rows < 1:
        raise UnitError("the training split has no rows; publish some captions first", kind="no_rows")
    return _Training(config, directory, report, pace, rows, resume_from).run(train_stream, val_stream)


class _Training:
    def __init__(
        self,
        config: PretrainConfig,
        directory: Path,
        report: Report,
        pace: Callable[[Pace], None],
        rows: int,
        resume_from: Path | None,
    ) -> None:
        set_threads(config.threads)
        self.device = pick_device(config.device)
        if self.device == "cpu":
            keep_freed_memory()
        self.config, self.directory, self._report, self._pace = config, directory, report, pace
        self.rank, self.world = place()
        self.size = max(1, min(config.batch_size, rows) // self.world)
        self.steps_per_epoch = max(1, rows // (self.size * self.world))
        self.total = min(config.epochs * self.steps_per_epoch, config.max_steps or config.epochs * self.steps_per_epoch)
        self.dtype = pick_dtype(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.method = METHODS[config.method](config)
        self.module = self.method.module.to(self.device)
        self.model = torch.nn.parallel.DistributedDataParallel(self.module) if self.world > 1 else self.module
        self.optimizer = make_optimizer(self.method, config)
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.dtype == torch.float16)
        self.parts: dict[str, Stateful] = {"model": self.method, "optimizer": self.optimizer, "scaler": self.scaler}
        self.progress, self.checkpoint = Progress(), resume_from
        if resume_from is not None:
            self.progress = restore(resume_from, self.parts, self.device)
        self.writer = _writer(directory / "tensorboard", self.progress.step) if self.rank == 0 else None
        self.began = self.clock = (self.progress.step, time.monotonic())

    def run(self, train_stream: Stream, val_stream: Evaluation | None) -> Result:
        if self.progress.step == 0:
            self._evaluate(val_stream)
        self.began = self.clock = (self.progress.step, time.monotonic())
        while self.progress.step < self.total:
            self._epoch(train_stream)
        self._evaluate(val_stream)
        model = self.method.export(self.directory / "model") if self.rank == 0 else None
        if self.writer is not None:
            self.writer.close()
        rows = [row for entry in self.progress.history for row in metric_rows(entry)]
        return Result(self.progress.step, rows, self.checkpoint, model, self.progress.unreadable)

    def _epoch(self, train_stream: Stream) -> None:
        progress = self.progress
        wanted = min(self.steps_per_epoch - progress.batch, self.total - progress.step)
        for batch in ahead(islice(self._batches(train_stream), wanted), depth=2):
            figures = self._step(batch.tensors)
            progress.step, progress.batch, progress.position = progress.step + 1, progress.batch + 1, batch.position
            progress.unreadable += len(batch.unreadable)
            if progress.batch == self.steps_per_epoch:
                progress.epoch, progress.batch, progress.position = progress.epoch + 1, 0, 0
            self._after_step(figures)

    def _batches(self, train_stream: Stream) -> Iterator[Batch]:
        config, epoch = self.config, self.progress.epoch
        rows = epoch_rows(
            train_stream, self.method.columns, epoch=epoch, buffer=config.shuffle_buffer, seed=config.seed
        )
        return batches(
            rows,
            self.method,
            size=self.size,
            seed=f"{config.seed}/{epoch}",
            threads=config.loader_threads,
            skip=self.progress.position,
        )

    def _step(self, batch: Tensors) -> Tensors:
        config, progress = self.config, self.progress
        rate = config.learning_rate * schedule(progress.step, self.total, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        moment = Moment(step=progress.step, epoch=progress.epoch, rank=self.rank, seed=config.seed)
        with self._autocast():
            figures = self.method.losses(
                self.model, {key: value.to(self.device) for key, value in batch.items()}, moment
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(figures["loss"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        if config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: value.detach() for name, value in figures.items()} | {"learning_rate": torch.tensor(rate)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32)

    def _after_step(self, figures: Tensors) -> None:
        config, step = self.config, self.progress.step
        last = step == self.total
        self._report_pace(figures["loss"], last=last)
        due = last or step % config.checkpoint_every_steps == 0
        if not (due or step % config.log_every_steps == 0):
            return
        entry = self._entry("train") | {name: float(value) for name, value in figures.items()}
        if not math.isfinite(entry["loss"]):
            message = f"the loss became {entry['loss']} at step {step}; lower pretrain.learning_rate"
            raise UnitError(message, kind="diverged")
        self.progress.history.append(entry)
        self._publish(entry, self._save() if due else None)

    def _report_pace(self, loss: torch.Tensor, *, last: bool) -> None:
        step, then = self.clock
        if self.rank or not (last or time.monotonic() - then > PACE_SECONDS):
            return
        done, value = self.progress.step, float(loss)
        per_second = (done - step) / max(time.monotonic() - then, 1e-9)
        # From the mean since the start: a second's rate varies by half.
        first, began = self.began
        left = (self.total - done) * (time.monotonic() - began) / (done - first)
        rate = per_second * self.size * self.world
        self._pace(Pace(step=done, total=self.total, loss=value, rate=rate, seconds_left=left))
        self.clock = (done, time.monotonic())

    def _save(self) -> Path | None:
        self.checkpoint = save(
            self.directory / "checkpoints", self.parts, self.progress, keep=self.config.keep_checkpoints
        )
        return self.checkpoint

    def _evaluate(self, val_stream: Evaluation | None) -> None:
        if val_stream is None:
            return
        entry = self._entry("val")
        if self.rank == 0:
            # The next step sets the training mode again.
            self.module.eval()
            with torch.inference_mode(), self._autocast():
                entry |= self.method.evaluate(val_stream(), self.device)
        barrier()
        self.progress.history.append(entry)
        self._publish(entry, None)

    def _entry(self, phase: str) -> dict[str, Any]:
        epoch = self.progress.epoch + self.progress.batch / self.steps_per_epoch
        return {"step": self.progress.step, "epoch": epoch, "phase": phase}

    def _publish(self, entry: dict[str, Any], checkpoint: Path | None) -> None:
        if self.writer is not None:
            for row in metric_rows(entry):
                self.writer.add_scalar(f"{row['phase']}/{row['name']}", row["value"], row["step"])
            self.writer.flush()
        self._report(entry, checkpoint)


def metric_rows(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of ``schemas.tables.METRICS``, without unit_id, of one report."""
    common = {name: entry[name] for name in ("step", "epoch", "phase")}
    return [common | {"name": name, "value": float(value)} for name, value in entry.items() if name not in common]


def _writer(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    # A killed run may have written events after its last checkpoint; they are written again.
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
