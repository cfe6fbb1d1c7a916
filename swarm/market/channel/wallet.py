"""What a client pays servers from: one channel for each, opened when it is first needed, on one ledger.

A client pays for what it got, never ahead. Its vouchers say how much that is in all on a channel, so a lost one does no
harm, and what it forgot of a channel it is told by the server, over its own signature. So no voucher has to be on disk
before it is signed: without any memory a client signs for what it gets now, above what the ledger or the server show
that it had signed before, and never for the same work twice.
"""

import asyncio
import fcntl
import os
import tempfile
from pathlib import Path

from swarm.errors import DiskTrouble, InvalidRequest, PaymentRequired
from swarm.forks import keep_here, let_go
from swarm.home import channels_folder, client_identity, payments_file
from swarm.market.channel.acknowledgements import Acknowledgement
from swarm.market.channel.invoice import HopInvoice
from swarm.market.channel.payment_store import Bill, PaymentStore
from swarm.market.channel.payments import agreed_price, authorise
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.market.ledger.ledger import Channel, Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.route.route import Hop
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import format_amount, format_credits, parse_amount
from swarm.wire.formats.quotes import FREE
from swarm.wire.formats.receipts import Terms, Tokens
from swarm.wire.identity import Identity, address_of

DEPOSIT_TOKENS = 4096  # decoded: what a channel is opened with, if that is covered and the session needs no more


class WalletChannel:
    """One server's channel."""

    def __init__(self, channel: Channel, lock: int):
        """lock: descriptor of the file that keeps other processes of this user off the channel."""
        self.channel, self.lock = channel, lock
        self.signed = channel.paid  # amount of the newest voucher
        self.owed = channel.paid  # in all, for what was got
        self.expected = 0  # at most, for the rest of the sessions that are open
        self.lent = 0  # of what the server says it is owed, and this client does not know of, paid on its word

    @property
    def headroom(self) -> int:
        """That sessions may still be opened for."""
        return self.channel.deposit - max(self.owed, self.signed) - self.expected


