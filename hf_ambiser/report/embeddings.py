"""The t-SNE of the embeddings that runs kept of their test utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hf_ambiser.plotting.colours import colour
from hf_ambiser.plotting.figure import save
from hf_ambiser.plotting.panels import literal, panels
from hf_ambiser.report.groups import Group
from hf_ambiser.run_folder.finished import FinishedRun


MOST_UTTERANCES = 800
MOST_PANELS = 4
NEEDS_SKLEARN = 'no t-SNE: scikit-learn is not installed here; `pip install "hf-ambiser[report]"` brings it.'
NO_EMBEDDINGS = "no t-SNE: these runs kept no embeddings; runs of this version do."


def embeddings(
    group: Group, splits: Sequence[str], systems: Sequence[str], out: Path, done: Callable[[], object] = lambda: None
) -> Path | str:
    """Draw a t-SNE (PCA start, perplexity 30) of the test utterances' embeddings, one panel a system.

    A panel is one run, the lowest seed of the first fold: the embeddings of two runs lie in two spaces. Of more than
    `MOST_UTTERANCES` utterances only some are drawn, evenly chosen. The colour is the raters' consensus; an utterance
    without one is grey.

    Returns:
        The file, or the reason there is none.
    """
    if find_spec("sklearn") is None:
        return NEEDS_SKLEARN
    shown = [(system, *_of(group.systems[system][0], splits)) for system in systems[:MOST_PANELS]]
    if any(embedding is None for _, embedding, _ in shown):
        return NO_EMBEDDINGS
    figure, axes = panels(len(shown), width=3.3, height=3.3)
    for axis, (system, embedding, label) in zip(axes, shown, strict=True):
        assert embedding is not None
        kept = np.linspace(0, len(label) - 1, min(len(label), MOST_UTTERANCES)).astype(int)
        points = tsne(embedding[kept])
        done()
        for c in (-1, *range(len(group.classes))):
            mine = label[kept] == c
            if mine.any():
                name = "no consensus" if c < 0 else literal(group.classes[c])
                axis.scatter(*points[mine].T, s=9, color=colour(c), label=name, linewidths=0, alpha=0.85)
        run = group.systems[system][0]
        fold = "" if run.fold is None else f"fold {run.fold}, "
        thinned = "" if len(kept) == len(label) else f" of {len(label)}"
        about = f"{literal(fold)}seed {run.seed}, {len(kept)}{thinned} utterances"
        axis.set_title(f"{literal(system)}\n{about}", fontsize=9)
        axis.set(xticks=[], yticks=[])
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8, markerscale=2)
    return save(figure, out)


def tsne(embedding: np.ndarray) -> np.ndarray:
    """Map `(N, D)` embeddings to `(N, 2)`, the same each time.

    Fewer than 4 utterances are too few for a t-SNE: they are centred, and their first two components are returned.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    scaled = embedding - embedding.mean(axis=0)
    if len(scaled) < 4:
        return np.pad(scaled, ((0, 0), (0, 2)))[:, :2]
    perplexity = min(30.0, (len(scaled) - 1) / 3)
    # One thread: on cores that other work shares, threads that wait for each other take three times as long.
    with threadpool_limits(1):
        scaled = PCA(min(50, *scaled.shape), random_state=0).fit_transform(scaled)
        return TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=500).fit_transform(scaled)


def _of(run: FinishedRun, splits: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray]:
    read = [run.embedding(split) for split in splits]
    label = np.concatenate([one["consensus"] for one in read])
    if any("embedding" not in one for one in read):
        return None, label
    return np.concatenate([one["embedding"] for one in read]), label
