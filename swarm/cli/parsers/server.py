"""What `python -m swarm server` takes. Imports nothing heavy."""

import argparse

from swarm.cli.parsers.words import QUANTS, SERVED_DTYPES
from swarm.cli.support import logs, parsing
from swarm.cli.support.arguments import LEDGER, Renamed, add_json, add_members, add_model
from swarm.cli.support.parser import Parser
from swarm.storage.files import expanded
from swarm.wire.formats.quotes import DEFAULT_DECODE, MODES, PREFILL_SHARE


def make_parser() -> Parser:
    parser = Parser(
        "server",
        tells_events=True,
        usage="{prog} [options]",
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
    add(
        "--blocks", type=parsing.blocks, metavar="START:STOP", help="to serve, STOP excluded (default: what helps most)"
    )
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
    add("--device", type=parsing.device, metavar="DEVICE", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    add("--threads", type=parsing.threads, metavar="N", help="to compute with (default: what a test finds fastest)")


def _add_place(group: argparse._ArgumentGroup) -> None:
    add_members(group, default="SWARM_PEERS, one on this machine, or that of before; else a new one")
    add = group.add_argument
    add("--host", type=parsing.host, default="127.0.0.1", help="to listen on; 0.0.0.0 for other machines, too")
    add(
        "--announce",
        type=parsing.address,
        default=(None, None),
        metavar="ADDR",
        help="HOST, HOST:PORT or [IPV6]:PORT that others are told, if another one",
    )
    add(
        "--port",
        type=parsing.port,
        metavar="PORT",
        help="for activations; 0: any (default: that of last time)",
    )
    add("--dht-port", type=parsing.port, metavar="PORT", help="for the directory; likewise")
    add("--identity", type=expanded, metavar="FILE", help="this peer's key (default: kept under SWARM_HOME)")
    add(
        "--record-life",
        type=parsing.some_seconds,
        default=30.0,
        metavar="S",
        help="the directory forgets a crashed peer after this",
    )


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
    add(
        "--settle-every",
        type=parsing.some_seconds,
        default=300.0,
        metavar="S",
        help="get vouchers paid this often (default: 300)",
    )
    add("--epoch", type=parsing.some_seconds, metavar="S", help="of the ledger, for contribution's points (a day)")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    add, size, count = group.add_argument, parsing.size, parsing.count
    add("--kv-memory", type=size, default="1G", metavar="SIZE", help="for keys and values, as 512M or 2G (default: 1G)")
    add("--journal-memory", type=size, default="256M", metavar="SIZE", help="of what was sent, for successors (256M)")
    add(
        "--max-context",
        type=count,
        metavar="TOKENS",
        help="longest session to accept (default: the model's own)",
    )
    add("--max-sessions", type=count, default=128, metavar="N", help="sessions at once (default: 128)")
    add(
        "--idle-timeout",
        type=parsing.some_seconds,
        default=120.0,
        metavar="S",
        help="close sessions idle for so long (default: 120)",
    )
    add(
        "--drain",
        type=parsing.seconds,
        default=30.0,
        metavar="S",
        help="on Ctrl-C, SIGTERM or SIGHUP, let sessions end (30)",
    )
    add("--drain-timeout", type=parsing.seconds, action=Renamed, dest="drain")
