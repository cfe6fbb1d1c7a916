"""The audit trail: which peer was paid how much for every token, by which receipt, and in which settlement.

Joined from three places that do not trust one another: bills (what was paid for what), receipts (what the peers signed
for), and the ledger (what was settled).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from swarm.market.channel.payment_store import Bill
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ledger import Ledger
from swarm.wire.formats.amounts import format_amount, format_credits
from swarm.wire.formats.receipts import SignedReceipt, Tokens


@dataclass(frozen=True)
class TokenCost:
    """One token on one hop."""

    position: int  # in its session
    is_prefill: bool
    amount: int  # nano-credits, for all blocks of the hop
    receipt: SignedReceipt


@dataclass(frozen=True)
class Payment:
    """One hop's work for one session, with what shows it."""

    bill: Bill
    receipts: tuple[SignedReceipt, ...]  # of this opening, in order
    settled_in: int | None  # number of the entry by which all of it was settled; None: not yet, or not all
    is_settled: bool

    @property
    def problems(self) -> list[str]:
        """What does not fit."""
        bill, found = self.bill, []
        due = bill.price.due(bill.stop - bill.start, bill.prefill_tokens, bill.decode_tokens)
        if bill.amount != due:
            found.append(f"{format_credits(bill.amount)} were paid for work worth {format_amount(due)}")
        signed = sum((one.receipt.tokens for one in self.receipts), Tokens())
        if bill.price.due(bill.stop - bill.start, *signed) < bill.amount:
            found.append(f"paid for {_words(bill.prefill_tokens, bill.decode_tokens)}, signed for {_words(*signed)}")
        return found

    def tokens(self) -> Iterator[TokenCost]:
        """Every token that was paid for. In a chunk of both kinds, those of the prompt come first."""
        bill, blocks = self.bill, self.bill.stop - self.bill.start
        left = {True: bill.prefill_tokens, False: bill.decode_tokens}
        for signed in self.receipts:
            receipt = signed.receipt
            for index in range(receipt.count):
                is_prefill = index < receipt.prefill
                if left[is_prefill]:
                    left[is_prefill] -= 1
                    price = bill.prefill_price if is_prefill else bill.decode_price
                    yield TokenCost(receipt.position + index, is_prefill, blocks * price, signed)


def trail(bills: Iterable[Bill], receipts: Callable[[bytes], Iterable[SignedReceipt]], ledger: Ledger) -> list[Payment]:
    """All `bills` that are to be paid on `ledger`, in their order. receipts: of a session, by its id.

    A channel's money goes to its bills in their order.
    """
    bills = [bill for bill in bills if bill.ledger == ledger.id]
    settlements = _settlements(ledger)
    owed: dict[bytes, int] = defaultdict(int)
    paid = {channel: _paid(ledger, channel) for channel in {bill.channel for bill in bills}}
    found = []
    for bill in bills:
        owed[bill.channel] += bill.amount
        own = [one for one in receipts(bill.session) if _is_of(one, bill)]
        entry = next((number for upto, number in settlements[bill.channel] if upto >= owed[bill.channel]), None)
        found.append(Payment(bill, tuple(own), entry, paid[bill.channel] >= owed[bill.channel]))
    return found


def _is_of(signed: SignedReceipt, bill: Bill) -> bool:
    terms = signed.receipt.terms
    opening = terms.peer, terms.start, terms.stop, terms.attempt
    return opening == (bill.payee, bill.start, bill.stop, bill.attempt)


def _paid(ledger: Ledger, channel: bytes) -> int:
    found = ledger.channel(channel)
    return found.paid if found else 0


def _settlements(ledger: Ledger) -> Mapping[bytes, Sequence[tuple[int, int]]]:
    """By channel: how much it had paid in all, and by which entry. Where the book shows the vouchers themselves, as a
    chain's does not."""
    found: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for entry in ledger.history():
        if entry.kind == "settle":
            for data in entry.details.get("vouchers", ()):
                voucher = SignedVoucher.decode(bytes.fromhex(data)).voucher
                found[voucher.channel].append((voucher.amount, entry.number))
    return found


def _words(prefill: int, decode: int) -> str:
    return f"{prefill} tokens of prompts and {decode} generated ones"
