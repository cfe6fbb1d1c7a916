"""The payee's side of a channel: how much it is owed, and whether it may work on. Pure.

What is owed grows with the work, what is paid with every voucher. The difference, with the work that has begun, never
exceeds the credit that the payee grants; so that is the most it can lose.
"""

from swarm.errors import LedgerRefusal, PaymentRequired
from swarm.market.auction.firm_bid import FirmBid
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ledger import Channel
from swarm.wire.formats.amounts import format_amount, format_credits
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import Tokens

FORGIVEN = 20  # of so many nano-credits paid, one pays for what sessions left unpaid that broke off


class Receivable:
    """One channel, with all its sessions."""

    def __init__(self, channel: Channel, newest: SignedVoucher | None = None):
        """newest: the voucher that is kept from before."""
        self.channel, self.newest = channel, newest
        self.paid = max(channel.paid, newest.voucher.amount if newest else 0)
        self.owed = self.paid  # in all, since the channel was opened
        self.begun = 0  # worth of steps in computation
        self.sessions = 0  # that are open

    def look(self, channel: Channel) -> None:
        """`channel` is what the ledger says of it now."""
        self.channel = channel

    def join(self) -> None:
        """One session more."""
        self.sessions += 1

    def leave(self) -> None:
        """One session less."""
        self.sessions -= 1

    def begin(self, value: int) -> None:
        """Work worth so much has begun; of what is over, the value is negative."""
        self.begun += value

    def owe(self, value: int) -> None:
        """Work worth so much was done."""
        self.owed += value

    @property
    def unpaid(self) -> int:
        return max(self.owed - self.paid, 0)

    @property
    def abandoned(self) -> int:
        """Unpaid, by sessions that are over; 0 while it cannot be told apart from what open ones owe."""
        return 0 if self.sessions > 1 else self.unpaid

    def may_begin(self, value: int, credit: int) -> bool:
        """Whether work worth so much may begin now, which must not exceed the credit. Never in a channel that ends: its
        vouchers may soon be worth nothing."""
        total = self.owed + self.begun + value
        return total - self.paid <= credit and total <= self.channel.deposit and not self.channel.is_ending

    def reminder(self) -> PaymentRequired:
        """What to tell a payer that has not paid."""
        left = format_amount(self.channel.deposit - self.paid)
        return PaymentRequired(
            f"{format_credits(self.unpaid)} are unpaid, and {left} left in the channel; this peer has "
            "waited for a voucher, or for more in the channel"
        )

    def accept(self, signed: SignedVoucher) -> bool:
        """Count a voucher; whether it adds anything. One that came late, overtaken by another, does not.

        Raises LedgerRefusal if it is not the payer's, or above the deposit.
        """
        voucher = signed.voucher
        if signed.signer != self.channel.payer or voucher.channel != self.channel.id:
            raise LedgerRefusal("a voucher that is not signed by the payer of this channel, or for another one")
        if voucher.amount > self.channel.deposit:
            raise LedgerRefusal(
                f"a voucher over {format_credits(voucher.amount)}; {format_amount(self.channel.deposit)} were "
                "deposited in its channel"
            )
        if voucher.amount <= self.paid:
            return False
        self.owed = max(self.owed - (voucher.amount - self.paid) // FORGIVEN, voucher.amount)
        self.newest, self.paid = signed, voucher.amount
        return True


class Tab:
    """What one session owes."""

    def __init__(self, receivable: Receivable, price: Price, blocks: int, credit: int):
        self.receivable, self.price, self.blocks, self.credit = receivable, price, blocks, credit
        self.tokens = Tokens()
        self.due = 0  # nano-credits, for all that was computed
        self._begun = 0
        self._firm: FirmBid | None = None  # the bid that it was opened at
        self._reserved = 0  # block-tokens of it

    def draw_on(self, firm: FirmBid, max_tokens: int) -> None:
        """The session, of `max_tokens` at most, is at the price of a bid."""
        self._firm, self._reserved = firm, self.blocks * max_tokens

    def enter(self) -> None:
        """The session is open."""
        self.receivable.join()
        if self._firm:
            self._firm.reserve(self._reserved)

    def leave(self) -> None:
        """The session is over."""
        self.drop()
        self.receivable.leave()
        if self._firm:
            self._firm.release(self._reserved - self.blocks * sum(self.tokens))

    def value(self, tokens: Tokens) -> int:
        """Nano-credits."""
        return self.price.due(self.blocks, *tokens)

    def begin(self, tokens: Tokens) -> bool:
        """Whether a step of so many tokens may begin now, in the place of one that had; then its worth is set aside
        until it is done."""
        value = self.value(tokens)
        may_begin = self.receivable.may_begin(value - self._begun, self.credit)
        self._set_begun(value if may_begin else 0)
        return may_begin

    def progress(self, total: Tokens, rest: Tokens) -> None:
        """So much has been computed since the session began, and `rest` of the step that has begun is still to do.

        What a client rewinds is owed all the same: it was computed. An honest one that rewinds, since a hop was lost,
        has not got it, and does not pay; that is written off.
        """
        due = self.value(total)
        self.receivable.owe(max(due - self.due, 0))
        self.tokens, self.due = total, due
        self._set_begun(self.value(rest) if any(rest) else 0)

    def drop(self) -> None:
        """The step that has begun is not computed any more."""
        self._set_begun(0)

    def _set_begun(self, value: int) -> None:
        self.receivable.begin(value - self._begun)
        self._begun = value
