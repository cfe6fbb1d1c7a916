"""`python -m swarm status`: who serves what, how busy and how fast; as a live view, once, or as JSON."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial

import uvloop
from rich.console import Console
from rich.live import Live

from swarm.cli.support.arguments import add_json, add_members, add_model_name, check_positive
from swarm.cli.support.commands import serve_command
from swarm.cli.support.picture import Picture
from swarm.cli.support.shutdown import SHUTDOWN, discard
from swarm.cli.support.terminal import run
from swarm.home import acquaintances_file, find_swarm
from swarm.model.checkpoint import model_name
from swarm.peers.directory import Directory
from swarm.peers.overview import Overview
from swarm.peers.survey import Survey, connect
from swarm.wire.secret import find_secret
from swarm.wire.tls import make_certificate

INTERVAL_S = 2.0


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
    add("--interval", type=float, metavar="S", help=f"seconds between two looks (default: {INTERVAL_S:.0f})")
    return run(parser, arguments, _status)


def _status(args: argparse.Namespace) -> None:
    check_positive(interval=args.interval)
    console = Console()
    repeats = not args.once and (args.interval is not None if args.json else console.is_terminal)
    try:
        _run(_watch(args, console) if repeats else _look_once(args, console))
    except KeyboardInterrupt:
        if not repeats:
            raise  # for what goes on until Ctrl-C, it is no failure
    except BrokenPipeError:  # whoever reads this, as in `| head -1`, has read enough
        discard(sys.stdout.fileno())  # else Python complains at exit


def _run(work: Coroutine[object, object, None]) -> None:
    """`work`, in an event loop. Told to end, it is cancelled, and KeyboardInterrupt raised."""

    async def attended() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        SHUTDOWN.hear_signals()
        with SHUTDOWN.finishes(lambda: loop.call_soon_threadsafe(task.cancel)):
            await work

    try:
        uvloop.run(attended())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def _survey(args: argparse.Namespace) -> AsyncIterator[Survey]:
    secret = find_secret(file=args.secret_file)
    member = make_certificate(secret) if secret else None
    directory = await Directory.join(
        find_swarm(args.peers, secret), client=True, secret=secret, memory=acquaintances_file(secret=secret)
    )
    survey = Survey(directory, model_name(args.model), partial(connect, member=member))
    try:
        yield survey
    finally:
        await survey.close()
        await directory.leave()


async def _look_once(args: argparse.Namespace, console: Console) -> None:
    async with _survey(args) as survey:
        view = await survey.look()
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
