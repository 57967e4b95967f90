"""The papers behind the methods, as a model card cites them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """One paper.

    Args:
        key: BibTeX key.
        authors: Given and family names, in the paper's order.
        title: Title.
        year: Year of publication.
        venue: Where it appeared.
        arxiv: Its number on arXiv, or "".
    """

    key: str
    authors: tuple[str, ...]
    title: str
    year: int
    venue: str
    arxiv: str = ""

    def reference(self) -> str:
        """Return the reference as one line of Markdown."""
        first = self.authors[0].split()[-1] + (" et al." if len(self.authors) > 2 else "")
        link = f"[{self.title}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else self.title
        return f"{first}, {link}, {self.venue} {self.year}"

    def bibtex(self) -> str:
        """Return the entry for a bibliography."""
        lines = [
            f"@inproceedings{{{self.key},",
            f"  author    = {{{' and '.join(self.authors)}}},",
            f"  title     = {{{self.title}}},",
            f"  booktitle = {{{self.venue}}},",
            f"  year      = {{{self.year}}},",
        ]
        if self.arxiv:
            lines += [f"  eprint    = {{{self.arxiv}}},", "  archiveprefix = {arXiv},"]
        return "\n".join([*lines, "}"])


IPR = Paper(
    key="sun2024iterative",
    authors=(
        "Haoqin Sun",
        "Shiwan Zhao",
        "Xiangyu Kong",
        "Xuechen Wang",
        "Hui Wang",
        "Jiaming Zhou",
        "Yong Qin",
    ),
    title="Iterative Prototype Refinement for Ambiguous Speech Emotion Recognition",
    year=2024,
    venue="Interspeech",
    arxiv="2408.00325",
)
