"""`python -m swarm.server`: contribute blocks to a swarm."""

import argparse
import asyncio
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import uvloop

from swarm.cli.support import logs, parsing
from swarm.cli.support.arguments import LEDGER, Renamed, add_json, add_members, add_model, check_positive
from swarm.cli.support.events import Events
from swarm.cli.support.serving import Narrator
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.terminal import check_text
from swarm.errors import InvalidRequest, SwarmError
from swarm.home import peers_from_environment
from swarm.model.blocks import parse_block_range
from swarm.server import life
from swarm.server.config import SERVED_DTYPES, Parts, ServerConfig
from swarm.wire.formats.facts import Attester
from swarm.wire.formats.quotes import DEFAULT_DECODE, MODES, PREFILL_SHARE
from swarm.wire.secret import find_secret
from swarm_kernels import QUANTS

if TYPE_CHECKING:
    from swarm.market.billing import BillingOptions


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m swarm.server",
        usage="python -m swarm.server [options]",
        description="Serve blocks of a model to a swarm. With no argument: of the demo model, in the swarm found "
        "on this machine or in a new one, those that help most.",
    )
    _add_work(parser.add_argument_group("what is served"))
    _add_place(parser.add_argument_group("where"))
    _add_pay(parser.add_argument_group(f"being paid ({parsing.AMOUNTS})"))
    _add_limits(parser.add_argument_group("limits"))
    add = parser.add_argument
    add("--attestation", metavar="PLUG-IN", help="MODULE:FUNCTION that gives evidence of what runs here")
    add("--no-receipts", dest="receipts", action="store_false", help="sign nothing, for swarms where all trust all")
    add_json(parser, "print one JSON object per event")
    add("--exit-with-parent", action="store_true", help="stop when standard input closes")
    logs.add_options(parser)
    return parser


