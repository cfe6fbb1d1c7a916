"""A server's business: what it asks for its work, as demand changes, and its till."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from swarm.errors import PaymentRequired, SwarmError
from swarm.home import commitments_folder, payments_file
from swarm.market.auction.auction import Auction
from swarm.market.auction.bidding import Bidding
from swarm.market.auction.tender import Bid, Order
from swarm.market.channel.payee_channels import SETTLE_EVERY_S, PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.ledger.ledger import DAY_S, Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.market.pricing.policy import PERIOD_S, Demand, Pricing
from swarm.market.rewards.claims import MAX_CLAIMS, pack_claims
from swarm.market.rewards.committing import Committer
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import format_amount
from swarm.wire.formats.quotes import CREDIT_TOKENS, Quote
from swarm.wire.identity import Identity
from swarm.wire.session_id import MAX_AGE_S

ATTEND_EVERY_S = 5.0  # to the ledger's epochs


@dataclass(frozen=True)
class BillingOptions:
    """What a contributor wants for the work of a server."""

    ledger: str  # where it is paid, see swarm.market.ledger.opening
    pricing: Pricing
    credit_tokens: int = CREDIT_TOKENS
    settle_every_s: float = SETTLE_EVERY_S
    stake: int = 0  # nano-credits that it has at stake, at least, while it serves
    epoch_s: float = DAY_S  # that the ledger's epochs last; only with contribution


class Billing:
    """Of one server. Lives in the event loop."""

    def __init__(
        self, options: BillingOptions, till: PayeeChannels, ledger_id: bytes, staked: int, shut: Callable[[], None]
    ):
        """staked: nano-credits. shut: called at the end."""
        self.till, self._options, self._ledger_id, self._shut = till, options, ledger_id, shut
        self.staked = staked
        self._pricing, self._demand = options.pricing, Demand(0.0)
        self._committer: Committer | None = None

    @classmethod
    async def open(cls, options: BillingOptions, identity: Identity, record: pb.PeerRecord) -> "Billing":
        """record: what the server announces. Raises SwarmError if the ledger cannot be opened, PaymentRequired if there
        is not enough there to stake."""
        ledger, staked = await asyncio.to_thread(_open_staked, options, identity)
        store = PaymentStore(payments_file(identity.peer_id))

        def shut() -> None:
            store.close()
            ledger.shut()

        trade = cls(options, PayeeChannels(ledger, store, options.settle_every_s), ledger.id, staked, shut)
        if isinstance(options.pricing, Auction):
            trade.till.bidding = Bidding(record, identity, ledger.id, partial(trade._bid, identity.address))
        elif options.pricing.mode == "contribution":
            compose = partial(_claims, ledger.id, store, options.epoch_s)
            trade._committer = Committer(ledger, commitments_folder(), options.epoch_s, compose)
        return trade

    def quote(self) -> Quote:
        """What it asks now."""
        return Quote(
            self._ledger_id, self._pricing.mode, self._pricing.price, self._pricing.idle_price(self._demand),
            self._options.credit_tokens,
        )  # fmt: skip

    def _bid(self, peer: bytes, order: Order, start: int, stop: int) -> Bid:
        return self._pricing.bid(order, peer, start, stop, self._demand)

    async def reprice(self, demand: Callable[[], Demand]) -> None:
        """Follow demand, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self._demand = demand()
            self._pricing = self._pricing.observe(self._demand)

    def work(self, demand: Callable[[], Demand]) -> list[Coroutine[object, object, None]]:
        """All that goes on until it is cancelled."""
        claiming = [self._claim(self._committer)] if self._committer else []
        return [self.till.run(), self.reprice(demand), *claiming]

    async def _claim(self, committer: Committer) -> None:
        """Claim points for work that clients acknowledged."""
        while True:
            await asyncio.to_thread(committer.attend)
            await asyncio.sleep(min(ATTEND_EVERY_S, self._options.epoch_s / 10))

    async def close(self) -> None:
        """Get paid for what is not settled yet, if the ledger answers; else it is settled next time."""
        try:
            with suppress(SwarmError):
                await self.till.settle()
        finally:
            await asyncio.to_thread(self._shut)


def _open_staked(options: BillingOptions, identity: Identity) -> tuple[Ledger, int]:
    """The ledger, and what is at stake there."""
    ledger = open_ledger(options.ledger, identity)
    try:
        post_stake(ledger, options, identity.peer_id)
        return ledger, ledger.account().staked
    except BaseException:
        ledger.shut()
        raise


def post_stake(ledger: Ledger, options: BillingOptions, peer_id: str) -> None:
    """Bond what is missing of the stake. It stays when the server leaves: what it did may be found out later. Raises
    PaymentRequired if the account has not enough."""
    account = ledger.account()
    missing = options.stake - account.staked
    if missing <= 0:
        return
    if missing > account.available:
        short = format_amount(missing - account.available)
        raise PaymentRequired(
            f"this server is to stake {format_amount(options.stake)} credits; it has {format_amount(account.staked)} "
            f"at stake and {format_amount(account.available)} available. Give it the rest, and start it again: "
            f"python -m swarm ledger transfer {peer_id} {short} --ledger {options.ledger}"
        )
    ledger.bond(missing)


def _claims(ledger_id: bytes, store: PaymentStore, epoch_s: float, epoch: int) -> bytes | None:
    """The payload for an epoch that is running; what is too old to count in it is forgotten."""
    oldest_ms = int((time.time() - epoch_s - MAX_AGE_S) * 1000)
    taken = store.take_acknowledgements(ledger_id, max(oldest_ms, 0).to_bytes(6), MAX_CLAIMS)
    return pack_claims(taken) if taken else None
