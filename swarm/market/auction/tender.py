"""What a client and the peers that would work for it send each other: an order, commitments, and sealed bids.

The client sends an order to peers that fit it. Each answers with a commitment, which is a signed hash of its bid: the
bid's 32 bytes of salt keep that from being guessed. At `commit_by_ms` the client shows all commitments to those that
bid, and they reveal. `swarm.market.auction.sealed` collects them, `swarm.market.auction.auction.clear` decides, and
does so the same for everybody who has the bids.

What this leaves possible: the client runs its own auction. It can leave out bids that were revealed, or commit to bids
of its own, under fresh keys, and reveal the one that suits it. Either lowers what winners get, never below their bids.
A peer that has seen the commitments sees which were not revealed.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

from swarm.errors import InvalidRequest
from swarm.wire.formats.amounts import MAX_AMOUNT
from swarm.wire.formats.eip712 import Struct
from swarm.wire.formats.quotes import LEDGER_ID_BYTES, MAX_PRICE, Price
from swarm.wire.identity import SIGNATURE_BYTES, Identity, address_of, signer_of_hash

VERSION = 1
SALT_BYTES = 32
MAX_BLOCKS, MAX_TOKENS = 2**12, 2**24
MAX_WORD_BYTES = 128  # of a model's name, its revision, a numerics id

_ORDER = Struct(
    "Order",
    ("bytes32", "ledger"), ("string", "model"), ("string", "revision"), ("string", "numerics"), ("uint32", "start"),
    ("uint32", "stop"), ("uint32", "promptTokens"), ("uint32", "newTokens"), ("uint64", "maxPrefill"),
    ("uint64", "maxDecode"), ("uint64", "stake"), ("uint8", "batch"), ("uint64", "commitByMs"),
    ("uint64", "revealByMs"), ("uint64", "startByMs"), ("bytes32", "salt"),
)  # fmt: skip
_BID = Struct(
    "Bid",
    ("bytes32", "order"), ("bytes32", "ledger"), ("address", "peer"), ("uint32", "start"), ("uint32", "stop"),
    ("uint64", "prefill"), ("uint64", "decode"), ("uint64", "expiresMs"), ("bytes32", "salt"),
)  # fmt: skip
_COMMITMENT = Struct("Commitment", ("bytes32", "order"), ("address", "peer"), ("bytes32", "bid"))
# Canonical encodings: version and the members of fixed size, then an order's words with their lengths, or a signature.
_ORDER_FIXED = struct.Struct(">B32sIIIIQQQ?QQQ32s")
_BID_FIXED = struct.Struct(">B32s32s20sIIQQQ32s")
_COMMITMENT_FIXED = struct.Struct(">B32s20s32s")
MAX_ORDER_BYTES = _ORDER_FIXED.size + 3 * (1 + MAX_WORD_BYTES)
BID_BYTES = _BID_FIXED.size + SIGNATURE_BYTES
COMMITMENT_BYTES = _COMMITMENT_FIXED.size + SIGNATURE_BYTES


@dataclass(frozen=True)
class Order:
    """What a client wants computed, and what it gives for it at most. Raises InvalidRequest if it makes no sense."""

    ledger: bytes  # id of the one it pays on, 32 bytes
    model: str
    revision: str
    start: int  # first block that is wanted
    stop: int  # one past the last
    prompt_tokens: int
    new_tokens: int
    maximum: Price  # nano-credits per block-token, for each block of its own: the reserve price
    commit_by_ms: int  # Unix time, by the client's clock
    reveal_by_ms: int
    start_by_ms: int  # the latest start: bids have to be good until then
    salt: bytes  # 32 bytes, so that no two orders are the same
    stake: int = 0  # nano-credits that each peer must have at stake
    numerics: str = ""  # id of the numerics that are demanded; empty: any
    batch: bool = False  # to be computed while nothing else waits

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
            _check_word(word.encode())

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
        return _ORDER.hash((
            self.ledger, self.model, self.revision, self.numerics, self.start, self.stop, self.prompt_tokens,
            self.new_tokens, *self.maximum, self.stake, int(self.batch), self.commit_by_ms, self.reveal_by_ms,
            self.start_by_ms, self.salt,
        ))  # fmt: skip

    def encode(self) -> bytes:
        """The canonical bytes: `decode` accepts these and no others for this order."""
        fixed = _ORDER_FIXED.pack(
            VERSION, self.ledger, self.start, self.stop, self.prompt_tokens, self.new_tokens, *self.maximum,
            self.stake, self.batch, self.commit_by_ms, self.reveal_by_ms, self.start_by_ms, self.salt,
        )  # fmt: skip
        words = (word.encode() for word in (self.model, self.revision, self.numerics))
        return fixed + b"".join(bytes([len(word)]) + word for word in words)

    @classmethod
    def decode(cls, data: bytes) -> "Order":
        """The order in `data`, which is untrusted. Raises InvalidRequest."""
        if not _ORDER_FIXED.size < len(data) <= MAX_ORDER_BYTES:
            raise InvalidRequest(f"an order has at most {MAX_ORDER_BYTES} bytes, and not {len(data)}")
        (
            _, ledger, start, stop, prompt, new, prefill, decode, stake, batch, commit_by_ms, reveal_by_ms, start_by_ms,
            salt,
        ) = _unpack(_ORDER_FIXED, data, "order")  # fmt: skip
        model, revision, numerics = _words(data[_ORDER_FIXED.size :], 3)
        order = cls(
            ledger, model, revision, start, stop, prompt, new, Price(prefill, decode), commit_by_ms, reveal_by_ms,
            start_by_ms, salt, stake, numerics, batch,
        )  # fmt: skip
        if order.encode() != data:
            raise InvalidRequest("an order that is not in its canonical encoding")
        return order


@dataclass(frozen=True)
class Bid:
    """What a peer would compute any part of blocks start:stop for. Raises InvalidRequest if it makes no sense."""

    order: bytes  # its hash, 32 bytes
    ledger: bytes  # id, 32 bytes
    peer: bytes  # 20-byte address of the bidder
    start: int
    stop: int
    price: Price
    expires_ms: int  # Unix time until which it may be taken
    salt: bytes  # 32 random bytes

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= MAX_BLOCKS:
            raise InvalidRequest(f"a bid for blocks {self.start}:{self.stop}; at most {MAX_BLOCKS}, and at least one")
        if not all(0 <= part <= MAX_PRICE for part in self.price):
            raise InvalidRequest(f"a bid of {tuple(self.price)} nano-credits a block-token; at most {MAX_PRICE}")

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed, and committed to."""
        return _BID.hash((
            self.order, self.ledger, self.peer, self.start, self.stop, *self.price, self.expires_ms, self.salt
        ))  # fmt: skip

    def sign(self, identity: Identity) -> "SignedBid":
        """Raises ValueError if the bid is another peer's."""
        _check_own(identity, self.peer)
        return SignedBid(self, identity.sign_hash(self.hash))


