"""What is known of each utterance that may stand on two sides of a split: speaker, dialogue, sentence, audio ..."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from hf_ambiser.data.overlap.audio_print import AudioPrint, near_groups
from hf_ambiser.data.schema import Utterance


# These stand in `Utterance.extra`, if the corpus says them.
IN_EXTRA = ("dialogue", "script", "sentence")


def known_columns(
    utterances: Sequence[Utterance], prints: Sequence[AudioPrint], corpus: ModuleType
) -> dict[str, np.ndarray]:
    """Collect the columns of `splits.APART` that this corpus says.

    Args:
        utterances: N utterances.
        prints: Their N prints; none: `audio` is not known.
        corpus: The corpus' module. `SPEAKERS_KNOWN` False means that each utterance has a made name for its speaker.

    Returns:
        Name -> `(N,)` str, "" where an utterance has no value. A column without any value is left out.
    """
    columns = {
        "speaker": [one.speaker for one in utterances] if getattr(corpus, "SPEAKERS_KNOWN", True) else [],
        "session": [one.session for one in utterances],
        **{name: [str(one.extra.get(name) or "") for one in utterances] for name in IN_EXTRA},
        "audio": [str(number) for number in near_groups(prints)] if prints else [],
    }
    return {name: np.array(values, dtype=str) for name, values in columns.items() if any(values)}
