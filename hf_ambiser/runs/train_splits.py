"""Which splits a run learns from where its arguments name none, and where they say `train_on: all`."""

from __future__ import annotations

from pathlib import Path

from hf_ambiser.data.loading import dataset_config, read_dataset_info, read_split_columns
from hf_ambiser.methods import load_method
from hf_ambiser.run_folder.layout import RunFolder
from hf_ambiser.runs.arguments import RunArguments


# What runs of earlier versions learnt from where no splits were named.
EARLIER = {"train_splits": ["d1"]}
# The utterances of the training side on which raters agree so little that there is no consensus label.
NO_CONSENSUS = "no_consensus"


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
