"""The training loop: evaluate, train, write checkpoints, evaluate again."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist

from stages.devices import pick_device, pick_dtype, set_threads
from stages.errors import UnitError
from stages.heap import keep_freed_memory
from stages.prefetch import ahead
from stages.pretrain.checkpoint import Progress, restore, save
from stages.pretrain.config import PretrainConfig
from stages.pretrain.data import Batch, Inputs, Row, batches, rows_of, shuffled
from stages.pretrain.evaluate import evaluate
from stages.pretrain.loss import contrastive_loss, distributed, mask_tokens, mlm_loss
from stages.pretrain.model import Outputs, TwoTowers, export, special_tokens

Stream = Callable[[int], Iterator[pa.RecordBatch]]
"""The training split of one epoch, by its number: this worker's share, in any order that is the same each time."""
Report = Callable[[dict[str, Any], Path | None], None]
"""Takes ``{step, epoch, phase, <metric>: value, ...}`` and, where one was written, the checkpoint's folder."""

MAX_READS = 10
"""Times that one epoch's stream is read before it is given up as too poor."""


@dataclass(frozen=True)
class Result:
    """What a training left behind."""

    step: int
    """Optimiser steps done."""
    metrics: list[dict[str, Any]]
    """Rows of ``schemas.tables.METRICS`` but for unit_id, from the first step on, across resumptions."""
    checkpoint: Path | None
    """Folder of the last checkpoint; None on workers other than the first."""
    model: Path | None
    """Folder of the exported model, which open_clip loads; None on workers other than the first."""
    unreadable: int
    """Crops of this worker that gave nothing to train on, over all epochs."""


def train(
    config: PretrainConfig,
    train_stream: Stream,
    val_stream: Callable[[], Iterable[pa.RecordBatch]] | None,
    directory: Path,
    report: Report,
    *,
    rows: int,
    resume_from: Path | None = None,
) -> Result:
    """Train the two towers. Under torch.distributed every worker calls this with its own share of the rows.

    Args:
        config: Towers, losses, schedule.
        train_stream: Gives the record batches (crop_id, jpeg, captions) of an epoch; read anew when it ends too soon.
        val_stream: Gives the split to evaluate on (with attributes besides), before the first and after the last step.
        directory: Folder for ``checkpoints/``, ``tensorboard/`` and ``model/``.
        report: Called on every worker at the same moments: evaluation, losses, checkpoints.
        rows: Rows of the training split, all workers together.
        resume_from: Checkpoint to go on from.

    Returns:
        What was left behind.

    Raises:
        UnitError: There is nothing to train on, the loss is not finite, or the checkpoint does not fit.
    """
    if rows < 1:
        raise UnitError("the training split has no rows; publish some captions first", kind="no_rows")
    return _Run(config, directory, report, rows, resume_from).run(train_stream, val_stream)


