"""`python -m swarm.server`: contribute blocks to a swarm."""

import argparse
import asyncio
import gc
import ipaddress
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch
import uvloop
from tqdm import tqdm

from swarm.errors import InvalidRequest, SwarmError
from swarm.home import peers_from_environment
from swarm.market.billing import BillingOptions
from swarm.market.ledger.ledger import DAY_S
from swarm.market.pricing.modes import DEFAULT_DECODE, PREFILL_SHARE, make_pricing
from swarm.market.stake import quoted_stake
from swarm.model.blocks import parse_block_range
from swarm.model.kv_cache import PAGE_TOKENS
from swarm.route.peer import PeerInfo
from swarm.route.route import missing_blocks
from swarm.server.lifecycle import SERVED_DTYPES, Server, ServerConfig
from swarm.server.placing import Assignment
from swarm.verify.attestation import load_attester
from swarm.wire.formats.amounts import format_amount, parse_amount
from swarm.wire.formats.quotes import MODES, Quote
from swarm.wire.secret import find_secret
from swarm.wire.transport import join_address
from swarm_kernels import QUANTS

_ADDRESS = re.compile(r"(\[[^]]+\]|[^][:/\s]+)(?::(\d+))?")  # HOST[:PORT], with IPv6 in brackets
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m swarm.server",
        usage="python -m swarm.server [options]",
        description="Serve blocks of a model to a swarm. With no argument: of the demo model, in the swarm found "
        "on this machine or in a new one, those that help most.",
    )
    add = parser.add_argument
    add("--model", default="demo", help="Hugging Face repository, folder of safetensors, .gguf file, or 'demo'")
    add("--revision", help="branch, tag or commit of a Hugging Face repository")
    add("--blocks", metavar="START:STOP", help="to serve, STOP excluded (default: what helps most)")
    add("--memory", metavar="SIZE", help="for blocks and cache (default: 80%% of what is free)")
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
    add(
        "--peers",
        nargs="+",
        metavar="ADDR",
        help="addresses of swarm members to join (default: SWARM_PEERS, or a swarm on this machine; else start one)",
    )
    add(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="of a private swarm, from `python -m swarm secret` (default: what SWARM_SECRET holds)",
    )
    add("--host", default="127.0.0.1", help="to listen on; 0.0.0.0 for other machines, too")
    add("--announce", metavar="ADDR", help="HOST, HOST:PORT or [IPV6]:PORT that others are told, if another one")
    add("--port", type=int, default=0, help="port for activations (default: any free one)")
    add("--dht-port", type=int, default=0, help="port for the directory (default: any free one)")
    add("--identity", type=Path, metavar="FILE", help="this peer's key (default: kept under SWARM_HOME)")
    add("--ledger", metavar="WHERE", help="be paid there: a folder, HOST:PORT/FINGERPRINT or evm:FILE.json")
    add("--pricing", default="fixed", choices=MODES, metavar="MODE", help=f"{', '.join(MODES)} (default: fixed)")
    add("--price", type=int, metavar="N", help=f"nano-credits a token through a block (default: {DEFAULT_DECODE})")
    add("--prefill-price", type=int, metavar="N", help=f"for one of a prompt (default: a {PREFILL_SHARE}th of that)")
    add("--stake", metavar="AMOUNT", help="credits to put at stake there, as 1.5 or 250n, which clients look for")
    add("--settle-every", type=float, default=300.0, metavar="S", help="get vouchers paid this often (default: 300)")
    add("--epoch", type=float, default=DAY_S, metavar="S", help="of the ledger, for contribution's points (a day)")
    add("--attestation", metavar="PLUG-IN", help="MODULE:FUNCTION that gives evidence of what runs here")
    add("--kv-memory", default="1G", metavar="SIZE", help="for keys and values, as 512M or 2G (default: 1G)")
    add("--journal-memory", default="256M", metavar="SIZE", help="of what was sent, to fill new successors (256M)")
    add("--max-context", type=int, metavar="TOKENS", help="longest session to accept (default: the model's own)")
    add("--max-sessions", type=int, default=128, metavar="N", help="sessions at once (default: 128)")
    add("--idle-timeout", type=float, default=120.0, metavar="S", help="close sessions idle for so long (default: 120)")
    add("--drain-timeout", type=float, default=30.0, metavar="S", help="on Ctrl-C, wait so long for open sessions")
    add("--record-life", type=float, default=30.0, metavar="S", help="the directory forgets a crashed peer after this")
    add("--threads", type=int, metavar="N", help="to compute with (default: what a test finds fastest)")
    add("--json", action="store_true", help="print one JSON object per event")
    add("--exit-with-parent", action="store_true", help="stop when standard input closes")
    add("--verbose", "-v", action="store_true", help="log what happens")
    return parser


