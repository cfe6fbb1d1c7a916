"""How patient a client is."""

from dataclasses import dataclass

from swarm import kinds

SHORTEST_S = 0.01  # that an answer can take: with less, every peer would be tried again and again


@dataclass(frozen=True)
class ClientLimits:
    """How patient a client is, and how much it does at once. Raises InvalidRequest for values that mean nothing.

    open_timeout_s: for a peer to take a session.
    step_timeout_s: for one answer; a prompt is answered in chunks.
    busy_timeout_s: how long to wait while all peers are full.
    bidding_s: that peers have to bid for an order, and again to reveal their bids.
    coverage_timeout_s: how long a generation waits for peers, in all until it gets further.
    max_reroutes: replacements of failed peers without a new token in between.
    max_concurrent: prompts of one call that run at once.
    local_kv_bytes: for keys and values of local_blocks, all sessions together; taken as it is needed.
    """

    open_timeout_s: float = 10.0
    step_timeout_s: float = 60.0
    busy_timeout_s: float = 60.0
    bidding_s: float = 0.3
    coverage_timeout_s: float = 60.0
    max_reroutes: int = 8
    max_concurrent: int = 32
    local_kv_bytes: int = 2**30

    def __post_init__(self) -> None:
        kinds.settle(self, _KINDS)


_KINDS: dict[str, kinds.Kind] = {
    "open_timeout_s": kinds.seconds(SHORTEST_S),
    "step_timeout_s": kinds.seconds(SHORTEST_S),
    "busy_timeout_s": kinds.seconds(endless=True),
    "bidding_s": kinds.seconds(),
    "coverage_timeout_s": kinds.seconds(endless=True),
    "max_reroutes": kinds.whole(0),
    "max_concurrent": kinds.whole(1),
    "local_kv_bytes": kinds.whole(1),
}
