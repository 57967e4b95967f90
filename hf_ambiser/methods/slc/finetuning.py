"""The first stage of Algorithm 1: the temporal branch alone, fine-tuned on clear utterances."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import set_seed
from transformers.training_args import OptimizerNames

from hf_ambiser.methods.slc.arguments import SLCArguments
from hf_ambiser.run_folder.layout import whole
from hf_ambiser.training import checkpoints
from hf_ambiser.training.callbacks import use_one_bar
from hf_ambiser.training.trainer import AmbiSERTrainer


FOLDER = "finetuning"
RESULT = "temporal_branch.safetensors"
# Of whatever wraps the model: the encoder, and the weights that its frames are summed with.
_TEMPORAL = re.compile(r"(^|\.)(encoder|frame_weight)\.")


def adam(args: SLCArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """Adam in the place of AdamW, whose weight decay would not be in the gradient; None where that is asked for."""
    if args.weight_decay_form == "decoupled" or not OptimizerNames(args.optim).value.startswith("adamw_torch"):
        return None
    betas = (args.adam_beta1, args.adam_beta2)
    return torch.optim.Adam, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}


def temporal_branch(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's temporal branch, by name; empty if it has none."""
    return {name: tensor for name, tensor in model.state_dict().items() if _TEMPORAL.search(name)}


def temporal_model(model: Any) -> Any:
    """The temporal-only model (Table VII) with the branch of `model`, wrapped by peft and frozen as that one is."""
    adapted = hasattr(model, "get_base_model")
    bare = model.get_base_model() if adapted else model
    config = copy.deepcopy(bare.config)
    if hasattr(config, "variant"):
        config.variant = "temporal"
    alone: Any = type(bare)(config)
    if adapted:
        from peft import get_peft_model

        alone = get_peft_model(alone, copy.deepcopy(model.peft_config[model.active_adapter]))
    alone.load_state_dict(temporal_branch(model), strict=False)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in alone.named_parameters():
        parameter.requires_grad_(trained.get(name, parameter.requires_grad))
    return alone


class FineTuningTrainer(AmbiSERTrainer):
    """Cross-entropy on clear utterances only. Not a method by itself: `SLCTrainer` runs it."""

    name = "slc_finetuning"
    arguments_class = SLCArguments


def finetuned_branch(trainer: AmbiSERTrainer, args: SLCArguments, epochs: float) -> dict[str, Tensor]:
    """M_1p of Algorithm 1: the temporal branch of a trainer's model after the first stage.

    The stage is a run of its own below the run's folder, with its own patience and best checkpoint. It goes on from
    its last checkpoint, and where it is finished its result is read.
    """
    folder = Path(str(args.output_dir)) / FOLDER
    result = folder / RESULT
    if result.is_file():
        if trainer.is_world_process_zero():
            _remove_checkpoints(folder)  # where it was killed between its result and this
        return load_file(result)
    own = copy.copy(args)
    own.output_dir, own.num_train_epochs, own.trajectory_every = str(folder), epochs, 0
    # The seed is set here and not before: a stage that goes on in another process starts from the same numbers.
    set_seed(args.seed)
    stage = FineTuningTrainer(
        temporal_model(trainer.model),
        own,
        trainer.data,
        trainer.eval_dataset,  # type: ignore[arg-type]
        feature_extractor=trainer.processing_class,
        compute_metrics=trainer.compute_metrics,
        optimizer_cls_and_kwargs=adam(args),
    )
    use_one_bar(stage)
    if stage.is_world_process_zero():
        checkpoints.drop_incomplete(folder)
    stage.accelerator.wait_for_everyone()
    last = checkpoints.last_complete(folder)
    stage.train(resume_from_checkpoint=str(last) if last else None)
    branch = temporal_branch(stage.accelerator.unwrap_model(stage.model))
    branch = {name: tensor.detach().cpu().contiguous() for name, tensor in branch.items()}
    if stage.is_world_process_zero():
        with whole(result) as part:  # it comes last: with it the stage is finished
            save_file(branch, part)
            stage.state.save_to_json(str(folder / "trainer_state.json"))
        _remove_checkpoints(folder)
    stage.accelerator.wait_for_everyone()
    return branch


def _remove_checkpoints(folder: Path) -> None:
    """The result is all that is needed of them."""
    for checkpoint in checkpoints.all_checkpoints(folder):
        shutil.rmtree(checkpoint)
