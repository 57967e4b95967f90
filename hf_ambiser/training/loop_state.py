"""Where the Trainer's loop stood when it saved a checkpoint, and the sums that it had not logged yet.

The Trainer's own checkpoint does not say whether it was saved after a step or after an epoch's end, and forgets the
losses since the last entry of the log. This file beside it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hf_ambiser.files.read import FileError, exists, read_json
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.training.distributed import gather_objects, rank, world_size


FILE = "loop_state.json"
STEP, EPOCH = "step", "epoch"
_NUMBER = int | float
_KINDS = {
    "saved_after": str, "grad_norm": _NUMBER | None, "learning_rate": _NUMBER | None, "last_logged": int,
    "total_loss": _NUMBER, "since_then": list,
}  # fmt: skip
_LATER = {"divided": dict | None}


def division(args: Any) -> dict[str, int]:
    """Return how an optimiser step is divided: its random numbers, and the sums of its losses, depend on it.

    Args:
        args: A trainer's arguments. With several GPUs in a process, their utterances are counted together.
    """
    return {
        "processes": world_size(),
        "per_device_train_batch_size": args.train_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
    }


@dataclass
class LoopState:
    """What the Trainer's loop knows beside its own state, for all ranks."""

    saved_after: str  # STEP or EPOCH
    grad_norm: float | None  # of the last step, as it would be logged
    learning_rate: float | None
    last_logged: int  # optimiser step of the last entry of the log that has a loss
    total_loss: float  # sum of the losses of all steps up to then
    since_then: list[dict[str, Any]]  # by rank: `loss`, the sum of its losses, and `figures`, what `record` was given
    divided: dict[str, int] | None = None  # how a step is divided, see `division`; None: an earlier version saved this

    @classmethod
    def of(cls, trainer: Any) -> LoopState:
        """Gather the state of a trainer from all ranks; each of them must call this."""
        figures = {name: [float(value) for value in values] for name, values in trainer.unlogged.items()}
        own = {"loss": float(trainer._tr_loss), "figures": figures}
        norm, rate = trainer.last_norm, trainer.last_rate
        return cls(
            saved_after=trainer.stands_after,
            grad_norm=None if norm is None else float(norm),
            learning_rate=None if rate is None else float(rate),
            last_logged=trainer._globalstep_last_logged,
            total_loss=trainer._total_loss_scalar,
            since_then=gather_objects(own),
            divided=division(trainer.args),
        )

    def write(self, checkpoint: Path) -> None:
        """Write it into a checkpoint."""
        write_whole(checkpoint / FILE, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, checkpoint: Path) -> LoopState | None:
        """Read it from a checkpoint; None if an earlier version saved that."""
        path = checkpoint / FILE
        if not exists(path):
            return None
        content = read_json(path, f"Delete {checkpoint} to go on from the one before.")
        content.check({**_KINDS, **(_LATER if "divided" in content else {})})
        if unknown := sorted(set(content) - set(_KINDS) - set(_LATER)):
            raise FileError(path, f"is of a later version of hf_ambiser: it has {unknown}", "Go on with that version.")
        return cls(**content)

    def check_division(self, args: Any, checkpoint: Path) -> None:
        """Refuse to go on with steps that are divided in another way: that would be another training.

        Raises:
            ValueError: If they are; the message says how they were divided.
        """
        saved = self.divided or {"processes": len(self.since_then)}
        now = division(args)
        changed = sorted(name for name in saved if saved[name] != now[name])
        if changed:
            was = ", ".join(f"{name} {saved[name]} (now {now[name]})" for name in changed)
            raise ValueError(
                f"{checkpoint} was trained with {was}, and with another division of its steps the run would go on as"
                f" another training. Start it with {', '.join(f'{name} {saved[name]}' for name in changed)}"
                f" (processes: `torchrun --nproc_per_node {saved['processes']}`), or give another output_dir."
            )

    def restore(self, trainer: Any) -> None:
        """Set the sums of a trainer, so that the log and the training loss are those of the whole run."""
        trainer._globalstep_last_logged, trainer._total_loss_scalar = self.last_logged, self.total_loss
        trainer._initial_global_step = 0  # the training loss is the mean over the steps from here on
        trainer.last_norm, trainer.last_rate = self.grad_norm, self.learning_rate
        own = self._of_rank()
        trainer._tr_loss += torch.tensor(own["loss"], device=trainer._tr_loss.device)
        trainer.unlogged = {name: list(values) for name, values in own["figures"].items()}

    def _of_rank(self) -> Mapping[str, Any]:
        return self.since_then[rank()]
