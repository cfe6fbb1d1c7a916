"""What a generation returns. Each thing prints as what matters of it, in a line; `to_dict` gives what JSON takes."""

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from swarm import kinds, shown
from swarm.wire.formats.amounts import format_credits
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.peer_names import short_id

if TYPE_CHECKING:  # a client that asks for no receipts never loads them
    from swarm.verify.audit.judging.judgement import Judgement
    from swarm.verify.audit.judging.verdict import Verdict
    from swarm.verify.receipts.checking import Fault


def _blocks(name: str, value: object) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise kinds.refused(name, "a range, (start, stop)", value)
    start, stop = (kinds.whole(0)(name, one) for one in value)
    if start >= stop:
        raise kinds.refused(name, "a range, (start, stop), with stop above start", value)
    return start, stop


@dataclass(frozen=True)
class Hop:
    """One peer of the chain that computed a generation, or is to. Raises InvalidRequest for what is none."""

    peer_id: str
    blocks: tuple[int, int]  # start, stop
    address: str = ""

    def __post_init__(self) -> None:
        kinds.settle(self, {"peer_id": kinds.text, "blocks": _blocks})

    def __repr__(self) -> str:
        where = f" at {self.address}" if self.address else ""
        return f"<Hop {short_id(self.peer_id)} {shown.span(self.blocks)}{where}>"


@dataclass(frozen=True)
class Repair:
    """Hops that were replaced while a generation went on."""

    peer_ids: tuple[str, ...]  # that were lost, or left
    blocks: tuple[tuple[int, int], ...]  # start, stop of each
    position: int  # of the session, prompt included, at which it happened
    seconds: float  # from noticing the loss until the chain was whole again
    planned: bool  # a peer that said goodbye was replaced before it went

    def __repr__(self) -> str:
        lost = ", ".join(
            f"{short_id(peer_id)} {shown.span(blocks)}"
            for peer_id, blocks in zip(self.peer_ids, self.blocks, strict=False)
        )
        kind = ", planned" if self.planned else ""
        return f"<Repair of {lost} at position {self.position}, {self.seconds:.2f} s{kind}>"


@dataclass(frozen=True)
class Audit:
    """One segment of one hop's work, recomputed. by: "local" or a peer id; judgement: None if nobody could, for the
    reason in why_none."""

    peer_id: str
    blocks: tuple[int, int]
    position: int
    count: int
    by: str
    judgement: "Judgement | None"
    why_none: str = ""

    @property
    def reason(self) -> str:
        """For the judgement, or why there is none."""
        return self.judgement.reason if self.judgement else self.why_none or "nobody could compute it again"

    @property
    def verdict(self) -> "Verdict | None":
        return self.judgement.verdict if self.judgement else None

    def __str__(self) -> str:
        what = f"{self.judgement.verdict.name if self.judgement else 'no result'}, {self.reason}"
        positions = shown.span((self.position, self.position + self.count))
        place = f"peer {short_id(self.peer_id)}, blocks {shown.span(self.blocks)}, positions {positions}"
        return f"{place} by {short_id(self.by)}: {what}"

    def __repr__(self) -> str:
        return f"<Audit of {self}>"

    def to_dict(self) -> dict[str, Any]:
        """For JSON. verdict: a Verdict's name, None if nobody could compute it again."""
        judgement = self.judgement
        return {
            "peer_id": self.peer_id,
            "blocks": list(self.blocks),
            "positions": [self.position, self.position + self.count],
            "by": self.by,
            "verdict": judgement.verdict.name if judgement else None,
            "method": judgement.method if judgement else None,
            "statistic": judgement.statistic if judgement and math.isfinite(judgement.statistic) else None,
            "reason": self.reason,
        }


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

    def __repr__(self) -> str:
        work = f"{shown.span(self.blocks)}, {self.prefill_tokens} + {self.decode_tokens} tokens"
        return f"<Payment to {short_id(self.peer_id)} for {work}: {format_credits(self.amount)}>"


@dataclass
class HopTiming:
    """Where the time of a hop went, as the hop itself reports it."""

    steps: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0

    def __repr__(self) -> str:
        return f"<HopTiming {shown.count(self.steps, 'step')}, {self.compute_s:.3f} s, queued {self.queue_s:.3f} s>"


