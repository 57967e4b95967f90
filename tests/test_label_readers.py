"""The readers of label files on files that hypothesis spoils: an error of the package, or no vote made or lost.

Each corpus has a small right release, or that of `helpers/made_releases.py`. An example changes bytes, letters, cells
and lines of one of its label files.
"""

from __future__ import annotations

import csv
import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from helpers import iemocap_tree
from helpers.crema_d_tree import csv_row, write_responses, write_tree
from helpers.made_ratings import write_csv
from helpers.made_releases import RELEASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_ambiser.data.corpora import available_corpora, crema_d, iemocap, load_corpus, simulated
from hf_ambiser.data.ratings.own_corpus import read_own_corpus
from hf_ambiser.data.schema import CorpusScan


@dataclass(frozen=True)
class Release:
    """A release: the content of its files, which of them are spoilt, what reads it, and the votes that they tell."""

    files: dict[str, bytes]
    spoilt: tuple[str, ...]
    read: Callable[[Path], CorpusScan]
    told: int


def written(write: Callable[[Path], object]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }


@cache
def release(name: str) -> Release:
    if name == "crema_d":
        rows = [
            csv_row(n, f"100{n}_IEO_ANG_HI", [n, 0, 2, 0, 1, 0], kind) for kind in (1, 2) for n in range(1, 5)
        ]  # fmt: skip

        def write(root: Path) -> None:
            write_tree(root, rows, {f"AudioWAV/100{n}_IEO_ANG_HI.wav": b"" for n in range(1, 4)})
            write_responses(root, rows)

        spoilt = (str(crema_d.VOTES), "finishedResponses.csv", "finishedEmoResponses.csv", str(crema_d.DEMOGRAPHICS))
        return Release(written(write), spoilt, crema_d.scan, sum(n + 3 for n in range(1, 5)))
    if name == "iemocap":
        names = [f"Ses01F_impro01_{'FM'[n % 2]}{n:03d}" for n in range(5)]
        blocks = {
            name: iemocap_tree.block(
                name, "neu", "C-E1:\tNeutral;\t()", "C-E2:\tAnger; Sadness;\t(x; y)", f"C-{name[-4]}1:\tFear;\t()",
                "A-E1:\tval 3; act 2; dom  3;\t()",
            )
            for name in names
        }  # fmt: skip
        files = written(lambda root: iemocap_tree.write_dialog(root, "Ses01F_impro01", blocks))
        return Release(files, tuple(file for file in files if file.endswith(".txt")), iemocap.scan, 5 * 4)
    if name == "simulated":
        options = {"n_utterances": 4, "n_speakers": 2, "n_raters": 4, "votes_per_utterance": 3, "audio_format": "flac"}
        files = written(lambda root: simulated.generate(root, **options))
        told = in_simulated(files["votes.csv"].decode().splitlines())
        return Release(files, ("votes.csv", "truth.csv"), simulated.scan, told)
    if name in RELEASED:
        return as_released(*RELEASED[name])

    def table(root: Path) -> None:
        rows = [(f"u{n}", f"r{k}", ("anger", "fear;calm")[(n + k) % 2], f"s{n}") for n in range(4) for k in range(3)]
        write_csv(root / "ratings.csv", rows)
        (root / "clips").mkdir()
        for n in range(3):
            (root / "clips" / f"u{n}.wav").write_bytes(b"")

    def read(root: Path) -> CorpusScan:
        return read_own_corpus(root / "ratings.csv", root / "clips", as_found=True, separator=";").scan

    return Release(written(table), ("ratings.csv",), read, 18)


def as_released(name: str, make: Callable) -> Release:
    """A made release, all of whose tables and lists are spoilt."""
    told = []

    def write(root: Path) -> None:
        made = make(root)
        told.extend([made.told(), made.root.relative_to(root)])

    files = written(write)
    spoilt = sorted(file for file in files if Path(file).suffix in (".csv", ".tsv", ".txt", ".json"))
    return Release(files, tuple(spoilt), lambda root: load_corpus(name).scan(root / told[1]), told[0])


