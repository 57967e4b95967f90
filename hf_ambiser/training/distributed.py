"""Gathering the rows of all ranks, with and without gradient; and the end of their work together."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of ranks; 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; 0 outside a distributed run."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def leave_ranks() -> None:
    """End the work of this process with the other ranks, once all have come here; nothing outside a distributed run.

    Threads of Gloo run until nothing holds the process group any more. A thread that gives a tensor back while Python
    ends makes the process end with SIGABRT, after all its work is done. torch lets go of the group when it is told to;
    a model that was trained with it holds it, too, and is garbage that only a collection finds.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    dist.barrier()
    dist.destroy_process_group()
    gc.collect()


def _counts(n: int, device: torch.device) -> list[int]:
    """Return the number of rows on each rank."""
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([n], device=device))
    return [int(c) for c in counts]


def gather_rows(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather the rows of each tensor `(n_rank, ...)`, in rank order; ranks may have different numbers of rows."""
    if world_size() == 1:
        return dict(rows)
    first = next(iter(rows.values()))
    counts = _counts(len(first), first.device)
    return {name: torch.cat(_gather(tensor.contiguous(), counts)) for name, tensor in rows.items()}


def gather_objects(value: Any) -> list[Any]:
    """Gather one plain Python value of each rank, in rank order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def _gather(tensor: Tensor, counts: list[int]) -> list[Tensor]:
    padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:n] for part, n in zip(parts, counts, strict=True)]


class _GatherWithGradient(torch.autograd.Function):
    """The rows of all ranks; the gradient of a row is the sum of its gradients in all ranks' losses."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, counts: list[int]) -> Tensor:  # type: ignore[override]
        ctx.counts = counts
        return torch.cat(_gather(tensor.contiguous(), counts))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd may have other uses for it
        dist.all_reduce(gradient)
        start = sum(ctx.counts[: rank()])
        return gradient[start : start + ctx.counts[rank()]], None


def gather_with_gradient(tensor: Tensor) -> tuple[Tensor, int]:
    """Gather the rows `(n_rank, D)` with gradient; return them and the position of this rank's first row."""
    if world_size() == 1:
        return tensor, 0
    counts = _counts(len(tensor), tensor.device)
    return _GatherWithGradient.apply(tensor, counts), sum(counts[: rank()])
