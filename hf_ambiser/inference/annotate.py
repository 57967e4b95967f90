"""A whole corpus gets the soft labels that a model gives it, by any number of processes, killed anywhere or not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from hf_ambiser.files.read import Record, exists
from hf_ambiser.hub.address import HUB
from hf_ambiser.inference.annotation_folder import AnnotationFolder, row_of
from hf_ambiser.inference.hub_source import Streamed
from hf_ambiser.inference.model_digest import model_digest
from hf_ambiser.inference.model_door import OpenedModel, open_model
from hf_ambiser.inference.predict import predict
from hf_ambiser.inference.several_models import SeveralModels, names_given
from hf_ambiser.inference.sources import Source, digest_of, open_source
from hf_ambiser.run_folder.run_lock import held


if TYPE_CHECKING:
    from accelerate import PartialState

# Batches whose inputs are read together; no more of a shard's audio is in memory.
_BATCHES_READ = 4


def annotate(
    source: str | Path,
    out: str | Path,
    model: str | Path | OpenedModel | Sequence[str | Path] | None = None,
    *,
    subset: str | None = None,
    split: str | None = None,
    shard_size: int = 1000,
    embeddings: bool = False,
    window: float | None = None,
    hop: float | None = None,
    threshold: float | None = None,
    balance: float | None = None,
    batch_size: int = 16,
    device: str = "auto",
    progress: bool = True,
) -> Record:
    """Write what a model says about every input of a corpus into Parquet shards with a manifest.

    The content of a shard depends on the list of inputs and on `shard_size` alone. Under `accelerate launch` or
    `torchrun`, process r of W works on the shards r, r + W, r + 2 W ... A shard is written whole or not at all, and
    one that is there is not done again. So the same call, with any number of processes, finishes what a kill has left.

    Args:
        source: A folder of recordings; a text file with a path in each line; a .tar file or a folder of them; the
            folder of a data set, in Parquet files or as `save_to_disk` wrote it; or a data set that is streamed from
            the Hub, `hf://datasets/ACCOUNT/NAME[@REVISION][/FOLDER]`. Of the latter nothing is kept on this machine.
        out: Folder to write, on a file system that all processes share.
        model: As for `predict`.
        subset: Config of a data set of the Hub; None: the only or default one, or of a set that this package built,
            each utterance of all of them.
        split: Split of a data set of the Hub; None: all, one after the other.
        shard_size: Inputs of a shard.
        embeddings: Whether to write the embedding of each input, float32 `(D,)`.
        window: As for `predict`.
        hop: As for `predict`.
        threshold: As for `predict`.
        balance: As for `predict`.
        batch_size: Windows that are answered together. It changes no answer by more than rounding.
        device: As for `open_model`; "auto" gives each process a GPU of its own.
        progress: Whether the first process shows a progress bar.

    Returns:
        The manifest: `model`, `source`, `settings`, `shards`, `not_answered` and `counts`, with
        `in` = `answered` + `not_answered`.

    Raises:
        ValueError: If an argument is out of range, the source holds nothing, another process works in `out`, or `out`
            was begun with another model, source or setting. As a FileError, if a stored file cannot be used. As a
            `StreamBroken`, if the connection to the Hub breaks: the same call goes on later.
        DownloadError: If a data set of the Hub cannot be had.
    """
    for name, number in (("shard_size", shard_size), ("batch_size", batch_size)):
        if number < 1:
            raise ValueError(f"{name} is {number}; allowed: a whole number of at least 1.")
    out = Path(out)
    if exists(out) and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder.")
    if not str(source).startswith(HUB) and out.resolve().is_relative_to(Path(source).resolve()):
        raise ValueError(
            f"--out {out} is inside the source {source}, and would be read as a part of it; choose another."
        )
    inputs = open_source(source, subset, split)
    processes = processes_of_this_job(device)
    opened = model if isinstance(model, OpenedModel) else open_model(model, _device(device, processes))
    if embeddings and not opened.says_embeddings:
        what = "is several models" if len(opened.names) > 1 else "is not one of hf_ambiser"
        raise ValueError(f"model {opened.name} {what} and says no embedding; leave embeddings out.")
    decision = opened.decision(threshold, balance)
    sizes = opened.window_sizes(window, hop)
    settings = {
        "shard_size": shard_size,
        "embeddings": embeddings,
        "window": sizes.window / opened.rate,
        "hop": sizes.hop / opened.rate,
        "temperature": decision.temperature,
        "threshold": decision.threshold,
        **({"balance": {"tau": decision.tau, "shares": list(decision.shares)}} if decision.tau else {}),
    }
    head = {
        "model": _about_model(opened, names_given(model, opened)),
        "source": _about_source(inputs, source),
        "settings": settings,
    }
    shards = [range(first, min(first + shard_size, len(inputs))) for first in range(0, len(inputs), shard_size)]
    folder = AnnotationFolder(out, len(shards))
    # The first process stands for all of them.
    with held(out) if processes.is_main_process else nullcontext():
        if processes.is_main_process:
            folder.begin(head)
        processes.wait_for_everyone()
        folder.begin(head)  # the other processes compare: another machine may hold another model or list
        is_done = folder.is_finished
        mine = range(processes.process_index, len(shards), processes.num_processes)
        missing = set(folder.missing())
        options: dict[str, Any] = {
            "window": window,
            "hop": hop,
            # The one that acts: a stored one would be warned of again with every shard.
            "threshold": decision.threshold,
            "balance": balance,
            "embeddings": embeddings,
        }
        with _bar(shards, mine, missing, processes, progress) as bar:
            for number in mine:
                if number in missing:
                    rows = _rows(inputs, shards[number], opened, batch_size, options, bar)
                    folder.write_shard(number, rows, opened.classes, embeddings)
        processes.wait_for_everyone()
        if processes.is_main_process and not is_done:
            found = folder.finish([len(shard) for shard in shards], opened.classes, embeddings)
            folder.write_finished({**head, **found})
        processes.wait_for_everyone()
    return folder.read()


def processes_of_this_job(device: str = "auto") -> PartialState:
    """Return the number of processes that work on this job, and which one this is."""
    from accelerate import PartialState

    cpu = device == "cpu" or not torch.cuda.is_available()
    # One process may be done long before another one; by default it would wait for ten minutes only.
    return PartialState(cpu=cpu, timeout=timedelta(days=30))


def _device(device: str, processes: PartialState) -> str:
    if processes.num_processes == 1 or device == "cpu":
        return device
    if device != "auto":
        raise ValueError(f"device is {device!r} for {processes.num_processes} processes; allowed: auto, cpu.")
    return "cpu" if processes.device.type == "cpu" else str(processes.device)  # accelerate may say cpu:0


def _about_model(opened: OpenedModel, names: Sequence[str]) -> dict[str, Any]:
    shown = _published_names(names)
    about = {
        "name": " + ".join(shown),
        "kind": opened.kind,
        "digest": model_digest(opened),
        "classes": list(opened.classes),
    }
    if not isinstance(opened, SeveralModels):
        return about
    members = [
        {"name": name, "kind": one.kind, "digest": model_digest(one), "temperature": one.temperature}
        for name, one in zip(shown, opened.members, strict=True)
    ]
    return {**about, "members": members}


def _published_names(names: Sequence[str]) -> list[str]:
    """Where on this machine a model lies is no part of its name, but for what tells it from the others."""
    for kept in range(1, max(len(Path(name).parts) for name in names) + 1):
        shown = [_published_name(name, kept) for name in names]
        if len(set(shown)) == len(shown):
            break
    return shown


def _published_name(name: str, kept: int) -> str:
    path = Path(name)
    is_place = path.is_absolute() or ".." in path.parts or name.startswith("~")
    return "/".join(path.parts[-kept:]) if is_place else name


def _about_source(inputs: Source, source: str | Path) -> dict[str, Any]:
    if isinstance(inputs, Streamed):
        place = {"name": inputs.repo.repo_id, "revision": inputs.repo.commit}
    else:
        place = {"name": Path(source).resolve().name}
    return {
        **place,
        "kind": inputs.kind,
        "inputs": len(inputs),
        "digest": digest_of(inputs),
        "left_out": inputs.left_out,
    }


def _rows(
    inputs: Source, shard: range, opened: OpenedModel, batch_size: int, options: dict[str, Any], bar: tqdm
) -> list[dict[str, Any]]:
    """Return the rows of a shard; audio and windows of only some of its inputs are in memory at a time."""
    rows: list[dict[str, Any]] = []
    step = batch_size * _BATCHES_READ
    # One pass over the shard: to begin in the middle of a Parquet file means to read its row group from the beginning.
    left = inputs.recordings(shard.start, shard.stop)
    while recordings := list(islice(left, step)):
        answers = predict(recordings, opened, batch_size=batch_size, progress=False, **options)
        first = shard.start + len(rows)
        rows += [row_of(place, answer, options["embeddings"]) for place, answer in enumerate(answers, first)]
        bar.update(len(recordings))
    return rows


def _bar(shards: list[range], mine: range, missing: set[int], processes: PartialState, progress: bool) -> tqdm:
    """Return a progress bar over the inputs of this process.

    The time left is what is left divided by the mean speed since the start of this attempt. Inputs that an earlier
    attempt has done are shown as done, and do not count as speed.
    """
    done = sum(len(shards[number]) for number in mine if number not in missing)
    total = sum(len(shards[number]) for number in mine)
    share = "" if processes.num_processes == 1 else f"process 1 of {processes.num_processes}"
    shown = progress and processes.is_main_process
    return tqdm(
        total=total, initial=done, desc=share, unit="input", smoothing=0, disable=not shown, dynamic_ncols=True
    )
