"""How the verbs of `python -m swarm ledger` find their ledger, and show an account."""

import argparse
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from swarm.cli.support.parser import Parser, Verbs
from swarm.home import client_identity, ledger_folder, receipts_file
from swarm.market.ledger.ids import parse_address
from swarm.market.ledger.ledger import Account, Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire.formats.amounts import format_amount
from swarm.wire.identity import Identity, address_of
from swarm.wire.peer_names import find_peer, is_whole

Argument = tuple[str, dict[str, Any]]
ADDRESS: Argument = ("address", {"nargs": "?", "metavar": "ADDRESS", "help": "(default: one's own)"})
UNIT = "Amounts are in credits."  # below a table of them
COLUMNS = ("available", "escrowed", "staked", "unbonding", "total")


def common_options() -> Parser:
    """What every verb has."""
    common = Parser(add_help=False, has_settings=False)
    add = common.add_argument
    add(
        "--ledger",
        metavar="WHERE",
        help="folder or file; HOST:PORT/FINGERPRINT; evm:FILE.json (default: SWARM_LEDGER, or this machine's own)",
    )
    add("--identity", type=Path, metavar="FILE", help="in whose name (default: this user's key)")
    add("--json", action="store_true", help="print JSON")
    return common


def add_verb(
    verbs: Verbs,
    name: str,
    command: Callable[[argparse.Namespace], int | None],
    purpose: str,
    *arguments: Argument,
) -> Parser:
    """A verb with the common options, that `command` carries out."""
    described = f"{purpose[0].upper()}{purpose[1:]}."
    parser = verbs.add_parser(name, parents=[common_options()], help=purpose, description=described)
    for argument, options in arguments:
        parser.add_argument(argument, **options)
    parser.set_defaults(command=command)
    return parser


def where(args: argparse.Namespace) -> str:
    """The string that says where the ledger is, see swarm.market.ledger.opening."""
    return args.ledger or os.environ.get("SWARM_LEDGER") or str(ledger_folder())


def opened(args: argparse.Namespace) -> Ledger:
    """The ledger, in the name of who asks."""
    identity = Identity.load_or_create(args.identity) if args.identity else client_identity()
    return open_ledger(where(args), identity)


def address_in(text: str | None, ledger: Ledger) -> bytes:
    """Of an account that is named on the command line; one's own by default, and as "me"; a peer's by its id, or by the
    end of the id of one that is known here. Raises InvalidRequest."""
    if text is None or text == "me":
        return ledger.address
    if text.startswith("0x") or is_whole(text):
        return parse_address(text)
    where = "that is a server of this machine, or that this user's clients hold receipts of,"
    return address_of(find_peer(text, _known_peers(), where))


def _known_peers() -> set[str]:
    own = receipts_file()
    servers = {file.stem for file in own.parent.glob("*.db") if file != own}
    if not own.exists():
        return servers
    with closing(ReceiptStore(own)) as store:
        return servers | store.peers()


def as_json(account: Account) -> Mapping[str, int]:
    """Nano-credits, by COLUMNS."""
    return {column: getattr(account, column) for column in COLUMNS}


def cells(account: Account) -> list[str]:
    """Credits, by COLUMNS."""
    return [format_amount(amount) for amount in as_json(account).values()]


def moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).isoformat(" ", "seconds")
