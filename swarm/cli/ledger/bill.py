"""`python -m swarm ledger bill`: who was paid how much for every token."""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing

from swarm import shown
from swarm.cli.ledger.accounts import add_verb, moment, opened
from swarm.cli.support import exits
from swarm.cli.support.parser import Verbs
from swarm.cli.support.terminal import print_table
from swarm.errors import InvalidRequest
from swarm.home import payments_file, receipts_file
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.trail import Payment, trail
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Ledger
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire.formats.amounts import format_amount, format_credits, format_prices
from swarm.wire.peer_names import short_id

SHOWN = 10  # sessions
_COLUMNS = ("session", "time", "paid to", "blocks", "prompt", "new", "price new/prompt", "credits", "settled in")
_TOKEN_COLUMNS = ("session", "position", "kind", "peer", "blocks", "price", "amount", "receipt", "settled_in")


def add_bill_verb(verbs: Verbs) -> None:
    bill = add_verb(
        verbs,
        "bill",
        _bill,
        "who was paid how much for every token of this user's sessions, by which receipts, and whether it is settled",
    )
    bill.add_argument("session", nargs="?", metavar="SESSION", help=f"first digits of its id (default: last {SHOWN})")
    bill.add_argument("--all", action="store_true", help="all sessions")
    bill.add_argument("--csv", action="store_true", help="print a line for every token on every hop, in nano-credits")


def _bill(args: argparse.Namespace) -> int:
    ledger = opened(args)
    payments = own_payments(ledger)
    unlisted = unlisted_amount(ledger, payments)
    if args.session:
        payments = [one for one in payments if one.bill.session.hex().startswith(args.session.lower())]
        if not payments:
            raise InvalidRequest(f"no session whose id begins with {args.session!r:.40} was paid on this ledger")
    elif not args.all:
        payments = last_sessions(payments)
    if args.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(_TOKEN_COLUMNS)
        writer.writerows(row for payment in payments for row in _token_rows(payment))
    elif args.json:
        print(json.dumps([payment_as_json(payment) for payment in payments]))
    else:
        print_payments(payments, is_all=not unlisted)
    if unlisted:
        told = sys.stderr if args.csv or args.json else sys.stdout
        print(f"{format_credits(unlisted)} more were paid than is listed here: their bills could not be kept, or come "
              "at the end of a session that goes on.", file=told)  # fmt: skip
    return exits.REFUTED if any(payment.problems for payment in payments) else exits.DONE


def own_payments(ledger: Ledger) -> list[Payment]:
    """What this user's clients have paid on `ledger`."""
    with (
        closing(PaymentStore(payments_file(), reads_only=True)) as store,
        closing(ReceiptStore(receipts_file(), reads_only=True)) as receipts,
    ):
        return trail(store.bills(), receipts.receipts, ledger)


def unlisted_amount(ledger: Ledger, payments: Sequence[Payment]) -> int:
    """What was paid in its owner's name, as the ledger has it, beyond all that was billed. In nano-credits."""
    billed: dict[bytes, int] = defaultdict(int)
    for payment in payments:
        billed[payment.bill.channel] += payment.bill.amount
    return sum(max(one.paid - billed[one.id], 0) for one in ledger.channels(payer=ledger.address))


def last_sessions(payments: Sequence[Payment]) -> list[Payment]:
    sessions = list(dict.fromkeys(payment.bill.session for payment in payments))[-SHOWN:]
    return [payment for payment in payments if payment.bill.session in sessions]


def print_payments(payments: Sequence[Payment], is_all: bool = True) -> None:
    """A table, and what does not fit. is_all: nothing else was paid, as far as is known."""
    if not payments:
        if is_all:
            print("Nothing was paid by this user's clients on this ledger.")
        return
    print_table(_COLUMNS, map(_row, payments))
    paid = sum(payment.bill.amount for payment in payments)
    block_tokens = sum(payment.bill.block_tokens for payment in payments)
    settled = sum(payment.bill.amount for payment in payments if payment.is_settled)
    work = shown.count(block_tokens, "block-token")
    print(f"{format_credits(paid)} for {work}; {format_amount(settled)} are settled.")
    problems = [f"session {one.bill.session.hex()[:12]}: {text}" for one in payments for text in one.problems]
    print(*problems or ["Every amount follows from the price and from what the peer signed for."], sep="\n")


def payment_as_json(payment: Payment) -> dict[str, object]:
    bill = payment.bill
    return {
        "session": bill.session.hex(), "time_ms": bill.time_ms, "payee": format_address(bill.payee),
        "peer_id": payment.receipts[0].peer_id if payment.receipts else None,
        "channel": bill.channel.hex(), "blocks": [bill.start, bill.stop], "prefill_tokens": bill.prefill_tokens,
        "decode_tokens": bill.decode_tokens, "prefill_price": bill.prefill_price, "decode_price": bill.decode_price,
        "amount": bill.amount, "receipts": [one.receipt.hash.hex() for one in payment.receipts],
        "settled": payment.is_settled, "settled_in": payment.settled_in, "problems": payment.problems,
    }  # fmt: skip


def _payee(payment: Payment) -> str:
    """As status and earnings name it, if its receipts tell."""
    return short_id(payment.receipts[0].peer_id) if payment.receipts else format_address(payment.bill.payee)


def _row(payment: Payment) -> tuple[str, ...]:
    bill = payment.bill
    settled = "yes" if payment.settled_in is None else f"entry {payment.settled_in}"
    return (
        bill.session.hex()[:12], moment(bill.time_ms / 1000), _payee(payment),
        f"{bill.start}:{bill.stop}", str(bill.prefill_tokens), str(bill.decode_tokens),
        format_prices(bill.decode_price, bill.prefill_price), format_amount(bill.amount),
        settled if payment.is_settled else "not yet",
    )  # fmt: skip


def _token_rows(payment: Payment) -> Iterator[tuple[object, ...]]:
    bill = payment.bill
    for token in payment.tokens():
        price = bill.prefill_price if token.is_prefill else bill.decode_price
        yield (
            bill.session.hex(), token.position, "prefill" if token.is_prefill else "decode", token.receipt.peer_id,
            f"{bill.start}:{bill.stop}", price, token.amount, token.receipt.receipt.hash.hex(),
            "" if payment.settled_in is None else payment.settled_in,
        )  # fmt: skip
