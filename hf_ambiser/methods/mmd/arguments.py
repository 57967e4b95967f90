"""Arguments of `mmd`; the page says where each default comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_ambiser.training.domains import DomainArguments


@dataclass
class MMDArguments(DomainArguments):
    """The kernel in which the two domains are compared.

    Raises:
        ValueError: If a value is not allowed.
    """

    domain_weight: float = field(
        default=0.25, metadata={"help": "Weight of the squared discrepancy, 0 or more; 0.25 is a public code's."}
    )
    bandwidth: float | None = field(
        default=None,
        metadata={
            "help": "sigma of the Gaussian kernel exp(-d^2 / (2 sigma^2)), above 0. Default: the median distance of"
            " two utterances of the micro-batch, so that the kernel fits embeddings of any scale."
        },
    )
    kernels: int = field(
        default=1,
        metadata={
            "help": "How many Gaussian kernels are averaged; their sigma^2 stand in ratios of 2, the middle one at"
            " `bandwidth` squared. DaNN has 1; DAN (Long et al., 2015) and its public code have 5."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ValueError(f"bandwidth={self.bandwidth} must be above 0, or None for the median distance.")
        if self.kernels < 1:
            raise ValueError(f"kernels={self.kernels} must be 1 or more.")
