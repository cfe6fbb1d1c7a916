"""What a client is told when it is made."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args

from swarm import kinds
from swarm.client.keywords import HINTS, Auditor
from swarm.client.terms import check_terms
from swarm.errors import InvalidRequest
from swarm.generate.formats import HEAD_FORMATS, parse_local_blocks
from swarm.session.limits import ClientLimits
from swarm.wire.dtypes import DTYPE_NAMES
from swarm.wire.formats.facts import Facts
from swarm.wire.peer_names import check_peer_names
from swarm_kernels import QUANTS

AUDITORS = get_args(Auditor)


@dataclass(frozen=True)
class ClientConfig:
    """What a client is told when it is made. Raises InvalidRequest for values that mean nothing.

    model: Hugging Face repository id, folder of safetensors, .gguf file, or "demo".
    peers: addresses of swarm members, or one; by default the LocalSwarm of this model that was started last in this
        process, or SWARM_PEERS, or a swarm on this machine.
    secret: of a private swarm; by default SWARM_SECRET, if there is one.
    revision: of the model; by default the newest that is on this machine, or the repository's.

    Which peers, and how:
    dtype: only use peers that compute in "float32" or "bfloat16"; by default any.
    quant: only use peers with weights in this format ("none", "int8", "int4" ...); by default any.
    numerics_id: only use peers that compute exactly the bits that this id stands for.
    trusted, excluded: peer ids; if given, only use the former, and never the latter.
    attestation: called with (facts, evidence) of every peer, in a thread; only those for which it returns True are
        used. See swarm.verify.attestation for what that proves.
    wire_dtype: "float32", "bfloat16" or "float16" for activations on the wire; by default what the peers compute in. A
        narrower one halves the traffic and rounds.

    The client's own part of the model:
    head: "float32", "bfloat16" or "int8" for the product with the vocabulary; by default what suits the chain: float32
        for exact peers, int8 for quantised ones.
    local_blocks: how many of the first and of the last blocks the client computes itself, as (2, 1) or "2:1", in
        `quant` and `dtype` if they are given, else as the chain does. The swarm then sees neither embeddings nor the
        last hidden states.

    Trust:
    receipts: whether peers are to sign for their work. Without, nothing can be checked, audited or paid.
    audit: who recomputes samples of the peers' work: "peers" that serve the same blocks in the same numerics, where
        there are any; "local", this client, if it has the model's files, which takes memory for the blocks that it
        audits; or nobody, "off". By default "peers", or "off" without receipts.
    audit_rate: share of the work that is audited, 0 to 1; by default 20 % of a newcomer's and 5 % of a known peer's.

    Money:
    ledger: where peers that want it are paid, in the name of this user's key: a folder, `host:port/FINGERPRINT`, or
        `evm:FILE.json`; by default SWARM_LEDGER, if it is set.
    budget: that this client may spend in all: nano-credits, or credits as text ("0.5"); by default what the account
        has.
    max_price: nano-credits, or credits as text, for one token through the whole model, on average over prompt and new
        tokens.
    seconds_per_credit: how many seconds more a request may take if that saves one credit (0: the fastest chain within
        max_price).
    auction: use peers that bid for orders, and no others: a session is ordered from them all, the cheapest chain wins,
        and every hop is paid what the next cheapest peer bids. `ledger` and `max_price` have to be given; the latter is
        what a peer without a competitor is paid. Peers that replace others later, and chains `through` given peers,
        cost what these post.
    min_stake: nano-credits, or credits as text, that every peer must have at stake on the ledger; by default, peers
        that want to be paid need what their prices call for, so that to cheat does not pay, and others nothing.
    allow_unstaked: peers need no stake.

    Patience: the fields of swarm.session.limits.ClientLimits, which are options, too.
    """

    model: str = "demo"
    peers: str | Sequence[str] | None = None
    dtype: str | None = None
    secret: str | None = field(default=None, repr=False)
    revision: str | None = None
    quant: str | None = None
    head: str | None = None
    local_blocks: tuple[int, int] = (0, 0)
    wire_dtype: str | None = None
    numerics_id: str | None = None
    trusted: Iterable[str] | None = None  # a tuple once it is checked, as all that may be one text or several
    excluded: Iterable[str] = ()
    attestation: Callable[[Facts, bytes], bool] | None = None
    receipts: bool = True
    audit: Auditor | None = None
    audit_rate: float | None = None
    ledger: str | None = field(default_factory=lambda: os.environ.get("SWARM_LEDGER"))
    budget: int | str | None = None
    max_price: int | None = None
    seconds_per_credit: float = 0.0
    auction: bool = False
    min_stake: int | str | None = None
    allow_unstaked: bool = False
    limits: ClientLimits = field(default_factory=ClientLimits)

    @classmethod
    def of(
        cls,
        model: str | os.PathLike[str],
        peers: str | Sequence[str] | None,
        dtype: str | None,
        options: Mapping[str, Any],
    ) -> "ClientConfig":
        """From the keyword arguments of `swarm.Client`, among which limits stand by themselves. Raises
        InvalidRequest."""
        own = {field.name for field in fields(cls)} - {"model", "peers", "dtype", "limits"}
        limits = {field.name for field in fields(ClientLimits)}
        if strange := sorted(options.keys() - own - limits):
            raise kinds.unknown(strange[0], own | limits | {"model", "peers", "dtype"}, HINTS, "swarm.Client")
        patience = ClientLimits(**{name: options[name] for name in limits & options.keys()})
        rest = {name: options[name] for name in own & options.keys() if (name, options[name]) != ("ledger", None)}
        return cls(os.fspath(model) if isinstance(model, os.PathLike) else model, peers, dtype, limits=patience, **rest)

    def __post_init__(self) -> None:
        kinds.settle(self, _KINDS)
        check_terms(self)

    @property
    def is_audited(self) -> bool:
        return self.auditor != "off"

    @property
    def auditor(self) -> str:
        """Who recomputes samples of the work."""
        return self.audit or ("peers" if self.receipts else "off")

    @property
    def uses_money(self) -> bool:
        """Whether any of the options has to do with a ledger."""
        return bool(self.ledger or self.auction) or self.budget is not None or self.min_stake is not None


def _price(name: str, value: object) -> int:
    """An amount; also as a float, which is what a calculation gives."""
    return kinds.amount(name, int(value) if isinstance(value, float) and value.is_integer() else value)


def _peers(name: str, value: object) -> tuple[str, ...]:
    """None at all would be those on this machine, which nobody means who gives a list."""
    given: tuple[str, ...] = kinds.texts(name, getattr(value, "peers", value))  # also of a LocalSwarm
    if not given:
        raise InvalidRequest(f"{name} is an empty list; name a member of the swarm, or leave it out")
    return given


def _peer_names(name: str, value: object) -> tuple[str, ...]:
    """Of what has a peer's id (a server of a LocalSwarm, a hop), that."""
    several = value if isinstance(value, list | tuple | set | frozenset) else [value]
    if any(hasattr(one, "peer_id") for one in several):
        value = [getattr(one, "peer_id", one) for one in several]
    given: tuple[str, ...] = kinds.texts(name, value)
    try:
        return check_peer_names(given)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from error


