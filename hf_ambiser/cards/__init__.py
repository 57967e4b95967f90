"""Model cards: the content of a run folder, written for somebody who has never heard of this package.

Offline, from the run folder alone. A human's edits survive: see `hf_ambiser.hub.edits`.
"""

from __future__ import annotations

from pathlib import Path

from hf_ambiser.cards.facts import Facts, read_facts
from hf_ambiser.cards.figures import draw_figures
from hf_ambiser.cards.metadata import metadata
from hf_ambiser.cards.sections import Address, sections
from hf_ambiser.files.read import in_use, read_card
from hf_ambiser.hub.edits import Card, merge
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.run_folder.published import check_no_links


__all__ = ["Address", "Facts", "model_card", "read_facts", "write_card"]


def model_card(facts: Facts, figures: dict[str, str], address: Address, base: Address | None = None) -> Card:
    """The card of a run.

    Args:
        facts: What the run folder knows.
        figures: File name -> caption, of the figures beside the card.
        address: What the example loads.
        base: For a LoRA run: what the example loads the adapter's base model from.
    """
    with in_use(facts.files.results, facts.files.cure):
        return Card(metadata(facts), sections(facts, figures, address, base))


def write_card(run: Path | str) -> tuple[Path, list[str]]:
    """Write `run/model/README.md` and the figures beside it; a human's edits are kept.

    Returns:
        The card, and what of a human was kept.

    Raises:
        ValueError: If the run is not finished, the card that is there cannot be read, or something of the run is a
            link.
    """
    facts = read_facts(Path(run))
    check_no_links(facts.files)
    path = facts.files.card
    existing = read_card(path)
    base = Address(_from_here(facts.run.base_model)) if facts.run.base_model else None
    card = model_card(facts, draw_figures(facts), Address(_from_here(facts.files.model)), base)
    text, kept = merge(card, existing, str(path))
    write_whole(path, text)
    return path, kept


def _from_here(folder: Path) -> str:
    """A folder relative to the working directory, or its name alone: a whole path would tell about this machine."""
    folder = folder.absolute()
    return folder.relative_to(Path.cwd()).as_posix() if folder.is_relative_to(Path.cwd()) else folder.name
