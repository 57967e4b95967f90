"""NNIME (Chou et al. 2017): 44 actors in pairs play scenes in Mandarin; EMO-SUPERB published the labels.

The release of NNIME itself is not documented in public, so its own label files are not read. EMO-SUPERB's
`data/NNIME/Secondary/labels_consensus_1.csv` is; `emo_superb` explains how shares become votes. The recordings are
`<scene>_<pair>_<A or B>_<number>.wav` in `data/NNIME/Audios`.

One actor plays in two pairs (4 and 22). A session is therefore a group of pairs that share an actor, so that a strict
split keeps every voice on one side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hf_ambiser.data.corpora.emo_superb import CITATION as EMO_SUPERB
from hf_ambiser.data.corpora.emo_superb import FILES_READ, RATERS, scan_labels
from hf_ambiser.data.release_files import versus
from hf_ambiser.data.schema import CorpusScan, Utterance
from hf_ambiser.labels.votes import VoteTable


__all__ = [
    "CITATION",
    "FILES_READ",
    "GROUP",
    "HOMEPAGE",
    "LANGUAGE",
    "LICENSE",
    "LICENSE_ID",
    "NAME",
    "NOT_VERIFIED",
    "POLICY",
    "RATERS",
    "REDISTRIBUTABLE",
    "SPEECH",
    "STYLE",
    "TERMS",
    "compare",
    "scan",
]

NAME = "nnime"
POLICY = "nnime-11"
GROUP = "session"
LICENSE = (
    "NNIME is given by the BIIC laboratory of National Tsing Hua University to those who sign its agreement; the label"
    " files of EMO-SUPERB name no licence"
)
LICENSE_ID = "other"
TERMS = (
    "Whoever did not sign the laboratory's agreement may not have the recordings, nor a data set made of them; ask the"
    " laboratory before a model trained on them is used commercially."
)
REDISTRIBUTABLE = False
SPEECH = (
    "acted Mandarin: students of drama (19 to 30 years old) improvise scenes in pairs, each with one of six moods; the"
    " shares of the raters' answers are those that EMO-SUPERB published"
)
STYLE = "acted"
LANGUAGE = "zh"
HOMEPAGE = "https://nnime.ee.nthu.edu.tw/"
CITATION = f"""@inproceedings{{chou2017nnime,
  author    = {{Chou, Huang-Cheng and Lin, Wei-Cheng and Chang, Lien-Chiang and Li, Chyi-Chang and Ma, Hsi-Pin and
               Lee, Chi-Chun}},
  title     = {{{{NNIME}}: The {{NTHU-NTUA}} {{Chinese}} interactive multimodal emotion corpus}},
  booktitle = {{International Conference on Affective Computing and Intelligent Interaction (ACII)}},
  pages     = {{292--298}},
  year      = {{2017}}
}}

{EMO_SUPERB}"""
NOT_VERIFIED = "the label files of NNIME itself, and who its raters are; the number of raters"

UTTERANCES, SPEAKERS = 5028, 43
_FORM = re.compile(r"(?P<scene>[a-z]+)_(?P<pair>\d\d)_[AB]_\d{3}")


def scan(root: Path | str) -> CorpusScan:
    """Read EMO-SUPERB's label files of NNIME in `root`; `emo_superb.scan_labels` says what is returned.

    `extra` holds the mood of the `scene` and the `dialogue`, too. The session is the pair, or all pairs that share an
    actor (`04+22`).
    """
    found = scan_labels(Path(root), NAME, _FORM)
    sessions = _sessions(found.utterances)
    utterances = [replace(u, session=sessions[_pair(u)], extra={**u.extra, **_scene(u)}) for u in found.utterances]
    return replace(found, utterances=utterances)


def _pair(utterance: Utterance) -> str:
    return utterance.id.split("_")[1]


def _scene(utterance: Utterance) -> dict[str, str]:
    scene, pair = utterance.id.split("_")[:2]
    return {"scene": scene, "dialogue": f"{scene}_{pair}"}


def _sessions(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Pair -> name of all pairs that share an actor with it, directly or through others."""
    groups: list[tuple[set[str], set[str]]] = []  # pairs, speakers
    for pair, speaker in sorted({(_pair(u), u.speaker) for u in utterances}):
        pairs, speakers = {pair}, {speaker}
        for group in [group for group in groups if pair in group[0] or speaker in group[1]]:
            groups.remove(group)
            pairs, speakers = pairs | group[0], speakers | group[1]
        groups.append((pairs, speakers))
    return {pair: "+".join(sorted(pairs)) for pairs, _ in groups for pair in pairs}


def compare(scan: CorpusScan, table: VoteTable) -> list[str]:
    """Compare with EMO-SUPERB's label file."""
    return [
        versus("utterances", len(scan.utterances), UTTERANCES),
        versus("speakers", len({u.speaker for u in scan.utterances}), SPEAKERS),
    ]
