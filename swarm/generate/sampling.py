"""How the next token is to be chosen. The order and the meaning of the options are transformers': repetition penalty
(Keskar et al., 2019), temperature, top-k (Fan et al., 2018), top-p (Holtzman et al., 2020).
"""

from dataclasses import dataclass

from swarm import kinds

COLDEST = 1e-6  # temperature; what is colder is as good as greedy
PENALTIES = 0.001, 1000.0  # for repetition: beyond them, logits leave float32


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen. Raises InvalidRequest for values that mean nothing."""

    temperature: float = 0.0  # 0: greedy
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        kinds.settle(self, _KINDS)

    @property
    def without_effect(self) -> str:
        """What to say of options that change nothing, as they are; empty: there are none."""
        idle = [name for name in ("top_k", "top_p") if getattr(self, name) is not None]
        if self.temperature or not idle:
            return ""
        return f"{' and '.join(idle)} without a temperature: greedy, and so without effect; set temperature, as to 0.7"


def _share(name: str, value: object) -> float:
    wanted = "a number above 0, and at most 1"
    share: float = kinds.number(0.0, 1.0, wanted=wanted)(name, value)
    if share == 0:
        raise kinds.refused(name, wanted, value)
    return share


def _temperature(name: str, value: object) -> float:
    """Logits are divided by it: by less than COLDEST, float32 has no place for them."""
    wanted = f"0 (greedy), or a number from {COLDEST:g} up"
    figure: float = kinds.number(0.0, wanted=wanted)(name, value)
    if 0 < figure < COLDEST:
        raise kinds.refused(name, wanted, value)
    return figure


def _limit(name: str, value: object) -> int | None:
    """0 is none, as others have it."""
    return kinds.whole(0, otherwise=", or None for all tokens, as 0 is")(name, value) or None


_KINDS: dict[str, kinds.Kind] = {
    "temperature": _temperature,
    "top_k": kinds.optional(_limit),
    "top_p": kinds.optional(_share),
    "repetition_penalty": kinds.number(*PENALTIES),
    "seed": kinds.optional(kinds.whole(0, 2**64 - 1, ", or None for another each time")),
}
