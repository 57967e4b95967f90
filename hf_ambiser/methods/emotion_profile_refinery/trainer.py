"""The refinery: at the end of a stage the trained network labels its training data, and a fresh one learns that."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hf_ambiser.methods.emotion_profile_refinery.arguments import EmotionProfileRefineryArguments
from hf_ambiser.training.batch_rows import BatchRows
from hf_ambiser.training.fresh_start import begin_round, beginning
from hf_ambiser.training.papers import Paper
from hf_ambiser.training.sweep import sweep
from hf_ambiser.training.trainer import AmbiSERTrainer, Outputs


MODEL, STAGE = "model", "stage"


class EmotionProfileRefineryTrainer(AmbiSERTrainer):
    """Trains networks one after the other; each learns the answers of the one before (the emotion profiles).

    The first stage learns the consensus labels. At the end of a stage the network answers every training utterance
    (or segment, with a model that has segments); these answers, the `profile` column of the label table, are the
    labels of the next stage, for which the network begins again with the weights it began with. The last network is
    the model. It overrides `correct`, `epoch_finished` and `begin_epoch`.
    """

    name = "emotion_profile_refinery"
    arguments_class = EmotionProfileRefineryArguments
    summary = (
        "Emotion profile refinery. A network learns the raters' consensus labels and then says of every training clip"
        " how much of each emotion it hears. A fresh network learns these profiles, and so on; the last one is the"
        " model."
    )
    paper = Paper(
        key="mao2020emotion",
        authors=("Shuiyang Mao", "P. C. Ching", "Tan Lee"),
        title="Emotion Profile Refinery for Speech Emotion Classification",
        year=2020,
        venue="Interspeech",
        arxiv="2008.05259",
    )
    suite_settings = {"stages": 2}
    variants = {
        "pseudo_one_hot": {"hard_share": 1.0},
        "with_consensus": {"hard_share": 0.5, "hard_label": "consensus"},
    }

    args: EmotionProfileRefineryArguments

    def set_up(self) -> None:
        """Add the column `profile (N, K)`, and keep the weights with which each stage begins."""
        super().set_up()
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                f"{self.name} cannot run under FSDP or DeepSpeed: it puts the network back to its beginning, and they"
                " shard its parameters. Use DDP: train_scripts/accelerate/ddp.yaml."
            )
        self.table.add_column("profile", self.table.observed.clone())
        self.method_state[STAGE] = torch.tensor(0)
        model: Any = self.model
        self.method_state |= beginning(MODEL, model)

    def stage_of(self, epoch: int) -> int:
        """Return the stage of an epoch, from 0; all stages have the same number of epochs, or differ by one."""
        epochs = int(-(-self.args.num_train_epochs // 1))
        return min(epoch * self.args.stages // epochs, self.args.stages - 1)

    @property
    def network_epochs(self) -> float:
        """Epochs, with their fraction, since the running stage began: its head has a warm-up of its own."""
        first = next(epoch for epoch in range(self.epoch + 1) if self.stage_of(epoch) == self.stage_of(self.epoch))
        return super().network_epochs - first

    @property
    def counted_after(self) -> float:
        """Only the network of the last stage is the model."""
        return next(epoch for epoch in itertools.count() if self.stage_of(epoch) == self.args.stages - 1)

    def correct(self, outputs: Outputs, batch: BatchRows) -> tuple[Tensor, Tensor]:
        """Return the profiles `(B, K)` of the stage before, with their share of a hard label; and ones `(B,)`."""
        observed, weights = super().correct(outputs, batch)
        profile, share = self.table.columns["profile"][batch.index], self.args.hard_share
        if self.args.hard_label == "consensus":
            hard = observed
        else:
            hard = F.one_hot(profile.argmax(dim=1), profile.shape[1]).float()
        return (1 - share) * profile + share * hard, weights

    def epoch_finished(self, epoch: int) -> None:
        """At the end of a stage, write the network's answers to all training utterances into the table."""
        super().epoch_finished(epoch)
        if self.stage_of(epoch + 1) == self.stage_of(epoch):
            return
        rows = range(self.data.n_labelled)
        profile = sweep(self, [self.bare_model()], rows)[0].softmax(dim=-1)
        self.table.write(torch.arange(len(rows)), profile=profile)

    def begin_epoch(self) -> None:
        """Before the first epoch of a stage, put the network back to its beginning."""
        super().begin_epoch()
        model: Any = self.model
        begin_round(self, STAGE, self.stage_of(self.epoch), {MODEL: model})
