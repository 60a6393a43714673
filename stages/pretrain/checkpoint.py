"""Checkpoints: everything that training needs to go on exactly where it stopped."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from stages.errors import UnitError
from stages.pretrain.loss import distributed

STATE_FILE = "state.pt"


@dataclass
class Progress:
    """How far training has come."""

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """Pass that the next batch belongs to, from 0."""
    batch: int = 0
    """Batches of that pass already trained on."""
    position: int = 0
    """Rows of this worker's stream of that pass already taken."""
    unreadable: int = 0
    """Crops that this worker could not use."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Every report so far."""


def save(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, progress: Progress, keep: int
) -> Path | None:
    """Write a checkpoint under a temporary name, then rename it; every worker must call this.

    Args:
        directory: Folder of the checkpoints.
        model: The towers, not wrapped.
        optimizer: Their optimiser.
        scaler: The gradient scaler.
        progress: How far training has come on this worker.
        keep: Number of checkpoints to leave.

    Returns:
        The checkpoint's folder; None on workers other than the first.
    """
    workers = _of_all_workers({"progress": asdict(progress), "rng": torch.get_rng_state()})
    if distributed() and dist.get_rank():
        return None
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict()}
    target = directory / f"step-{progress.step:08d}"
    partial = directory / f".{target.name}.part"
    for folder in (partial, target):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    torch.save(state | {"workers": workers}, partial / STATE_FILE)
    partial.replace(target)
    for old in sorted(directory.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return target


def restore(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any, device: str) -> Progress:
    """Load what ``save`` wrote.

    Raises:
        UnitError: There is no such checkpoint, it is damaged, or it is of another model or number of workers.
    """
    try:
        state = torch.load(checkpoint / STATE_FILE, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
    except UnpicklingError as error:
        message = f"checkpoint {checkpoint} cannot be resumed from: {STATE_FILE} is damaged, or holds more than weights"
        raise UnitError(message, kind="bad_checkpoint") from error
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnitError(f"checkpoint {checkpoint} cannot be resumed from: {first}", kind="bad_checkpoint") from error
    workers = state["workers"]
    world, rank = (dist.get_world_size(), dist.get_rank()) if distributed() else (1, 0)
    if len(workers) != world:
        message = f"checkpoint {checkpoint} was written by {len(workers)} workers and cannot be resumed with {world}"
        raise UnitError(message, kind="bad_checkpoint")
    torch.set_rng_state(workers[rank]["rng"].cpu())
    return Progress(**workers[rank]["progress"])


def latest(directory: Path) -> Path | None:
    """The newest whole checkpoint of a folder of checkpoints; None when there is none."""
    found = sorted(path for path in directory.glob("step-*") if (path / STATE_FILE).is_file())
    return found[-1] if found else None


def _of_all_workers(own: dict[str, Any]) -> list[dict[str, Any]]:
    if not distributed():
        return [own]
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, own)
    return every
