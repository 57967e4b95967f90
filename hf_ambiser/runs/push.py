"""Publishes a finished run: weights, code, feature extractor, card, results, figures.

A whole model goes into one repository. Of a LoRA run, only the adapter goes there. The model that it belongs to goes
into a second repository, which other adapters of that model can share.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from hf_ambiser.cards import Address, Facts, model_card, read_facts
from hf_ambiser.cards.base import base_card
from hf_ambiser.cards.figures import draw_figures
from hf_ambiser.files.read import read_card
from hf_ambiser.hub.push import Publication, Pushed, PushOptions, push
from hf_ambiser.run_folder.layout import ARGUMENTS, FIGURES, RESULTS


# Files that an earlier push may have written. All other files of a repository belong to others and stay.
_OWNED = re.compile(
    r"(adapter_)?(model|config)[\w.-]*\.(safetensors|json)|preprocessor_config\.json|results\.json|arguments\.yaml"
    rf"|{FIGURES}/[\w.-]+\.png|\w+\.py"
)
_WEIGHTS = ("config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json", "*.py")
_ADAPTER = ("adapter_model.safetensors", "preprocessor_config.json")


def push_run(
    run: Path | str, repo_id: str, options: PushOptions | None = None, base: str | None = None
) -> list[Pushed]:
    """Publish a finished run; see `hub.push.push` for further errors.

    Args:
        run: The run folder.
        repo_id: `<account>/<name>`.
        options: How to push.
        base: For a LoRA run, the repository of the model that its adapter belongs to; the default is
            `<repo_id>-base`. Files that it has already are not sent again.

    Returns:
        The pushes. The base of an adapter comes first, so that no adapter ever names a base that does not exist.

    Raises:
        ValueError: If the run is not finished.
    """
    facts = read_facts(Path(run))
    if facts.run.base_model is None:
        return [push(publication(facts), repo_id, options)]
    base = base or f"{repo_id}-base"
    first = base_publication(facts)
    second = publication(facts, Address(base, first.revision()))
    return [push(first, base, options), push(second, repo_id, options)]


def publication(facts: Facts, base: Address | None = None) -> Publication:
    """Return what to publish: the model or, if `base` is given, the adapter alone."""
    figures = draw_figures(facts)
    files: dict[str, Path | bytes] = {}
    for pattern in _WEIGHTS if base is None else _ADAPTER:
        files |= {path.name: path for path in sorted(facts.files.model.glob(pattern))}
    if base is not None:
        # Replace the base, because the adapter in the run folder names a folder of this machine.
        adapter = {**(facts.adapter or {}), "base_model_name_or_path": base.name, "revision": base.revision}
        files["adapter_config.json"] = _json(adapter)
    files |= {f"{FIGURES}/{name}": facts.files.figures / name for name in figures}
    files |= {RESULTS: _json(_results(facts)), ARGUMENTS: _arguments(facts)}
    path = facts.files.card
    return Publication(
        files=files,
        card=lambda repo_id, revision: model_card(facts, figures, Address(repo_id, revision), base),
        edited=read_card(path),
        message=f"{facts.results['method']} on {facts.data['corpus']}, {facts.data['dataset_config']}",
        repo_type="model",
        owned=lambda name: _OWNED.fullmatch(name) is not None,
    )


def base_publication(facts: Facts) -> Publication:
    """Return the model that a LoRA run's adapter belongs to: its encoder, code and untrained head."""
    assert facts.run.base_model is not None
    files: dict[str, Path | bytes] = {}
    for pattern in _WEIGHTS:
        files |= {path.name: path for path in sorted(facts.run.base_model.glob(pattern))}
    return Publication(
        files=files,
        card=lambda repo_id, revision: base_card(facts),
        edited="",
        message="model that adapters of hf_ambiser belong to",
        repo_type="model",
        owned=lambda name: _OWNED.fullmatch(name) is not None,
    )


def _results(facts: Facts) -> dict:
    """Return `results.json`, without utterance ids if the ratings of the corpus may not be redistributed."""
    data = dict(facts.data)
    if facts.corpus is None or not facts.corpus.REDISTRIBUTABLE:
        data["left_out_ids"] = []
    return {**facts.results, "data": data}


def _arguments(facts: Facts) -> bytes:
    """Return the given arguments as a config for training, without paths of this machine."""
    head = "# Add --dataset (what a dataset script made) and --output_dir.\n"
    return (head + yaml.safe_dump(facts.given, sort_keys=False)).encode()


def _json(value: dict) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
