"""How far are IPR's soft labels from the truth of a simulated corpus, by the temperature of their softmax?

python train_scripts/soft_label_temperature.py demo/runs/ipr/0
"""

from __future__ import annotations

import sys
from pathlib import Path

from hf_ambiser.label_analysis.corrected import distance_by_temperature, distance_from_truth


TEMPERATURES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


def main() -> int:
    """Print a table, one row a run folder."""
    print("| run | " + " | ".join(str(t) for t in TEMPERATURES) + " | votes | uniform |")
    print("|---|" + "---|" * (len(TEMPERATURES) + 2))
    for name in sys.argv[1:]:
        try:
            distances, others = distance_by_temperature(Path(name), TEMPERATURES), distance_from_truth(Path(name))
        except (ValueError, OSError) as error:
            print(f"soft_label_temperature.py: {error}", file=sys.stderr)
            return 2
        cells = [*distances.values(), others["votes"], others["uniform"]]
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
