"""`python -m swarm ledger serve`: keep a ledger for other machines."""

import argparse
import logging
import math
import os
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from swarm.cli.ledger.epoch_options import add_plan_options, plan_of
from swarm.cli.support import logs, parsing
from swarm.cli.support.arguments import add_json
from swarm.cli.support.events import Events
from swarm.cli.support.parser import Verbs
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.clock import CLOCK
from swarm.errors import InvalidRequest, SwarmError
from swarm.home import client_identity, ledger_folder
from swarm.home.folder import require_folder
from swarm.home.named import named_identity
from swarm.home.places import Place, choose_port
from swarm.market.ledger.backups import copy_ledger
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import DAY_S, Rules
from swarm.market.ledger.opening import FILE_NAME
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.rewards.closing import Closer
from swarm.market.service.folder import load_certificate, restore
from swarm.market.service.service import LedgerService, Limits, serve
from swarm.market.service.transport import LedgerAddress, connect, fingerprint
from swarm.storage.files import expanded
from swarm.wire.formats.amounts import format_credits, parse_percent
from swarm.wire.hosts import check_announceable
from swarm.wire.transport import announced_host

logger = logging.getLogger(__name__)

BACKUP_EVERY_S = 300.0
_PLACE = "place.json"  # in the ledger's folder: users know it by its port
_EPOCH_POLL_S = 1.0
_EPOCH_RETRY_S = 30.0
_CLOCK_POLL_S = 10.0
_GRACE_S = 5.0  # for calls that are being answered
_MAX_DELAY_S = 10 * 366 * 86_400


def add_serve_verb(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "serve",
        help="keep a ledger for other machines",
        description="Keep a ledger that others reach: who owns what, channels, stake. Prints the address to give to "
        "them (--ledger, SWARM_LEDGER), which contains the fingerprint of its certificate. Until Ctrl-C, SIGTERM or "
        f"SIGHUP: calls under way have {_GRACE_S:.0f} s then; a second one ends it at once.",
    )
    add = parser.add_argument
    add(
        "--folder",
        type=expanded,
        metavar="FOLDER",
        help="where the ledger is, or will be (default: this machine's own, under SWARM_HOME)",
    )
    listening = "address to listen on; 0.0.0.0 to be reachable from other machines"
    add("--host", type=parsing.host, default="127.0.0.1", help=listening)
    add("--announce", type=parsing.host, metavar="HOST", help="address that others are told, if another one")
    add("--port", type=parsing.port, metavar="PORT", help="0: any free one (default: that of the last time)")
    add(
        "--identity",
        type=expanded,
        metavar="FILE",
        help="key of the issuer of a new ledger, who may mint and slash: its file, or the end of its peer id (default: "
        "this user's)",
    )
    _add_rules(parser)
    add(
        "--orders-per-minute",
        type=parsing.count,
        default=Limits.orders,
        metavar="N",
        help="from one IP address (default: %(default)s)",
    )
    _add_backups(parser)
    add("--epoch", type=float, default=DAY_S, metavar="S", help="with --emission: of an epoch (default: a day)")
    add_plan_options(parser)
    add_json(parser, "print one JSON object per event")
    logs.add_options(parser)
    add("--exit-with-parent", action="store_true", help="stop when standard input closes")
    parser.set_defaults(command=_serve)


def _add_backups(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--backup",
        type=expanded,
        metavar="FILE",
        help="keep a copy there, always whole, with the keeper's key; at the start, at the end, and every so often",
    )
    add("--backup-every", type=float, default=BACKUP_EVERY_S, metavar="S", help="(default: 300)")
    add(
        "--restore",
        type=expanded,
        metavar="FILE",
        help="begin with the ledger in this backup, once it has been audited",
    )


def _add_rules(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--withdraw-delay",
        type=int,
        metavar="S",
        help="of a new ledger: that payees have to settle in, before payers take back what is in a channel (default: "
        "a day)",
    )
    add("--unbonding", type=int, metavar="S", help="of a new ledger: until stake comes back (default: 7 days)")
    add("--burn", type=parse_percent, metavar="PERCENT", help="of a new ledger: of every settlement (default: 0)")


