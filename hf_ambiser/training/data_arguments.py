"""The built data set of a run: which of its splits are for training and which for scoring."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class DataArguments:
    """The built data set of a run, and which of its splits are for what."""

    dataset: str = field(
        default="", metadata={"help": "Folder that `build` made, or a pushed data set: ACCOUNT/NAME[@REVISION]."}
    )
    dataset_config: str = field(default="ipr-strict", metadata={"help": "Its configuration, for example ipr-strict."})
    train_splits: list[str] = field(
        default_factory=lambda: ["d1"],
        metadata={
            "help": "Splits to learn from with labels. Default: d1, for methods that learn from soft labels with"
            " no_consensus."
        },
    )
    train_on: str = field(
        default="splits",
        metadata={
            "help": "`splits`, or `all`: every utterance of the configuration, for a model and not a study. Its test"
            " figures are on voices that it knows."
        },
    )
    ambiguous_splits: list[str] = field(
        default_factory=lambda: ["d2"], metadata={"help": "Splits to learn from without labels, for methods that can."}
    )
    reveal_splits: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Splits whose hidden labels are given to the trainer (supervised baseline: d2); results name them."
        },
    )
    validation_split: str | None = field(default="validation", metadata={"help": "Scored after every epoch."})
    test_splits: list[str] = field(
        default_factory=lambda: ["d3", "test_clear"], metadata={"help": "Scored once, at the end."}
    )

    def __post_init__(self) -> None:
        if self.train_on not in ("splits", "all"):
            raise ValueError(f"train_on={self.train_on!r} is not one of ['splits', 'all'].")
