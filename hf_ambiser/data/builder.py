"""The rows of `build()` as a `datasets` builder, for users who prefer the cache of `datasets` to a folder.

```python
builder = AmbiguousSpeech(config_name="ipr-strict", corpus="crema_d", data_dir=root)
builder.download_and_prepare()
d1 = builder.as_dataset(split="d1")
```
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np

from hf_ambiser.data.corpora import load_corpus
from hf_ambiser.data.corpus_rows import Prepared, prepare
from hf_ambiser.data.policy_file import policy_of
from hf_ambiser.data.schema import features
from hf_ambiser.data.splits import SplitOptions, check_options, make_split


@dataclass
class AmbiguousSpeechConfig(datasets.BuilderConfig):
    """One split config of one corpus; `name` is the config (`ipr-strict`), `data_dir` the corpus release.

    Args:
        corpus: Name of the corpus module.
        policy: Name of the label policy, or its YAML file; by default the corpus' own.
        seed: See `SplitOptions`.
        d1_quota: See `SplitOptions`.
        sizes: See `SplitOptions`.
        min_per_class: See `SplitOptions`.
        clear_threshold: See `SplitOptions`.
        limit: Use only this many utterances.
    """

    name: str = "ipr-strict"
    corpus: str = "crema_d"
    policy: str | None = None
    seed: int = 0
    d1_quota: str = "agreement"
    sizes: tuple[int, int, int] | None = None
    min_per_class: int = SplitOptions.min_per_class
    clear_threshold: float | str = SplitOptions.clear_threshold
    limit: int | None = None


class AmbiguousSpeech(datasets.GeneratorBasedBuilder):
    """A builder of rows with votes, soft labels and ambiguity, split as the config's name says.

    The cache of `datasets` depends on the options and the folder's name, but not on the folder's content. So after a
    change of the release, prepare with `download_mode="force_redownload"`.
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = AmbiguousSpeechConfig
    DEFAULT_CONFIG_NAME = "ipr-strict"

    def _info(self) -> datasets.DatasetInfo:
        corpus = load_corpus(self.config.corpus)
        return datasets.DatasetInfo(
            features=features(policy_of(self.config.policy or corpus.POLICY).classes),
            homepage=corpus.HOMEPAGE,
            license=corpus.LICENSE,
            citation=corpus.CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        c = self.config
        if not c.data_dir:
            raise ValueError(f"data_dir is not set: pass the folder of the {c.corpus} release as data_dir=...")
        prepared = prepare(c.corpus, c.data_dir, c.policy, limit=c.limit, seed=c.seed)
        options = SplitOptions(
            seed=c.seed,
            d1_quota=c.d1_quota,
            sizes=c.sizes,
            min_per_class=c.min_per_class,
            clear_threshold=c.clear_threshold,
        )
        split = make_split(prepared.split_input(), c.name, options)
        check_options([split], options)
        return [
            datasets.SplitGenerator(
                name=name, gen_kwargs={"prepared": prepared, "rows": split.rows(name), "masked": name in split.masked}
            )
            for name in split.names
        ]

    def _generate_examples(
        self, prepared: Prepared, rows: np.ndarray, masked: bool
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(prepared.rows(rows, masked))
