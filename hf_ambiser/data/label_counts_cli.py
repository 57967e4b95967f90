"""The command that counts labels: `hf-ambiser count-labels`, and `dataset_scripts/count_labels.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.data.corpora import available_corpora, load_corpus
from hf_ambiser.data.label_counts import BY, LabelCounts, count_labels
from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.files.system_errors import in_words


def main(argv: Sequence[str] | None = None, prog: str = "count_labels.py") -> int:
    """Count and print Markdown; a mistake is one line on standard error and exit status 2."""
    parser = CommandParser(
        prog=prog,
        description="Count a built data set's consensus labels by speaker: Table 1 of Fujioka et al. for any corpus."
        " Where a paper counts this corpus, its counts and the differences stand beside ours.",
    )
    parser.add_argument("dataset", type=Path, help="folder that `hf-ambiser build` made, or ACCOUNT/NAME")
    parser.add_argument("--config", help="its configuration (default: its first)")
    parser.add_argument("--by", choices=BY, default="speaker", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        sys.stdout.write(f"{table(count_labels(args.dataset, args.config, args.by))}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {in_words(error)}\n")
        return 2
    return 0


def table(found: LabelCounts) -> str:
    """Write the counts as Markdown; if a paper counts this corpus' speakers, add its count and the difference."""
    # No paper counts a corpus of somebody's own.
    corpus = load_corpus(found.corpus) if found.corpus in available_corpora() else None
    published = corpus.labels_published(found.classes) if corpus and hasattr(corpus, "labels_published") else None
    reference, theirs = published if published is not None else ("", {})
    lines = [
        f"| {found.corpus} | " + " | ".join(found.classes) + " | without consensus | all |",
        "|---|" + "---:|" * (len(found.classes) + 2),
    ]
    for name, counts in [*found.counts.items(), ("all", found.total)]:
        row = [str(n) for n in (*counts, counts.sum())]
        for i, n in enumerate(theirs.get(name, [])):  # "all" too: a part of the speakers shows as a difference
            row[i] += f" ({n}, {counts[i] - n:+d})"
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    if any(name in theirs for name in found.counts):
        lines += ["", f"In brackets: {reference}, and our difference to it."]
    return "\n".join(lines)
