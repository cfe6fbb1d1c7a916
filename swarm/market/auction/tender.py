"""What a client and the peers that would work for it send each other: an order, commitments, and sealed bids.

The client sends an order to peers that fit it. Each answers with a commitment, which is a signed hash of its bid: the
bid's 32 bytes of salt keep that from being guessed. At `commit_by_ms` the client shows all commitments to those that
bid, and they reveal. `swarm.market.auction.sealed` collects them, `swarm.market.auction.auction.clear` decides, and
does so the same for everybody who has the bids.

What this leaves possible: the client runs its own auction. It can leave out bids that were revealed, or commit to bids
of its own, under fresh keys, and reveal the one that suits it. Either lowers what winners get, never below their bids.
A peer that has seen the commitments sees which were not revealed.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

from swarm.errors import InvalidRequest
from swarm.wire.formats.amounts import MAX_AMOUNT
from swarm.wire.formats.quotes import LEDGER_ID_BYTES, MAX_PRICE, Price
from swarm.wire.formats.signed import Address, Bytes32, Flag, Format, Text, UInt32, UInt64, check_text
from swarm.wire.identity import Identity

VERSION = 1
SALT_BYTES = 32
MAX_BLOCKS, MAX_TOKENS = 2**12, 2**24


@dataclass(frozen=True)
class Order:
    """What a client wants computed, and what it gives for it at most. Raises InvalidRequest if it makes no sense."""

    ledger: Bytes32  # id of the one it pays on
    model: Text
    revision: Text
    numerics: Text = field(default="", kw_only=True)  # id of the numerics that are demanded; empty: any
    start: UInt32  # first block that is wanted
    stop: UInt32  # one past the last
    prompt_tokens: UInt32
    new_tokens: UInt32
    maximum: Annotated[Price, "max_"]  # nano-credits per block-token, for each block of its own: the reserve price
    stake: UInt64 = field(default=0, kw_only=True)  # nano-credits that each peer must have at stake
    batch: Flag = field(default=False, kw_only=True)  # to be computed while nothing else waits
    commit_by_ms: UInt64  # Unix time, by the client's clock
    reveal_by_ms: UInt64
    start_by_ms: UInt64  # the latest start: bids have to be good until then
    salt: Bytes32  # so that no two orders are the same

    def __post_init__(self) -> None:
        if not (0 <= self.start < self.stop <= MAX_BLOCKS):
            raise InvalidRequest(f"an order for blocks {self.start}:{self.stop}; at most {MAX_BLOCKS}, at least one")
        tokens = (self.prompt_tokens, self.new_tokens)
        if not (min(tokens) >= 0 and 0 < sum(tokens) <= MAX_TOKENS):
            raise InvalidRequest(f"an order for {tokens} tokens; at least one and at most {MAX_TOKENS} in all")
        if not all(0 <= part <= MAX_PRICE for part in self.maximum) or self.budget > MAX_AMOUNT:
            raise InvalidRequest(f"an order at {tuple(self.maximum)} nano-credits a block-token: nobody has as much")
        if not 0 <= self.stake <= MAX_AMOUNT:
            raise InvalidRequest(f"an order that demands a stake of {self.stake}; at most {MAX_AMOUNT}")
        if not 0 < self.commit_by_ms < self.reveal_by_ms <= self.start_by_ms < 2**64:
            raise InvalidRequest("an order's deadlines must follow each other: to commit, to reveal, to start")
        if len(self.ledger) != LEDGER_ID_BYTES or len(self.salt) != SALT_BYTES:
            raise InvalidRequest("an order names its ledger, and has a salt, in 32 bytes each")
        for word in (self.model, self.revision, self.numerics):
            check_text(word.encode(), "an order")

    @property
    def blocks(self) -> int:
        return self.stop - self.start

    @property
    def budget(self) -> int:
        """Nano-credits that the whole costs at most."""
        return self.due(self.maximum, self.blocks)

    def due(self, price: Price, blocks: int) -> int:
        """Nano-credits for all its tokens through so many blocks."""
        return price.due(blocks, self.prompt_tokens, self.new_tokens)

    @cached_property
    def hash(self) -> bytes:
        return ORDER.hash(self)

    def encode(self) -> bytes:
        """The canonical bytes: `decode` accepts these and no others for this order."""
        return ORDER.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Order":
        """The order in `data`, which is untrusted. Raises InvalidRequest."""
        order, _ = ORDER.decode(data)
        if order.encode() != data:
            raise InvalidRequest("an order that is not in its canonical encoding")
        return order


ORDER = Format(Order, "an order", version=VERSION, is_signed=False)


@dataclass(frozen=True)
class Bid:
    """What a peer would compute any part of blocks start:stop for. Raises InvalidRequest if it makes no sense."""

    order: Bytes32  # its hash
    ledger: Bytes32  # id
    peer: Address  # the bidder
    start: UInt32
    stop: UInt32
    price: Price
    expires_ms: UInt64  # Unix time until which it may be taken
    salt: Bytes32  # random

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= MAX_BLOCKS:
            raise InvalidRequest(f"a bid for blocks {self.start}:{self.stop}; at most {MAX_BLOCKS}, and at least one")
        if not all(0 <= part <= MAX_PRICE for part in self.price):
            raise InvalidRequest(f"a bid of {tuple(self.price)} nano-credits a block-token; at most {MAX_PRICE}")

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed, and committed to."""
        return BID.hash(self)

    def sign(self, identity: Identity) -> "SignedBid":
        """Raises ValueError if the bid is another peer's."""
        return SignedBid(self, BID.sign(self, identity))


BID = Format(Bid, "a bid", version=VERSION, signer="peer")
BID_BYTES = BID.max_bytes


@dataclass(frozen=True)
class SignedBid:
    """A bid with a signature that has been checked: made by `Bid.sign` and `decode` only."""

    bid: Bid
    signature: bytes

    def encode(self) -> bytes:
        return BID.encode(self.bid, self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "SignedBid":
        """The bid in `data`, which is untrusted. Raises InvalidRequest, also if another key than its peer's signed."""
        bid, signature = BID.decode(data)
        BID.signer(bid, signature)
        return cls(bid, signature)


@dataclass(frozen=True)
class Commitment:
    """That a peer has bid, and what cannot be changed any more. Signed: made by `commitment_of` and `decode` only."""

    order: Bytes32  # its hash
    peer: Address
    bid: Bytes32  # its hash
    signature: bytes = b""

    @property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return COMMITMENT.hash(self)

    def encode(self) -> bytes:
        return COMMITMENT.encode(self, self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "Commitment":
        """The commitment in `data`, which is untrusted. Raises InvalidRequest, like SignedBid.decode."""
        unsigned, signature = COMMITMENT.decode(data)
        COMMITMENT.signer(unsigned, signature)
        return replace(unsigned, signature=signature)


COMMITMENT = Format(Commitment, "a commitment", version=VERSION, signer="peer")


def commitment_of(bid: Bid, identity: Identity) -> Commitment:
    """What its peer sends before it sends `bid`. Raises ValueError if the bid is another peer's."""
    unsigned = Commitment(bid.order, bid.peer, bid.hash)
    return replace(unsigned, signature=COMMITMENT.sign(unsigned, identity))
