"""What a server asks for its work, as demand changes, and how it is paid for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from swarm.clock import REACH_S, difference, now_s
from swarm.errors import InvalidRequest, PaymentRequired, PeerUnreachable, SwarmError
from swarm.home import commitments_folder, payments_file
from swarm.market.auction.auction import Auction
from swarm.market.auction.bidding import Bidding
from swarm.market.auction.tender import Bid, Order
from swarm.market.channel.payee_channels import SETTLE_EVERY_S, PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.work import PaymentObserver
from swarm.market.ledger.ledger import DAY_S, Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.market.pricing.policy import PERIOD_S, Demand, Pricing
from swarm.market.rewards.claims import MAX_CLAIMS, pack_claims, unpack_claims
from swarm.market.rewards.committing import Committer
from swarm.program import command
from swarm.route.peer import PeerInfo
from swarm.server.config import SETTLING_S, WRITING_S
from swarm.server.observers import Payee, WorkObserver
from swarm.verify.receipts.work import ReceiptObserver
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import format_amount, format_credits
from swarm.wire.formats.quotes import CREDIT_TOKENS, Quote
from swarm.wire.identity import Identity
from swarm.wire.session_id import MAX_AGE_S, MAX_SKEW_S
from swarm.wire.tasks import within

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)

LEDGER_WAIT_S = 300.0  # after a power cut, the ledger's machine may be back later than this one
LEDGER_RETRY_S = 1.0
ATTEND_EVERY_S = 5.0  # to the ledger's epochs

Work = Coroutine[object, object, None]  # that goes on until it is cancelled


@dataclass(frozen=True)
class BillingOptions:
    """What a contributor wants for the work of a server."""

    ledger: str  # where it is paid, see swarm.market.ledger.opening
    pricing: Pricing
    credit_tokens: int = CREDIT_TOKENS
    settle_every_s: float = SETTLE_EVERY_S
    stake: int = 0  # nano-credits that it has at stake, at least, while it serves
    epoch_s: float = DAY_S  # that the ledger's epochs last; only with contribution


class Asking:
    """What one server asks, which follows demand."""

    def __init__(self, ledger_id: bytes, pricing: Pricing, credit_tokens: int):
        self._ledger_id, self._pricing, self._credit_tokens = ledger_id, pricing, credit_tokens
        self._demand = Demand(0.0)

    def quote(self) -> Quote:
        """What it asks now."""
        pricing = self._pricing
        return Quote(
            self._ledger_id, pricing.mode, pricing.price, pricing.idle_price(self._demand), self._credit_tokens
        )

    def bid(self, peer: bytes, order: Order, start: int, stop: int) -> Bid:
        """For an order, where it is an auction's. peer: this server's address. start, stop: blocks that it serves."""
        if not isinstance(self._pricing, Auction):
            raise InvalidRequest("this peer makes no bids; what it asks is in the directory")
        return self._pricing.bid(order, peer, start, stop, self._demand)

    async def follow(self, used_share: Callable[[], float]) -> None:
        """Until cancelled. used_share: how busy the server is, from 0 to 1."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self._demand = Demand(used_share())
            self._pricing = self._pricing.observe(self._demand)


