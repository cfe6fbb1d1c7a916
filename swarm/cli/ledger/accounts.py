"""How the verbs of `python -m swarm ledger` find their ledger, and show an account."""

import argparse
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from swarm.cli.support.parser import Parser, Verbs
from swarm.errors import InvalidRequest
from swarm.home import client_identity, ledger_folder, receipts_file
from swarm.home.named import named_identity
from swarm.market.ledger.ids import parse_address
from swarm.market.ledger.ledger import Account, Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.storage.files import expanded
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire.formats.amounts import format_amount
from swarm.wire.identity import address_of
from swarm.wire.peer_names import check_peer_name, find_peer, is_whole

Argument = tuple[str, dict[str, Any]]
_FORMS = "0x and 40 hex digits, a peer's id or the end of it, or me for one's own"
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
    add(
        "--identity",
        type=expanded,
        metavar="FILE",
        help="in whose name: a key's file, or the end of the peer id of a key on this machine (default: this user's)",
    )
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
    identity = named_identity(args.identity) if args.identity else client_identity()
    return open_ledger(where(args), identity)


def account(text: str) -> str:
    """A type: what names an account. Raises InvalidRequest."""
    if text == "me":
        return text
    try:
        if text.startswith("0x") or is_whole(text):
            parse_address(text)
        else:
            check_peer_name(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{text!r:.60} is no address; write {_FORMS}") from error
    return text


def opened_with(args: argparse.Namespace, name: str | None) -> tuple[Ledger, bytes]:
    """The ledger, and the address of an account, see `account`: one's own by default, and as "me"; a peer's by its id,
    or by the end of the id of one that is known here, which is looked up before a ledger is made. Raises
    InvalidRequest."""
    address = _address(name)
    ledger = opened(args)
    return ledger, address or ledger.address


def _address(name: str | None) -> bytes | None:
    """None: one's own."""
    if name is None or name == "me":
        return None
    if name.startswith("0x") or is_whole(name):
        return parse_address(name)
    where = "that is a server of this machine, or that this user's clients hold receipts of,"
    try:
        return address_of(find_peer(name, _known_peers(), where))
    except InvalidRequest as error:
        raise InvalidRequest(f"{error}; an address is {_FORMS}") from error


def _known_peers() -> set[str]:
    own = receipts_file()
    servers = {file.stem for file in own.parent.glob("*.db") if file != own}
    if not own.exists():
        return servers
    with closing(ReceiptStore(own, reads_only=True)) as store:
        return servers | store.peers()


def as_json(account: Account) -> Mapping[str, int]:
    """Nano-credits, by COLUMNS."""
    return {column: getattr(account, column) for column in COLUMNS}


def cells(account: Account) -> list[str]:
    """Credits, by COLUMNS."""
    return [format_amount(amount) for amount in as_json(account).values()]


def moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).isoformat(" ", "seconds")


# Of verbs, as arguments.
ADDRESS: Argument = (
    "address", {"type": account, "nargs": "?", "metavar": "ADDRESS", "help": "(default: one's own)"}
)  # fmt: skip
