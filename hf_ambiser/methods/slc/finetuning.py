"""The first stage of Algorithm 1: the temporal branch alone is fine-tuned on clear utterances."""

from __future__ import annotations

import copy
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import set_seed
from transformers.training_args import OptimizerNames

from hf_ambiser.files.read import check_tensors, exists
from hf_ambiser.methods.slc.arguments import SLCArguments
from hf_ambiser.run_folder.layout import whole
from hf_ambiser.training import checkpoints
from hf_ambiser.training.callbacks import use_one_bar
from hf_ambiser.training.trainer import AmbiSERTrainer


logger = logging.getLogger(__name__)

FOLDER = "finetuning"
RESULT = "temporal_branch.safetensors"
# The encoder, what is made of its layers, and the weights of its frames, with any prefix from a wrapper of the model.
_TEMPORAL = re.compile(r"(^|\.)(encoder|layer_mix|frame_weight)\.")


def adam(args: SLCArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """Return Adam (weight decay in the gradient) in place of AdamW, or None to keep the Trainer's optimiser."""
    if args.weight_decay_form == "decoupled" or not OptimizerNames(args.optim).value.startswith("adamw_torch"):
        return None
    betas = (args.adam_beta1, args.adam_beta2)
    return torch.optim.Adam, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}


def temporal_branch(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model's temporal branch, by name; empty if it has none."""
    return {name: tensor for name, tensor in model.state_dict().items() if _TEMPORAL.search(name)}


def temporal_model(model: Any) -> Any:
    """Return the temporal-only model (Table VII) with the branch, LoRA and frozen parameters of `model`."""
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
    """Cross-entropy on clear utterances only. It is not a method of its own: `SLCTrainer` runs it."""

    name = "slc_finetuning"
    arguments_class = SLCArguments


def finetuned_branch(trainer: AmbiSERTrainer, args: SLCArguments, epochs: float) -> dict[str, Tensor]:
    """Return M_1p of Algorithm 1: the temporal branch of a trainer's model after the first stage.

    The stage is a run inside the run's folder, with its own patience and best checkpoint. Where the run goes on, an
    interrupted stage resumes from its last checkpoint, and of a finished stage the result is read. Where the run
    begins anew, so does the stage: what another run left in the folder was learnt from other weights.
    """
    folder = Path(str(args.output_dir)) / FOLDER
    result = folder / RESULT
    if not trainer.goes_on:
        if trainer.is_world_process_zero() and exists(folder):
            logger.warning("%s is of an earlier run and is deleted: this run begins anew.", folder)
            shutil.rmtree(folder)
        trainer.accelerator.wait_for_everyone()
    if exists(result):
        if trainer.is_world_process_zero():
            _remove_checkpoints(folder)  # a run that was killed after it wrote the result left them
        check_tensors(result, f"Delete {folder}; the first stage is then trained again.")
        return load_file(result)
    own = copy.copy(args)
    own.output_dir, own.num_train_epochs, own.trajectory_every = str(folder), epochs, 0
    if args.finetune_epochs is not None:
        own.max_steps = -1  # it says how long the second stage is
    own.drop_raters = 0.0  # it learns from consensus labels
    own.average_weights = 0.0  # the network that the second stage begins with must not depend on it
    # Set the seed only here, so that a stage that another process resumes starts from the same random numbers.
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
    stage.train(resume_from_checkpoint=True)
    branch = temporal_branch(stage.accelerator.unwrap_model(stage.model))
    branch = {name: tensor.detach().cpu().contiguous() for name, tensor in branch.items()}
    if stage.is_world_process_zero():
        with whole(result) as part:  # written last, because it marks the stage as finished
            part.write_bytes(save(branch))
            stage.state.save_to_json(str(folder / "trainer_state.json"))
        _remove_checkpoints(folder)
    stage.accelerator.wait_for_everyone()
    return branch


def _remove_checkpoints(folder: Path) -> None:
    """Delete the stage's checkpoints; only its result is needed."""
    for checkpoint in checkpoints.all_checkpoints(folder):
        shutil.rmtree(checkpoint)
