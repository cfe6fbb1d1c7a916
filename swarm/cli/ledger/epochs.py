"""The verbs of `python -m swarm ledger epoch`: what epochs there are, and closing one by hand."""

import argparse
import json
from dataclasses import asdict

from swarm.cli.ledger.accounts import add_verb, moment, opened
from swarm.cli.ledger.epoch_options import add_plan_options, plan_of
from swarm.cli.support.parser import Verbs
from swarm.cli.support.terminal import print_table
from swarm.errors import LedgerRefusal
from swarm.market.ledger.ids import format_address
from swarm.market.rewards.closing import Closed, Closer
from swarm.market.rewards.epochs import Epochs, Span
from swarm.wire.formats.amounts import format_amount


def add_epoch_verbs(verbs: Verbs) -> None:
    epochs = verbs.add_parser("epoch", help="see the ledger's epochs, and close one")
    closing = epochs.add_verbs()
    add_verb(closing, "list", _list, "when epochs began and ended, and whether they are paid")
    add_plan_options(add_verb(closing, "close", _close, "end the running epoch and, once all had time to reveal, mint "
        "its emission (the issuer's, for a ledger whose service does not do it)"))  # fmt: skip


def _list(args: argparse.Namespace) -> None:
    spans = Epochs(opened(args)).read()
    if args.json:
        for span in spans:
            print(json.dumps(asdict(span)))
    else:
        print_table(("epoch", "begun", "ended", "state"), map(_cells, spans))


def _cells(span: Span) -> tuple[str, ...]:
    if span.last is None:
        return str(span.epoch), moment(span.begun_ms / 1000), "", "running"
    state = "paid" if span.is_emitted else "ended"
    return str(span.epoch), moment(span.begun_ms / 1000), moment(span.ended_ms / 1000), state


def _close(args: argparse.Namespace) -> None:
    ledger = opened(args)
    closer = Closer(ledger, plan_of(args))
    closed = closer.step()
    if closed and closed.payments is None:
        _report(args, closed)
        closed = closer.step()
    if closed is None:
        if (pending := closer.pending()) is None:
            raise LedgerRefusal("nothing is to be closed or paid now")
        when = moment(closer.due_s(pending))
        raise LedgerRefusal(f"epoch {pending.epoch} has ended; do this again from {when} on, to pay it")
    _report(args, closed)


def _report(args: argparse.Namespace, closed: Closed) -> None:
    if closed.payments is None:
        print(json.dumps({"epoch": closed.epoch, "ended": True}) if args.json else f"epoch {closed.epoch} has ended")
        return
    payments = {format_address(address): amount for address, amount in closed.payments.items()}
    if args.json:
        print(json.dumps({"epoch": closed.epoch, "minted": payments}))
    elif payments:
        print_table((f"epoch {closed.epoch}", "credits"), [(to, format_amount(sum_)) for to, sum_ in payments.items()])
    else:
        print(f"epoch {closed.epoch}: nothing is to be minted")
