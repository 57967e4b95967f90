"""Write the README's two badges from pyproject.toml, so that they say what is true and load from nowhere else.

`python docs/figures/badges.py` writes `badge_python.svg` and `badge_licence.svg` beside this file.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path


HERE = Path(__file__).parent
# Width of a letter of the font at its size, in pixels, a little wide; and the room at both ends of a word.
LETTER, ROOM, HEIGHT = 6.6, 12, 20


def badge(name: str, value: str) -> str:
    """A small picture with a name on grey and a value on blue."""
    left, right = (round(LETTER * len(text) + ROOM) for text in (name, value))
    words = "".join(
        f'<text x="{x:g}" y="14" text-anchor="middle">{text}</text>'
        for x, text in ((left / 2, name), (left + right / 2, value))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img"'
        f' aria-label="{name}: {value}"><title>{name}: {value}</title>'
        f'<rect width="{left}" height="{HEIGHT}" fill="#555"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="#0072b2"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{words}</g></svg>\n'
    )


def badges() -> dict[str, str]:
    """File name -> picture."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    return {
        "badge_python.svg": badge("Python", f"{lowest} or newer"),
        "badge_licence.svg": badge("licence", project["license"]),
    }


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write (default: this one)")
    args = parser.parse_args()
    for name, picture in badges().items():
        (args.out / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
