"""The model that an adapter belongs to, beside the adapter.

An adapter names its base by a path, which is wrong as soon as the run folder is moved, and another run may lie there
by then. So a finished run has the files of the base in `model/`, too, beside the adapter (as hard links, where the
file system has them). transformers looks there first. `base_model.json` has their digests, which `base_of` checks. The
Auto classes and `pipeline` of transformers know nothing of that file, so they load a base that was changed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_ambiser.files.digest import file_digest
from hf_ambiser.files.read import exists, read_json
from hf_ambiser.run_folder.layout import RunFolder, write_whole
from hf_ambiser.run_folder.published import INDEX
from hf_ambiser.untrusted.names import path_of_name


_CURE = "Restore it from a copy, or train the model again."
# Digests of the base's files beside an adapter, and what peft shall load the base with: it imports transformers only.
DIGESTS, CONFIG = "base_model.json", "adapter_config.json"
LOADED_BY = {"base_model_class": "AutoModelForAudioClassification", "parent_library": "transformers"}


def put_beside(adapter: Path, base: Path) -> None:
    """Put the files of a base model into the folder of a finished adapter, so that the folder is a whole model.

    Args:
        adapter: Folder with `adapter_config.json`; without that file, which a whole model does not have, nothing is
            done.
        base: Folder of the model that it belongs to.
    """
    if not exists(adapter / CONFIG):
        return
    fields = {**read_json(adapter / CONFIG, _CURE), "auto_mapping": LOADED_BY}
    write_whole(adapter / CONFIG, json.dumps(fields, indent=2))
    digests = {}
    for path in sorted(base.iterdir()):
        if path.suffix in (".py", ".safetensors") or path.name in ("config.json", INDEX):
            _link(path, adapter / path.name)
            digests[path.name] = file_digest(path)
    write_whole(adapter / DIGESTS, json.dumps(digests, indent=1))


@contextmanager
def base_of(adapter: Path) -> Iterator[str]:
    """Yield the folder or Hub name of the model that an adapter belongs to.

    The files beside the adapter come first; then the folder `base_model` of a run that was made by an earlier version;
    then what the adapter names.

    Raises:
        ValueError: If a file beside the adapter is not the one that it was trained on, or it names no base.
    """
    named = read_json(adapter / CONFIG, _CURE).get("base_model_name_or_path")
    if exists(adapter / DIGESTS):
        digests = read_json(adapter / DIGESTS, _CURE)
        with tempfile.TemporaryDirectory() as alone:  # in its own folder, the adapter would be loaded with it
            for name, digest in digests.items():
                path = path_of_name(adapter, name, "file of the base model", adapter / DIGESTS)
                if not path.is_file() or file_digest(path) != digest:
                    raise ValueError(
                        f"{path} is missing, or is not the file of the model that this adapter was trained on. {_CURE}"
                    )
                (Path(alone) / name).symlink_to(path.absolute())
            yield alone
        return
    beside = RunFolder(adapter.parent).base_model
    if exists(beside / "config.json"):
        yield str(beside)
        return
    if not named:
        raise ValueError(
            f"{adapter} is an adapter that does not name its base model; set base_model_name_or_path in its {CONFIG}."
        )
    yield str(named)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
