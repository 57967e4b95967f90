"""The layers of the raters: from what the network hears to what each rater is expected to answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


# CoNAL's matrices begin as twice the identity, as in its authors' code; CrowdLayer's as the identity.
_CONAL_SCALE = 2.0
_HIDDEN = 128


class CrowdLayer(nn.Module):
    """A matrix for each rater (Rodrigues & Pereira 2018, form MW): `W_r p`, W_r being the identity at first.

    The parameter is `W_r - I`, so that weight decay draws a rater's answers to what the network hears.
    """

    def __init__(self, n_raters: int, n_classes: int) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.zeros(n_raters, n_classes, n_classes))
        self.scale = 1.0

    def matrices(self) -> Tensor:
        """Return W, `(R, K, K)`; column c is about utterances of class c."""
        return self.change + self.scale * torch.eye(self.change.shape[1], device=self.change.device)

    def forward(self, probability: Tensor, rater: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Return the logits `(B, A, K)` of the answers of A raters to each of B utterances.

        Args:
            probability: p, the softmax of the network's logits, `(B, K)`.
            rater: `(B, A)` int in [0, R).
            embedding: Not used.
        """
        return torch.einsum("bakc,bc->bak", self.matrices()[rater], probability)


class CommonConfusion(CrowdLayer):
    """CoNAL (Chu et al. 2021): `omega W_g p + (1 - omega) W_r p`, with W_g common to all raters.

    `omega = sigmoid(u_r . v)` for rater r and utterance x, with unit vectors u_r (of the rater) and v (of x).
    """

    def __init__(self, n_raters: int, n_classes: int, embedding_size: int, size: int) -> None:
        super().__init__(n_raters, n_classes)
        self.scale = _CONAL_SCALE
        self.common_change = nn.Parameter(torch.zeros(n_classes, n_classes))
        self.of_utterance = nn.Sequential(nn.Linear(embedding_size, _HIDDEN), nn.Linear(_HIDDEN, size))
        self.of_rater = nn.Embedding(n_raters, size)

    def common_matrix(self) -> Tensor:
        """Return W_g, `(K, K)`."""
        return self.common_change + self.scale * torch.eye(len(self.common_change), device=self.common_change.device)

    def common_rate(self, rater: Tensor, embedding: Tensor) -> Tensor:
        """Return omega, `(B, A)` in (0, 1), of raters `(B, A)` and embeddings of utterances `(B, D)`."""
        v = F.normalize(self.of_utterance(embedding), dim=-1)
        return torch.sigmoid((F.normalize(self.of_rater(rater), dim=-1) * v[:, None]).sum(dim=-1))

    def own_confusion(self) -> Tensor:
        """Return the sum over raters of the Frobenius distance between W_r and W_g."""
        return torch.linalg.matrix_norm(self.matrices() - self.common_matrix()).sum()

    def forward(self, probability: Tensor, rater: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Return the logits `(B, A, K)`; arguments as in `CrowdLayer`, with the embedding of utterances `(B, D)`."""
        assert embedding is not None
        omega = self.common_rate(rater, embedding)[..., None]
        common = torch.einsum("kc,bc->bk", self.common_matrix(), probability)[:, None]
        return omega * common + (1 - omega) * super().forward(probability, rater)
