"""What a generation returns."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hop:
    """One peer of the chain that computed a generation."""

    peer_id: str
    blocks: tuple[int, int]  # start, stop
    address: str


@dataclass(frozen=True)
class Receipt:
    """What one hop sent on over consecutive positions of one session, by digest.

    `digest` is a SHA-256 hash chain over the digests of every tensor that the hop says it sent. Each of them was
    checked by whoever received the tensor. Receipts are not signed.
    """

    peer_id: str
    blocks: tuple[int, int]
    first_position: int
    count: int
    digest: bytes


@dataclass
class HopTiming:
    """Where the time of a hop went, as the hop itself reports it."""

    steps: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0


@dataclass
class Generation:
    """Tokens generated for one prompt, and how."""

    prompt_token_ids: list[int]
    text: str = ""  # new text only
    token_ids: list[int] = field(default_factory=list)  # new tokens only
    finish_reason: str = ""  # "length", "eos" or "stop"
    route: list[Hop] = field(default_factory=list)  # of the chain that computed the last token
    receipts: list[Receipt] = field(default_factory=list)
    timings: list[HopTiming] = field(default_factory=list)  # per hop of `route`
    reroutes: int = 0  # how often the chain was replaced because a peer failed
    time_to_first_token_s: float = 0.0
    step_latencies_s: list[float] = field(default_factory=list)  # between tokens, the first one left out

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: tokens after the first one over the time they took. 0 if there are none."""
        total = sum(self.step_latencies_s)
        return len(self.step_latencies_s) / total if total else 0.0
