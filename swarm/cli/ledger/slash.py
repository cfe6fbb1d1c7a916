"""`python -m swarm ledger slash`: the arbiter's verdict on what a client wrote down against a peer."""

import argparse
import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

from swarm.cli.ledger.accounts import add_verb, opened
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_model
from swarm.cli.support.exits import REFUTED
from swarm.cli.support.parser import Verbs
from swarm.errors import InvalidRequest, UnusableFile
from swarm.market.charges import Charge, carry_out, require_arbiter, slash_proof
from swarm.market.ledger.ids import parse_address
from swarm.market.ledger.ledger import Ledger
from swarm.storage.files import expanded
from swarm.verify.fraud.proofs import EQUIVOCATION, Proof, read_proof
from swarm.wire.formats.amounts import MAX_AMOUNT, format_credits


def add_slash_verb(verbs: Verbs) -> None:
    parser = add_verb(
        verbs, "slash", _slash, "take the stake of a peer that evidence convicts (the arbiter's; that it told two "
        "stories, anybody may bring)", ("file", {"type": expanded, "metavar": "FILE", "help": "evidence, or a proof"}),
    )  # fmt: skip
    parser.epilog = f"Evidence is computed again first. The exit status is {REFUTED} if it does not convict."
    add = parser.add_argument
    add("--amount", type=parsing.amount, metavar="AMOUNT", help="take no more (default: all that is at stake)")
    add(
        "--reporter",
        type=parse_address,
        metavar="ADDRESS",
        help="who brought a proof, and gets the reporter's share (default: nobody but "
        "oneself; evidence names its accuser)",
    )
    add_model(parser, of="of evidence: ")
    add("--threads", type=parsing.threads, default=1, metavar="N", help="to compute with (default: 1)")


def _slash(args: argparse.Namespace) -> int:
    ledger, at_most = opened(args), MAX_AMOUNT if args.amount is None else args.amount
    if proof := _read_proof(args.file):
        if proof.kind == EQUIVOCATION and (args.amount is not None or args.reporter):
            raise InvalidRequest("an equivocation takes all stake, for who brings it; no --amount, no --reporter")
        reporter = args.reporter or ledger.address
        _report(args, proof.accused, slash_proof(ledger, proof, reporter, at_most))
        return 0
    if args.reporter:
        raise InvalidRequest("evidence names who gets the reporter's share: its accuser; leave out --reporter")
    return _slash_for_evidence(args, ledger, at_most)


def _slash_for_evidence(args: argparse.Namespace, ledger: Ledger, at_most: int) -> int:
    require_arbiter(ledger)
    evidence = _evidence()
    finding = evidence.examine_file(evidence.make_expert(args), args.file)
    if not finding.convicts:
        found = f"{finding.judgement.verdict.name}, {finding.judgement.reason} ({finding.judgement.method})"
        print(f"NOT CONVICTED beyond doubt: peer {finding.accused}. {found}. Nothing is slashed.")
        return REFUTED
    charge = Charge.of_work(finding.bundle.case.receipts[-1], parse_address(finding.bundle.accuser))
    _report(args, finding.accused, carry_out(ledger, charge, at_most))
    return 0


def _report(args: argparse.Namespace, accused: str, amount: int) -> None:
    if args.json:
        print(json.dumps({"accused": accused, "slashed": amount}))
    else:
        print(f"CONVICTED: peer {accused}. {format_credits(amount)} are slashed.")


def _read_proof(path: Path) -> Proof | None:
    """None if it is something longer, or something else. Raises UnusableFile if it cannot be read."""
    try:
        return read_proof(path)
    except UnusableFile:
        raise
    except InvalidRequest:
        return None


def _evidence() -> ModuleType:
    """Not imported above: it computes, and takes as long to import as all other verbs of a ledger need together."""
    return import_module("swarm.cli.evidence")
