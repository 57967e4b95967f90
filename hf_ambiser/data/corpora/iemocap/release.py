"""Find an IEMOCAP release on disk, and tell a user who passes a wrong folder which one to pass."""

from __future__ import annotations

from pathlib import Path


SESSIONS = ("Session1", "Session2", "Session3", "Session4", "Session5")
LABELS = Path("dialog") / "EmoEvaluation"
AUDIO = Path("sentences") / "wav"
TRANSCRIPTS = Path("dialog") / "transcriptions"
_FORM = "the folder that holds Session1 ... Session5, each with dialog/EmoEvaluation/<dialog>.txt"


def find_sessions(root: Path) -> list[Path]:
    """List the session folders in `root`, in order.

    Raises:
        FileNotFoundError: If `root` does not exist or holds no session with labels; if the release is above or one
            level below, the message names its folder.
        NotADirectoryError: If `root` is a file.
    """
    if not root.exists():
        raise FileNotFoundError(f"IEMOCAP root {root} does not exist. Pass {_FORM}.")
    if not root.is_dir():
        raise NotADirectoryError(f"IEMOCAP root {root} is a file. Unpack the release and pass {_FORM}.")
    if is_root(root):
        return [root / name for name in SESSIONS if (root / name).is_dir()]

    found = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
    shown = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    said = f"IEMOCAP root {root} holds no Session1 ... Session5 with labels; it holds: {shown or 'nothing'}."
    for above in root.resolve().parents:
        if is_root(above):
            raise FileNotFoundError(f"{said} It lies inside a release: pass {above}, {_FORM}.")
    below = [p for p in sorted(root.iterdir()) if p.is_dir() and is_root(p)]
    if below:
        raise FileNotFoundError(f"{said} The release lies one level below: pass {below[0]}.")
    if (root / LABELS).is_dir():
        raise FileNotFoundError(
            f"{said} It looks like a single session: put it into a folder as Session<n> and pass that folder."
        )
    bare = [name for name in found if name in SESSIONS]
    if bare:
        raise FileNotFoundError(
            f"{said} There is no {LABELS.as_posix()} in {', '.join(bare)}: the labels are missing."
        )
    raise FileNotFoundError(f"{said} Pass {_FORM}.")


def is_root(folder: Path) -> bool:
    """Return whether a folder holds at least one session with labels."""
    return any((folder / name / LABELS).is_dir() for name in SESSIONS)


def label_files(session: Path) -> list[Path]:
    """List the label files of one session, without hidden files and without those in subfolders."""
    folder = session / LABELS
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix == ".txt" and not p.name.startswith(".") and p.is_file())


def audio_files(session: Path) -> dict[str, Path]:
    """Find `<dialog>/<utterance>` -> wav file of one session, without hidden (macOS `._`) files."""
    folder = session / AUDIO
    if not folder.is_dir():
        return {}
    files: dict[str, Path] = {}
    for dialog in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in sorted(dialog.iterdir()):
            if path.suffix.lower() == ".wav" and not path.name.startswith("."):
                files.setdefault(f"{dialog.name}/{path.stem}", path)
    return files


def read(path: Path) -> tuple[str, int]:
    """Read the text of a file, and count the replacement characters for bytes that are not UTF-8."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    return text, text.count("\ufffd")