def _add_work(group: argparse._ArgumentGroup) -> None:
    add_model(group)
    add = group.add_argument
    add("--blocks", metavar="START:STOP", help="to serve, STOP excluded (default: what helps most)")
    add("--memory", type=parsing.size, metavar="SIZE", help="for blocks and cache (default: 80%% of what is free)")
    add(
        "--dtype",
        choices=SERVED_DTYPES,
        metavar="TYPE",
        help="float32 or bfloat16, for activations and what is not quantised (default: float32, with --quant bfloat16)",
    )
    add(
        "--quant",
        default="none",
        choices=QUANTS,
        metavar="FORMAT",
        help=f"of weights: {', '.join(QUANTS)}; int8 "
        "halves and int4 quarters bfloat16's bytes, and so the time of a token",
    )
    add("--device", metavar="DEVICE", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    add("--threads", type=int, metavar="N", help="to compute with (default: what a test finds fastest)")


def _add_place(group: argparse._ArgumentGroup) -> None:
    add_members(group, default="SWARM_PEERS, one on this machine, or that of before; else a new one")
    add = group.add_argument
    add("--host", default="127.0.0.1", help="to listen on; 0.0.0.0 for other machines, too")
    add(
        "--announce",
        type=parsing.address,
        default=(None, None),
        metavar="ADDR",
        help="HOST, HOST:PORT or [IPV6]:PORT that others are told, if another one",
    )
    add("--port", type=int, help="for activations; 0: any (default: that of last time)")
    add("--dht-port", type=int, help="port for the directory; likewise")
    add("--identity", type=Path, metavar="FILE", help="this peer's key (default: kept under SWARM_HOME)")
    add("--record-life", type=float, default=30.0, metavar="S", help="the directory forgets a crashed peer after this")


def _add_pay(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    decode = f"{DEFAULT_DECODE}n"
    add("--ledger", metavar="WHERE", help=f"be paid there: {LEDGER}")
    add("--pricing", default="fixed", choices=MODES, metavar="MODE", help=f"{', '.join(MODES)} (default: fixed)")
    add("--price", type=parsing.price, metavar="AMOUNT", help=f"of a token through a block (default: {decode})")
    add(
        "--prefill-price",
        type=parsing.price,
        metavar="AMOUNT",
        help=f"of a prompt's token through a block (default: a {PREFILL_SHARE}th of that)",
    )
    add("--stake", type=parsing.amount, metavar="AMOUNT", help="to put at stake there, which clients look for")
    add("--settle-every", type=float, default=300.0, metavar="S", help="get vouchers paid this often (default: 300)")
    add("--epoch", type=float, metavar="S", help="of the ledger, for contribution's points (a day)")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add, size = group.add_argument, parsing.size
    add("--kv-memory", type=size, default="1G", metavar="SIZE", help="for keys and values, as 512M or 2G (default: 1G)")
    add("--journal-memory", type=size, default="256M", metavar="SIZE", help="of what was sent, for successors (256M)")
    add("--max-context", type=int, metavar="TOKENS", help="longest session to accept (default: the model's own)")
    add("--max-sessions", type=int, default=128, metavar="N", help="sessions at once (default: 128)")
    add("--idle-timeout", type=float, default=120.0, metavar="S", help="close sessions idle for so long (default: 120)")
    add("--drain", type=float, default=30.0, metavar="S", help="on Ctrl-C, SIGTERM or SIGHUP, let sessions end (30)")
    add("--drain-timeout", type=float, action=Renamed, dest="drain")


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
        raise InvalidRequest(f"device {name!r} cannot be used ({reason}); leave --device out, or say cpu") from error
    return name


def make_config(args: argparse.Namespace) -> ServerConfig:
    """The arguments, checked. Raises SwarmError."""
    for name, value in (("--port", args.port), ("--dht-port", args.dht_port)):
        if value is not None and not 0 <= value < 65536:
            raise InvalidRequest(f"{name} {value} is not a port; choose one from 1 to 65535, or 0 for any")
    if not (math.isfinite(args.drain) and args.drain >= 0):
        raise InvalidRequest(f"--drain is a number of seconds, 0 or more, not {args.drain}")
    check_positive(
        max_context=args.max_context,
        max_sessions=args.max_sessions,
        threads=args.threads,
        idle_timeout=args.idle_timeout,
        record_life=args.record_life,
        settle_every=args.settle_every,
        epoch=args.epoch,
    )
    announce, announce_port = args.announce
    return ServerConfig(
        model=args.model,
        revision=args.revision,
        blocks=parse_block_range(args.blocks) if args.blocks else None,
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
    if args.ledger is None:
        if args.pricing != MODES[0] or any(price is not None for price in prices):
            raise InvalidRequest("a price is to be paid on a ledger; say which, with --ledger")
        if args.stake is not None:
            raise InvalidRequest("a stake is put down on a ledger; say which, with --ledger")
        return None
    from swarm.market.billing import BillingOptions
    from swarm.market.ledger.ledger import DAY_S
    from swarm.market.pricing.modes import make_pricing

    return BillingOptions(
        args.ledger,
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
        return SHUTDOWN.done(1)
    return SHUTDOWN.done(0)  # here, for the event loop waits for its threads


def main(arguments: list[str] | None = None, parts: Parts | None = None) -> int:
    """parts: other ones than the ordinary server's, for a program of one's own."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logs.set_up()
    events = Events("--json" in arguments)  # before they are parsed: what is wrong with them is told in the same way
    try:
        check_text(arguments)
        args = make_parser().parse_args(arguments)
        logs.follow(args)
        if args.threads:
            torch.set_num_threads(args.threads)
        config = replace(make_config(args), parts=parts or Parts())
        status: int = uvloop.run(serve_until_told(config, events, args.exit_with_parent))
        return status
    except SwarmError as error:
        events.error(error)
        return 1
    except KeyboardInterrupt:
        return SHUTDOWN.status
