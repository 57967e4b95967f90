"""Publishes a finished run: weights, code, feature extractor, card, results, figures.

A whole model goes into one repository. Of a LoRA run, only the adapter goes there. The model that it belongs to goes
into a second repository, which other adapters of that model can share.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

import hf_ambiser.models
from hf_ambiser.cards import Address, Facts, model_card, read_facts
from hf_ambiser.cards.base import base_card
from hf_ambiser.cards.figures import draw_figures
from hf_ambiser.files.read import read_card
from hf_ambiser.hub.push import Publication, Pushed, PushOptions, push
from hf_ambiser.run_folder.adapter_base import LOADED_BY
from hf_ambiser.run_folder.layout import ARGUMENTS, FIGURES, RESULTS
from hf_ambiser.run_folder.published import adapter_files, check_no_links, model_files


# Files that an earlier push may have written. All other files of a repository belong to others and stay.
_OWNED = re.compile(
    r"(adapter_)?(model|config)[\w.-]*\.(safetensors|json)|preprocessor_config\.json|results\.json|arguments\.yaml"
    rf"|{FIGURES}/[\w.-]+\.png|\w+\.py"
)


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
        ValueError: If the run is not finished, if a base is given for a whole model, if a file to publish is a link,
            or if a Python file beside the weights is not the package's own; `options.allow` may name such a file.
    """
    facts = read_facts(Path(run))
    allow = (options or PushOptions()).allow
    if facts.run.base_model is None and base is not None:
        raise ValueError(f"base={base!r} is of a LoRA run, and {run} has a whole model. Leave base (--base) out.")
    if facts.run.base_model is None:
        return [push(publication(facts, allow=allow), repo_id, options)]
    base = base or f"{repo_id}-base"
    first = base_publication(facts, allow)
    second = publication(facts, Address(base, first.revision()), allow)
    return [push(first, base, options), push(second, repo_id, options)]


def publication(facts: Facts, base: Address | None = None, allow: Collection[str] = ()) -> Publication:
    """Return what to publish: the model or, if `base` is given, the adapter alone. Nothing is written in the run."""
    check_no_links(facts.files)
    # Draw elsewhere, so that a run that may not be written to can be checked and published.
    with tempfile.TemporaryDirectory() as folder:
        figures = draw_figures(facts, Path(folder))
        drawn = {f"{FIGURES}/{name}": (Path(folder) / name).read_bytes() for name in figures}
    files: dict[str, Path | bytes] = {}
    if base is None:
        files |= _model(facts, facts.files.model, allow)
    else:
        files |= adapter_files(facts.files)
        # Replace the base, because the adapter in the run folder names a folder of this machine.
        place = {"base_model_name_or_path": base.name, "revision": base.revision, "auto_mapping": LOADED_BY}
        adapter = {**(facts.adapter or {}), **place}
        files["adapter_config.json"] = _json(adapter)
    files |= {**drawn, RESULTS: _json(_results(facts)), ARGUMENTS: _arguments(facts)}
    path = facts.files.card
    return Publication(
        files=files,
        card=lambda repo_id, revision: model_card(facts, figures, Address(repo_id, revision), base),
        edited=read_card(path),
        message=f"{facts.results['method']} on {facts.data['corpus']}, {facts.data['dataset_config']}",
        repo_type="model",
        owned=lambda name: _OWNED.fullmatch(name) is not None,
    )


def base_publication(facts: Facts, allow: Collection[str] = ()) -> Publication:
    """Return the model that a LoRA run's adapter belongs to: its encoder, code and untrained head."""
    assert facts.run.base_model is not None
    return Publication(
        files={**_model(facts, facts.run.base_model, allow)},
        card=lambda repo_id, revision: base_card(facts),
        edited="",
        message="model that adapters of hf_ambiser belong to",
        repo_type="model",
        owned=lambda name: _OWNED.fullmatch(name) is not None,
    )


def _model(facts: Facts, folder: Path, allow: Collection[str]) -> dict[str, Path]:
    """Return the files of a whole model; its Python files must be the package's own.

    They are if this version has the same file, or if the run has noted the file's digest in its results.

    Raises:
        ValueError: For files that are not and that `allow` does not name.
    """
    files = model_files(facts.files, folder)
    noted: Mapping[str, str] = facts.results.get("code") or {}
    own = Path(hf_ambiser.models.__file__).parent
    strange = []
    for name, path in files.items():
        if path.suffix == ".py" and name not in allow:
            code = path.read_bytes()
            same = (own / name).is_file() and (own / name).read_bytes() == code
            if not same and noted.get(name) != hashlib.sha256(code).hexdigest():
                strange.append(name)
    if strange:
        commit = facts.results["environment"].get("commit")
        raise ValueError(
            f"{folder} holds Python files that are not this package's own: {', '.join(strange)}. A push publishes no"
            " other code. Remove them; or, if an earlier version of hf_ambiser wrote them"
            f" ({f'the run was made at commit {commit}' if commit else 'the run does not say which'}), push with that"
            f" version, or read them and add --allow {' '.join(strange)}."
        )
    return files


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
