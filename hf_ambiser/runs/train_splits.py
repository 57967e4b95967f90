"""Which splits a run learns from where its arguments name none, and where they say `train_on: all`."""

from __future__ import annotations

import logging
from pathlib import Path

from hf_ambiser.data.loading import dataset_config, read_dataset_info, read_split_columns
from hf_ambiser.data.splits import split_family
from hf_ambiser.methods import load_method
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.arguments import RunArguments


logger = logging.getLogger(__name__)
# What runs of earlier versions learnt from where no splits were named.
EARLIER = {"train_splits": ["d1"]}
# The utterances of the training side on which raters agree so little that there is no consensus label.
NO_CONSENSUS = "no_consensus"

# By how far raters agree, a side of these configurations is divided in two; one part may have no utterance.
_PARTS = {
    "slc": ("clear", "ambiguous", "test_clear", "test_ambiguous"),
    "ipr": ("d3", "test_clear"),
}


def leave_out_empty(arguments: RunArguments) -> None:
    """Take the splits to train and to test on out of the data arguments that have no utterance, with a warning.

    Where raters agree everywhere there is no ambiguous utterance, and a data set has no split without utterances. If
    nothing would be left to train or to test on, all stays as it is, and loading says what is missing.
    """
    data = arguments.data
    splits = dataset_config(read_dataset_info(data.dataset), data.dataset, data.dataset_config)["splits"]
    may_be_empty = _PARTS.get(split_family(data.dataset_config)[0].partition("-")[0], ())
    for field in ("train_splits", "test_splits"):
        named = getattr(data, field)
        kept = [name for name in named if name in splits or name not in may_be_empty]
        if kept and kept != named:
            logger.warning(
                "%s, config %r, has no utterance in %s, so %s=%s is used.",
                *(data.dataset, data.dataset_config, ", ".join(name for name in named if name not in kept)),
                *(field, kept),
            )
            setattr(data, field, kept)


def choose_train_splits(arguments: RunArguments) -> None:
    """Set the splits of a run that names none, in place.

    A method that learns from soft labels also learns from utterances without a consensus label. The choice is noted
    with the fields that were given; a run that was begun before keeps its own.

    Raises:
        ValueError: If `train_on: all` cannot act.
    """
    data, given = arguments.data, arguments.given
    if data.train_on == "all":
        _take_all(arguments)
        return
    method = load_method(arguments.method)
    if "train_splits" in given or (arguments.training.target or method.target) != "soft_label":
        return
    folder = RunFolder(str(arguments.training.output_dir))
    if folder.is_begun:
        data.train_splits = list({**EARLIER, **folder.read_arguments()}["train_splits"])
    else:
        splits = dataset_config(read_dataset_info(data.dataset), data.dataset, data.dataset_config)["splits"]
        if set(data.train_splits) <= set(splits) and splits.get(NO_CONSENSUS, {}).get("rows"):
            data.train_splits = [*data.train_splits, NO_CONSENSUS]
    given["train_splits"] = data.train_splits


def check_named_once(arguments: RunArguments) -> None:
    """Check that no split is learnt from twice: with labels and without, or twice in one list.

    Raises:
        ValueError: If one is; the message names the split and the fields that have it.
    """
    data = arguments.data
    named_by = {"train_splits": data.train_splits}
    if load_method(arguments.method).needs_ambiguous:
        named_by["ambiguous_splits"] = data.ambiguous_splits
    for field, named in named_by.items():
        if twice := [name for name in named if named.count(name) > 1]:
            raise ValueError(f"{field}={named} names {twice[0]!r} twice; name it once.")
    if both := [name for name in data.train_splits if name in named_by.get("ambiguous_splits", [])]:
        raise ValueError(
            f"train_splits={data.train_splits} and ambiguous_splits={data.ambiguous_splits} both name {both[0]!r}:"
            " a run learns from an utterance with its label or without, not both. Leave it out of one of the two."
        )


def _take_all(arguments: RunArguments) -> None:
    """Train on every utterance of the configuration once, with hidden labels; nothing is left to validate."""
    data = arguments.data
    named = sorted({"train_splits", "ambiguous_splits", "reveal_splits", "validation_split"} & set(arguments.given))
    if named:
        raise ValueError(f"train_on='all' names all splits, and {', '.join(named)} would name others. Leave one out.")
    if load_method(arguments.method).needs_ambiguous:
        raise ValueError(
            f"train_on='all' gives every utterance with its label, and method {arguments.method!r} needs ambiguous"
            " ones without. Name train_splits and ambiguous_splits, or choose another method, such as soft_vote."
        )
    if arguments.training.load_best_model_at_end or arguments.training.early_stopping_patience is not None:
        raise ValueError(
            "train_on='all' leaves no utterance to choose the best epoch by. Leave load_best_model_at_end and"
            " early_stopping_patience out, with the num_train_epochs that a validated run has shown."
        )
    about = dataset_config(read_dataset_info(data.dataset), data.dataset, data.dataset_config)
    splits = {name: part for name, part in about["splits"].items() if part.get("rows") != 0}
    ids = {name: set(read_split_columns(Path(data.dataset), about, name, ["id"])["id"].to_pylist()) for name in splits}
    chosen: list[str] = []
    seen: set[str] = set()
    for name in sorted(ids, key=lambda one: -len(ids[one])):  # a whole before its parts
        if seen.isdisjoint(ids[name]):
            chosen.append(name)
            seen |= ids[name]
    if missing := set().union(*ids.values()) - seen:
        raise ValueError(
            f"train_on='all': the splits of {data.dataset_config!r} overlap, so that {len(missing)} utterances are in"
            " none that can be taken whole. Name train_splits."
        )
    data.train_splits = [name for name in splits if name in chosen]
    data.reveal_splits = [name for name in data.train_splits if splits[name]["labels_hidden"]]
    data.ambiguous_splits, data.validation_split = [], None