class Billing(Payee):
    """Of one server. Lives in the event loop."""

    def __init__(
        self,
        asking: Asking,
        channels: PayeeChannels,
        bidding: Bidding | None,
        claim: Callable[[], Work] | None,
        staked: int,
        shut: Callable[[], None],
    ):
        """bidding: None: it makes no offers. claim: goes on claiming points, with contribution. staked: nano-credits.
        shut: called at the end."""
        self._asking, self._channels, self._bidding, self.staked = asking, channels, bidding, staked
        self._claim, self._shut = claim, shut

    @classmethod
    async def open(cls, options: BillingOptions, identity: Identity, served: Callable[[], PeerInfo]) -> "Billing":
        """served: what the server announces now. Waits for a ledger that does not answer, see LEDGER_WAIT_S. Raises
        SwarmError if it cannot be opened, PaymentRequired if there is not enough there to stake."""
        ledger = await when_it_answers(partial(open_ledger, options.ledger, identity))
        staked = await asyncio.to_thread(_stake, ledger, options, identity)
        store = await asyncio.to_thread(PaymentStore, payments_file(identity.peer_id))

        def shut() -> None:
            store.close()
            ledger.shut()

        asking = Asking(ledger.id, options.pricing, options.credit_tokens)
        bidding, claim = None, None
        if isinstance(options.pricing, Auction):
            bidding = Bidding(served, identity, ledger.id, partial(asking.bid, identity.address))
        elif options.pricing.mode == "contribution":
            compose = partial(_claims, ledger, store, options.epoch_s)
            committer = Committer(
                ledger,
                commitments_folder(),
                options.epoch_s,
                compose,
                lambda payload: store.forget_acknowledgements(unpack_claims(payload)),
            )
            claim = partial(_claim, committer, min(ATTEND_EVERY_S, options.epoch_s / 10))
        channels = PayeeChannels(ledger, store, options.settle_every_s, bidding)
        return cls(asking, channels, bidding, claim, staked, shut)

    def quote(self) -> Quote:
        return self._asking.quote()

    def posted(self, record_hash: bytes, quote: Quote) -> None:
        self._channels.posted(record_hash, quote)

    def work(self, used_share: Callable[[], float]) -> list[Work]:
        claiming = [self._claim()] if self._claim else []
        return [self._channels.run(), self._asking.follow(used_share), *claiming]

    def paid(self, signing: WorkObserver) -> WorkObserver:
        assert isinstance(signing, ReceiptObserver)  # see ServerConfig: who is paid signs
        return PaymentObserver(self._channels, signing)

    async def tender(self, request: pb.Tender, context: Any) -> pb.Tendered:
        if self._bidding:
            return await self._bidding.tender(request, context)
        return await super().tender(request, context)

    async def close(self) -> None:
        """Get paid for what is not settled yet, if the ledger answers; else it is settled next time."""
        try:
            with suppress(SwarmError):
                await within(SETTLING_S, "settling", self._channels.settle)
        finally:
            if self._channels.unsettled:
                text = "vouchers of %d channels are not settled: the ledger does not answer. They are at the next start"
                logger.warning(text, self._channels.unsettled)
            await within(WRITING_S, "closing the ledger", asyncio.to_thread, self._shut)


async def _claim(committer: Committer, every_s: float) -> None:
    """Claim points for work that clients acknowledged."""
    while True:
        await asyncio.to_thread(committer.attend)
        await asyncio.sleep(every_s)


async def when_it_answers(ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns, in a thread; it only asks. Again while the ledger does not answer, for LEDGER_WAIT_S; raises
    what it raises."""
    give_up_s = time.monotonic() + LEDGER_WAIT_S
    is_told = False
    while True:
        try:
            return await asyncio.to_thread(ask)
        except PeerUnreachable as error:
            if time.monotonic() + LEDGER_RETRY_S > give_up_s:
                raise
            if not is_told:
                logger.warning("%s; it is asked again for %.0f s", error, LEDGER_WAIT_S)
                is_told = True
        await asyncio.sleep(LEDGER_RETRY_S)


def _stake(ledger: Ledger, options: BillingOptions, identity: Identity) -> int:
    """What is at stake there, once it is as much as it should be. Not to be tried again without a look: after an error
    the stake may be there all the same."""
    try:
        if options.pricing.mode == "contribution":
            _check_clock(ledger)
        post_stake(ledger, options, identity.peer_id)
        return ledger.account().staked
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
            f"this server is to stake {format_credits(options.stake)}; it has {format_amount(account.staked)} "
            f"at stake and {format_amount(account.available)} available. Whoever has credits there gives it the rest, "
            "and then it is started again: " + command("ledger", "transfer", peer_id, short, "--ledger", options.ledger)
        )
    ledger.bond(missing)


def _check_clock(ledger: Ledger) -> None:
    """Epochs are the ledger's, and sessions are named by the swarm's time. Raises SwarmError if they do not fit."""
    ahead_s = ledger.now() - now_s()
    if abs(ahead_s) > REACH_S:
        where = "ahead of" if ahead_s > 0 else "behind"
        raise SwarmError(
            f"the ledger's clock is {difference(ahead_s)} {where} the swarm's; epochs are counted up to "
            f"{difference(REACH_S)} apart: have the clock set on the ledger's machine"
        )


def _claims(ledger: Ledger, store: PaymentStore, epoch_s: float, epoch: int) -> bytes | None:
    """The payload for an epoch that is running; what is too old to count in it is forgotten, and what is too new for it
    is left for the next."""
    ledger_s = ledger.now()
    oldest, newest = (
        max(int(seconds * 1000), 0).to_bytes(6) for seconds in (ledger_s - epoch_s - MAX_AGE_S, ledger_s + MAX_SKEW_S)
    )
    claimed = store.acknowledgements(ledger.id, oldest, newest, MAX_CLAIMS)
    return pack_claims(claimed) if claimed else None
