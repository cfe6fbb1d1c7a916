"""The life of a server: it starts, serves, moves to other blocks where those help more, and says goodbye.

For every program that is to be a peer; the command line only prints what happens here.
"""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass, replace

from swarm.errors import PeerUnreachable
from swarm.model.kv_cache import PAGE_TOKENS
from swarm.route.peer import PeerInfo
from swarm.route.route import gaps, missing_blocks
from swarm.server.admission.handles import raise_limit
from swarm.server.config import ServerConfig
from swarm.server.placing import Assignment
from swarm.server.server import Server
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Quote
from swarm.wire.hosts import is_loopback


@dataclass(frozen=True)
class Starting:
    """It takes part in the directory next, and loads blocks."""


@dataclass(frozen=True)
class Asking:
    """It wants to be paid for the blocks that it is about to load; nobody has to wait for them to know."""

    blocks: tuple[int, int]
    quote: Quote
    staked: int  # nano-credits that it has at stake


@dataclass(frozen=True)
class Loading:
    """Blocks loaded so far, and in all."""

    done: int
    total: int


@dataclass(frozen=True)
class Ready:
    """It serves, and others know it."""

    record: PeerInfo  # what it says of itself in the directory
    addresses: tuple[str, ...]  # through which others join the swarm, see Directory.join
    room_tokens: int  # that its cache holds, of all sessions together
    staked: int  # nano-credits that it has at stake
    gaps: tuple[tuple[int, int], ...]  # blocks that nobody serves, or is about to
    loading: tuple[tuple[int, int], ...]  # those that others are about to serve
    is_split: bool  # others serve another revision of the model
    is_apart: bool  # others are on other machines, and this one is announced at an address that is each machine's own


@dataclass(frozen=True)
class Moving:
    """Other blocks help the swarm more: it drains, and starts again with those."""

    blocks: tuple[int, int]
    reason: str = ""  # in words


@dataclass(frozen=True)
class Draining:
    """It was asked to stop: open sessions may finish."""


@dataclass(frozen=True)
class Stopped:
    """It has left the swarm."""


Event = Starting | Asking | Loading | Ready | Moving | Draining | Stopped


async def run(config: ServerConfig, stop: asyncio.Event, tell: Callable[[Event], None]) -> None:
    """Be a peer until `stop` is set, and then leave. Raises what the server fails with, such as SwarmError.

    tell: called in the event loop with all that happens, in this order.
    """
    raise_limit()
    draining = asyncio.create_task(_tell_of_stop(stop, tell))
    try:
        while not stop.is_set():
            try:
                config = await _serve_once(config, stop, tell)
            finally:
                gc.unfreeze()
                gc.collect()  # the blocks, before others are loaded
    finally:
        draining.cancel()
    tell(Stopped())


async def _serve_once(config: ServerConfig, stop: asyncio.Event, tell: Callable[[Event], None]) -> ServerConfig:
    """Until it is to stop, or to serve other blocks; returns with which config it goes on."""
    tell(Starting())

    def progress(done: int, total: int) -> None:
        if done == 0 and (quote := server.payee.quote()):
            tell(Asking(server.announcement.record.blocks, quote, server.payee.staked))
        tell(Loading(done, total))

    server = Server(config, progress)
    async with server:
        gc.freeze()  # what is loaded by now stays: no need to walk through it again in the middle of a token
        if not stop.is_set():
            tell(await _ready(server))
        assignment = await _stop_or_move(server, stop)
        if assignment:
            tell(Moving((assignment.start, assignment.stop), assignment.reason))
    return replace(config, assigned=assignment)


async def _tell_of_stop(stop: asyncio.Event, tell: Callable[[Event], None]) -> None:
    await stop.wait()
    tell(Draining())


async def _ready(server: Server) -> Ready:
    record = server.announcement.record
    try:
        peers = await server.directory.peers(record.model, joining=True)
    except PeerUnreachable:
        peers = [record]
    unserved = missing_blocks([peer for peer in peers if peer.state != pb.JOINING], record.num_blocks)
    hosts = [peer.endpoint.host for peer in peers if peer.endpoint.host]  # of those that load, it is not known
    nobodys = missing_blocks(peers, record.num_blocks)
    return Ready(
        record=record,
        addresses=tuple(server.addresses),
        room_tokens=record.load.total_pages * PAGE_TOKENS,
        staked=server.payee.staked,
        gaps=tuple(nobodys),
        loading=tuple(part for start, stop in unserved for part in gaps(nobodys, start, stop)),
        is_split=any(peer.revision != record.revision for peer in peers),
        is_apart=is_loopback(record.endpoint.host) and not all(map(is_loopback, hosts)),
    )


async def _stop_or_move(server: Server, stop: asyncio.Event) -> Assignment | None:
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
