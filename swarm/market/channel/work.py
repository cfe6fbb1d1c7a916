"""A server is paid for what it computes: the payments' side of its seam, see swarm.server.observers.

What is owed is counted by what receipts are signed for, and a bill names the last of them; so who is paid signs.
"""

import time
from contextlib import suppress

from swarm.errors import InvalidRequest, SwarmError
from swarm.market.channel.acknowledgements import ACKNOWLEDGEMENT_BYTES
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.receivable import Tab
from swarm.server.observers import SessionObserver, SessionObservers, WorkObserver
from swarm.server.session.outbox import Outbox
from swarm.server.session.steps import Slice, Work
from swarm.verify.receipts.work import ReceiptObserver, SignedSession
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows
from swarm.wire.formats.amounts import format_amount, format_credits
from swarm.wire.formats.receipts import Tokens

UNPAID_S = 10.0  # that a session waits for its voucher


class UnpricedSession(SessionObserver):
    """One that costs nothing: its client may acknowledge what it got."""

    def __init__(self, channels: PayeeChannels, signed: SignedSession, outbox: Outbox):
        """signed: what receipts say of the session."""
        self._channels, self._signed, self._outbox = channels, signed, outbox

    @property
    def owed(self) -> int:
        """Nano-credits that no voucher covers."""
        return 0

    async def answer(self, message: pb.ToServer) -> bool:
        if not message.HasField("paid"):
            return False
        try:
            await self._take(message.paid.voucher)
        except SwarmError as error:
            self._outbox.fail(error)
        if message.paid.seq:
            self._outbox.send(pb.ToClient(paid_up=pb.PaidUp(seq=message.paid.seq, owed=self.owed)))
        return True

    async def _take(self, data: bytes) -> None:
        if len(data) != ACKNOWLEDGEMENT_BYTES:
            raise InvalidRequest("a voucher for a session that costs nothing")
        self._channels.acknowledge(self._signed.terms, self._signed.tokens, data)


class PaidSession(UnpricedSession):
    """One on a channel: it computes as far as its client is good for."""

    def __init__(
        self, channels: PayeeChannels, signed: SignedSession, outbox: Outbox, tab: Tab, roster: set["PaidSession"]
    ):
        """roster: of the sessions that are open."""
        super().__init__(channels, signed, outbox)
        self._tab, self._roster = tab, roster
        self._begun: Work | None = None  # whose worth is set aside
        self._unpaid_since: float | None = None  # time.monotonic(); the next step waits for a voucher

    @property
    def owed(self) -> int:
        return self._tab.receivable.unpaid

    def admitted(self) -> None:
        self._tab.enter()
        self._roster.add(self)

    def opened(self, answer: pb.Opened) -> None:
        receivable = self._tab.receivable
        answer.owed = receivable.abandoned
        answer.voucher = receivable.newest.encode() if receivable.newest else b""

    def check(self, step: pb.Step) -> None:
        price, credit = self._tab.value(Tokens.of(step.count, step.prompt)), self._tab.credit
        if price > credit:
            raise InvalidRequest(
                f"a step of {step.count} tokens for {format_credits(price)}; this peer gives credit "
                f"for {format_amount(credit)}: send it in smaller pieces"
            )

    def may_compute(self, work: Work) -> bool:
        if work is self._begun:
            return True
        if self._tab.begin(work.to_compute):
            self._begun, self._unpaid_since = work, None
            return True
        self._begun = None
        if self._unpaid_since is None:
            self._unpaid_since = time.monotonic()
        return False

    def computed(self, item: Slice, outputs: Rows) -> None:
        self._tab.progress(self._signed.tokens, item.work.to_compute)

    async def dun(self) -> None:
        """End the session if it has not paid for long; if it has not paid yet, look whether there is more in its
        channel."""
        if self._unpaid_since is None:
            return
        if time.monotonic() - self._unpaid_since > UNPAID_S:
            self._outbox.end(self._tab.receivable.reminder())
            return
        with suppress(SwarmError):
            await self._channels.look_again(self._tab)

    def closed(self) -> None:
        self._roster.discard(self)
        self._channels.close(self._tab, self._signed.terms, self._signed.last)

    async def _take(self, data: bytes) -> None:
        if len(data) == ACKNOWLEDGEMENT_BYTES:
            await super()._take(data)
        else:
            await self._channels.accept(self._tab, data)


class PaymentObserver(WorkObserver):
    """Of one server."""

    def __init__(self, channels: PayeeChannels, receipts: ReceiptObserver):
        self._channels, self._receipts = channels, receipts
        self._roster: set[PaidSession] = set()

    def trouble(self) -> str:
        return self._receipts.trouble() or self._channels.trouble()

    async def admit(self, request: pb.Open, outbox: Outbox) -> SessionObserver:
        """With its receipts. Raises PaymentRequired, PeerBusy for a quote that is out of date, InvalidRequest,
        LedgerRefusal."""
        signed = await self._receipts.admit(request, outbox)
        tab = await self._channels.open(request)
        if tab is None:
            return SessionObservers([signed, UnpricedSession(self._channels, signed, outbox)])
        return SessionObservers([signed, PaidSession(self._channels, signed, outbox, tab, self._roster)])

    async def sweep(self) -> None:
        for session in list(self._roster):
            await session.dun()
