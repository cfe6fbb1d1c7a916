"""`python -m swarm status`: who serves what, how busy and how fast; as a live view, once, or as JSON."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from typing import TypeVar

import uvloop
from rich.console import Console
from rich.live import Live

from swarm.cli.parsers.status import INTERVAL_S, make_parser
from swarm.cli.support import exits
from swarm.cli.support.picture import Picture
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.terminal import Screen, run
from swarm.client.joining import find_members
from swarm.commands import Invitation, Membership
from swarm.errors import NoRoute, PeerUnreachable
from swarm.home import find_ledger, find_swarm, peers_from_environment
from swarm.model.names import model_name
from swarm.peers.directory import Directory
from swarm.peers.status.overview import Overview, State
from swarm.peers.status.survey import Stakes, Survey, connect
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.wire.hosts import host_in
from swarm.wire.peer_names import short_id
from swarm.wire.secret import find_secret
from swarm.wire.tls import make_certificate

Result = TypeVar("Result")

DEMO = "demo"
_AT_STAKE = "swarm.cli.support.at_stake"  # imported where there is a ledger
PAUSE_S = 1.0  # between two looks while some blocks are missing
LEAVE_TIMEOUT_S = 10.0


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _status)


def _status(args: argparse.Namespace) -> int:
    console = Screen()
    if args.wait is not None:
        return _run(_wait_for_coverage(args, console, args.wait))
    repeats = not args.once and (args.interval is not None if args.json else console.is_terminal)
    try:
        return _run(_watch(args, console) if repeats else _look_once(args, console)) or 0
    except KeyboardInterrupt:
        if not repeats:
            raise  # for what goes on until Ctrl-C, it is no failure
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


@dataclass(frozen=True)
class _Swarm:
    """A swarm that is looked at."""

    survey: Survey
    directory: Directory
    members: Sequence[str]  # through which it was joined
    model: str  # as its records name it

    async def other_models(self) -> list[str]:
        """That it serves beside; none if it does not say."""
        with suppress(PeerUnreachable):
            return [model for model in await self.directory.models() if model != self.model]
        return []


@asynccontextmanager
async def _swarm(args: argparse.Namespace) -> AsyncIterator[_Swarm]:
    secret = find_secret(file=args.secret_file)
    member = make_certificate(secret) if secret else None
    members: list[str] = []

    def find() -> Sequence[str]:
        members[:] = find_swarm(args.peers, secret)
        return members

    with _stakes(args.ledger) as stakes:
        directory = await find_members(find, secret, args.wait or 0.0)
        survey = None
        try:
            model = model_name(args.model) if args.model else await _any_model(directory)
            survey = Survey(directory, model, partial(connect, member=member), stakes)
            yield _Swarm(survey, directory, members, model)
        finally:
            with suppress(TimeoutError):  # nothing that others do, or do not, keeps this process
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    if survey:
                        await survey.close()
                    await directory.leave()


async def _any_model(directory: Directory) -> str:
    """One that is served, where nobody says which is wanted: the demo model before any other."""
    with suppress(PeerUnreachable):
        models = await directory.models()
        return DEMO if DEMO in models or not models else models[0]
    return DEMO


@contextmanager
def _stakes(where: str | None) -> Iterator[Stakes | None]:
    """What peers have at stake on a ledger, if there is one."""
    if where := find_ledger(where):
        with import_module(_AT_STAKE).looked_up(where) as stakes:
            yield stakes
    else:
        yield None


async def _look_once(args: argparse.Namespace, console: Console) -> int:
    """The exit status: whether anybody serves the model."""
    async with _swarm(args) as swarm:
        view, others = await asyncio.gather(swarm.survey.look(), swarm.other_models())
    _print(view, args, console, swarm.members, others)
    if view.peers or not view.directory_answers:
        return 0
    raise _nobody(view.model, others)


def _nobody(model: str, others: Sequence[str]) -> NoRoute:
    instead = f"it serves {', '.join(others)}" if others else "nor any other model"
    return NoRoute(f"nobody in this swarm serves {model!r}; {instead}")


async def _wait_for_coverage(args: argparse.Namespace, console: Console, wait_s: float) -> int:
    """The exit status: whether all blocks were served in time."""
    async with _swarm(args) as swarm:
        with WaitForCoverage(wait_s, lambda status: None, Waits()) as coverage:
            while True:
                view = await swarm.survey.look()
                if view.complete or not await coverage.pause(_missing(view), PAUSE_S):
                    break
        others = await swarm.other_models()
    _print(view, args, console, swarm.members, others)
    return exits.DONE if view.complete else exits.LATER


def _missing(view: Overview) -> NoRoute:
    """What is lacking, and what is known of it."""
    if not view.directory_answers:
        return NoRoute("the directory does not answer")
    missing = sorted([*view.gaps, *view.loading])
    if not missing:
        return NoRoute(f"nobody serves {view.model}")
    about = [peer for peer in view.peers if any(peer.blocks[0] < stop and start < peer.blocks[1]
                                                for start, stop in missing)]  # fmt: skip
    words = {State.UNREACHABLE: "serves them and does not answer", State.LOADING: "is loading them"}
    known = [f"peer {short_id(peer.peer_id)} {words[peer.state]}" for peer in about if peer.state in words]
    return NoRoute("", missing, "; ".join(known) or "nobody serves them")


def _print(
    view: Overview, args: argparse.Namespace, console: Console, members: Sequence[str], others: Sequence[str]
) -> None:
    if args.json:
        print(_as_json(view, args, members, others), flush=True)
    else:
        console.print(Picture(view, _invitation(view, args, members).serve, others), crop=False)


async def _watch(args: argparse.Namespace, console: Console) -> None:
    async with _swarm(args) as swarm:
        members = swarm.members
        if args.json:
            async for view, others in _looks(swarm, args.interval):
                _print(view, args, console, members, others)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            async for view, others in _looks(swarm, args.interval or INTERVAL_S):
                picture = Picture(view, _invitation(view, args, members).serve, others, live=True)
                live.update(picture, refresh=True)


async def _looks(swarm: _Swarm, interval_s: float) -> AsyncIterator[tuple[Overview, list[str]]]:
    while True:
        yield await asyncio.gather(swarm.survey.look(), swarm.other_models())
        await asyncio.sleep(interval_s)


def _invitation(view: Overview, args: argparse.Namespace, members: Sequence[str]) -> Invitation:
    """How peers join this swarm, in the format in which most of its peers serve."""
    hosts = [peer.address.rsplit(":", 1)[0].strip("[]") for peer in view.peers if peer.address]
    hosts = hosts or [host_in(one) for one in args.peers or peers_from_environment()]
    is_private = find_secret(file=args.secret_file) is not None
    membership = Membership(args.model or view.model, args.peers, members, is_private)
    return membership.invitation(hosts, *view.format)


def _as_json(view: Overview, args: argparse.Namespace, members: Sequence[str], others: Sequence[str]) -> str:
    serve = _invitation(view, args, members).serve
    gaps = [{"blocks": gap, "command": serve(gap)} for gap in view.gaps]
    models = sorted([*others, *([view.model] if view.peers else [])])
    return json.dumps({**asdict(view), "complete": view.complete, "gaps": gaps, "models": models})
