"""How the next token is to be chosen. The order and the meaning of the options are transformers': repetition penalty
(Keskar et al., 2019), temperature, top-k (Fan et al., 2018), top-p (Holtzman et al., 2020).
"""

import math
from dataclasses import dataclass

from swarm.errors import InvalidRequest


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen. Raises InvalidRequest for values that mean nothing."""

    temperature: float = 0.0  # 0: greedy
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InvalidRequest(f"temperature must be 0 (greedy) or a positive number, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidRequest(f"top_k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidRequest(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise InvalidRequest(f"repetition_penalty must be positive, not {self.repetition_penalty}")
