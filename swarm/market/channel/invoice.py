"""What a client owes one hop for one opening of a session, which adds to what is owed on its channel in the wallet; the
wallet signs the vouchers, and books the bill in the end."""

from typing import TYPE_CHECKING

from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Tokens

PIECES = 4  # of a hop's credit, after each of which a voucher is signed

if TYPE_CHECKING:
    from swarm.market.channel.wallet import Wallet, WalletChannel


class HopInvoice:
    """Grows with what the client gets. In the end it is what the hop's receipts say, up to what it was sent."""

    def __init__(
        self, wallet: "Wallet", channel: "WalletChannel", request: pb.Open, price: Price, credit: int, expected: int
    ):
        """request: by which the session was opened. credit: nano-credits that may be owed to the hop. expected: that
        the session may cost at most."""
        self.channel, self.request, self.price, self.credit = channel, request, price, credit
        self._wallet, self._expected = wallet, expected
        self.sent = Tokens()  # to this hop, or to those before it: more it cannot bill
        self.got = Tokens()
        self._replayed = 0  # positions that are owed with the first answer
        self.tokens = Tokens()  # that are paid for
        self.amount = 0  # nano-credits
        self._is_booked = False
        self.receipt = NOTHING  # hash of the last

    def hear(self, opened: pb.Opened) -> None:
        """The hop has opened the session."""
        self._wallet.hear(self.channel, opened, self.credit)

    def note_replay(self, positions: int) -> None:
        """So many are replayed to the hop, which takes another's place."""
        self.sent += Tokens(prefill=positions)
        self._replayed = positions

    def note_sent(self, tokens: Tokens) -> None:
        self.sent += tokens

    def note_got(self, tokens: Tokens) -> None:
        """An answer came that has passed this hop."""
        if self._replayed:
            self.got += Tokens(prefill=self._replayed)
            self._replayed = 0
        self.got += tokens
        self._owe(self.got)

    def note_filled(self, positions: int) -> None:
        """The hop holds so many, which it computed while another served."""
        self._replayed = positions
        self.note_got(Tokens())

    def note_receipts(self, receipts: list[SignedReceipt]) -> None:
        """All that the hop has signed so far."""
        if not receipts:
            return
        signed = sum((one.receipt.tokens for one in receipts), Tokens())
        self.receipt = receipts[-1].receipt.hash
        self._owe(signed if self._value(signed) <= self._value(self.sent) else self.sent)

    @property
    def is_due(self) -> bool:
        """Whether it is time for another voucher."""
        return self.unpaid >= max(self.credit // PIECES, 1)

    @property
    def unpaid(self) -> int:
        """That no voucher covers, of all sessions of the channel."""
        return self.channel.owed - self.channel.signed

    def voucher(self) -> bytes:
        """For all that is owed on the channel, in other sessions, too."""
        return self._wallet.sign(self.channel, self.receipt)

    def close(self) -> None:
        """The session is over: nothing more will be owed. May be called again."""
        self.channel.expected -= self._expected
        self._expected = 0
        if self.amount and not self._is_booked:
            self._is_booked = True
            self._wallet.book(self)

    def _owe(self, tokens: Tokens) -> None:
        value = self._value(tokens)
        if value <= self.amount:
            return
        more, self.tokens, self.amount = value - self.amount, tokens, value
        self.channel.owed += more
        freed = min(more, self._expected)
        self._expected -= freed
        self.channel.expected -= freed

    def _value(self, tokens: Tokens) -> int:
        return self.price.due(self.request.stop - self.request.start, *tokens)