class Wallet:
    """Of one client. Lives in one event loop; the ledger is asked in threads."""

    def __init__(self, ledger: Ledger, identity: Identity, store: PaymentStore, locks: Path, budget: int | None = None):
        """store: for bills. locks: folder for files by which this user's processes keep to different channels.
        budget: nano-credits that may be spent in all."""
        self.ledger, self._identity, self._store, self._locks = ledger, identity, store, locks
        self.budget = budget
        self.ledger_id = ledger.id
        self._channels: dict[bytes, WalletChannel] = {}  # by payee
        self._opening: dict[bytes, asyncio.Lock] = {}
        self._before = 0  # that the channels had paid before this client
        self._pending = 0  # expected of sessions whose channels are being opened

    @property
    def spent(self) -> int:
        """Nano-credits owed since this client began."""
        return sum(channel.owed for channel in self._channels.values()) - self._before

    @property
    def _expected(self) -> int:
        return self._pending + sum(channel.expected for channel in self._channels.values())

    async def open(self, hop: Hop, request: pb.Open, tokens: Tokens) -> HopInvoice | None:
        """Fill in how the session that `request` opens on `hop` is paid; what it owes is in the bill. None: nothing.

        tokens: that it may compute at most. Raises PaymentRequired if that is more than the budget or the account
        allows, PeerUnreachable if the ledger does not answer.
        """
        asks, blocks = hop.peer.asks, hop.stop - hop.start
        if not asks.is_paid or (price := agreed_price(request.payment, asks)) == FREE:
            return None
        need = price.due(blocks, *tokens)
        self._check_budget(need)
        payee = address_of(hop.peer.peer_id)
        usual = price.due(hop.peer.stop - hop.peer.start, 0, DEPOSIT_TOKENS)
        self._pending += need
        try:
            async with self._opening.setdefault(payee, asyncio.Lock()):
                channel = await asyncio.to_thread(self._channel, payee, need, usual)
                channel.expected += need
        finally:
            self._pending -= need
        request.payment.channel = channel.channel.id
        authorise(request, payee, self._identity)
        return HopInvoice(self, channel, request, price, asks.credit(price, blocks), need)

    def sign(self, channel: WalletChannel, receipt: bytes) -> bytes:
        """A voucher for all that is owed on a channel. receipt: hash of the server's last, or zeros."""
        channel.signed = max(channel.signed, min(channel.owed, channel.channel.deposit))
        voucher = Voucher(self.ledger.id, channel.channel.id, channel.signed, receipt)
        return voucher.sign(self._identity).encode()

    def acknowledge(self, terms: Terms, block_tokens: int, receipt: bytes) -> bytes:
        """For a server whose work has no price. terms: those of its receipts. receipt: hash of the last."""
        return Acknowledgement(
            self.ledger.id, self._identity.address, terms.peer, terms.session, terms.start, terms.attempt,
            block_tokens, receipt,
        ).sign(self._identity).encode()  # fmt: skip

    def hear(self, channel: WalletChannel, opened: pb.Opened, credit: int) -> None:
        """What a server says of a channel when a session is opened there, which is untrusted: a voucher that this
        client has forgotten, and what it misses for sessions that broke off. Of that it is lent as much as its credit,
        once, since it would not go on otherwise."""
        if opened.voucher:
            try:
                known = SignedVoucher.decode(opened.voucher)
            except InvalidRequest:
                return
            voucher = known.voucher
            is_mine = known.signer == self._identity.address and voucher.ledger == self.ledger.id
            if is_mine and voucher.channel == channel.channel.id and voucher.amount > channel.signed:
                self._before += max(voucher.amount - channel.owed, 0)
                channel.signed, channel.owed = voucher.amount, max(voucher.amount, channel.owed)
        missing = min(opened.owed - (channel.owed - channel.signed), credit - channel.lent)
        if self.budget is not None:
            missing = min(missing, self.budget - self.spent - self._expected)
        if missing > credit // 2:
            channel.lent += missing
            channel.owed += missing

    def book(self, invoice: HopInvoice) -> None:
        """A session is over."""
        request = invoice.request
        opening, channel = (request.session_id, request.seq, request.start, request.stop), invoice.channel.channel
        self._store.bill(Bill.of(self.ledger.id, channel, opening, invoice.tokens, invoice.price, invoice.receipt))

    def close(self) -> None:
        """Channels stay open for the next time."""
        self._store.close()
        self.ledger.shut()
        for channel in self._channels.values():
            let_go(channel.lock)
            os.close(channel.lock)

    def _check_budget(self, need: int) -> None:
        if self.budget is not None and self.spent + self._expected + need > self.budget:
            left = self.budget - self.spent - self._expected
            raise PaymentRequired(
                f"this may cost {format_credits(need)} on one hop alone, and {format_amount(max(left, 0))} are "
                f"left of the budget of {format_amount(self.budget)}; allow more, or ask for fewer tokens"
            )

    # --- on the ledger, in a thread ----------------------------------------------------------------------------------

    def _channel(self, payee: bytes, need: int, usual: int) -> WalletChannel:
        """This client's channel to `payee`, with room for `need` more."""
        known = self._channels.get(payee) or self._found(payee)
        if known is None:
            self._check_locks()
            known = self._claim(self.ledger.open_channel(payee, self._affordable(need, max(need, usual))))
            if known is None:
                raise PaymentRequired("another process of this user took the channel just opened; try again")
            self._channels[payee] = known
        elif known.headroom < need:
            missing = need - known.headroom
            self.ledger.top_up(known.channel.id, self._affordable(missing, max(missing, usual)))
            known.channel = self.ledger.channel(known.channel.id) or known.channel
        return known

    def _found(self, payee: bytes) -> WalletChannel | None:
        """One that is open from before, and in no other process's hands."""
        for channel in self.ledger.channels(payer=self._identity.address, payee=payee):
            if not channel.is_ending and (claimed := self._claim(channel)):
                self._channels[payee] = claimed
                self._before += claimed.owed
                return claimed
        return None

    def _check_locks(self) -> None:
        """Before money goes into a channel that could not be kept for this process then. Raises DiskTrouble."""
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._locks):
                pass
        except OSError as error:
            raise _no_lock(error, self._locks) from error

    def _claim(self, channel: Channel) -> WalletChannel | None:
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._locks / f"{channel.id.hex()[:32]}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise _no_lock(error, self._locks) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        keep_here(lock)
        return WalletChannel(channel, lock)

    def _affordable(self, least: int, wanted: int) -> int:
        """As much of `wanted` as the account covers. Raises PaymentRequired if that is less than `least`."""
        available = self.ledger.account().available
        if available < least:
            raise PaymentRequired(
                f"{format_credits(least)} are to be set aside for one hop, and the account "
                f"0x{self._identity.address.hex()} has {format_amount(available)}; put more there, or ask for fewer "
                "tokens"
            )
        return min(wanted, available)


def _no_lock(error: OSError, folder: Path) -> DiskTrouble:
    return DiskTrouble(
        f"no payment channel can be used, for its lock cannot be made in {folder}: {error.strerror}; make room there, "
        "or set SWARM_HOME to a folder that can be written"
    )


def open_wallet(ledger: str, budget: int | str | None) -> Wallet:
    """The wallet of this user's clients on a ledger. Raises InvalidRequest, PeerUnreachable, SwarmError if the ledger
    cannot be opened."""
    identity, amount = client_identity(), parse_amount(budget) if isinstance(budget, str) else budget
    return Wallet(open_ledger(ledger, identity), identity, PaymentStore(payments_file()), channels_folder(), amount)