class _Run:
    def __init__(
        self, config: PretrainConfig, directory: Path, report: Report, rows: int, resume_from: Path | None
    ) -> None:
        set_threads(config.threads)
        if pick_device(config.device) == "cpu":
            keep_freed_memory()
        self.config, self.directory, self._report = config, directory, report
        self.world, self.rank = (dist.get_world_size(), dist.get_rank()) if distributed() else (1, 0)
        self.size = max(1, min(config.batch_size, rows) // self.world)
        self.steps_per_epoch = max(1, rows // (self.size * self.world))
        self.total = min(config.epochs * self.steps_per_epoch, config.max_steps or math.inf)
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.precision, self.device)
        torch.manual_seed(config.seed)
        self.towers = TwoTowers(config).to(self.device)
        self.inputs: Inputs = self.towers.inputs()
        self.special = special_tokens(self.inputs.tokenize)
        self.model = torch.nn.parallel.DistributedDataParallel(self.towers) if self.world > 1 else self.towers
        self.optimizer = _optimizer(self.towers, config)
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.dtype == torch.float16)
        self.progress, self.checkpoint = Progress(), resume_from
        if resume_from is not None:
            self.progress = restore(resume_from, self.towers, self.optimizer, self.scaler, self.device)
        self.writer = _writer(directory / "tensorboard", self.progress.step) if self.rank == 0 else None

    def run(self, train_stream: Stream, val_stream: Callable[[], Iterable[pa.RecordBatch]] | None) -> Result:
        if self.progress.step == 0:
            self._evaluate(val_stream)
        while self.progress.step < self.total:
            self._epoch(train_stream)
        if not any(entry["phase"] != "train" and entry["step"] == self.total for entry in self.progress.history):
            self._evaluate(val_stream)
        model = export(self.towers, self.directory / "model") if self.rank == 0 else None
        if self.writer is not None:
            self.writer.close()
        rows = [row for entry in self.progress.history for row in metric_rows(entry)]
        return Result(self.progress.step, rows, self.checkpoint, model, self.progress.unreadable)

    def _epoch(self, train_stream: Stream) -> None:
        config, progress = self.config, self.progress
        source = batches(
            _endless(train_stream, progress.epoch, config),
            config,
            self.inputs,
            size=self.size,
            epoch=progress.epoch,
            skip=progress.position,
        )
        wanted = min(self.steps_per_epoch - progress.batch, self.total - progress.step)
        for batch in ahead(islice(source, int(wanted)), depth=2):
            losses = self._step(batch)
            progress.step, progress.batch, progress.position = progress.step + 1, progress.batch + 1, batch.position
            progress.unreadable += len(batch.unreadable)
            if progress.batch == self.steps_per_epoch:
                progress.epoch, progress.batch, progress.position = progress.epoch + 1, 0, 0
            self._after_step(losses)

    def _step(self, batch: Batch) -> dict[str, torch.Tensor]:
        rate = self.config.learning_rate * schedule(self.progress.step, int(self.total), self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            losses = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses["loss"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.towers.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: value.detach() for name, value in losses.items()} | {"learning_rate": torch.tensor(rate)}

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        images, tokens = batch.images.to(self.device), batch.tokens.to(self.device)
        masked = hidden = None
        if self.towers.head is not None:
            masked, hidden = mask_tokens(
                tokens, self.special, self.towers.vocabulary, self.config.mlm.probability, self._chance()
            )
        outputs: Outputs = self.model(images, tokens, masked, hidden)
        losses = {"contrastive": self._contrastive(outputs, batch)}
        if outputs.words is not None and hidden is not None:
            losses["mlm"] = mlm_loss(outputs.words, tokens[hidden])
        total = losses["contrastive"] + self.config.mlm.weight * losses.get("mlm", torch.zeros((), device=self.device))
        return {"loss": total, **losses, "temperature": 1 / outputs.scale}

    def _contrastive(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        texts, keys = batch.texts.to(self.device), batch.keys.to(self.device)
        parts = [
            contrastive_loss(
                outputs.image,
                outputs.text[own],
                outputs.scale,
                keys[own],
                equal_texts=self.config.equal_texts,
                gathered=self.config.gather_negatives,
            )
            for own in texts.unbind(1)
        ]
        return torch.stack(parts).mean()

    def _chance(self) -> torch.Generator:
        # From the step and the worker, so that a resumed run hides the same words.
        return torch.Generator().manual_seed((self.config.seed << 40) + (self.rank << 32) + self.progress.step)

    def _after_step(self, losses: dict[str, torch.Tensor]) -> None:
        config, step = self.config, self.progress.step
        last = step == self.total
        due = last or step % config.checkpoint_every_steps == 0
        if not (due or step % config.log_every_steps == 0):
            return
        entry = self._entry("train") | {name: float(value) for name, value in losses.items()}
        if not math.isfinite(entry["loss"]):
            message = f"the loss became {entry['loss']} at step {step}; lower pretrain.learning_rate"
            raise UnitError(message, kind="diverged")
        self.progress.history.append(entry)
        written = self._save() if due else None
        self._tell(entry, written)

    def _save(self) -> Path | None:
        folder = self.directory / "checkpoints"
        keep = self.config.keep_checkpoints
        self.checkpoint = save(folder, self.towers, self.optimizer, self.scaler, self.progress, keep)
        return self.checkpoint

    def _evaluate(self, val_stream: Callable[[], Iterable[pa.RecordBatch]] | None) -> None:
        if val_stream is None:
            return
        entry = self._entry("val")
        if self.rank == 0:
            size = self.config.eval_batch_size
            entry |= evaluate(self.towers, self.inputs, val_stream(), device=self.device, dtype=self.dtype, size=size)
        if self.world > 1:
            dist.barrier()
        self.progress.history.append(entry)
        self._tell(entry, None)

    def _entry(self, phase: str) -> dict[str, Any]:
        epoch = self.progress.epoch + self.progress.batch / self.steps_per_epoch
        return {"step": self.progress.step, "epoch": epoch, "phase": phase}

    def _tell(self, entry: dict[str, Any], checkpoint: Path | None) -> None:
        if self.writer is not None:
            for row in metric_rows(entry):
                self.writer.add_scalar(f"{row['phase']}/{row['name']}", row["value"], row["step"])
            self.writer.flush()
        self._report(entry, checkpoint)


def metric_rows(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of ``schemas.tables.METRICS``, but for unit_id, of one report."""
    place = {name: entry[name] for name in ("step", "epoch", "phase")}
    return [place | {"name": name, "value": float(value)} for name, value in entry.items() if name not in place]


def schedule(step: int, total: int, config: PretrainConfig) -> float:
    """Factor of the learning rate at a step: up from 0 over the warm-up, then down to 0 at the last step."""
    warmup = round(total * config.warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    left = (total - step) / max(1, total - warmup)
    return left if config.decay == "linear" else (1 - math.cos(math.pi * left)) / 2


def _endless(stream: Stream, epoch: int, config: PretrainConfig) -> Iterator[Row]:
    """Rows of one epoch, over again when they do not fill its steps: workers must all do the same number of steps."""
    for _ in range(MAX_READS):
        yield from shuffled(rows_of(stream(epoch)), config.shuffle_buffer, f"{config.seed}/{epoch}")
    message = (
        f"the training stream, read {MAX_READS} times, did not fill one epoch: it has too few crops that can be "
        "decoded and have a caption"
    )
    raise UnitError(message, kind="no_rows")


def _optimizer(towers: TwoTowers, config: PretrainConfig) -> torch.optim.AdamW:
    trained = [value for value in towers.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in trained if value.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [value for value in trained if value.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)


def _writer(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    # What a killed run wrote after its last checkpoint is written again.
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
