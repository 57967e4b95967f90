"""Keep what a card is rendered from, and render it: `model_cards/<family>/`.

python model_cards/record.py prototype demo/runs/ipr/0    # record a finished run (without weights), render its card
python model_cards/record.py prototype                    # render again from the record, after a change of the cards

`tests/test_cards.py` holds the rendered card to its record.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import yaml


ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))  # a fresh clone needs no install

from hf_ambiser.cards import Address, model_card, read_facts  # noqa: E402
from hf_ambiser.cards.figures import draw_figures  # noqa: E402
from hf_ambiser.cards.metadata import model_name  # noqa: E402
from hf_ambiser.hub.edits import render  # noqa: E402
from hf_ambiser.run_folder.layout import CARD, FIGURES, RunFolder  # noqa: E402
from hf_ambiser.runs.push import publication  # noqa: E402


ADDRESS = "address.yaml"


def record(family: Path, run: Path) -> None:
    """Copy what a card reads of a run, and note where the card says the model is."""
    facts = read_facts(run)
    address = {"name": f"your-account/{model_name(facts)}", "revision": publication(facts).revision()}
    shutil.rmtree(family, ignore_errors=True)
    for path in RunFolder(run).recorded:
        target = family / "run" / path.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (family / ADDRESS).write_text(yaml.safe_dump(address))


def rendered(family: Path) -> str:
    """The card of a record; draws its figures beside the recorded model."""
    facts = read_facts(family / "run")
    return render(model_card(facts, draw_figures(facts), Address(**yaml.safe_load((family / ADDRESS).read_text()))))


def main() -> int:
    """Record, if a run is given, then render."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    family = ROOT / sys.argv[1]
    try:
        if len(sys.argv) == 3:
            record(family, Path(sys.argv[2]))
        text = rendered(family)
    except ValueError as error:
        print(f"record.py: {error}", file=sys.stderr)
        return 2
    figures = RunFolder(family / "run").figures
    shutil.rmtree(family / FIGURES, ignore_errors=True)
    figures.rename(family / FIGURES)
    (family / CARD).write_text(text, encoding="utf-8")
    print(family / CARD)
    return 0


if __name__ == "__main__":
    sys.exit(main())
