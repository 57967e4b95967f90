"""Which built data set a run learns from and is scored on, and which of its splits."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class DataArguments:
    """Which built data set, and which of its splits."""

    dataset: str = field(default="", metadata={"help": "Folder that a dataset script made."})
    dataset_config: str = field(default="ipr-strict", metadata={"help": "Its configuration, for example ipr-strict."})
    train_splits: list[str] = field(default_factory=lambda: ["d1"], metadata={"help": "Learnt from with labels."})
    ambiguous_splits: list[str] = field(
        default_factory=lambda: ["d2"], metadata={"help": "Learnt from without labels, by methods that can."}
    )
    reveal_splits: list[str] = field(
        default_factory=list,
        metadata={"help": "Hidden labels to give to the trainer (the supervised baseline: d2); named in the results."},
    )
    validation_split: str | None = field(default="validation", metadata={"help": "Scored after every epoch."})
    test_splits: list[str] = field(
        default_factory=lambda: ["d3", "test_clear"], metadata={"help": "Scored once, at the end."}
    )
