"""What a run was made with: the description of its data, and whether a data set is still that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_ambiser.data.left_out_votes import LEFT_OUT, left_out_votes
from hf_ambiser.data.loading import dataset_config, read_dataset_info
from hf_ambiser.data.noise_record import LABEL_NOISE
from hf_ambiser.data.overlap.record import OVERLAP, overlap_of
from hf_ambiser.data.ratings.corpus_facts import FACTS
from hf_ambiser.data.splits import split_family
from hf_ambiser.training.dataset import describe
from hf_ambiser.training.trainer import AmbiSERTrainer


# A corrected licence, or a count of what was left out or stands on two sides, changes nothing that a run learns.
_CHANGES_NOTHING = (FACTS, OVERLAP, LEFT_OUT)
# What runs did not write down while there was no other value.
_EARLIER = {"aggregation": "shares"}


def describe_data(trainer: AmbiSERTrainer, revealed: list[str] | None = None) -> dict[str, Any]:
    """Describe what a run is trained on: fingerprints, protocol, counts, and splits whose hidden labels were revealed.

    Raises:
        ValueError: If the training data does not come from `load_split`, or comes from more than one configuration.
    """
    labelled, ambiguous = trainer.data.labelled_sources, trainer.data.ambiguous_sources
    configs = {(source.dataset, source.config) for source in (*labelled, *ambiguous)}
    if not labelled or len(configs) != 1:
        found = f"splits of {sorted(configs)}" if configs else "splits that `load_split` did not load"
        raise ValueError(
            f"a run learns from splits of one configuration of one built data set; this trainer has {found}. Give it"
            " splits from load_split(folder, config, split)."
        )
    if revealed is None:
        revealed = [source.split for source in (*labelled, *ambiguous) if source.revealed]
    ((dataset, config),) = configs
    return {
        **fingerprints(dataset, config),
        "train_splits": [source.split for source in labelled],
        "ambiguous_splits": [source.split for source in ambiguous],
        "revealed_splits": revealed,
        **describe(trainer.data),
    }


def fingerprints(dataset: str, name: str) -> dict[str, Any]:
    """Describe the data by the data set's build report alone, without loading it."""
    if not dataset:
        raise ValueError("a run needs `dataset`: the folder of a built data set (`hf-ambiser build` makes one).")
    info = read_dataset_info(dataset)
    config = dataset_config(info, dataset, name)
    family, fold = split_family(name)
    return {
        "corpus": info["corpus"],
        **{key: info[key] for key in (FACTS, LABEL_NOISE) if key in info},
        "classes": info["classes"],
        "dataset_config": name,
        "split_family": family,
        "fold": fold,
        "protocol": config["protocol"],
        "content": info["content"],
        "split_fingerprint": config["fingerprint"],
        "policy": info["policy"]["name"],
        "policy_fingerprint": info["policy_fingerprint"],
        "aggregation": info["policy"].get("aggregation", "shares"),
        **({"ratings": info["policy"]["ratings"]} if "ratings" in info["policy"] else {}),
        **left_out_votes(info),
        **({OVERLAP: counts} if (counts := overlap_of(info, name)) else {}),
    }


def changed_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List what of the data that a run was made with is another now.

    Args:
        before: What the run wrote down, from `describe_data`.
        now: What a data set is now, from `describe_data` or `fingerprints`.
    """
    known = {**_EARLIER, **before}
    return sorted(name for name in now if name not in _CHANGES_NOTHING and known.get(name) != now[name])
