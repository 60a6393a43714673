"""Checkpoints: everything needed to resume a training exactly where it stopped."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch

from stages.errors import UnitError
from stages.pretrain.collective import gather_objects, place

STATE_FILE = "state.pt"


class Stateful(Protocol):
    """A part of a training that can be saved and restored: method, optimiser, gradient scaler."""

    def state_dict(self) -> dict[str, Any]:
        """What to save."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Restore it."""
        ...


@dataclass
class Progress:
    """How far training has come."""

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """Pass over the training split that the next batch belongs to, from 0."""
    batch: int = 0
    """Batches of that pass already trained on."""
    position: int = 0
    """Rows of this worker's stream of that pass already taken."""
    unreadable: int = 0
    """Crops that this worker could not use."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Every report so far."""


def save(directory: Path, parts: Mapping[str, Stateful], progress: Progress, keep: int) -> Path | None:
    """Write a checkpoint under a temporary name, then rename it; every worker must call this.

    Args:
        directory: Folder of the checkpoints.
        parts: What to save, by name; equal on all workers.
        progress: How far training has come on this worker.
        keep: Number of checkpoints to keep; older ones are deleted.

    Returns:
        The checkpoint's folder; None on workers other than the first.
    """
    workers = gather_objects({"progress": asdict(progress), "rng": torch.get_rng_state()})
    if place()[0]:
        return None
    state = {name: part.state_dict() for name, part in parts.items()}
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


def restore(checkpoint: Path, parts: Mapping[str, Stateful], device: str) -> Progress:
    """Load what ``save`` wrote.

    Raises:
        UnitError: The checkpoint does not exist, is damaged, or belongs to another model or number of workers.
    """
    try:
        state = torch.load(checkpoint / STATE_FILE, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except UnpicklingError as error:
        message = f"checkpoint {checkpoint} cannot be resumed from: {STATE_FILE} is damaged, or holds more than weights"
        raise UnitError(message, kind="bad_checkpoint") from error
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnitError(f"checkpoint {checkpoint} cannot be resumed from: {first}", kind="bad_checkpoint") from error
    workers, (rank, world) = state["workers"], place()
    if len(workers) != world:
        message = f"checkpoint {checkpoint} was written by {len(workers)} workers and cannot be resumed with {world}"
        raise UnitError(message, kind="bad_checkpoint")
    torch.set_rng_state(workers[rank]["rng"].cpu())
    return Progress(**workers[rank]["progress"])


def latest(directory: Path) -> Path | None:
    """The newest complete checkpoint in a folder of checkpoints; None if it has none."""
    found = sorted(path for path in directory.glob("step-*") if (path / STATE_FILE).is_file())
    return found[-1] if found else None