def parse_size(text: str) -> int:
    """'512M' -> 536870912. Raises InvalidRequest."""
    number, unit = text.strip().lower().removesuffix("ib").removesuffix("b"), ""
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], number[-1]
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{text!r} is not a size; write it like 512M or 2G") from error


def parse_announce(text: str) -> tuple[str, int | None]:
    """'203.0.113.7:4000' -> ('203.0.113.7', 4000), '[2001:db8::1]:4000' -> ('2001:db8::1', 4000); without a port None
    in its place. Raises InvalidRequest."""
    if _is_ip6(text):
        return text, None
    form = _ADDRESS.fullmatch(text)
    if not form or (text[0] == "[" and not _is_ip6(form[1].strip("[]"))):
        raise InvalidRequest(f"--announce {text!r} is not an address; write HOST, HOST:PORT or [IPV6]:PORT")
    if form[2] and not 0 < int(form[2]) < 65536:
        raise InvalidRequest(f"--announce {text!r}: {form[2]} is not a port; choose one from 1 to 65535")
    return form[1].strip("[]"), int(form[2]) if form[2] else None


def _is_ip6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


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
        if not 0 <= value < 65536:
            raise InvalidRequest(f"{name} {value} is not a port; choose one from 1 to 65535, or 0 for any")
    positive = {
        "--max-context": args.max_context,
        "--max-sessions": args.max_sessions,
        "--threads": args.threads,
        "--idle-timeout": args.idle_timeout,
        "--record-life": args.record_life,
        "--settle-every": args.settle_every,
        "--epoch": args.epoch,
    }
    announce, announce_port = parse_announce(args.announce) if args.announce else (None, None)
    for name, value in positive.items():
        if value is not None and not value > 0:
            raise InvalidRequest(f"{name} must be positive, not {value}")
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
        attester=load_attester(args.attestation) if args.attestation else None,
        memory_bytes=parse_size(args.memory) if args.memory else None,
        kv_memory_bytes=parse_size(args.kv_memory),
        journal_bytes=parse_size(args.journal_memory),
        max_sessions=args.max_sessions,
        max_context=args.max_context,
        idle_timeout_s=args.idle_timeout,
        drain_timeout_s=args.drain_timeout,
        record_life_s=args.record_life,
    )


def make_billing(args: argparse.Namespace) -> BillingOptions | None:
    """What the server wants for its work; None: nothing. Raises InvalidRequest."""
    prices = args.price, args.prefill_price
    if args.ledger is None:
        if args.pricing != MODES[0] or any(price is not None for price in prices):
            raise InvalidRequest("a price is to be paid on a ledger; say which, with --ledger")
        if args.stake is not None:
            raise InvalidRequest("a stake is put down on a ledger; say which, with --ledger")
        return None
    pricing, stake = make_pricing(args.pricing, *prices), parse_amount(args.stake or "0")
    return BillingOptions(args.ledger, pricing, settle_every_s=args.settle_every, stake=stake, epoch_s=args.epoch)


