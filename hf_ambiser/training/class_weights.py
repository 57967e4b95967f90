"""How the cross-entropy of training balances classes of different size: one definition for all methods.

With targets t, logits z and class weights `w_c = N / (K n_c)`, whose mean over the targets is 1, an utterance's loss
is one of these:

- form `utterance`: `(sum_c t_c w_c) CE(t, softmax z)`. The weight does not depend on the prediction, so the loss of an
  utterance is smallest where the prediction is t.
- form `class`: `-sum_c w_c t_c log softmax(z)_c`, as torch's `cross_entropy(weight=w)` has it for probabilities. It is
  smallest where the prediction is proportional to `w_c t_c`.
- logit adjustment (Menon et al. 2021, *Long-tail learning via logit adjustment*, Eq. 10): `CE(t, softmax(z + tau log
  pi))` with the class shares pi of the training targets. It is smallest where softmax(z) is proportional to
  `t_c / pi_c^tau`. The shift is part of the training loss only; a model answers without it.

For one-hot targets the two forms are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_ambiser.training.losses import soft_cross_entropy


FORMS = ("utterance", "class")


def inverse_frequency(counts: Tensor) -> Tensor:
    """Return `(K,)` N / (K n_c) of the targets' sums n_c `(K,)`; an empty class counts as one target."""
    return counts.sum() / (len(counts) * counts.clamp(min=1))


@dataclass(frozen=True)
class ClassBalance:
    """The class weights and the logit adjustment of a run.

    Args:
        weight: w, `(K,)`; ones without class weights.
        form: One of `FORMS`.
        shift: `tau log pi`, `(K,)`; None without logit adjustment.
    """

    weight: Tensor
    form: str = "utterance"
    shift: Tensor | None = None

    @classmethod
    def of(cls, counts: Tensor, class_weights: str, form: str, logit_adjustment: float) -> ClassBalance:
        """Return the balance that arguments ask for.

        Args:
            counts: Sums of the training targets, `(K,)`.
            class_weights: `none` or `inverse_frequency`.
            form: One of `FORMS`.
            logit_adjustment: tau; 0 for none.

        Raises:
            ValueError: If a class has no target, so that its logits cannot be adjusted.
        """
        weight = torch.ones_like(counts) if class_weights == "none" else inverse_frequency(counts)
        if logit_adjustment == 0:
            return cls(weight, form)
        empty = torch.nonzero(counts == 0).flatten().tolist()
        if empty:
            raise ValueError(
                f"logit_adjustment={logit_adjustment} needs a training target of every class, and class(es) {empty}"
                " have none. Build the split with fewer classes, or set logit_adjustment to 0."
            )
        return cls(weight, form, logit_adjustment * (counts / counts.sum()).log())

    def logits(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the logits `(B, K)` that the training loss sees; only those of `rows` `(B,)` are adjusted."""
        if self.shift is None:
            return logits
        adjusted = logits.float() + self.shift
        return adjusted if rows is None else torch.where(rows[:, None], adjusted, logits.float())

    def utterance_weight(self, target: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return what an utterance counts, `(B,)`: `sum_c t_c w_c`, and 1 outside of `rows` `(B,)`."""
        expected = (target * self.weight).sum(dim=1)
        return expected if rows is None else torch.where(rows, expected, 1.0)

    def cross_entropy(self, logits: Tensor, target: Tensor, weight: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the weighted cross-entropy of each utterance, `(B,)` in nats, float32.

        Args:
            logits: z, `(B, K)`.
            target: t, `(B, K)`.
            weight: What an utterance counts for other reasons, `(B,)`.
            rows: `(B,)` bool, the rows that are balanced; None: all.
        """
        logits = self.logits(logits, rows)
        if self.form == "utterance":
            return weight * self.utterance_weight(target, rows) * soft_cross_entropy(logits, target)
        weighted = target * self.weight
        weighted = weighted if rows is None else torch.where(rows[:, None], weighted, target)
        return weight * soft_cross_entropy(logits, weighted)
