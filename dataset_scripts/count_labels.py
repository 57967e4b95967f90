"""Count a built data set's consensus labels by speaker: Table 1 of Fujioka et al. for any corpus.

    python dataset_scripts/count_labels.py data/crema_d
    python dataset_scripts/count_labels.py data/iemocap_meta    # beside each count the paper's, and the difference

`--help` lists the options.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a fresh clone needs no install

from hf_ambiser.data.corpora import load_corpus  # noqa: E402
from hf_ambiser.data.label_counts import BY, LabelCounts, count_labels  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print Markdown; a mistake is one line on standard error and exit status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder that a dataset script made")
    parser.add_argument("--config", help="its configuration (default: its first)")
    parser.add_argument("--by", choices=BY, default="speaker", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        print(table(count_labels(args.dataset, args.config, args.by)))
    except (ValueError, OSError) as error:
        print(f"count_labels.py: {error}", file=sys.stderr)
        return 2
    return 0


def table(found: LabelCounts) -> str:
    """Markdown; where a paper counts this corpus's speakers, its count and the difference stand behind ours."""
    corpus = load_corpus(found.corpus)
    published = corpus.labels_published(found.classes) if hasattr(corpus, "labels_published") else None
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


if __name__ == "__main__":
    sys.exit(main())
