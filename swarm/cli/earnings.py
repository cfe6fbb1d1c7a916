"""`python -m swarm earnings`: what this machine's servers have earned, and what is still to come."""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from swarm.cli.ledger.accounts import UNIT, where
from swarm.cli.support import parsing
from swarm.cli.support.arguments import LEDGER, add_json
from swarm.cli.support.kept import find_kept
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import print_table, run
from swarm.errors import UnusableFile
from swarm.home import client_identity, payments_file
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.ledger.ledger import Ledger, Posting
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import format_amount, format_credits
from swarm.wire.identity import address_of
from swarm.wire.peer_names import short_id

_HOUR_S = 3600.0
_COLUMNS = ("server", "sessions", "tokens", "block-tokens", "earned", "pending", "unpaid", "slashed", "an hour")


@dataclass(frozen=True)
class Earnings:
    """Of one server. Amounts in nano-credits."""

    peer_id: str
    sessions: int
    tokens: int
    block_tokens: int
    earned: int  # settled on the ledger, burned part included
    pending: int  # vouchers that are not settled yet
    unpaid: int  # computed, and not paid by clients that left
    slashed: int  # of its stake
    hours: float  # since its first session here

    @property
    def per_hour(self) -> int:
        return round((self.earned + self.pending) / self.hours) if self.hours else 0


def make_parser() -> Parser:
    parser = Parser(
        "earnings",
        description="What the servers of this machine have computed, and what they were paid for it on a ledger.",
    )
    add = parser.add_argument
    add("--ledger", metavar="WHERE", help=f"{LEDGER} (default: SWARM_LEDGER, or this machine's own)")
    add("--server", default="", metavar="PEER_ID", help="only this one; the end of its id will do")
    add("--since", type=parsing.hours, metavar="HOURS", help="count the work of the last hours only (default: all)")
    add_json(parser, "print one JSON object per server, amounts in nano-credits")
    return parser


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _earnings)


def _earnings(args: argparse.Namespace) -> None:
    since_s = time.time() - args.since * _HOUR_S if args.since else 0.0
    ledger = open_ledger(where(args), client_identity())
    found = [earnings_of(path, ledger, since_s) for path in _stores(args.server)]
    if args.json:
        for one in found:
            print(json.dumps(asdict(one) | {"per_hour": one.per_hour}))
        return
    print_table(_COLUMNS, map(_row, found))
    total = sum(one.earned + one.pending for one in found)
    print(f"{format_credits(total)} in all, {format_amount(sum(one.pending for one in found))} of them pending. {UNIT}")


def earnings_of(path: Path, ledger: Ledger, since_s: float = 0.0) -> Earnings:
    """Of the server that keeps its payments in the file `path`. since_s: Unix time, for what it computed."""
    address = address_of(path.stem)
    with closing(PaymentStore(path, reads_only=True)) as store:
        bills = [bill for bill in store.bills(since_s) if bill.ledger == ledger.id]
        promised = {one.voucher.channel: one.voucher.amount for one in store.vouchers(ledger.id)}
    channels = {channel.id: channel for channel in ledger.channels(payee=address)}
    earned = {channel.id: channel.paid for channel in channels.values()}
    pending = {id: max(amount - earned[id], 0) for id, amount in promised.items() if not channels[id].is_closed}
    billed: dict[bytes, int] = {}
    for bill in bills:
        billed[bill.channel] = billed.get(bill.channel, 0) + bill.amount
    unpaid = 0 if since_s else sum(
        max(amount - earned.get(id, 0) - pending.get(id, 0), 0) for id, amount in billed.items()
    )  # fmt: skip
    slashed = sum(-line.amount for line in _slashes(ledger, address))
    began_s = max(min((bill.time_ms for bill in bills), default=0) / 1000, since_s)
    return Earnings(
        peer_id=path.stem,
        sessions=len({bill.session for bill in bills}),
        tokens=sum(bill.prefill_tokens + bill.decode_tokens for bill in bills),
        block_tokens=sum(bill.block_tokens for bill in bills),
        earned=sum(earned.values()),
        pending=sum(pending.values()),
        unpaid=unpaid,
        slashed=slashed,
        hours=max((time.time() - began_s) / _HOUR_S, 1 / 60) if bills else 0.0,
    )


def _slashes(ledger: Ledger, address: bytes) -> Iterator[Posting]:
    for entry in ledger.history(address):
        if entry.kind.startswith("slash"):
            yield from (
                line for line in entry.postings if line.address == address and line.bucket in ("staked", "unbonding")
            )


def _stores(server: str) -> list[Path]:
    """Raises UnusableFile if there is none."""
    own = payments_file()
    found = {file.stem: file for file in sorted(own.parent.glob("*.db")) if file != own}
    if not found:
        raise UnusableFile(
            f"no server has been paid here: none keeps payments in {own.parent}; one that is to earn is started with "
            "--ledger"
        )
    return [found[find_kept(server, found, "that keeps its payments here")]] if server else list(found.values())


def _row(one: Earnings) -> tuple[str, ...]:
    counts = (f"{count:,}" for count in (one.sessions, one.tokens, one.block_tokens))
    amounts = (one.earned, one.pending, one.unpaid, one.slashed, one.per_hour)
    return short_id(one.peer_id), *counts, *map(format_amount, amounts)
