"""Communication between the workers of one training."""

from typing import Any

import torch
import torch.distributed as dist


def distributed() -> bool:
    """True if this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def place() -> tuple[int, int]:
    """Rank of this worker and number of workers."""
    return (dist.get_rank(), dist.get_world_size()) if distributed() else (0, 1)


def barrier() -> None:
    """Wait until every worker has arrived here."""
    if distributed():
        dist.barrier()


def gather_objects(own: Any) -> list[Any]:
    """One object per worker, in the order of their ranks; anything that pickles."""
    if not distributed():
        return [own]
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, own)
    return every


class _Gather(torch.autograd.Function):
    """Rows of all workers, in the order of their ranks; the gradient returns to the worker that owns the row."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 - PyTorch's signature
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> torch.Tensor:  # noqa: ARG004 - PyTorch's signature
        total: torch.Tensor = gradients[0].contiguous()
        dist.all_reduce(total)
        rows = total.shape[0] // dist.get_world_size()
        return total[dist.get_rank() * rows : (dist.get_rank() + 1) * rows]


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all workers, differentiable; with one worker, the rows themselves.

    Args:
        rows: [B, ...], as many on every worker.

    Returns:
        [W * B, ...], worker 0 first.
    """
    gathered: torch.Tensor = _Gather.apply(rows) if distributed() else rows
    return gathered
