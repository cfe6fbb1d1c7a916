"""`python -m swarm.server`: contribute blocks to a swarm."""

import argparse
import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import uvloop

from swarm.cli.parsers.server import make_parser
from swarm.cli.settings.reading import parse
from swarm.cli.support import logs
from swarm.cli.support.events import Events
from swarm.cli.support.exits import status_of
from swarm.cli.support.serving import Narrator
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.errors import InvalidRequest, SwarmError
from swarm.home import find_ledger, peers_from_environment
from swarm.server import life
from swarm.server.config import Parts, ServerConfig
from swarm.wire.formats.facts import Attester
from swarm.wire.formats.quotes import MODES
from swarm.wire.secret import find_secret

if TYPE_CHECKING:
    from swarm.market.billing import BillingOptions


def check_device(name: str | None) -> str | None:
    """Raises InvalidRequest for a device that is not here."""
    if name is None:
        return None
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("only processors and NVIDIA GPUs are supported")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidRequest(
            f"--device {name} cannot be used ({reason}); leave it out for a GPU if there is one, or say cpu"
        ) from error
    return name


def make_config(args: argparse.Namespace) -> ServerConfig:
    """The arguments, checked. Raises SwarmError."""
    announce, announce_port = args.announce
    return ServerConfig(
        model=args.model,
        revision=args.revision,
        blocks=args.blocks,
        dtype=args.dtype,
        quant=args.quant,
        device=check_device(args.device),
        threads=args.threads,
        peers=tuple(args.peers or peers_from_environment()),
        secret=find_secret(file=args.secret_file),
        host=args.host,
        announce=announce,
        announce_port=announce_port,
        port=args.port,
        dht_port=args.dht_port,
        identity=args.identity,
        billing=make_billing(args),
        attester=find_attester(args.attestation),
        receipts=args.receipts,
        memory_bytes=args.memory,
        kv_memory_bytes=args.kv_memory,
        journal_bytes=args.journal_memory,
        max_sessions=args.max_sessions,
        max_context=args.max_context,
        idle_timeout_s=args.idle_timeout,
        drain_timeout_s=args.drain,
        record_life_s=args.record_life,
    )


def find_attester(plug_in: str | None) -> Attester | None:
    """None: nobody gives evidence of what runs here. Raises InvalidRequest."""
    if plug_in is None:
        return None
    from swarm.verify.attestation import load_attester

    return load_attester(plug_in)


def make_billing(args: argparse.Namespace) -> "BillingOptions | None":
    """What the server wants for its work; None: nothing. Raises InvalidRequest."""
    prices = args.price, args.prefill_price
    ledger = find_ledger(args.ledger)
    if ledger is None:
        if args.pricing != MODES[0] or any(price is not None for price in prices):
            raise InvalidRequest("a price is to be paid on a ledger; say which, with --ledger or SWARM_LEDGER")
        if args.stake is not None:
            raise InvalidRequest("a stake is put down on a ledger; say which, with --ledger or SWARM_LEDGER")
        return None
    from swarm.market.billing import BillingOptions
    from swarm.market.ledger.ledger import DAY_S
    from swarm.market.pricing.modes import make_pricing

    return BillingOptions(
        ledger,
        make_pricing(args.pricing, *prices),
        settle_every_s=args.settle_every,
        stake=args.stake or 0,
        epoch_s=args.epoch or DAY_S,
    )


async def serve_until_told(config: ServerConfig, events: Events, exit_with_parent: bool) -> int:
    """Returns the exit status."""
    loop, stop, narrator = asyncio.get_running_loop(), asyncio.Event(), Narrator(config, events)

    def told() -> None:
        if not narrator.is_serving:  # nothing to drain yet
            SHUTDOWN.exit_now()
        loop.call_soon_threadsafe(stop.set)

    SHUTDOWN.listen()
    SHUTDOWN.hear_signals()
    if exit_with_parent:
        SHUTDOWN.watch_parent()
    try:
        with SHUTDOWN.finishes(told, config.drain_timeout_s):
            await life.run(config, stop, narrator.tell)
    except SwarmError as error:
        events.error(error)
        return SHUTDOWN.done(status_of(error))
    return SHUTDOWN.done(0)  # here, for the event loop waits for its threads


def main(arguments: list[str] | None = None, parts: Parts | None = None) -> int:
    """parts: other ones than the ordinary server's, for a program of one's own."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logs.set_up()
    events = Events("--json" in arguments)  # before they are parsed: what is wrong with them is told in the same way
    try:
        args = parse(make_parser(), arguments)
        logs.follow(args)
        if args.threads:
            torch.set_num_threads(args.threads)
        config = replace(make_config(args), parts=parts or Parts())
        status: int = uvloop.run(serve_until_told(config, events, args.exit_with_parent))
        return status
    except SwarmError as error:
        events.error(error)
        return status_of(error)
    except KeyboardInterrupt:
        return SHUTDOWN.status
