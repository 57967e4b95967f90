"""The schedule of Sun et al. (2024), which every method for labelled clear and unlabelled ambiguous utterances has.

So the rows of IPR's Table 2 differ in their method, and not in their recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.arguments import AmbiSERTrainingArguments


@dataclass
class IPRRecipeArguments(AmbiSERTrainingArguments):
    """Epochs, rate and batch of Sun et al., section 3.2."""

    learning_rate: float = field(default=1e-5, metadata={"help": "IPR, section 3.2."})
    num_train_epochs: float = field(default=50, metadata={"help": "e_m; IPR, section 3.2."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Labelled utterances; IPR, section 3.2."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's own default; the paper gives none."})
