"""Make data-set rows from a corpus folder: scan it, check the audio, count the votes, then stream rows.

Both `build()` and the `AmbiguousSpeech` builder take their rows from here, so a row is defined in one place. Audio is
read once to check it and once for each row that is written, and what was converted is kept on the disk until then, so
memory does not grow with the corpus.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hf_ambiser.data.audio import MIN_DURATION, AudioProblem, inspect_audio
from hf_ambiser.data.audio_store import AudioStore
from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.lost_votes import LIMIT, LostVotes
from hf_ambiser.data.notes import stored_notes
from hf_ambiser.data.overlap.audio_print import AudioPrint, audio_print
from hf_ambiser.data.overlap.columns import known_columns
from hf_ambiser.data.policy_file import policy_of
from hf_ambiser.data.policy_remarks import aggregation_notes, check_policy, left_out_winners
from hf_ambiser.data.rating_kinds import with_known_ratings, with_ratings
from hf_ambiser.data.schema import CorpusScan, Listed, TableRows, Utterance, rating_arrays
from hf_ambiser.data.splits import SplitInput, tiers
from hf_ambiser.data.splits.common import keyed_hash
from hf_ambiser.files import lfs
from hf_ambiser.labels.policies import LabelPolicy
from hf_ambiser.labels.votes import RatingArrays, VoteTable, entropy_bits, tally


logger = logging.getLogger(__name__)

# The tier of a row whose labels are hidden, because the real tier would show how the raters voted.
UNLABELLED_TIER = "unlabelled"


@dataclass(frozen=True)
class UsableUtterance:
    """An utterance whose audio was checked and can be used."""

    utterance: Utterance
    duration: float
    nbytes: int
    suffix: str
    sound: AudioPrint
    made: tuple[AudioStore, int] | None = None  # where audio is that is not stored as it is

    def read(self) -> bytes:
        """Return the bytes to store.

        Raises:
            ValueError: If the audio file has changed since it was checked.
        """
        if self.made is not None:
            store, start = self.made
            return store.get(start, self.nbytes)
        source = _source(self.utterance)
        data = source.read_bytes() if isinstance(source, Path) else source
        if isinstance(data, AudioProblem) or len(data) != self.nbytes:
            raise ValueError(f"{self.utterance.id}: its audio changed while the data set was built. Build it again.")
        return data


@dataclass
class Prepared:
    """A corpus after reading and counting, ready to be split and written.

    Args:
        corpus: The corpus' module.
        policy: The label policy.
        utterances: The N usable utterances, sorted by id.
        table: Their votes.
        listed: Everything that is not kept, each with its reason. `count_in == kept + len(listed)`.
        count_in: Number of items that came in (after `limit`).
        notes: Remarks in plain sentences.
        conversions: Kind of audio conversion -> number of utterances.
        keeps_audio_metadata: Whether audio is stored with what its files hold beside the samples.
        table_rows: What became of the rows, if the corpus is a table of a user's own.
        lost: The votes that came in and are in no usable utterance, by reason.
    """

    corpus: ModuleType
    policy: LabelPolicy
    utterances: list[UsableUtterance]
    table: VoteTable
    listed: list[Listed]
    count_in: int
    notes: list[str]
    conversions: dict[str, int] = field(default_factory=dict)
    keeps_audio_metadata: bool = False
    table_rows: TableRows | None = None
    lost: LostVotes = field(default_factory=LostVotes)

    @property
    def votes_out(self) -> dict[str, float]:
        """Reason -> weight of the votes that came in and are not counted; in = `table.votes.sum()` + their sum."""
        return dict(sorted({**self.table.excluded, **self.lost.by_reason(self.policy.multi_label)}.items()))

    @property
    def kept(self) -> int:
        """The number of utterances that the policy keeps."""
        return int(self.table.kept.sum())

    def split_input(self) -> SplitInput:
        """Return the arrays that a split is made from; row i is `utterances[i]`.

        They come from the votes under any aggregation, so data sets that differ only in it have the same splits.
        """
        utterances = [usable.utterance for usable in self.utterances]
        data = split_input(utterances, self.table, self.corpus.GROUP, self.policy.classes)
        return replace(data, columns=known_columns(utterances, [one.sound for one in self.utterances], self.corpus))

    def rows(self, indices: Iterable[int], masked: bool = False) -> Iterator[dict[str, Any]]:
        """Read the rows (`schema.features`) of the utterances with these numbers, one at a time, in order of id.

        Args:
            indices: Row numbers.
            masked: Hide the labels: votes and soft label become zeros, the label -1, agreement and entropy NaN, the
                ratings empty and the tier `unlabelled`. `reference_*` keep the raters' answer.
        """
        table = self.table
        entropy, vote_shares, tier = table.entropy, table.vote_shares, tiers(table.vote_label, table.agreement)
        zeros, nan = [0.0] * len(self.policy.classes), float("nan")
        for i in sorted(int(i) for i in indices):
            usable, u = self.utterances[i], self.utterances[i].utterance
            votes = table.votes[i].tolist()
            ratings = [
                {"rater": r.stored_rater, "labels": list(r.labels), "self_report": r.self_report} for r in u.ratings
            ]
            yield {
                "id": u.id,
                "audio": {"bytes": usable.read(), "path": u.id + usable.suffix},
                "duration": usable.duration,
                "speaker": u.speaker,
                "session": u.session,
                "corpus": u.corpus,
                "ratings": [] if masked else ratings,
                "votes": zeros if masked else votes,
                "soft_label": zeros if masked else table.soft_label[i].tolist(),
                "label": -1 if masked else int(table.label[i]),
                "agreement": nan if masked else float(table.agreement[i]),
                "entropy": nan if masked else float(entropy[i]),
                "tier": UNLABELLED_TIER if masked else tier[i],
                "reference_votes": votes,
                "reference_soft_label": vote_shares[i].tolist(),
                "reference_label": int(table.vote_label[i]),
                "true_distribution": _true_distribution(u, self.policy.classes),
            }


def split_input(utterances: Sequence[Utterance], table: VoteTable, group: str, classes: tuple[str, ...]) -> SplitInput:
    """Return the arrays that a split is made from, of N utterances and their votes.

    Args:
        utterances: The utterances.
        table: Their votes, in the same order.
        group: `speaker` or `session`.
        classes: The class names.
    """
    return SplitInput(
        id=np.array([u.id for u in utterances], dtype=str),
        speaker=np.array([u.speaker for u in utterances], dtype=str),
        group=np.array([getattr(u, group) for u in utterances], dtype=str),
        label=table.vote_label,
        agreement=table.agreement,
        entropy=entropy_bits(table.vote_shares),
        votes=table.votes,
        kept=table.kept,
        classes=classes,
    )


def prepare(
    corpus: str | ModuleType,
    root: Path | str,
    policy: LabelPolicy | Path | str | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    min_duration: float = MIN_DURATION,
    progress: bool = False,
    scan_options: Mapping[str, Any] | None = None,
    keep_audio_metadata: bool = False,
    scratch: Path | None = None,
) -> Prepared:
    """Scan a corpus, check its audio and count its votes.

    Args:
        corpus: Name of the corpus module, or such a module.
        root: Folder of the corpus release.
        policy: Label policy, its name or its YAML file; by default the corpus' own.
        limit: Use only this many utterances. A hash of seed and id chooses them, so that all speakers may occur.
        seed: Seed of that choice.
        min_duration: Shortest usable utterance in seconds.
        progress: Show a progress bar while the audio is checked.
        scan_options: Keyword arguments for the corpus' `scan`. The policy says which ratings are read.
        keep_audio_metadata: Whether audio that needs no conversion is stored with what its files hold beside the
            samples.
        scratch: Folder on whose disk converted audio is kept until it is written; None: the system's for temporary
            files.

    Raises:
        ValueError: If the corpus or the policy does not exist, if the policy names ratings that the corpus does not
            have, if no utterance is usable, if self-reports are to count and there is none, or if the policy's model
            of the raters cannot be used.
    """
    module = load_corpus(corpus) if isinstance(corpus, str) else corpus
    policy = policy_of(policy or module.POLICY)
    policy = with_known_ratings(policy, module)
    scan: CorpusScan = module.scan(Path(root), **with_ratings(scan_options or {}, policy))
    check_policy(policy, scan)  # fail now, and not after an hour of reading audio
    utterances, listed, notes = sorted(scan.utterances, key=lambda u: u.id), list(scan.listed), list(scan.notes)
    lost = copy.deepcopy(scan.lost)
    if limit is not None and limit < len(utterances):
        if limit < 1:
            raise ValueError(f"limit={limit} must be at least 1, or None to use all utterances.")
        notes.append(f"limit={limit}: {len(utterances) - limit} labelled utterances were not looked at")
        chosen = sorted(utterances, key=lambda u: (keyed_hash(seed, "limit", u.id), u.id))[:limit]
        left = {u.id for u in chosen}
        for utterance in utterances:
            if utterance.id not in left:
                lost.add_ratings(LIMIT, (rating.labels for rating in utterance.ratings))
        utterances = sorted(chosen, key=lambda u: u.id)

    usable, conversions, stripped, rows = [], Counter[str](), 0, scan.rows
    unknown_length, written_length, store = 0, 0, AudioStore(scratch)
    for utterance in _bar(utterances, f"{module.NAME}: checking audio", progress):
        source = _source(utterance)
        audio = (
            source if isinstance(source, AudioProblem) else inspect_audio(source, min_duration, keep_audio_metadata)
        )
        if isinstance(audio, AudioProblem):
            item = _listed_audio(utterance, audio, root)
            listed.append(item)
            lost.add_ratings(item.reason, (rating.labels for rating in utterance.ratings))
            rows = rows and rows.without(utterance)
            continue
        conversions.update(audio.conversions)
        stripped += audio.stripped
        if audio.conversions:
            logger.info("%s: %s", utterance.id, audio.detail)
        unknown_length += not audio.length_known
        written_length += audio.length_written
        is_made = audio.stripped or audio.length_written or bool(audio.conversions)
        made = (store, store.add(audio.data)) if is_made else None
        assert audio.samples is not None, "inspect_audio gives the samples of usable audio"
        about = audio.duration, len(audio.data), audio.suffix, audio_print(audio.samples), made
        usable.append(UsableUtterance(utterance, *about))
    if not usable:
        raise ValueError(_nothing_usable(module.NAME, root, listed))
    # Notes are stored in build_report.json, so their words stay as they are.
    notes += [f"{n} clips were {what}; they are stored as 16-bit FLAC" for what, n in sorted(conversions.items())]
    if stripped:
        notes.append(
            f"{stripped} utterances are stored without what their audio files held beside the samples (tags, pictures,"
            " bytes behind the end); their samples are the same bit for bit"
        )
    if written_length:
        notes.append(f"{written_length} FLAC files do not say how many samples they have; they are stored with it")
    if unknown_length:
        notes.append(
            f"{unknown_length} audio files do not say how long they are (MP3 without a Xing or VBRI header, files that"
            " were written into a pipe, rare kinds): whether one of them was cut short cannot be known"
        )

    ratings = rating_arrays([one.utterance for one in usable])
    groups = np.unique([getattr(one.utterance, module.GROUP) for one in usable], return_inverse=True)[1]
    table = tally(policy, replace(ratings, group=groups))
    notes += aggregation_notes(policy, ratings, table)
    listed += _without_label(policy, ratings, table, usable, root)
    count_in = len(utterances) + len(scan.listed)
    counts = count_in, notes, dict(conversions)
    prepared = Prepared(module, policy, usable, table, listed, *counts, keep_audio_metadata, rows, lost)
    if prepared.kept + len(listed) != count_in:
        raise RuntimeError(
            f"{module.NAME}: {count_in} in must equal {prepared.kept} kept + {len(listed)} listed. This is a bug of"
            " hf_ambiser: please report it."
        )
    if hasattr(module, "compare") and limit is None:
        # The published counts are counts of labels, so the comparison includes utterances without usable audio.
        notes += module.compare(scan, tally(policy.with_(aggregation="shares"), scan.ratings()))
    prepared.notes = stored_notes(notes)
    return prepared


def _listed_audio(utterance: Utterance, audio: AudioProblem, root: Path | str) -> Listed:
    """List an utterance for its audio. A stub of Git LFS is no broken recording, and has a cure of its own."""
    where, path = _where(utterance, root), utterance.audio_path
    if utterance.audio_bytes is None and path is not None and lfs.is_stub_file(path):
        return Listed(utterance.id, "lfs_stub", lfs.CURE, where)
    return Listed(utterance.id, audio.reason, audio.detail, where)


def _nothing_usable(name: str, root: Path | str, listed: list[Listed]) -> str:
    stubs = sum(item.reason == "lfs_stub" for item in listed)
    if stubs:
        return (
            f"{name}: no utterance below {root} is usable, because {stubs} audio files are stubs of Git LFS, which"
            f" stand for the recordings until these are fetched. {lfs.CURE}"
        )
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(Counter(item.reason for item in listed).items()))
    first = "; ".join(f"{item.id!r}, {item.reason}, {item.detail}" for item in listed[:3])
    return (
        f"{name}: no utterance below {root} is usable; {len(listed)} are listed ({reasons}), the first: {first}."
        " Check --root."
    )


def _without_label(
    policy: LabelPolicy, ratings: RatingArrays, table: VoteTable, usable: list[UsableUtterance], root: Path | str
) -> list[Listed]:
    """List the utterances that the policy does not keep, each with the reason."""
    gone = np.flatnonzero(~table.kept)
    if len(gone) == 0:
        return []
    winner = left_out_winners(policy, ratings)
    listed = []
    for i in gone:
        votes = {c: float(v) for c, v in zip(policy.classes, table.votes[i], strict=True) if v}
        counted = ", ".join(f"{name} {value:g}" for name, value in votes.items()) or "none"
        if winner[i]:
            reason, detail = "outside_classes", f"consensus {winner[i]!r}; votes for the classes: {counted}"
        elif not votes:
            reason, detail = "no_votes", f"votes outside the classes: {table.outside[i]:g}"
        else:
            reason, detail = "no_consensus", f"votes: {counted}; outside the classes: {table.outside[i]:g}"
        utterance = usable[int(i)].utterance
        listed.append(Listed(utterance.id, reason, detail, _where(utterance, root)))
    return listed


def _true_distribution(utterance: Utterance, classes: tuple[str, ...]) -> list[float]:
    """Read a simulated utterance's `extra["true_distribution"]` (shares, or class -> share); zeros for real speech."""
    truth = utterance.extra.get("true_distribution")
    if truth is None:
        return [0.0] * len(classes)
    shares = [float(truth.get(c, 0.0)) for c in classes] if isinstance(truth, Mapping) else [float(p) for p in truth]
    if len(shares) != len(classes):
        raise ValueError(
            f"{utterance.id}: true_distribution has {len(shares)} shares, it must have one for each of {classes}."
        )
    return shares


def _source(utterance: Utterance) -> bytes | Path | AudioProblem:
    if utterance.audio_bytes is None and utterance.read_audio is not None:
        return utterance.read_audio()
    source = utterance.audio_path if utterance.audio_bytes is None else utterance.audio_bytes
    if source is None:
        raise ValueError(f"{utterance.id}: the corpus parser gave no audio; it must set audio_path or audio_bytes.")
    return source


def _where(utterance: Utterance, root: Path | str) -> str:
    """The path below the root, because a published list must not show the folders of the machine that built it."""
    path = utterance.audio_path
    if path is None:
        return ""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _bar(utterances: list[Utterance], text: str, progress: bool) -> Iterable[Utterance]:
    if not progress:
        return utterances
    from tqdm import tqdm

    return tqdm(utterances, desc=text, unit="utterance")
