"""How a server is paid: channels it works for, vouchers it keeps, and their settlement on the ledger.

The ledger is asked in threads and off the path of tokens: when a session is opened on a channel that is not known yet,
when a voucher exceeds what was deposited, and to settle, many channels at once.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from swarm.errors import DiskTrouble, InvalidRequest, LedgerRefusal, PaymentRequired, PeerBusy, SwarmError
from swarm.market.auction.bidding import Bidding
from swarm.market.channel.acknowledgements import SignedAcknowledgement
from swarm.market.channel.payment_store import Bill, PaymentStore
from swarm.market.channel.payments import agreed_price, payer_of
from swarm.market.channel.receivable import Receivable, Tab
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ledger import Channel, Ledger
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import format_credits
from swarm.wire.formats.quotes import FREE, Quote
from swarm.wire.formats.receipts import Terms, Tokens
from swarm.wire.rate_limit import Allowance

SETTLE_EVERY_S = 300.0
BATCH = 50  # vouchers in one settlement
QUOTE_LIFE_S = 1200.0  # that a published quote is honoured: twice what a directory record may live
MAX_QUOTES = 4096
LOOKS, LOOKS_PERIOD_S = 64, 10.0  # into the ledger, at the bidding of strangers

logger = logging.getLogger(__name__)


class PayeeChannels:
    """Of one server. Lives in the event loop."""

    def __init__(
        self,
        ledger: Ledger,
        store: PaymentStore,
        settle_every_s: float = SETTLE_EVERY_S,
        bidding: Bidding | None = None,
    ):
        """bidding: None: it makes no offers."""
        self._ledger, self._store = ledger, store
        self._period_s = min(settle_every_s, ledger.rules.withdraw_delay_s / 4)
        self._quotes: OrderedDict[bytes, tuple[float, Quote]] = OrderedDict()  # by hash of the record
        self._receivables: dict[bytes, Receivable] = {}  # by channel, of those that were used since the start
        self._settled: dict[bytes, int] = {}  # by channel: what the ledger is known to have paid
        self.unsettled = 0  # channels with something to be had, when the ledger last did not answer
        self._looks = Allowance(LOOKS, LOOKS_PERIOD_S)
        self._settling = asyncio.Lock()
        self._bidding = bidding

    def posted(self, record_hash: bytes, quote: Quote) -> None:
        """The directory has a record with this quote now."""
        self._quotes[record_hash] = time.monotonic(), quote
        while len(self._quotes) > MAX_QUOTES or next(iter(self._quotes.values()))[0] < time.monotonic() - QUOTE_LIFE_S:
            self._quotes.popitem(last=False)

    def trouble(self) -> str:
        """Why no new work should be done for money now; empty: it may."""
        return self._store.trouble()

    # --- sessions ----------------------------------------------------------------------------------------------------

    async def open(self, request: pb.Open) -> Tab | None:
        """The tab of a session that `request`, which is untrusted, opens; None if it may go on for nothing.

        Raises PaymentRequired, PeerBusy for a quote that is out of date, InvalidRequest, LedgerRefusal.
        """
        quote = self._quote(request.quote)
        if not request.payment.channel and not request.payment.bid:
            if (quote.idle_price if request.payment.batch else quote.price) != FREE:
                raise PaymentRequired(
                    f"this peer wants {format_credits(quote.price.decode)} for a token through a block, on the ledger "
                    f"{quote.ledger.hex()[:16]}; give the client an account there"
                )
            return None
        price, blocks = agreed_price(request.payment, quote), request.stop - request.start
        payer = payer_of(request, self._ledger.address)
        receivable = await self._receivable(request.payment.channel)
        if receivable.channel.payer != payer:
            raise InvalidRequest("a payment out of a channel that is not its signer's")
        tab = Tab(receivable, price, blocks, quote.credit(price, blocks))
        if request.payment.offer:  # last, for nothing may be awaited until the session draws on it
            if self._bidding is None:
                raise InvalidRequest("this peer makes no bids, and so takes no offers")
            tab.draw_on(await self._bidding.lease(request), request.max_tokens)
        return tab

    def close(self, tab: Tab, terms: Terms, receipt: bytes) -> None:
        """The session is over. terms: those of its receipts. receipt: hash of the last."""
        tab.leave()
        if not sum(tab.tokens):
            return
        opening = terms.session, terms.attempt, terms.start, terms.stop
        self._store.bill(Bill.of(self._ledger.id, tab.receivable.channel, opening, tab.tokens, tab.price, receipt))

    async def accept(self, tab: Tab, data: bytes) -> None:
        """Take a voucher, which is untrusted. Raises InvalidRequest, LedgerRefusal."""
        signed, receivable = SignedVoucher.decode(data), tab.receivable
        if signed.voucher.ledger != self._ledger.id:
            raise LedgerRefusal("a voucher for another ledger")
        if signed.signer == receivable.channel.payer and signed.voucher.amount > receivable.channel.deposit:
            await self.look_again(tab)
        if receivable.accept(signed):
            self._store.keep(signed)

    def acknowledge(self, terms: Terms, computed: Tokens, data: bytes) -> None:
        """Take a client's word, which is untrusted, for what a session got. terms: those of its receipts. computed: in
        it so far. Raises InvalidRequest."""
        signed = SignedAcknowledgement.decode(data)
        one = signed.acknowledgement
        work = self._ledger.address, terms.session, terms.start, terms.attempt
        if one.ledger != self._ledger.id or one.work != work:
            raise InvalidRequest("an acknowledgement on another ledger, or of other work")
        if one.block_tokens > (terms.stop - terms.start) * sum(computed):
            raise InvalidRequest(f"an acknowledgement of {one.block_tokens} block-tokens, more than were computed")
        self._store.keep_acknowledgement(signed)

    async def look_again(self, tab: Tab) -> None:
        """The channel may have been topped up."""
        tab.receivable.look(await self._look(tab.receivable.channel.id))

    def _quote(self, record_hash: bytes) -> Quote:
        if record_hash not in self._quotes:
            raise PeerBusy("the price that this session names is out of date; look into the directory again")
        return self._quotes[record_hash][1]

    async def _receivable(self, channel_id: bytes) -> Receivable:
        known = self._receivables.get(channel_id)
        if known is None or known.channel.is_ending:
            channel = await self._look(channel_id)
            newest = await asyncio.to_thread(self._newest, channel_id)
            known = self._receivables.setdefault(channel_id, Receivable(channel, newest))
            known.look(channel)
        return known

    def _newest(self, channel_id: bytes) -> SignedVoucher | None:
        try:
            return self._store.voucher(channel_id)
        except DiskTrouble as error:
            logger.warning("what was paid on channel %s cannot be read: %s", channel_id.hex()[:16], error)
            raise PeerBusy("this peer cannot read now what was paid on this channel") from error

    async def _look(self, channel_id: bytes) -> Channel:
        if not self._looks.spend():
            raise PeerBusy("this peer has asked its ledger often enough for the moment")
        channel = await asyncio.to_thread(self._ledger.channel, channel_id)
        if channel is None or channel.payee != self._ledger.address:
            raise LedgerRefusal(f"there is no channel {channel_id.hex()[:16]} to this peer in its ledger")
        if channel.is_ending:
            raise LedgerRefusal(f"the channel {channel_id.hex()[:16]} is closed, or about to be; open another")
        return channel

    # --- settlement --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Settle now and then, what was kept from before at once, and before a payer can take back what is owed."""
        while True:
            try:
                await self.settle()
            except SwarmError as error:
                logger.warning("vouchers could not be settled, and are kept: %s", error)
            await asyncio.sleep(self._period_s)

    async def settle(self) -> int:
        """Get paid for all vouchers that are worth anything; returns how many nano-credits they were worth.

        Raises PeerUnreachable if the ledger does not answer.
        """
        async with self._settling:
            waiting = [signed for signed in await asyncio.to_thread(self._vouchers) if self._is_waiting(signed)]
            self.unsettled = len(waiting)
            wanted = {signed.voucher.channel for signed in waiting} | self._receivables.keys()
            channels = await asyncio.to_thread(self._channels, wanted)
            self._update(channels)
            worth = await asyncio.to_thread(self._settle, waiting, channels)
            self.unsettled = 0
            return worth

    def _vouchers(self) -> list[SignedVoucher]:
        return self._store.vouchers(self._ledger.id)

    def _is_waiting(self, signed: SignedVoucher) -> bool:
        """Whether, for all that is known, there is something to be had for it."""
        return signed.voucher.amount > self._settled.get(signed.voucher.channel, -1)

    def _channels(self, ids: Iterable[bytes]) -> dict[bytes, Channel]:
        found = map(self._ledger.channel, ids)
        return {channel.id: channel for channel in found if channel and channel.payee == self._ledger.address}

    def _update(self, channels: Mapping[bytes, Channel]) -> None:
        """A payer may have closed one, or be about to: no more work is done for it, and it is forgotten in time."""
        for id, known in list(self._receivables.items()):
            known.look(channels.get(id, known.channel))
            if known.channel.is_closed and not known.sessions:
                del self._receivables[id]

    def _settle(self, waiting: Sequence[SignedVoucher], channels: Mapping[bytes, Channel]) -> int:
        worth = []
        for signed in waiting:
            id = signed.voucher.channel
            channel = channels.get(id)
            if channel is None or channel.is_closed:
                self._store.forget(id)
                self._settled.pop(id, None)
            elif signed.voucher.amount > channel.paid:
                worth.append(signed)
            else:
                self._settled[id] = channel.paid
        return sum(self._settle_batch(worth[start : start + BATCH]) for start in range(0, len(worth), BATCH))

    def _settle_batch(self, vouchers: Sequence[SignedVoucher]) -> int:
        """One that is refused must not keep the others from being paid."""
        try:
            worth = self._ledger.settle(vouchers)
            self._settled.update((one.voucher.channel, one.voucher.amount) for one in vouchers)
            return sum(worth)
        except LedgerRefusal as error:
            if len(vouchers) > 1:
                return sum(self._settle_batch([one]) for one in vouchers)
            logger.warning("a voucher of channel %s is refused: %s", vouchers[0].voucher.channel.hex()[:16], error)
            return 0
