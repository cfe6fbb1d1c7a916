"""The least that a token takes across a distance. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

PROMPT = 512
CHUNK = 256  # of a prompt, in one message and one batch
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Path:
    """How far apart every two processes are."""

    round_trip_s: float
    jitter_s: float = 0.0  # of each leg, more or less
    bytes_per_s: float = 0.0  # of each server's line, in each direction; 0: no limit

    def leg_s(self, nbytes: float = 0.0) -> float:
        """One way, until the last of `nbytes` has arrived."""
        return self.round_trip_s / 2 + (nbytes / self.bytes_per_s if self.bytes_per_s else 0.0)

    def __str__(self) -> str:
        text = f"{self.round_trip_s * 1000:.0f} ms"
        text += f" +-{self.jitter_s * 1000:.0f} a leg" if self.jitter_s else ""
        return text + (f", {self.bytes_per_s * 8 / 1e6:.0f} Mbit/s" if self.bytes_per_s else "")


def token_s(path: Path, computes_s: Sequence[float], head_s: float, hidden_size: int) -> float:
    """The least time of one session's token. computes_s: of each hop."""
    legs = len(computes_s) + 1
    return legs * path.leg_s(hidden_size * FLOAT_BYTES) + sum(computes_s) + head_s


def first_token_s(path: Path, computes_s: Sequence[float], head_s: float, hidden_size: int) -> float:
    """The least time of a prompt's first token. computes_s: of each hop, for a chunk.

    A line takes chunks one after another and is free for the next while the last one is under way; a hop computes them
    one after another. The session's opening takes a round trip before that.
    """
    chunk_bytes = CHUNK * hidden_size * FLOAT_BYTES
    sending_s = path.leg_s(chunk_bytes) - path.leg_s()
    arrivals = [path.round_trip_s] * (PROMPT // CHUNK)
    for compute_s in computes_s:
        arrivals = [time_ + path.leg_s() for time_ in one_after_another(arrivals, sending_s)]
        arrivals = one_after_another(arrivals, compute_s)
    return arrivals[-1] + path.leg_s(hidden_size * FLOAT_BYTES) + head_s


def one_after_another(arrivals: Sequence[float], each_s: float) -> list[float]:
    """When each of `arrivals` is through something that takes `each_s` for one at a time."""
    through, free = [], 0.0
    for arrival in arrivals:
        free = max(free, arrival) + each_s
        through.append(free)
    return through