class Output:
    """What the contributor sees: sentences, or JSON objects for scripts."""

    def __init__(self, as_json: bool):
        self._json = as_json

    def event(self, name: str, text: str, **fields: object) -> None:
        print(json.dumps({"event": name, **fields}) if self._json else text, flush=True)

    def progress(self) -> Callable[[int, int], None]:
        """For one load: a bar, if that takes longer than a second. It is told (blocks done, blocks in all)."""
        bar: tqdm[NoReturn] | None = None

        def update(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = tqdm(total=total, desc="loading blocks", unit="block", delay=1, disable=self._json, leave=False)
            bar.update(done - bar.n)
            if done == total:
                bar.close()

        return update


async def serve_until_signal(config: ServerConfig, output: Output, exit_with_parent: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    started = False

    def on_signal() -> None:
        if stop.is_set() or not started:  # the second Ctrl-C, or nothing to drain yet
            os._exit(130)
        output.event("draining", "leaving: open sessions may finish; press Ctrl-C again to stop at once")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if exit_with_parent:
        loop.add_reader(sys.stdin.fileno(), lambda: stop.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    while not stop.is_set():
        started = False
        async with Server(config, output.progress()) as server:
            started = True
            gc.freeze()  # what is loaded by now stays: no need to walk through it again in the middle of a token
            await report_ready(server, output)
            assignment = await first_of(server, stop)
            if assignment:
                output.event(
                    "moving",
                    f"Blocks {assignment.start}:{assignment.stop} help the swarm more: moving there.",
                    blocks=[assignment.start, assignment.stop],
                )
        config = replace(config, assigned=assignment, dht_port=server.dht_port)  # where others know it
        del server  # and its blocks, before others are loaded
        gc.unfreeze()
        gc.collect()
    output.event("stopped", "left the swarm")


async def first_of(server: Server, stop: asyncio.Event) -> Assignment | None:
    """Serve until `stop`, or until the server should take other blocks: those. Raises what the server fails with."""
    failure, stopped = asyncio.create_task(server.failed()), asyncio.create_task(stop.wait())
    moves = asyncio.create_task(server.moves())
    tasks = {failure, stopped, moves}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            failure.result()
        return moves.result() if moves.done() and not stopped.done() else None
    finally:
        for task in tasks:
            task.cancel()


async def report_ready(server: Server, output: Output) -> None:
    """Say what is served and how others join."""
    record, load = server.announcement.record, server.handler.load()
    peers = await server.directory.peers(record.model)
    gaps = missing_blocks(peers, record.num_blocks)
    address = next((a for a in server.addresses if f"/{record.endpoint.host}/" in a), server.addresses[0])
    model, with_secret = server.config.model, " --secret-file FILE" if server.config.secret else ""
    to_join = f"python -m swarm.server --model {model} --blocks {{}} --peers {address}{with_secret}"
    paid = f" --ledger {server.config.billing.ledger}" if server.config.billing else ""
    to_join += paid
    ranges = [f"{start}:{stop}" for start, stop in gaps]
    lines = [
        f"Serving blocks {record.start}:{record.stop} of {record.num_blocks} of {model} ({_format(record)}) "
        f"at {join_address(record.endpoint.host, record.endpoint.port)}, "
        f"room for {load.total_pages * PAGE_TOKENS:,} tokens.",
        f"Peer {record.peer_id}",
        *([_asked(record.asks)] if paid else []),
        "",
        "Another peer that has the secret joins with:" if with_secret else "Another peer joins with:",
        *[f"  {to_join.format(text)}" for text in ranges or [f"0:{record.num_blocks}"]],
    ]
    if ranges:
        lines.append(f"Blocks {', '.join(ranges)} are not served by anyone yet.")
    else:
        lines += ["", "All blocks are served. Try:"]
        to_use = f"--model {model} --peers {address}{with_secret}{paid}"
        lines.append(f'  python -m swarm generate "The capital of France is" {to_use}')
    lines.append("On this machine --peers may be left out. Ctrl-C leaves the swarm.")
    if any(peer.revision != record.revision for peer in peers):
        lines.append("Warning: other peers serve another revision of this model; chains cannot mix revisions.")
    lines += _stake_warning(server)
    output.event(
        "ready",
        "\n".join(lines),
        pid=os.getpid(),
        peer_id=record.peer_id,
        blocks=[record.start, record.stop],
        dtype=record.dtype,
        quant=record.quant,
        numerics_id=record.numerics_id,
        host=record.endpoint.host,
        port=record.endpoint.port,
        addresses=server.addresses,
    )


def _stake_warning(server: Server) -> list[str]:
    """Nothing if clients find as much as they look for."""
    if server.billing is None:
        return []
    start, stop = server.announcement.record.blocks
    staked, needed = server.billing.staked, quoted_stake(server.billing.quote(), stop - start)
    if staked >= needed:
        return []
    wanted = f"{format_amount(needed)} credits at stake for these prices and blocks"
    return [f"Warning: clients look for {wanted}; it has {format_amount(staked)}. Most will not use it: see --stake."]


def _asked(quote: Quote) -> str:
    """What is asked, in words."""
    return (
        f"Asks {quote.price.decode} nano-credits for a token through a block, {quote.price.prefill} for one of a "
        f"prompt ({quote.mode}), on ledger {quote.ledger.hex()[:16]}."
    )


def _format(record: PeerInfo) -> str:
    return record.dtype if record.quant == "none" else f"{record.quant}, {record.dtype} activations"


def main(arguments: list[str] | None = None) -> int:
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    output = Output(args.json)
    try:
        uvloop.run(serve_until_signal(make_config(args), output, args.exit_with_parent))
    except SwarmError as error:
        if args.json:
            output.event("error", "", code=type(error).__name__, message=str(error))
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