@dataclass(repr=False)
class Generation:
    """Tokens generated for one prompt, and how.

    prompt_token_ids: tokens of the prompt
    text: new text only, as far as it was delivered: with `verify`, what passed the check
    token_ids: new tokens only, likewise
    finish_reason: "length", "eos" or "stop"
    route: of the chain that computed the last token
    receipts: what the hops signed, checked; by hop, in order
    faults: of peers whose receipts are missing or do not fit
    audits: grows for a while after the generation has ended
    unaudited: why none of it was chosen for an audit, where that is so
    payments: to each hop that wants to be paid, once it is over
    verified: of the new tokens, those that were checked before they were delivered
    timings: per hop of `route`
    reroutes: how often part of the chain, or all of it, was replaced because a peer failed
    repairs: each replacement of hops, and what it took
    pauses: how often a background session gave up its place on a peer, and went on later
    computing_s: seconds with a chain; the wait for one is left out
    status: what it waits for, if it waits for anything but the next token
    time_to_first_token_s: seconds from the call until then
    step_latencies_s: seconds between tokens, the first one left out
    """

    prompt_token_ids: list[int]
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str = ""
    route: list[Hop] = field(default_factory=list)
    receipts: list[SignedReceipt] = field(default_factory=list)
    faults: "list[Fault]" = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)
    unaudited: str = ""
    payments: list[Payment] = field(default_factory=list)
    verified: int = 0
    timings: list[HopTiming] = field(default_factory=list)
    reroutes: int = 0
    repairs: list[Repair] = field(default_factory=list)
    pauses: int = 0
    computing_s: float = 0.0
    status: str = ""
    time_to_first_token_s: float = 0.0
    step_latencies_s: list[float] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Nano-credits paid for it in all."""
        return sum(payment.amount for payment in self.payments)

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: tokens after the first one over the time they took; not a number if there are none."""
        total = sum(self.step_latencies_s)
        return len(self.step_latencies_s) / total if total else math.nan

    def __repr__(self) -> str:
        parts = [shown.text(self.text), shown.count(len(self.token_ids), "token"), self.finish_reason or "unfinished"]
        if self.step_latencies_s:
            parts.append(f"{self.tokens_per_second:.1f} tokens/s")
        if self.route:
            parts.append(" -> ".join(f"{short_id(hop.peer_id)} {shown.span(hop.blocks)}" for hop in self.route))
        void = sum(audit.judgement is None for audit in self.audits)
        for what, number, more in (
            ("receipt", len(self.receipts), ""),
            ("audit", len(self.audits), f" ({void} without a result)" if void else ""),
            ("fault", len(self.faults), ""),
        ):
            if number:
                parts.append(shown.count(number, what) + more)
        if self.unaudited and not self.audits:
            parts.append(f"no audit: {self.unaudited}")
        if self.payments:
            parts.append(f"{format_credits(self.cost)}")
        return f"<Generation {', '.join(parts)}>"

    def to_dict(self) -> dict[str, Any]:
        """What json.dumps takes, and `python -m swarm generate --json` prints. Of receipts, how many there are;
        tokens_per_second is None where there is none."""
        return {
            "text": self.text,
            "token_ids": list(self.token_ids),
            "prompt_token_ids": list(self.prompt_token_ids),
            "finish_reason": self.finish_reason,
            "route": [asdict(hop) | {"blocks": list(hop.blocks)} for hop in self.route],
            "tokens_per_second": round(self.tokens_per_second, 2) if self.step_latencies_s else None,
            "time_to_first_token_s": round(self.time_to_first_token_s, 4),
            "step_latencies_s": [round(seconds, 4) for seconds in self.step_latencies_s],
            "timings": [asdict(timing) for timing in self.timings],
            "computing_s": round(self.computing_s, 4),
            "reroutes": self.reroutes,
            "repairs": [
                asdict(repair) | {"peer_ids": list(repair.peer_ids), "blocks": [list(one) for one in repair.blocks]}
                for repair in self.repairs
            ],
            "pauses": self.pauses,
            "receipts": len(self.receipts),
            "faults": [
                {"peer_id": fault.peer_id, "kind": fault.kind.name.lower(), "detail": fault.detail}
                for fault in self.faults
            ],
            "audits": [audit.to_dict() for audit in self.audits],
            "unaudited": self.unaudited,
            "verified": self.verified,
            "cost": self.cost,
            "payments": [asdict(payment) | {"blocks": list(payment.blocks)} for payment in self.payments],
        }
