"""The verbs of `python -m swarm ledger` that show, check and copy its book."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from swarm.cli.ledger.accounts import (
    ADDRESS,
    COLUMNS,
    UNIT,
    add_verb,
    as_json,
    cells,
    moment,
    opened,
    opened_with,
    where,
)
from swarm.cli.ledger.bill import last_sessions, own_payments, print_payments
from swarm.cli.support import exits, parsing
from swarm.cli.support.parser import Verbs
from swarm.cli.support.terminal import print_table
from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.home import payments_file
from swarm.market.ledger.audit import AuditReport, audit
from swarm.market.ledger.backups import copy_ledger
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Entry
from swarm.market.ledger.opening import is_path, ledger_file
from swarm.market.ledger.ordered import OrderedLedger
from swarm.storage.files import expanded
from swarm.storage.outputs import output
from swarm.wire.formats.amounts import format_amount, format_credits

_HISTORY_COLUMNS = ("number", "time", "kind", "by", "address", "bucket", "amount")


def add_book_verbs(verbs: Verbs) -> None:
    history = add_verb(verbs, "history", _history, "the entries that touch an account", ADDRESS)
    history.add_argument("--all", action="store_true", help="all entries of the ledger")
    history.add_argument(
        "--first", type=parsing.whole(0), default=0, metavar="N", help="from this number on (default: 0)"
    )
    history.add_argument(
        "--csv", action="store_true", help="print a line for every line of an entry, amounts in nano-credits"
    )
    auditing = add_verb(
        verbs,
        "audit",
        _audit,
        "check the whole book: hash chain, signatures, rules, sums; the exit status is 4 if it does not hold",
    )
    auditing.add_argument("--csv", action="store_true", help="print the accounts only, amounts in nano-credits")
    add_verb(verbs, "export", _export, "write all entries as they are signed, one JSON object a line, for others to "
        "check", ("file", {"metavar": "FILE", "help": "- is standard output"}))  # fmt: skip
    add_verb(verbs, "backup", _backup, "copy the ledger of a folder or file while it is in use, with its keeper's key",
        ("file", {"type": expanded, "metavar": "FILE"}))  # fmt: skip


# --- history ---------------------------------------------------------------------------------------------------------


def _history(args: argparse.Namespace) -> None:
    if args.all and args.address:
        raise InvalidRequest("--all, or the entries of one address, but not both")
    ledger, address = opened_with(args, args.address)
    entries = ledger.history(None if args.all else address, args.first)
    if args.json:
        for entry in entries:
            print(json.dumps(_entry_as_json(entry)))
    elif args.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(_HISTORY_COLUMNS)
        writer.writerows(row for entry in entries for row in _lines(entry))
    else:
        print_table(
            (*_HISTORY_COLUMNS[:-1], "amount (credits)"), (row for entry in entries for row in _in_words(entry))
        )


def _entry_as_json(entry: Entry) -> dict[str, object]:
    postings = [
        {"address": format_address(line.address), "bucket": line.bucket, "amount": line.amount}
        for line in entry.postings
    ]
    return {
        "number": entry.number, "time_ms": entry.time_ms, "kind": entry.kind, "by": format_address(entry.by),
        "details": dict(entry.details), "postings": postings, "hash": entry.hash.hex(),
    }  # fmt: skip


def _lines(entry: Entry) -> Iterator[tuple[int, int, str, str, str, str, int | None]]:
    """By _HISTORY_COLUMNS; an entry that moves nothing has one as well."""
    head = (entry.number, entry.time_ms, entry.kind, format_address(entry.by))
    yield from ((*head, format_address(line.address), line.bucket, line.amount) for line in entry.postings)
    if not entry.postings:
        yield (*head, "", "", None)


def _in_words(entry: Entry) -> Iterator[tuple[str, ...]]:
    """What is the same as in the line above is left out."""
    for index, (number, time_ms, kind, by, address, bucket, amount) in enumerate(_lines(entry)):
        head = ("", "", "", "") if index else (str(number), moment(time_ms / 1000), kind, by)
        yield *head, address, bucket, "" if amount is None else format_amount(amount)


# --- audit -----------------------------------------------------------------------------------------------------------


def _audit(args: argparse.Namespace) -> int:
    report = _report(args)
    if args.json:
        print(json.dumps(_report_as_json(report)))
    elif args.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(("address", *COLUMNS))
        writer.writerows((format_address(address), *as_json(one).values()) for address, one in report.accounts.items())
    else:
        rows = [(format_address(address), *cells(one)) for address, one in report.accounts.items()]
        print_table(("address", *COLUMNS), rows)
        print(UNIT)
        try:
            _print_own_payments(args)
        except SwarmError as error:  # whether the book holds is another matter
            print(f"What this user's clients paid cannot be listed: {error}")
    if not args.json:
        print(*report.problems, verdict(report), sep="\n", file=sys.stderr if args.csv else sys.stdout)
    return exits.DONE if report.holds else exits.REFUTED


def _print_own_payments(args: argparse.Namespace) -> None:
    """What this user's clients paid whom, if they did on this ledger."""
    if not payments_file().exists():
        return
    ledger = opened(args)
    if payments := last_sessions(own_payments(ledger)):
        print()
        print_payments(payments)
        print()


def _report(args: argparse.Namespace) -> AuditReport:
    if is_path(where(args)):
        return audit(ledger_file(Path(where(args))))
    return audit(opened(args))


def _report_as_json(report: AuditReport) -> dict[str, object]:
    terms = report.terms
    return {
        "holds": report.holds, "problems": report.problems, "entries": report.entries, "head": report.head.hex(),
        "ledger": terms and terms.id.hex(), "issuer": terms and format_address(terms.issuer),
        "arbiter": terms and format_address(terms.arbiter), "keeper": terms and format_address(terms.keeper),
        "minted": report.supply.minted, "burned": report.supply.burned,
        "accounts": {format_address(address): as_json(one) for address, one in report.accounts.items()},
    }  # fmt: skip


def verdict(report: AuditReport) -> str:
    """In one line."""
    minted, burned = format_credits(report.supply.minted), format_amount(report.supply.burned)
    entries = "entry" if report.entries == 1 else "entries"
    what = f"{report.entries} {entries}, the last {report.head.hex()}; {minted} minted, {burned} burned"
    return f"It holds: {what}." if report.holds else f"It does not hold, beyond: {what}."


# --- copies ----------------------------------------------------------------------------------------------------------


def _export(args: argparse.Namespace) -> None:
    ledger = opened(args)
    if not isinstance(ledger, OrderedLedger):
        raise InvalidRequest("a ledger on a chain has no entries but the chain's own")
    lines = (json.dumps(_entry_as_json(one.entry) | {"signed": one.encode().hex()}) for one in ledger.records())
    if args.file == "-":
        for line in lines:
            print(line)
        return
    try:
        with output(args.file) as file:
            count = sum(1 for line in lines if file.write(f"{line}\n".encode()))
    except OSError as error:
        raise UnusableFile(f"cannot write {args.file}: {error.strerror}") from error
    _done(args, f"{count} {'entry' if count == 1 else 'entries'} written to {args.file}", entries=count)


def _backup(args: argparse.Namespace) -> None:
    if not is_path(where(args)):
        raise InvalidRequest(f"only the ledger of a folder or file can be backed up, and not {where(args)}")
    copy_ledger(ledger_file(Path(where(args))), args.file)
    _done(args, f"the ledger, and its keeper's key, are copied to {args.file} and {args.file}.key")


def _done(args: argparse.Namespace, text: str, **fields: object) -> None:
    print(json.dumps({"file": str(args.file), **fields}) if args.json else text)