def _serve(args: argparse.Namespace) -> None:
    _check(args)
    plan = None if args.emission is None else plan_of(args)
    folder = args.folder or ledger_folder()
    require_folder(folder)
    if args.restore:
        restore(args.restore, folder)
    ledger = _open(folder, args)
    if plan and ledger.address != ledger.issuer:
        raise InvalidRequest("--emission is for the issuer of the ledger; give its key with --identity")
    certificate = load_certificate(folder)
    limits = Limits(orders=args.orders_per_minute)
    if args.backup:
        copy_ledger(folder / FILE_NAME, args.backup, replace=True)
    place = Place(folder / _PLACE)
    port = choose_port(args.host, args.port, place.ports.port, "this ledger", may_move=False)
    server, port = serve(LedgerService(ledger, limits), args.host, port, certificate)
    place.remember(port=port)
    where = LedgerAddress(args.announce or announced_host(args.host), port, fingerprint(certificate.certificate_der))
    if args.announce:
        _try_announced(where)
    stopped = Event()
    SHUTDOWN.listen()
    if args.exit_with_parent:
        SHUTDOWN.watch_parent()
    with SHUTDOWN.finishes(stopped.set, drain_s=_GRACE_S):
        _report(args, ledger, where)
        epochs = Thread(target=_keep_epochs, args=(args, plan and Closer(ledger, plan), stopped), daemon=True)
        epochs.start()
        Thread(target=_keep_time, args=(stopped,), daemon=True).start()
        while not stopped.wait(args.backup_every if args.backup else None):
            _back_up(args, folder / FILE_NAME)
        server.stop(grace=_GRACE_S).wait(_GRACE_S + 1)
        epochs.join(1.0)  # what it does in the middle of it is whole or not there
        ledger.shut()
        if args.backup:
            copy_ledger(folder / FILE_NAME, args.backup, replace=True)
    Events(args.json).tell("stopped", "the ledger is closed")


def _check(args: argparse.Namespace) -> None:
    """Raises InvalidRequest."""
    if args.announce:
        check_announceable(args.announce)
    for name, value in (("--withdraw-delay", args.withdraw_delay), ("--unbonding", args.unbonding)):
        if value is not None and not 0 <= value <= _MAX_DELAY_S:
            raise InvalidRequest(f"{name} must be a number of seconds up to ten years, not {value}")
    for name, value in (("--backup-every", args.backup_every), ("--epoch", args.epoch)):
        if not (math.isfinite(value) and value >= 1):
            raise InvalidRequest(f"{name} must be at least a second, not {value}")


def _open(folder: Path, args: argparse.Namespace) -> SqliteLedger:
    """Raises SwarmError if the ledger in the folder has other rules than those asked for."""
    asked = {
        "withdraw_delay_s": args.withdraw_delay,
        "unbonding_s": args.unbonding,
        "burn_ppm": args.burn,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    identity = named_identity(args.identity) if args.identity else client_identity()
    ledger = SqliteLedger(folder / FILE_NAME, identity, replace(Rules(), **asked))
    there = {name: getattr(ledger.rules, name) for name in asked}
    if there != asked:
        raise SwarmError(f"the ledger in {folder} was made with {there}, and keeps to that; leave these options out")
    return ledger


def _keep_epochs(args: argparse.Namespace, closer: Closer | None, stopped: Event) -> None:
    """End epochs, and pay for them, when it is time. What fails is tried again."""
    while closer and not stopped.wait(min(args.epoch / 10, _EPOCH_POLL_S)):
        try:
            closed = closer.step(args.epoch)
        except SwarmError as error:
            Events(args.json).tell("epoch_failed", f"no epoch was closed: {error}", message=str(error))
            stopped.wait(_EPOCH_RETRY_S)
            continue
        if closed is None:
            continue
        if closed.payments is None:
            Events(args.json).tell("epoch_ended", f"epoch {closed.epoch} has ended", epoch=closed.epoch)
        else:
            total = sum(closed.payments.values())
            text = f"epoch {closed.epoch}: {format_credits(total)} minted for {len(closed.payments)} accounts"
            Events(args.json).tell("epoch_paid", text, epoch=closed.epoch, minted=total, accounts=len(closed.payments))


def _keep_time(stopped: Event) -> None:
    """A ledger has no other clock to go by than its machine's."""
    while not stopped.wait(_CLOCK_POLL_S):
        CLOCK.follow_machine(_CLOCK_POLL_S)


def _try_announced(where: LedgerAddress) -> None:
    """Whether the ledger is found where users are told to look. Only a warning: behind some routers, that address leads
    here from everywhere but from here."""
    try:
        connect(where).close()
    except SwarmError as error:
        logger.warning("users are told to find this ledger at %s, but from here: %s", where.host, error)


def _back_up(args: argparse.Namespace, file: Path) -> None:
    """A full disk does not stop the ledger."""
    try:
        copy_ledger(file, args.backup, replace=True)
    except SwarmError as error:
        Events(args.json).tell("backup_failed", f"no backup: {error}", message=str(error))


def _report(args: argparse.Namespace, ledger: SqliteLedger, where: LedgerAddress) -> None:
    issuer = format_address(ledger.issuer)
    lines = [
        f"Keeping ledger {ledger.id.hex()}, of which {issuer} is the issuer.",
        f"Others reach it with: --ledger {where}",
        "Ctrl-C stops it.",
    ]
    Events(args.json).tell(
        "ready", "\n".join(lines), pid=os.getpid(), ledger=ledger.id.hex(), where=str(where), issuer=issuer,
        arbiter=format_address(ledger.arbiter), keeper=format_address(ledger.keeper), host=where.host, port=where.port,
    )  # fmt: skip
