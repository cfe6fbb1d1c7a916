"""`python -m swarm status`: who serves what, how busy and how fast; as a live view, once, or as JSON."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import uvloop
from rich.console import Console
from rich.live import Live

from swarm.cli.support import logs
from swarm.cli.support.arguments import add_json, add_members, add_model_name, check_positive, check_wait
from swarm.cli.support.commands import serve_command
from swarm.cli.support.picture import Picture
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.streams import discard
from swarm.cli.support.terminal import run
from swarm.client.joining import find_members
from swarm.errors import NoRoute
from swarm.home import find_swarm
from swarm.model.checkpoint import model_name
from swarm.peers.overview import Overview, State
from swarm.peers.survey import Survey, connect
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.wire.secret import find_secret
from swarm.wire.tls import make_certificate

Result = TypeVar("Result")

INTERVAL_S = 2.0
PAUSE_S = 1.0  # between two looks while some blocks are missing
LEAVE_TIMEOUT_S = 10.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm status",
        description="Show who serves which blocks of a model, how busy and how fast. In a terminal the view is live "
        "until Ctrl-C, SIGTERM or SIGHUP; elsewhere it is printed once. The model's files are not needed.",
    )
    add_model_name(parser)
    add_members(parser)
    add = parser.add_argument
    add("--once", action="store_true", help="print once and end")
    add_json(parser, "print a JSON object; with --interval, one per look")
    add("--wait", type=float, metavar="S", help="until all blocks are served, S seconds at most: else the status is 1")
    logs.add_options(parser)
    add("--interval", type=float, metavar="S", help=f"seconds between two looks (default: {INTERVAL_S:.0f})")
    return run(parser, arguments, _status)


def _status(args: argparse.Namespace) -> int:
    check_positive(interval=args.interval)
    console = Console()
    if args.wait is not None:
        return _run(_wait_for_coverage(args, console, check_wait(args.wait)))
    repeats = not args.once and (args.interval is not None if args.json else console.is_terminal)
    try:
        _run(_watch(args, console) if repeats else _look_once(args, console))
    except KeyboardInterrupt:
        if not repeats:
            raise  # for what goes on until Ctrl-C, it is no failure
    except BrokenPipeError:  # whoever reads this, as in `| head -1`, has read enough
        discard(sys.stdout.fileno())  # else Python complains at exit
    return 0


def _run(work: Coroutine[object, object, Result]) -> Result:
    """`work`, in an event loop. Told to end, it is cancelled, and KeyboardInterrupt raised."""

    async def attended() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        SHUTDOWN.hear_signals()
        with SHUTDOWN.finishes(lambda: loop.call_soon_threadsafe(task.cancel)):
            return await work

    try:
        return uvloop.run(attended())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def _survey(args: argparse.Namespace) -> AsyncIterator[Survey]:
    secret = find_secret(file=args.secret_file)
    member = make_certificate(secret) if secret else None
    directory = await find_members(lambda: find_swarm(args.peers, secret), secret, args.wait or 0.0)
    survey = Survey(directory, model_name(args.model), partial(connect, member=member))
    try:
        yield survey
    finally:
        with suppress(TimeoutError):  # nothing that others do, or do not, keeps this process
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await survey.close()
                await directory.leave()


async def _look_once(args: argparse.Namespace, console: Console) -> None:
    async with _survey(args) as survey:
        view = await survey.look()
    _print(view, args, console)


async def _wait_for_coverage(args: argparse.Namespace, console: Console, wait_s: float) -> int:
    """The exit status: whether all blocks were served in time."""
    async with _survey(args) as survey:
        with WaitForCoverage(wait_s, lambda status: None, Waits()) as coverage:
            while True:
                view = await survey.look()
                if view.complete or not await coverage.pause(_missing(view), PAUSE_S):
                    break
    _print(view, args, console)
    return 0 if view.complete else 1


def _missing(view: Overview) -> NoRoute:
    """What is lacking, and what is known of it."""
    if not view.directory_answers:
        return NoRoute("the directory does not answer")
    if not view.gaps:
        return NoRoute(f"nobody serves {view.model}")
    about = [peer for peer in view.peers if any(peer.blocks[0] < stop and start < peer.blocks[1]
                                                for start, stop in view.gaps)]  # fmt: skip
    words = {State.UNREACHABLE: "serves them and does not answer", State.LOADING: "is loading them"}
    known = [f"peer {peer.peer_id[-8:]} {words[peer.state]}" for peer in about if peer.state in words]
    return NoRoute("", view.gaps, "; ".join(known) or "nobody serves them")


def _print(view: Overview, args: argparse.Namespace, console: Console) -> None:
    if args.json:
        print(_as_json(view, args))
    else:
        console.print(_picture(view, args), crop=False)


async def _watch(args: argparse.Namespace, console: Console) -> None:
    async with _survey(args) as survey:
        if args.json:
            async for view in _looks(survey, args.interval):
                print(_as_json(view, args), flush=True)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            async for view in _looks(survey, args.interval or INTERVAL_S):
                live.update(_picture(view, args, live=True), refresh=True)


async def _looks(survey: Survey, interval_s: float) -> AsyncIterator[Overview]:
    while True:
        yield await survey.look()
        await asyncio.sleep(interval_s)


def _serve_command(args: argparse.Namespace) -> Callable[[tuple[int, int] | None], str]:
    return partial(serve_command, args.model, args.peers, secret_file=args.secret_file)


def _picture(view: Overview, args: argparse.Namespace, live: bool = False) -> Picture:
    return Picture(view, _serve_command(args), live)


def _as_json(view: Overview, args: argparse.Namespace) -> str:
    gaps = [{"blocks": gap, "command": _serve_command(args)(gap)} for gap in view.gaps]
    return json.dumps({**asdict(view), "complete": view.complete, "gaps": gaps})
