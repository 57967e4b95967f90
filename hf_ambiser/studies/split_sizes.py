"""The size of every split of a planned data set, from its build report or, if there is none, published counts."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.loading import read_dataset_info
from hf_ambiser.data.splits import SplitError, expand_configs, make_split
from hf_ambiser.studies.cells import choose, chosen_configs
from hf_ambiser.studies.plan import PlanError, PlannedData


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows of every split of every config that a plan asks for.

    Args:
        configs: Config -> split -> number of rows.
        source: Source of the numbers, in words.
        built: Whether the data set has been built.
        published: Config -> split -> number of rows by published counts; empty if there are none.
    """

    configs: dict[str, dict[str, int]]
    source: str
    built: bool
    published: dict[str, dict[str, int]]


def split_sizes(data: PlannedData) -> Sizes:
    """Return the sizes of a planned data set.

    Raises:
        PlanError: If the data set is not there and has no published counts, or if it lacks a config or fold.
    """
    published, words = _published(data)
    try:
        info = read_dataset_info(data.dataset)
    except FileNotFoundError:
        if not published:
            chosen_configs(data)  # raises an error that says how to build it
        chosen = choose(data, list(published), "published counts give")
        source = f"{data.dataset} is not there; sizes by published counts ({words})"
        return Sizes({config: published[config] for config in chosen}, source, False, published)
    configs = {
        config: {name: part["rows"] for name, part in info["configs"][config]["splits"].items()}
        for config in chosen_configs(data)
    }
    ratings = f", ratings {' + '.join(info['policy']['ratings'])}" if "ratings" in info["policy"] else ""
    policy = f"policy {info['policy']['name']} ({info['policy_fingerprint']}){ratings}, content {info['content']}"
    return Sizes(configs, f"{data.dataset}: {info['corpus']}, {policy}", True, published)


def _published(data: PlannedData) -> tuple[dict[str, dict[str, int]], str]:
    """Return config -> split -> number of rows by the corpus' published counts, and a description of those counts."""
    corpus = _corpus(data)
    sizes: dict[str, dict[str, int]] = {}
    words: list[str] = []
    for wanted in data.configs if hasattr(corpus, "published") else ():
        try:
            made, what = corpus.published(wanted)  # type: ignore[union-attr]
            for config in expand_configs([wanted], made):
                split = make_split(made, config)
                sizes[config] = {name: len(split.rows(name)) for name in split.names if len(split.rows(name))}
        except SplitError as error:
            what = str(error).rstrip(".")
        words += [what] if what not in words else []
    return sizes, "; ".join(words)


def _corpus(data: PlannedData) -> ModuleType | None:
    if data.corpus and data.corpus not in available_corpora():
        raise PlanError(
            f"dataset {data.dataset!r}: there is no corpus {data.corpus!r}; choose one of {available_corpora()}."
        )
    return load_corpus(data.corpus) if data.corpus else None