SMALL = ("crema_d", "iemocap", "simulated", "a table of one's own")
NO_LABEL_FILE = {"ravdess"}  # the names of its recordings are its labels
RELEASED = {
    make.__name__: (name, make)
    for name, forms in RELEASES.items()
    if name not in {*SMALL, *NO_LABEL_FILE}
    for make in forms
}
CORPORA = (*SMALL, *RELEASED)
PIECES = st.one_of(
    st.sampled_from(
        [
            b'"', b"\n", b"\r", b"\0", b";", b"\t", b",", b"\xff\xfe", b"\xef\xbb\xbf", b"[", b"]", b"(", b"C-E1:\t",
            b"9" * 5000, "\u0664\u0662".encode(), b"1_0", b"-1", b"1e400", b"nan", b"0x41", b"=cmd()", b"\x85", b"  ",
        ]
    ),
    st.binary(max_size=8),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
)  # fmt: skip
# (which file, where, how many bytes are taken away, what stands there instead)
EDITS = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.sampled_from([0, 0, 1, 2, 40]), PIECES), max_size=6)


def spoil(made: Release, edits: list[tuple[int, float, int, bytes]], seed: int) -> dict[str, bytes]:
    """Change the label files; whole lines change places, and are given twice, too."""
    files = dict(made.files)
    for which, where, n, piece in edits:
        name = made.spoilt[which % len(made.spoilt)]
        at = int(where * len(files[name]))
        files[name] = files[name][:at] + piece + files[name][at + n :]
    rng = random.Random(seed)
    if seed % 3 == 0:
        name = rng.choice(made.spoilt)
        lines = files[name].split(b"\n")
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[first], lines[second] = lines[second], lines[first if seed % 2 else second]
        files[name] = b"\n".join(lines)
    return files


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Corpus -> a folder with its release. An example writes the label files anew, and the other files stay."""
    folders = {}
    for corpus in CORPORA:
        root = folders[corpus] = tmp_path_factory.mktemp("release")
        write_files(root, release(corpus).files)
    return folders


def write_files(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def check(corpus: str, root: Path, edits: list[tuple[int, float, int, bytes]], seed: int) -> None:
    made, folder = release(corpus), str(root)
    files = spoil(made, edits, seed)
    write_files(root, {name: files[name] for name in made.spoilt})
    try:
        scan = made.read(root)
    except ValueError as error:  # the package's own: one line that names a file or says what to do
        assert "\n" not in str(error) and len(str(error)) < 5000
        assert type(error).__module__.startswith("hf_ambiser") or type(error) is ValueError
        return
    assert scan.count_in == len(scan.utterances) + len(scan.listed)
    assert len({utterance.id for utterance in scan.utterances}) == len(scan.utterances)
    for item in scan.listed:
        assert folder not in item.detail + item.source and len(item.detail) < 600, item
    held = sum(len(rating.labels) for utterance in scan.utterances for rating in utterance.ratings)
    lost = scan.lost.labels
    assert all(n > 0 for n in lost.values()) and set(scan.lost.ratings) == set(lost)
    if corpus == "a table of one's own":
        assert scan.rows is not None and held + lost.total() == scan.rows.counts["votes_in"]
        assert held == scan.rows.counts["votes_used"]
    if not edits and seed % 3:
        assert held + lost.total() == made.told


def test_every_corpus_with_label_files_is_there(tmp_path):
    names = {*SMALL} - {"a table of one's own"} | {name for name, _ in RELEASED.values()}
    assert names | NO_LABEL_FILE == {*available_corpora()}
    for name in NO_LABEL_FILE:
        made = RELEASES[name][0](tmp_path / name)
        assert not made.tables and {path.suffix for path in made.root.rglob("*.*")} == {".wav"}


EXAMPLES = {"edits": EDITS, "seed": st.integers(0, 2**16)}
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_right_release_has_all_its_votes(corpus, roots):
    check(corpus, roots[corpus], [], 1)


@pytest.mark.parametrize("corpus", SMALL)
@settings(max_examples=200, derandomize=True, **QUIET)
@given(**EXAMPLES)
def test_spoilt_label_files(corpus, roots, edits, seed):
    check(corpus, roots[corpus], edits, seed)


@pytest.mark.parametrize("corpus", RELEASED)
@settings(max_examples=50, derandomize=True, **QUIET)
@given(**EXAMPLES)
def test_spoilt_label_files_of_made_releases(corpus, roots, edits, seed):
    check(corpus, roots[corpus], edits, seed)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", CORPORA)
@settings(max_examples=10_000, **QUIET)
@given(**EXAMPLES)
def test_many_spoilt_label_files(corpus, roots, edits, seed):
    check(corpus, roots[corpus], edits, seed)


def in_iemocap(lines: list[str]) -> int:
    """All labels of rating lines, wherever they stand."""
    rated = [line.split(":\t", 1)[1] for line in lines if line.startswith("C-") and ":\t" in line]
    return sum(bool(word.strip()) for answer in rated for word in answer.split("\t")[0].split(";"))


def in_crema_d(lines: list[str]) -> int:
    """The six counts of each row whose raters heard the voice."""
    rows = [line.replace('"', "").split(",") for line in lines[1:] if line.strip()]
    return sum(int(n) for row in rows if row[0].startswith("1") for n in row[1:7])


def in_simulated(lines: list[str]) -> int:
    return sum(len(line.rsplit(",", 1)[1].split(";")) for line in lines[1:] if line.strip())


def in_rows(votes: int, n_cells: int, delimiter: str) -> Callable[[list[str]], int]:
    """So many votes for each row that has all cells."""
    return lambda lines: votes * sum(len(row) == n_cells for row in csv.reader(lines[1:], delimiter=delimiter))


def in_emo_db(lines: list[str]) -> int:
    """The votes of twenty listeners in each row that has a number."""
    return 20 * sum(bool(re.search(r"\.wav\s+\d", line)) for line in lines[1:])


def words_of(answer: str) -> int:
    """How many words there are in a primary emotion and secondary ones; all free texts are one word."""
    words = {word.strip().lower() for word in re.split("[;,]", answer)} - {""}
    free = {word for word in words if word.startswith("other") or word in ("else", "optimistic")}
    return len(words - free) + bool(free)


def in_msp_rows(lines: list[str]) -> int:
    return sum(words_of(f"{row[2]};{row[3]}") for row in csv.reader(lines[1:]) if row)


def in_msp_blocks(lines: list[str]) -> int:
    """Lines of raters begin with their names."""
    rated = [line for line in lines if line.lower().startswith("worker")]
    return sum(words_of(line.split(";", 1)[1].split("; A:")[0]) for line in rated)


@pytest.mark.parametrize(
    ("corpus", "file", "count"),
    [
        ("iemocap", "", in_iemocap),
        ("crema_d", "", in_crema_d),
        ("simulated", "", in_simulated),
        ("nemo", "data.tsv", in_rows(1, 7, "\t")),
        ("meld", "dev_sent_emo.csv", in_rows(1, 8, ",")),
        ("emo_db", "erkennung.txt", in_emo_db),
        ("msp_podcast", "Labels/labels_detailed.csv", in_msp_rows),
        ("msp_podcast_text", "Labels/labels.txt", in_msp_blocks),
        ("msp_improv", "Evalution.txt", in_msp_blocks),
    ],
)
@settings(max_examples=100, derandomize=True, **QUIET)
@given(taken=st.lists(st.integers(1, 30), max_size=12), seed=st.integers(0, 2**16))
def test_lines_in_any_order_lose_and_make_no_vote(corpus, file, count, roots, taken, seed):
    """Lines go, come twice and change places; each vote that stands in some line is kept or lost, once."""
    made, rng = release(corpus), random.Random(seed)
    file = file or made.spoilt[0]
    all_lines = made.files[file].decode("latin-1").split("\n")
    first, *lines = [line for n, line in enumerate(all_lines) if n not in taken]
    lines += rng.choices(lines, k=2) if lines else []
    if seed % 2:
        rng.shuffle(lines)
    write_files(roots[corpus], {name: made.files[name] for name in made.spoilt})
    write_files(roots[corpus], {file: "\n".join([first, *lines]).encode("latin-1")})
    scan = made.read(roots[corpus])
    held = sum(len(rating.labels) for utterance in scan.utterances for rating in utterance.ratings)
    elsewhere = made.told - count(all_lines)
    assert held + scan.lost.labels.total() == elsewhere + count([first, *lines])