def _two_counts(name: str, value: object) -> tuple[int, int]:
    if isinstance(value, str):
        return parse_local_blocks(value)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise kinds.refused(name, "two counts, of the first blocks and of the last, like (2, 1)", value)
    first, last = (kinds.whole(0)(name, one) for one in value)
    return first, last


def _limits(name: str, value: object) -> ClientLimits:
    if not isinstance(value, ClientLimits):
        raise kinds.refused(name, "ClientLimits", value)
    return value


_KINDS: dict[str, kinds.Kind] = {
    "model": kinds.path,
    "peers": kinds.optional(_peers),
    "dtype": kinds.optional(kinds.one_of(DTYPE_NAMES)),
    "secret": kinds.optional(kinds.hidden_text),
    "revision": kinds.optional(kinds.text),
    "quant": kinds.optional(kinds.one_of(QUANTS)),
    "head": kinds.optional(kinds.one_of(HEAD_FORMATS)),
    "local_blocks": kinds.optional(_two_counts, (0, 0)),
    "wire_dtype": kinds.optional(kinds.one_of(DTYPE_NAMES)),
    "numerics_id": kinds.optional(kinds.text),
    "trusted": kinds.optional(_peer_names),
    "excluded": kinds.optional(_peer_names, ()),
    "attestation": kinds.optional(kinds.function),
    "receipts": kinds.flag,
    "audit": kinds.optional(kinds.one_of(AUDITORS)),
    "audit_rate": kinds.optional(kinds.number(0.0, 1.0, wanted="a share from 0 to 1")),
    "ledger": kinds.optional(kinds.path),
    "budget": kinds.optional(kinds.amount),
    "max_price": kinds.optional(_price),
    "seconds_per_credit": kinds.number(0.0, wanted="a number of seconds, 0 or more"),
    "auction": kinds.flag,
    "min_stake": kinds.optional(kinds.amount),
    "allow_unstaked": kinds.flag,
    "limits": _limits,
}


def defaults() -> dict[str, object]:
    """Of the options of `swarm.Client`."""
    both = [*fields(ClientConfig), *fields(ClientLimits)]
    return {field.name: field.default for field in both if field.default is not MISSING}
