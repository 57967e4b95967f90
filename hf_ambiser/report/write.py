"""The whole report: read the runs below a folder and write `report/` into that folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hf_ambiser.files.read import exists, read_text
from hf_ambiser.label_analysis.history import History, label_history
from hf_ambiser.metrics.display import COMPARED
from hf_ambiser.report import figures
from hf_ambiser.report.balanced_decisions import balanced_decisions_table
from hf_ambiser.report.convergence import TITLE, convergence, convergence_line, convergence_table
from hf_ambiser.report.decisions import decisions_table
from hf_ambiser.report.document import Block, Picture, Section, markdown
from hf_ambiser.report.embeddings import MOST_PANELS, embeddings
from hf_ambiser.report.groups import Group, find, find_beside, group
from hf_ambiser.report.leaderboard import leaderboard_table
from hf_ambiser.report.page import page
from hf_ambiser.report.paper_tables import quoted_folds_table, quoted_table
from hf_ambiser.report.planned import Planned, read_planned
from hf_ambiser.report.protocols import pairs, protocols_table
from hf_ambiser.report.provenance import data_table, mixed_settings, origin_table, runs_table
from hf_ambiser.report.pseudo_label_table import labels_given_table
from hf_ambiser.report.published import published_table
from hf_ambiser.report.rater_equivalence import on_the_same_utterances, rater_equivalence_table, worth_of_systems
from hf_ambiser.report.results import (
    apart_table,
    baselines_table,
    check_splits,
    comparison_table,
    counts_line,
    figures_table,
    per_class_table,
    selection_table,
)
from hf_ambiser.report.seeds_together import seeds_together_table
from hf_ambiser.report.speaker_groups import speaker_groups_table
from hf_ambiser.report.sweeps import find_sweeps
from hf_ambiser.report.table import Table, file_name
from hf_ambiser.report.utterance_audio import Audio, audio_of
from hf_ambiser.report.utterances import MOST, UtteranceCard, utterance_cards
from hf_ambiser.report.validation_scores import validation_table
from hf_ambiser.report.whole_set import about_whole_set, whole_set_table
from hf_ambiser.run_folder.finished import FinishedRun
from hf_ambiser.run_folder.layout import write_whole
from hf_ambiser.run_scores.held_out import WHOLE
from hf_ambiser.untrusted.names import path_of_name


FOLDER = "report"
DEFAULT_REFERENCE = "ipr"
_WRITTEN = ".written"  # names of what the last report wrote, so that a new one leaves none of its files behind
_LISTED = 20


def write_report(
    folder: Path | str,
    reference: str | None = None,
    splits: Sequence[str] | None = None,
    html: bool = True,
    progress: bool = True,
    beside: Sequence[Path | str] = (),
) -> str:
    """Read all runs below a folder and write `folder/report/`: `report.md`, tables, figures and `report.html`.

    Args:
        folder: Holds run folders, at any depth; a study's folder with its plan, or a single run.
        reference: System that the others are compared with; None: `ipr` if it is there, else the first.
        splits: Test splits to show; None: all.
        html: Whether to write the page.
        progress: Whether to show a bar.
        beside: More folders, whose runs stand in the same tables. Nothing is written into them.

    Returns:
        The report as Markdown.

    Raises:
        ValueError: In one line: no finished run, runs of one row from different data, an unknown system or split.
    """
    folder = Path(folder)
    runs, unfinished = find(folder)
    planned = read_planned(folder, runs)
    others = [Path(other) for other in beside]
    for number, other in enumerate(others):
        more, begun = find_beside(other, [folder, *others[:number]])
        runs += more
        unfinished += begun
    groups = [one.with_all_figures() for one in group(runs, planned.systems if planned else ())]
    systems = list(dict.fromkeys(system for one in groups for system in one.systems))
    if reference is not None and reference not in systems:
        raise ValueError(f"there is no system {reference!r} among these runs; there are {systems}.")
    chosen = check_splits(groups, splits)
    out = path_of_name(folder, FOLDER, "folder of the report", folder)
    before = _written_before(out)
    with tqdm(total=_steps(groups, chosen), unit="step", disable=not progress, leave=False) as bar:
        report = _Report(out, reference, bar, before, others)
        overview = report.overview(folder, groups, runs, unfinished, planned)
        parts = [report.group(one, chosen[one.key]) for one in groups]
        sections = [
            overview,
            *(section for part in parts for section in part),
            *report.together(groups, chosen, planned),
        ]
        sections.append(report.origin(groups, runs, folder))
        text = markdown(sections, report.out)
        report.write("report.md", text)
        if html:
            bar.set_description("page")
            report.write("report.html", report.page(folder, groups, sections))
    report.finish()
    return text


def _written_before(out: Path) -> list[Path]:
    """The files that the last report wrote.

    Raises:
        ValueError: If its list names a file outside of the report.
    """
    path = out / _WRITTEN
    names = (
        read_text(path, "Delete it; then no file of the last report is deleted.").split("\n") if exists(path) else []
    )
    return [path_of_name(out, name, "entry", path, below=True) for name in names if name]


def _steps(groups: Sequence[Group], chosen: dict[tuple[str, ...], list[str]]) -> int:
    """The number of steps that take time: comparisons, runs whose trajectories are read, and t-SNE panels."""
    return sum(
        len(chosen[g.key]) * len(COMPARED) * (len(g.systems) - 1) + len(g.runs) + min(len(g.systems), MOST_PANELS)
        for g in groups
    )


@dataclass
class _Report:
    """Writes the parts of a report, and collects on the way what the page shows."""

    out: Path
    reference: str | None
    bar: Any
    before: Sequence[Path]
    beside: Sequence[Path]
    written: list[str] = field(default_factory=list)
    cards: list[UtteranceCard] = field(default_factory=list)

    def write(self, name: str, text: str) -> None:
        """Write a file of the report, whole or not at all."""
        path = path_of_name(self.out, name, "file of the report", self.out, below=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
        self.written.append(name)

    def table(self, table: Table | None) -> list[Block]:
        """Write a table as CSV and LaTeX, and return it as a block of the report; nothing for None."""
        if table is None:
            return []
        self.write(f"{table.name}.csv", table.csv())
        self.write(f"{table.name}.tex", table.latex())
        return [table]

    def picture(self, path: Path | None, caption: str) -> list[Block]:
        """A figure that was drawn, as a block of the report; nothing for None."""
        if path is None:
            return []
        self.written.append(path.relative_to(self.out).as_posix())
        return [Picture(path, caption)]

    def png(self, *parts: str) -> Path:
        """The path of a figure."""
        return path_of_name(self.out, f"figures/{file_name(*parts)}.png", "figure", self.out, below=True)

    def overview(
        self,
        folder: Path,
        groups: Sequence[Group],
        runs: Sequence[FinishedRun],
        unfinished: Sequence[Path],
        planned: Planned | None,
    ) -> Section:
        """Which runs were found, and which are missing or not finished."""
        lines = []
        names = {one.key[:2] for one in groups}
        if len(names) < len(groups):
            lines.append(
                "**Kept apart.** Some of these runs have the same corpus and splits by name but other data by"
                " fingerprint: they have tables of their own and are never averaged."
            )
        if planned is not None:
            done = planned.n_cells - len(planned.missing)
            lines.append(f"{done} of {planned.n_cells} cells of the plan are finished.")
            lines += self.listing("Missing", planned.missing)
            # An older form of the plan had them, or another plan shares the folder.
            lines += self.listing("Not in the plan, but in the tables", planned.beyond)
            lines += self.listing("Not there yet", [f"{name}: {why}" for name, why in planned.not_there_yet.items()])
            lines += [f"Of the plan {planned.note}."] if planned.note else []
        else:
            lines.append(f"{len(runs)} finished runs.")
        if self.beside:
            lines.append(f"The tables hold runs of other folders, too: {', '.join(map(str, self.beside))}.")
        places = [str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in unfinished]
        lines += self.listing("Begun and not finished", places)
        return Section("", 0, lines)

    def listing(self, title: str, names: Sequence[str]) -> list[str]:
        """`Title (n): a; b`, or nothing without names. A list too long for a sentence is also written as a file."""
        if not names:
            return []
        more = ""
        if len(names) > _LISTED:
            file = f"{file_name(title).lower()}.txt"
            self.write(file, "\n".join([*names, ""]))
            more = f" ... (all of them in `{file}`)"
        return [f"**{title} ({len(names)}):** {'; '.join(names[:_LISTED])}{more}."]

    def group(self, group: Group, splits: Sequence[str]) -> list[Section]:
        """All tables and figures of one group, split by split."""
        reference = self.reference if self.reference in group.systems else None
        if self.reference is None:
            reference = DEFAULT_REFERENCE if DEFAULT_REFERENCE in group.systems else next(iter(group.systems))
        head: list[Block] = [group.describe()]
        if not group.whole or group.whole in splits:
            head.append(about_whole_set(group))
        if len(group.systems) > 1 and reference is None:
            head.append(f"There is no system {self.reference!r} here, so systems are not compared pair by pair.")
        sections = [Section(group.name, 2, head), Section(TITLE, 3, self.converged(group, reference))]
        for split in splits:
            title = f"{split}: {WHOLE}" if split == group.whole and split in group.stored_splits else split
            sections.append(Section(title, 3, self.split(group, split, reference)))
        stored = [split for split in splits if split in group.stored_splits] or group.stored_splits
        sections.append(Section("Over all test splits", 3, self.whole(group, stored, reference)))
        return [section for section in sections if section.blocks]

    def converged(self, group: Group, reference: str | None) -> list[Block]:
        """Which systems had converged, and the validation curves that say so."""
        found = convergence(group)
        blocks: list[Block] = [convergence_line(found), *self.table(convergence_table(group, found))]
        blocks += self.table(validation_table(group))
        return blocks + self.picture(
            figures.validation_curves(group, self.png(group.name, "validation"), reference),
            "Validation while the runs trained: mean over the cells that were evaluated at an epoch, with the 95 %"
            " interval" + _some(group, figures.MOST_LINES),
        )

    def split(self, group: Group, split: str, reference: str | None) -> list[Block]:
        """Tables and figures of one test split."""
        self.bar.set_description(f"tests on {split}")
        blocks: list[Block] = [counts_line(group, split), *self.table(baselines_table(group, split))]
        worths = worth_of_systems(group, split)
        if split == group.whole:
            blocks += self.table(leaderboard_table(group, split, reference, worths))
            blocks += self.table(seeds_together_table(group, split))
            blocks += self.table(balanced_decisions_table(group, split, reference))
        blocks += self.table(figures_table(group, split))
        if split == group.whole:
            blocks += self.table(whole_set_table(group)) + self.table(published_table(group))
        blocks += self.table(selection_table(group, split)) + self.table(decisions_table(group, split))
        if reference is not None and len(group.systems) > 1:
            for figure in COMPARED:
                blocks += self.table(comparison_table(group, split, figure, reference, self.bar.update))
        blocks += self.table(per_class_table(group, split))
        blocks += self.table(None if split == group.whole else apart_table(group, split))
        blocks += self.table(speaker_groups_table(group, split))
        blocks += self.table(rater_equivalence_table(group, split, worths))
        parts, some = (group.name, split), _some(group, figures.MOST_PANELS)
        lines = _some(group, figures.MOST_LINES)
        blocks += self.picture(
            figures.confusion(group, split, self.png(*parts, "confusion"), reference),
            f"Confusion of the classes, {split}{some}",
        )
        blocks += self.picture(
            figures.reliability(group, split, self.png(*parts, "reliability"), reference),
            f"Reliability, {split}: confidence against consensus and against votes, in bins of 5 utterances or"
            f" more{lines}",
        )
        blocks += self.picture(
            figures.entropy(group, split, self.png(*parts, "entropy"), reference),
            f"Entropy of the model against that of the votes, {split}; orange: mean in bins of 5 utterances or"
            f" more{some}",
        )
        blocks += self.picture(
            figures.risk_coverage_curves(group, split, self.png(*parts, "risk_coverage"), reference),
            f"Risk and coverage, {split}: share of wrong answers among the most confident ones, over the share of"
            f" utterances that are answered; mean over seeds, the folds of a seed together{lines}",
        )
        undrawn = set(worths) - set(on_the_same_utterances(worths))
        blocks += self.picture(
            figures.rater_curve(group, worths, self.png(*parts, "rater_equivalence"), reference),
            f"Rater equivalence, {split}: what n raters say about one more rater's answer, and what each system says"
            " about it (thin) over the same utterances. A system is worth the n at which its line meets the raters'"
            f" curve; the legend has it with its 95 % interval over speakers{lines}"
            + (f". Not drawn, with other utterances or no worth: {', '.join(sorted(undrawn))}" if undrawn else ""),
        )
        return blocks

    def whole(self, group: Group, splits: Sequence[str], reference: str | None) -> list[Block]:
        """The tables and figures that belong to no single split: labels given in training, embeddings, sweeps."""
        self.bar.set_description("labels")
        histories: dict[str, History] = {}
        for system, runs in group.systems.items():
            history = label_history(runs, MOST, self.bar.update)
            if history is not None:
                histories[system] = history
        blocks: list[Block] = self.table(labels_given_table(group))
        shown = {name: histories[name] for name in histories if any(run.has_labels for run in histories[name].epochs)}
        blocks += self.picture(
            figures.trajectories(group, shown, self.png(group.name, "trajectories"), reference),
            "Labels of ambiguous utterances over epochs: share that differs from the raters' consensus, and their"
            " entropy" + _some(group, figures.MOST_LINES),
        )
        for number, sweep in enumerate(find_sweeps(group)):
            blocks += self.picture(
                figures.sweep(group, sweep, splits, self.png(group.name, "sweep", str(number), sweep.field)),
                f"Sweep of {sweep.field}, 95 % intervals as in the tables",
            )
        self.bar.set_description("t-SNE")
        order = figures.drawn(group, reference, MOST_PANELS)
        drawn = embeddings(group, splits, order, self.png(group.name, "embeddings"), self.bar.update)
        some = _some(group, MOST_PANELS)
        caption = (
            f"t-SNE of the embeddings of the test utterances, coloured by the raters' consensus; one run a panel{some}"
        )
        blocks += [drawn[0].upper() + drawn[1:]] if isinstance(drawn, str) else self.picture(drawn, caption)
        first = [reference] if reference else []
        self.cards += utterance_cards(group, list(dict.fromkeys([*first, *group.systems])), histories, list(splits))
        return blocks

    def together(
        self, groups: Sequence[Group], chosen: dict[tuple[str, ...], list[str]], planned: Planned | None
    ) -> list[Section]:
        """The tables that compare groups: the two protocols, and a paper's numbers."""
        sections = []
        for paper, strict in pairs(groups):
            table = protocols_table(paper, strict, chosen[paper.key])
            if table is not None:
                sections.append(Section(f"Paper and strict protocol: {strict.name}", 2, self.table(table)))
        quoted = quoted_table(groups, planned.quoted if planned else [])
        if quoted is not None:
            sections.append(Section("The paper's numbers beside ours", 2, self.table(quoted)))
        folds = quoted_folds_table(groups, planned.quoted_folds if planned else [])
        if folds is not None:
            sections.append(Section("The paper's numbers fold by fold", 2, self.table(folds)))
        return sections

    def origin(self, groups: Sequence[Group], runs: Sequence[FinishedRun], folder: Path) -> Section:
        """Versions, commits, machines and fingerprints as tables, and the figures of every run as a file."""
        table, warnings = origin_table(runs)
        self.table(runs_table(groups, folder))
        words = [f"**Warning.** {warning}" for warning in [*mixed_settings(groups), *warnings]]
        rest = (
            "`runs.csv` beside this report holds every run's figures, unrounded; each table is there as CSV and LaTeX."
        )
        return Section("Made with", 2, [*words, *self.table(table), *self.table(data_table(groups)), rest])

    def page(self, folder: Path, groups: Sequence[Group], sections: Sequence[Section]) -> str:
        """The page, with the audio of its utterances as far as it can be read."""
        heard: dict[str, Any] = {}
        reasons = []
        for one in groups:
            audio = audio_of(one.first, [card.id for card in self.cards if card.group == one.name], folder)
            heard |= audio.utterances
            reasons += [audio.why_not] if audio.why_not else []
        n = sum(len(one.runs) for one in groups)
        systems = {system for one in groups for system in one.systems}
        where = " and ".join(f"{one.absolute().name}/" for one in (folder, *self.beside))
        lead = f"{len(systems)} systems, {n} finished runs below {where}. This file holds everything that it shows."
        title = f"Report: {', '.join(one.name for one in groups)}"
        return page(title, lead, sections, self.cards, Audio(heard, "; ".join(dict.fromkeys(reasons))))

    def finish(self) -> None:
        """Delete the files that an earlier report wrote and this one did not."""
        kept = {self.out / name for name in self.written}
        for path in self.before:
            if path not in kept:
                path.unlink(missing_ok=True)
        self.write(_WRITTEN, "\n".join(sorted(self.written)))


def _some(group: Group, most: int) -> str:
    """The words that a caption gets if not every system is drawn."""
    return f" ({most} of {len(group.systems)} systems)" if len(group.systems) > most else ""
