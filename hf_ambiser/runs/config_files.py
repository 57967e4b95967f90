"""Config and plan files, by path or by name: `crema_d/ipr` is a file that the package ships.

`hf-ambiser configs` lists the shipped ones, `hf-ambiser configs NAME` prints one.
"""

from __future__ import annotations

import difflib
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.read import exists, read_text, read_yaml
from hf_ambiser.files.system_errors import in_words


CURE = "Mend it, or start from a shipped one: `hf-ambiser configs` lists them, `hf-ambiser configs NAME` prints one."
SHIPPED = Path(__file__).parents[1] / "configs"


def available_configs() -> list[str]:
    """Names of the shipped config and plan files: their paths below `hf_ambiser/configs`, without `.yaml`."""
    return sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.yaml"))


def find_config(given: Path | str, beside: Path = Path()) -> Path:
    """The file that a path or a name means. A file that is there comes before a shipped one.

    Args:
        given: A path, or the name of a shipped file, for example `crema_d/ipr`.
        beside: The folder that a relative path starts from.

    Raises:
        ValueError: If there is neither such a file nor such a name; the message lists what is near.
    """
    path, name = beside / given, Path(given).as_posix()
    if exists(path) and not (path.is_dir() and name in available_configs()):
        return path
    names = available_configs()
    if name in names:
        return SHIPPED / f"{name}.yaml"
    hint = _near(name.removesuffix(".yaml"), names) + "; `hf-ambiser configs` lists the shipped ones."
    if not path.suffix:
        raise ValueError(f"there is no config file {path}, and no shipped config of this name{hint}")
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    files = sorted(str(p.relative_to(folder)) for p in itertools.islice(folder.glob("**/*.yaml"), 50))
    raise ValueError(
        f"there is no config file {path}; below {folder} are {files}. It is not a shipped one's name{hint}"
    )


def _near(name: str, names: list[str]) -> str:
    """` (did you mean 'crema_d/ipr'?)`, or nothing where no shipped name is near."""
    # A longer path to a shipped file; else what is written alike, or has the same last part.
    near = [one for one in names if f"/{name}".endswith(f"/{one}")] or [
        *difflib.get_close_matches(name, names, n=3, cutoff=0.75),
        *(one for one in names if one.split("/")[-1] == name.split("/")[-1]),
    ]
    if of_method := _of_method(name, names):
        return f" (of method {name.rpartition('/')[2]!r} are {', '.join(map(repr, of_method))})"
    return f" (did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?)" if near else ""


def _of_method(name: str, names: list[str]) -> list[str]:
    """Configs in the folder of a name whose last part is a method's: a config may have another name (`baseline`)."""
    folder, _, method = name.rpartition("/")
    if not folder or name in names:
        return []
    beside = [one for one in names if one.startswith(f"{folder}/")]
    return [one for one in beside if read_config(SHIPPED / f"{one}.yaml").get("method") == method]


def read_config(given: Path | str, beside: Path = Path()) -> dict[str, Any]:
    """The fields of a YAML file, which `find_config` finds.

    Raises:
        ValueError: If the file is missing, cannot be read, is not a mapping, or gives a key twice.
    """
    return read_yaml(find_config(given, beside), CURE)


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser configs") -> int:
    """List the shipped files, or print one; a mistake is one line on standard error and exit status 2."""
    parser = CommandParser(
        prog=prog,
        description="List the configs and plans that the package ships; with NAME print one, to start your own from.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="for example crema_d/ipr")
    args = parser.parse_args(argv)
    try:
        sys.stdout.write(read_text(find_config(args.name), CURE) if args.name else _listing())
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    return 0


def _listing() -> str:
    """Every shipped file with the first line of its comment, configs apart from plans."""
    texts = {name: read_text(SHIPPED / f"{name}.yaml", CURE) for name in available_configs()}
    plans = {name for name, text in texts.items() if re.search(r"^systems:", text, re.MULTILINE)}
    width = max(map(len, texts)) + 2
    lines = []
    for title, chosen in (
        ("Configs, one run each: hf-ambiser train --config NAME", sorted(texts.keys() - plans)),
        ("Plans of studies: hf-ambiser study --plan NAME", sorted(plans)),
    ):
        about = {name: texts[name].splitlines()[0].removeprefix("#").strip() for name in chosen}
        lines += [title, *(f"  {name:{width}}{line}" for name, line in about.items()), ""]
    return "\n".join(lines[:-1]) + "\n"
