"""What callers may ask for: prompts, limits, options, and the check that they make sense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.errors import InvalidRequest
from swarm.generate.sampling import SamplingOptions
from swarm.peers.record import PeerInfo
from swarm.results import Hop
from swarm.wire.formats.quotes import FREE, MAX_PRICE

VERIFY = ("receipts", "audit", "full")
Message = Mapping[str, str]  # {"role": "user", "content": "..."}
Prompt = str | Sequence[int] | Sequence[Message]


@dataclass(frozen=True)
class ClientLimits:
    """How patient a client is, and how much it does at once."""

    open_timeout_s: float = 10.0
    step_timeout_s: float = 60.0  # for one answer; a prompt is answered in chunks
    busy_timeout_s: float = 60.0  # how long to wait while all peers are full
    bidding_s: float = 0.3  # that peers have to bid for an order, and again to reveal their bids
    coverage_timeout_s: float = 30.0  # how long a generation waits for somebody to serve blocks that nobody serves
    max_reroutes: int = 8  # replacements of failed peers without a new token in between
    max_concurrent: int = 32  # prompts of one call that run at once
    local_kv_bytes: int = 2**30  # for keys and values of local_blocks, all sessions together; taken as it is needed


@dataclass(frozen=True)
class Terms:
    """Which peers a client uses, and what it pays them. None: any."""

    dtype: str | None = None  # that they compute in
    quant: str | None = None  # format of their weights
    numerics_id: str | None = None  # peers with the same one compute the same bits
    trusted: frozenset[str] | None = None  # peer ids: no others
    excluded: frozenset[str] = frozenset()  # peer ids
    ledger: bytes | None = None  # id of the one on which peers can be paid; None: only those that work for nothing
    max_price: int | None = None  # nano-credits for one token through the whole model
    seconds_per_credit: float = 0.0  # what saving a credit is worth

    def allow(self, peer: PeerInfo) -> bool:
        """Price apart."""
        demands = (self.dtype, peer.dtype), (self.quant, peer.quant), (self.numerics_id, peer.numerics_id)
        if any(wanted not in (None, given) for wanted, given in demands):
            return False
        if not self.can_pay(peer):
            return False
        return peer.peer_id not in self.excluded and (self.trusted is None or peer.peer_id in self.trusted)

    def can_pay(self, peer: PeerInfo) -> bool:
        """Whether it works for nothing, or wants to be paid where this client has an account."""
        return peer.asks.price == FREE or peer.asks.ledger == self.ledger

    def __str__(self) -> str:
        text = f"with quant {self.quant or 'any'} and dtype {self.dtype or 'any'}"
        text += f" and numerics {self.numerics_id}" if self.numerics_id else ""
        return text + (" among the peers allowed" if self.trusted is not None or self.excluded else "")


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate."""

    sampling: SamplingOptions
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    verify: str | None = None  # one of VERIFY: text is delivered only after this check
    sensitive: bool = False  # audits show its activations to no further peer
    through: tuple[Hop, ...] = ()  # the chain to take; empty: the best one
    bid: int = 0  # nano-credits per block-token above the price, for going first where peers are full
    batch: bool = False  # computed while peers have nothing else to do; waits for room as long as it takes


def parse_options(options: dict[str, object]) -> GenerateOptions:
    """Keyword arguments of `generate`, checked. Raises InvalidRequest."""
    known = {
        "max_new_tokens",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "stop",
        "seed",
        "ignore_eos",
        "verify",
        "sensitive",
        "through",
        "bid",
        "batch",
    }
    if unknown := sorted(set(options) - known):
        raise InvalidRequest(f"unknown option {unknown[0]!r}; the options are {', '.join(sorted(known))}")
    rest = dict(options)
    count = rest.pop("max_new_tokens", 128)
    if not isinstance(count, int) or count < 1:
        raise InvalidRequest(f"max_new_tokens must be a positive integer, not {count!r}")
    stop = rest.pop("stop", None)
    stop = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if not all(isinstance(text, str) and text for text in stop):
        raise InvalidRequest("stop must be a non-empty string, or several")
    verify = rest.pop("verify", None)
    if verify not in (None, *VERIFY):
        raise InvalidRequest(f"verify is one of {', '.join(VERIFY)}, or None, and not {verify!r:.40}")
    through = tuple(rest.pop("through", ()))
    if not all(isinstance(hop, Hop) for hop in through):
        raise InvalidRequest("through is a list of swarm.Hop, such as the route of another generation")
    bid, batch = rest.pop("bid", 0), bool(rest.pop("batch", False))
    if not isinstance(bid, int) or not 0 <= bid <= MAX_PRICE:
        raise InvalidRequest(f"bid is whole nano-credits per block-token up to {MAX_PRICE}, not {bid!r:.30}")
    ignore_eos, sensitive = bool(rest.pop("ignore_eos", False)), bool(rest.pop("sensitive", False))
    return GenerateOptions(SamplingOptions(**rest), count, stop, ignore_eos, verify, sensitive, through, bid, batch)


def is_batch(prompt: object) -> bool:
    """Whether `prompt` is a list of prompts rather than one."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not prompt:
        return False
    return isinstance(prompt[0], str) or (isinstance(prompt[0], Sequence) and not isinstance(prompt[0], Mapping))
