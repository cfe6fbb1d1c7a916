"""`python -m swarm.auditor`: look at what a swarm's peers really compute, for as long as this runs."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Thread

from rich.text import Text

from swarm import shown
from swarm.auditor.auditor import NOBODY, Auditor, Round, Tally, verdict_of
from swarm.auditor.validator import Validator
from swarm.cli.parsers.auditor import make_parser
from swarm.cli.support.events import Events
from swarm.cli.support.terminal import print_table, run
from swarm.client.client import AUDIT_GRACE_S, Client
from swarm.errors import InvalidRequest
from swarm.home import client_identity, commitments_folder, standing_file
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.program import command
from swarm.verify.audit.auditing import LOCAL
from swarm.verify.reputation.file import read_proofs
from swarm.wire.peer_names import short_id
from swarm.wire.secret import read_secret

_LAST_WORD_S = 2.0  # to a ledger, for an auditor that was told to end
_STYLES = {"PASS": "green", "SUSPECT": "yellow", "FAIL": "bold red", NOBODY: "dim"}


def main(arguments: Sequence[str] | None = None) -> int:
    return run(make_parser(), arguments, _audit)


def _audit(args: argparse.Namespace) -> None:
    _check(args)
    report = Report(Events(args.json))
    with ExitStack() as stack:
        ledger = _ledger(args, stack) if args.validator else None
        client = stack.enter_context(_client(args))
        if args.arbiter:
            client.arbitrate()
        validator = Validator(ledger, commitments_folder(), args.epoch, client.usable_peers) if ledger else None

        def on_round(one: Round) -> None:
            report.round(one)
            if validator:
                validator.note(one)

        auditor = Auditor(client, attend=validator.attend if validator else None)
        told = False
        try:
            auditor.run(args.every, args.rounds, args.budget, on_round)
        except KeyboardInterrupt:  # from whoever stops a service, and wants its summary as well
            told = True
            print(file=sys.stderr)
        if validator:
            _attend(validator, _LAST_WORD_S if told else None)
        client.close(0.0 if told else AUDIT_GRACE_S)
    convicted = read_proofs(standing_file())
    report.summary(auditor.tally, [peer_id for peer_id in auditor.tally.verdicts if peer_id in convicted])


def _attend(validator: Validator, timeout_s: float | None) -> None:
    """With what the last round has shown. The ledger may not answer: it is asked no longer than that."""
    asking = Thread(target=validator.attend, daemon=True)
    asking.start()
    asking.join(timeout_s)


def _check(args: argparse.Namespace) -> None:
    """Raises InvalidRequest."""
    if args.validator and args.audit != LOCAL:
        raise InvalidRequest("a validator scores what it has computed again itself: leave --audit out")


def _client(args: argparse.Namespace) -> Client:
    return Client(
        args.model,
        args.peers,
        revision=args.revision,
        secret=args.secret_file and read_secret(args.secret_file),
        audit=args.audit,
        audit_rate=args.audit_rate,
        ledger=args.ledger,
        allow_unstaked=True,  # who takes its stake back is not to escape by that
    )


def _ledger(args: argparse.Namespace, stack: ExitStack) -> Ledger:
    """A validator's, in the name of this user's key. Raises InvalidRequest if there is none, or nothing at stake."""
    where = args.ledger or os.environ.get("SWARM_LEDGER")
    if not where:
        raise InvalidRequest("a validator's scores go to a ledger; say which, with --ledger or SWARM_LEDGER")
    ledger = open_ledger(where, client_identity())
    stack.callback(ledger.shut)
    if not ledger.account().staked:
        raise InvalidRequest(f"{format_address(ledger.address)} has nothing at stake, and so no say: bond something "
                             f"({command('ledger', 'stake', 'bond')})")  # fmt: skip
    return ledger


class Report:
    """What is told of an auditor's work: a line, or a JSON object, for each audit and all that went wrong; and a
    summary at the end."""

    def __init__(self, events: Events):
        self._events = events

    def round(self, one: Round) -> None:
        """What became of it."""
        for audit in one.generation.audits if one.generation else ():
            start, stop = audit.blocks
            place = f"{short_id(audit.peer_id)}  {f'{start}:{stop}':8} {audit.position}:{audit.position + audit.count}"
            text = f"{place:32} by {short_id(audit.by):8}  {audit.reason}"
            self._tell("audit", verdict_of(audit), text, **audit.to_dict())
        for fault in one.generation.faults if one.generation else ():
            fields = {"peer_id": fault.peer_id, "kind": fault.kind.name.lower(), "detail": fault.detail}
            self._tell("fault", "FAULT", str(fault), **fields)
        if one.error:
            self._tell("error", "ERROR", str(one.error), code=type(one.error).__name__, message=str(one.error))

    def _tell(self, name: str, what: str, text: str, **fields: object) -> None:
        line = Text.assemble(time.strftime("%H:%M:%S  "), (f"{what:8}", _STYLES.get(what, "red")), f" {text}")
        self._events.tell(name, line, time_s=round(time.time(), 3), **fields)

    def summary(self, tally: Tally, convicted: Sequence[str]) -> None:
        """convicted: those of the visited peers against which there is proof."""
        if tally.verdicts and not self._events.as_json:
            _print_tally(tally, convicted)
        verdicts = ", ".join(f"{tally.total(name)} {name.lower()}" for name in _STYLES)
        work = f"{shown.count(len(tally.verdicts), 'peer')} visited, {shown.count(tally.tokens, 'token')}"
        text = (
            f"{shown.count(tally.rounds, 'round')}, {tally.errors} of them failed; {work}; {verdicts}; "
            f"{len(convicted)} convicted."
        )
        self._events.tell(
            "summary", text, time_s=round(time.time(), 3), rounds=tally.rounds, errors=tally.errors,
            tokens=tally.tokens, peers=tally.verdicts, faults=tally.faults, convicted=convicted,
        )  # fmt: skip


def _print_tally(tally: Tally, convicted: Sequence[str]) -> None:
    rows = [
        (peer_id, *(str(counts[name]) for name in _STYLES), str(tally.faults[peer_id]),
         "convicted" if peer_id in convicted else "")
        for peer_id, counts in tally.verdicts.items()
    ]  # fmt: skip
    print_table(("peer", *(name.lower() for name in _STYLES), "faults", ""), rows)