@dataclass(frozen=True)
class SignedBid:
    """A bid with a signature that has been checked: made by `Bid.sign` and `decode` only."""

    bid: Bid
    signature: bytes

    def encode(self) -> bytes:
        b = self.bid
        fixed = _BID_FIXED.pack(VERSION, b.order, b.ledger, b.peer, b.start, b.stop, *b.price, b.expires_ms, b.salt)
        return fixed + self.signature

    @classmethod
    def decode(cls, data: bytes) -> "SignedBid":
        """The bid in `data`, which is untrusted. Raises InvalidRequest, also if another key than its peer's signed."""
        _check_length(data, BID_BYTES, "bid")
        _, order, ledger, peer, start, stop, prefill, decode, expires_ms, salt = _unpack(_BID_FIXED, data, "bid")
        bid = Bid(order, ledger, peer, start, stop, Price(prefill, decode), expires_ms, salt)
        return cls(bid, _signature(data, bid.hash, peer, "bid"))


@dataclass(frozen=True)
class Commitment:
    """That a peer has bid, and what cannot be changed any more. Signed: made by `commitment_of` and `decode` only."""

    order: bytes  # its hash
    peer: bytes
    bid: bytes  # its hash
    signature: bytes

    def encode(self) -> bytes:
        return _COMMITMENT_FIXED.pack(VERSION, self.order, self.peer, self.bid) + self.signature

    @classmethod
    def decode(cls, data: bytes) -> "Commitment":
        """The commitment in `data`, which is untrusted. Raises InvalidRequest, like SignedBid.decode."""
        _check_length(data, COMMITMENT_BYTES, "commitment")
        _, order, peer, bid = _unpack(_COMMITMENT_FIXED, data, "commitment")
        return cls(order, peer, bid, _signature(data, _COMMITMENT.hash((order, peer, bid)), peer, "commitment"))


def commitment_of(bid: Bid, identity: Identity) -> Commitment:
    """What its peer sends before it sends `bid`. Raises ValueError if the bid is another peer's."""
    _check_own(identity, bid.peer)
    signature = identity.sign_hash(_COMMITMENT.hash((bid.order, bid.peer, bid.hash)))
    return Commitment(bid.order, bid.peer, bid.hash, signature)


def _check_own(identity: Identity, peer: bytes) -> None:
    if identity.address != peer:
        raise ValueError("a bid is signed by the peer that it names")


def _check_length(data: bytes, length: int, what: str) -> None:
    if len(data) != length:
        raise InvalidRequest(f"a {what} has {length} bytes, and not {len(data)}")


def _unpack(fixed: struct.Struct, data: bytes, what: str) -> tuple:
    if data[0] != VERSION:
        raise InvalidRequest(f"a {what} of version {data[0]}; this software reads {VERSION}")
    return fixed.unpack_from(data)


def _signature(data: bytes, hash: bytes, peer: bytes, what: str) -> bytes:
    signature = data[-SIGNATURE_BYTES:]
    if address_of(signer_of_hash(hash, signature)) != peer:
        raise InvalidRequest(f"a {what} that is not signed by the peer that it names")
    return signature


def _words(data: bytes, count: int) -> list[str]:
    words = []
    for _ in range(count):
        length = data[0] if data else 0
        words.append(_check_word(data[1 : 1 + length]))
        data = data[1 + length :]
    return words


def _check_word(word: bytes) -> str:
    """Printable ASCII: an order is shown to people, and must not write over their terminal."""
    if len(word) > MAX_WORD_BYTES or not all(32 <= byte < 127 for byte in word):
        raise InvalidRequest("an order with a model, revision or numerics id that is not short plain text")
    return word.decode()
