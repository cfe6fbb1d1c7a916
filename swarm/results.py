"""What a generation returns."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm.wire.formats.receipts import SignedReceipt

if TYPE_CHECKING:  # a client that asks for no receipts never loads them
    from swarm.verify.audit.judgement import Judgement
    from swarm.verify.audit.verdict import Verdict
    from swarm.verify.receipts.checking import Fault


@dataclass(frozen=True)
class Hop:
    """One peer of the chain that computed a generation."""

    peer_id: str
    blocks: tuple[int, int]  # start, stop
    address: str = ""


@dataclass(frozen=True)
class Repair:
    """Hops that were replaced while a generation went on."""

    peer_ids: tuple[str, ...]  # that were lost, or left
    blocks: tuple[tuple[int, int], ...]  # start, stop of each
    position: int  # of the session, prompt included, at which it happened
    seconds: float  # from noticing the loss until the chain was whole again
    planned: bool  # a peer that said goodbye was replaced before it went


@dataclass(frozen=True)
class Audit:
    """One segment of one hop's work, recomputed. by: "local" or a peer id; judgement: None if nobody could."""

    peer_id: str
    blocks: tuple[int, int]
    position: int
    count: int
    by: str
    judgement: "Judgement | None"

    @property
    def verdict(self) -> "Verdict | None":
        return self.judgement.verdict if self.judgement else None

    def __str__(self) -> str:
        what = f"{self.judgement.verdict.name}, {self.judgement.reason}" if self.judgement else "nobody could"
        place = f"peer {self.peer_id[-8:]}, blocks {self.blocks[0]}:{self.blocks[1]}, positions {self.position}"
        return f"{place}:{self.position + self.count} by {self.by[-8:]}: {what}"


@dataclass(frozen=True)
class Payment:
    """What one peer got for its part in a generation. It has come when the peer has settled it on the ledger."""

    peer_id: str
    blocks: tuple[int, int]  # start, stop
    prefill_tokens: int
    decode_tokens: int
    prefill_price: int  # nano-credits per block-token
    decode_price: int
    amount: int  # nano-credits: blocks x (prefill tokens x price + decode tokens x price)

    @property
    def block_tokens(self) -> int:
        return (self.blocks[1] - self.blocks[0]) * (self.prefill_tokens + self.decode_tokens)


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
    receipts: list[SignedReceipt] = field(default_factory=list)  # what the hops signed, checked; by hop, in order
    faults: "list[Fault]" = field(default_factory=list)  # of peers whose receipts are missing or do not fit
    audits: list[Audit] = field(default_factory=list)  # grows for a while after the generation has ended
    payments: list[Payment] = field(default_factory=list)  # to each hop that wants to be paid, once it is over
    verified: int = 0  # of the new tokens, those that were checked before they were delivered
    timings: list[HopTiming] = field(default_factory=list)  # per hop of `route`
    reroutes: int = 0  # how often part of the chain, or all of it, was replaced because a peer failed
    repairs: list[Repair] = field(default_factory=list)
    pauses: int = 0  # how often a background session gave up its place on a peer, and went on later
    computing_s: float = 0.0  # with a chain: the wait for one is left out
    status: str = ""  # what it waits for, if it waits for anything but the next token
    time_to_first_token_s: float = 0.0
    step_latencies_s: list[float] = field(default_factory=list)  # between tokens, the first one left out

    @property
    def cost(self) -> int:
        """Nano-credits paid for it in all."""
        return sum(payment.amount for payment in self.payments)

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: tokens after the first one over the time they took. 0 if there are none."""
        total = sum(self.step_latencies_s)
        return len(self.step_latencies_s) / total if total else 0.0
