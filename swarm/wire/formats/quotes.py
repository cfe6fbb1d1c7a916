"""What a peer asks for its work. Part of its signed directory record; a session keeps the price it was opened at."""

from dataclasses import dataclass
from typing import NamedTuple

from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.signed import UInt64

LEDGER_ID_BYTES = 32
CREDIT_TOKENS = 64  # of unpaid work after which a server waits for its client's voucher
MESSAGE_TOKENS = 256  # of a prompt, or of a replay
MAX_PRICE = 2**40  # nano-credits per block-token: some thousand credits for one token through one block
MAX_CREDIT_TOKENS = 2**16
DEFAULT_DECODE = 1000  # nano-credits per block-token: 30 credits for a million tokens through 30 blocks
PREFILL_SHARE = 20  # a prompt's token costs a 20th of a generated one to compute
MODES = ("fixed", "market", "auction", "rewards", "contribution")


class Price(NamedTuple):
    """Nano-credits per block-token, which is one token through one block."""

    prefill: UInt64 = 0  # of a prompt, or of what is computed again for a peer that replaces another
    decode: UInt64 = 0  # generated one by one

    def due(self, blocks: int, prefill_tokens: int, decode_tokens: int) -> int:
        """Nano-credits for so much work."""
        return blocks * (prefill_tokens * self.prefill + decode_tokens * self.decode)

    def plus(self, priority_fee: int) -> "Price":
        """With so many nano-credits per block-token on top, for going first."""
        return Price(self.prefill + priority_fee, self.decode + priority_fee)


FREE = Price()


class Offer(NamedTuple):
    """At what price a hop is opened whose peer has bid for it."""

    proof: bytes  # see swarm.market.auction.offer
    price: Price  # nano-credits per block-token, by the award


@dataclass(frozen=True)
class Quote:
    """What a peer asks, and where it wants to be paid."""

    ledger: bytes = b""  # id of the ledger, 32 bytes; empty: it asks for nothing, and keeps no account
    mode: str = "fixed"  # one of MODES: how the price came about
    price: Price = FREE
    idle_price: Price = FREE  # for batch sessions, which are computed while nothing else waits
    credit_tokens: int = CREDIT_TOKENS  # decoded tokens' worth of work that it does ahead of payment

    @property
    def is_paid(self) -> bool:
        """Whether it keeps accounts: the price may be 0 and priority fees paid all the same."""
        return bool(self.ledger)

    def credit(self, price: Price, blocks: int) -> int:
        """Nano-credits that a client may owe at most, for a session at `price` through so many of its blocks; never
        less than two messages of a prompt are worth, so that one may begin while the other is not paid yet."""
        return blocks * max(self.credit_tokens * price.decode, 2 * MESSAGE_TOKENS * price.prefill)

    def message(self) -> pb.Quote:
        """As it travels in a directory record."""
        return pb.Quote(
            ledger=self.ledger, mode=self.mode, prefill=self.price.prefill, decode=self.price.decode,
            idle_prefill=self.idle_price.prefill, idle_decode=self.idle_price.decode, credit_tokens=self.credit_tokens,
        )  # fmt: skip

    @classmethod
    def of(cls, message: pb.Quote) -> "Quote":
        """What `message`, which is untrusted, says. Raises InvalidRequest."""
        if not message.ledger:
            return cls()
        if len(message.ledger) != LEDGER_ID_BYTES or message.mode not in MODES:
            raise InvalidRequest(f"a quote in mode {message.mode!r:.40}, or a ledger's id that is not 32 bytes long")
        prices = (message.prefill, message.decode, message.idle_prefill, message.idle_decode)
        if max(prices) > MAX_PRICE or not 0 < message.credit_tokens <= MAX_CREDIT_TOKENS:
            raise InvalidRequest(f"a quote of {max(prices)} a block-token, or {message.credit_tokens} tokens of credit")
        return cls(message.ledger, message.mode, Price(*prices[:2]), Price(*prices[2:]), message.credit_tokens)


FREE_QUOTE = Quote()  # of a peer that works for nothing
