"""A server from start to goodbye: identity, directory, weights, gRPC, heartbeat, drain."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from swarm import clock
from swarm.forks import freeze_in_child
from swarm.home import acquaintances_file, announced, known_addresses
from swarm.peers.directory import Directory
from swarm.peers.twins import Own, Twins, new_instance, others_than
from swarm.server import seat
from swarm.server.admission.handles import Handles
from swarm.server.announcement import Announcement, Figures, first_record
from swarm.server.assembly import Surroundings, attest, make_handler, open_payee, surround
from swarm.server.config import CLOSING_S, DIRECTORY_S, GOODBYE_S, ServerConfig
from swarm.server.costs.meter import Meter
from swarm.server.costs.step_cost import estimate, machine, processors
from swarm.server.loading import Loaded, Loader
from swarm.server.neighbours import Neighbours
from swarm.server.observers import Payee
from swarm.server.placing import Assignment, Placing, knock
from swarm.server.rpc import Handler, Limits
from swarm.server.served import Served
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Quote
from swarm.wire.tasks import TaskSet, within
from swarm.wire.tls import Certificate, make_certificate
from swarm.wire.transport import max_message_bytes, serve

ATTEND_EVERY_S = 1.0  # how often it is looked for sessions that are not to go on
_LOOK_S = 0.05  # how often, while it drains, whether sessions are left


@dataclass(frozen=True)
class _Core:
    """What serves, once the blocks are there."""

    handler: Handler
    meter: Meter
    neighbours: Neighbours
    around: Surroundings
    hidden_size: int
    started_ms: int  # Unix time

    def figures(self, quote: Quote | None) -> Figures:
        """For the next publication."""
        costs = replace(self.meter.costs(), started_ms=self.started_ms, links=self.neighbours.links())
        return Figures(self.handler.load(), costs, quote)


class Server:
    """One peer. `async with Server(config) as server: await server.failed()` serves until something breaks or the
    context is left, which says goodbye first and lets open sessions finish. See swarm.server.life for one that moves.
    """

    directory: Directory
    addresses: list[str]  # through which others join the swarm
    announcement: Announcement  # what others read of this server
    _seat: seat.Seat
    _twins: Twins
    _payee: Payee
    _placing: Placing
    _reload_s: float  # what loading took

    def __init__(self, config: ServerConfig, progress: Callable[[int, int], None] | None = None):
        """progress: called with (blocks loaded, blocks in all), in the event loop, first before it loads."""
        self.config, self._progress = config, progress or (lambda done, total: None)
        self._stack, self._tasks = AsyncExitStack(), TaskSet("the server")
        self._core: _Core | None = None
        freeze_in_child(self)

    async def __aenter__(self) -> "Server":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    @property
    def payee(self) -> Payee:
        """What it asks for its work, also while it loads, and what it has at stake."""
        return self._payee

    @property
    def dht_port(self) -> int:
        """Of the directory's node; its addresses are /ip4/HOST/tcp/PORT/p2p/PEER_ID."""
        return int(self.addresses[0].split("/")[4])

    async def failed(self) -> None:
        """Wait until one of the server's own tasks fails, and raise its error."""
        await self._tasks.failed()

    async def moves(self) -> Assignment:
        """Wait until other blocks would help the swarm more, and return them: the server is then to be closed, and
        another one started with that assignment. Never, where the contributor chose the blocks."""
        while True:
            await asyncio.sleep(self.config.record_life_s / 3 * random.uniform(0.75, 1.25))
            if self.config.blocks is None and (assignment := await self._placing.next_move(self._reload_s)):
                return assignment

    def _at_end(self, limit_s: float, what: str, step: Callable[..., Awaitable[object]], *arguments: object) -> None:
        self._stack.push_async_callback(within, limit_s, what, step, *arguments)

    # --- the start, step by step -------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self.config = config = await seat.check(self.config)
        soon = asyncio.get_running_loop().call_soon_threadsafe
        loader = Loader(config, lambda done, total: soon(self._progressed, done, total))
        members = list(config.peers) or await asyncio.to_thread(known_addresses, config.secret)
        certificate = make_certificate(config.secret)
        self._seat = await seat.take(config, members, self._stack)
        await self._join(loader, certificate)
        identity = self._seat.identity
        self._payee = await open_payee(config.billing, identity, lambda: self.announcement.record, self._stack)
        start, stop = await self._choose_blocks(loader, alone=self.directory.is_alone)
        self._progressed(0, stop - start)
        loaded = await self._load(loader, start, stop)
        core = await self._make_core(loader, loaded, certificate)
        await self._listen(core, certificate)
        self._core = core
        await self._go_online(core)

    async def _join(self, loader: Loader, certificate: Certificate) -> None:
        """Take part in the directory, where nobody else has this server's key."""
        config, checkpoint, taken = self.config, loader.checkpoint, self._seat
        self.directory = await Directory.join(
            taken.members,
            identity_path=taken.path,
            host=config.host,
            port=taken.place.ports.dht_port,
            secret=config.secret,
            memory=acquaintances_file(taken.identity.peer_id, config.secret),
            on_return=self._found_again,
        )
        self._at_end(DIRECTORY_S, "leaving the directory", self.directory.leave)
        self.addresses = await self.directory.addresses()
        self._stack.enter_context(announced(self.addresses, config.secret))
        if not taken.members:  # another one may have begun a swarm here at the same time
            found = await asyncio.to_thread(known_addresses, config.secret)
            await self.directory.meet(others_than(taken.identity.peer_id, found))
        own = Own(taken.identity, checkpoint.name, new_instance())
        self._twins = Twins(self.directory, own, certificate if config.secret else None)
        await self._twins.refuse()
        record = first_record(
            own.identity.peer_id, checkpoint.name, checkpoint.revision, checkpoint.config.num_blocks,
            config.activations, config.quant, pinned=config.blocks is not None, unsigned=not config.receipts,
            instance=own.instance,
        )  # fmt: skip
        self.announcement = Announcement(
            self.directory, self._seat.identity, record, config.record_life_s, self._figures, self._posted, self._twins
        )
        ask = partial(knock, member=certificate if config.secret else None)
        self._placing = Placing(self.directory, self.announcement, ask)

    async def _choose_blocks(self, loader: Loader, alone: bool) -> tuple[int, int]:
        """Those asked for, or those that help the swarm most, as many as there is memory for."""
        if self.config.blocks:
            start, stop = self.config.blocks
            chosen = Assignment(start, stop, stop - start)
        elif self.config.assigned:
            chosen = self.config.assigned
        else:
            chosen = await self._placing.choose(loader.affordable_blocks(), await loader.speed(), alone)
            return chosen.start, chosen.stop
        await self.announcement.joining(chosen.start, chosen.stop, chosen.max_blocks)
        return chosen.start, chosen.stop

    async def _load(self, loader: Loader, start: int, stop: int) -> Loaded:
        announcing = self._tasks.start(self.announcement.keep_current(), "its record")  # which may expire before that
        loading = asyncio.create_task(loader.load(start, stop))
        try:
            await asyncio.wait({announcing, loading}, return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                announcing.result()  # raises: an older twin has come up
            loaded = await loading
        finally:
            announcing.cancel(), loading.cancel()
        self._reload_s = loaded.seconds
        return loaded

    def _progressed(self, done: int, total: int) -> None:
        self.announcement.progress(done)
        self._progress(done, total)

    async def _make_core(self, loader: Loader, loaded: Loaded, certificate: Certificate) -> _Core:
        config, model, blocks = self.config, loader.checkpoint.config, loaded.blocks
        said = self.announcement.loaded(loaded.digests, blocks.quant, blocks.numerics_id)
        served = Served(said, model.hidden_size, loaded.digests)
        member = certificate if config.secret else None  # what other servers want to see
        around = await surround(
            served, self._seat.identity, self._payee, config.receipts, config.parts.writer, self._stack
        )
        limits = Limits(
            config.max_sessions, config.max_context or model.max_context, config.idle_timeout_s, config.journal_bytes
        )
        meter = Meter(replace(loaded.costs, threads=blocks.threads, cores=processors(), machine=machine()))
        handler = make_handler(
            served, blocks, loaded.pool, limits, around, config.parts, self._describe, meter.observe_batch, member
        )
        neighbours = Neighbours(self.directory, self.announcement, max_message_bytes(model.hidden_size), member)
        return _Core(handler, meter, neighbours, around, model.hidden_size, started_ms=clock.now_ms())

    async def _listen(self, core: _Core, certificate: Certificate) -> None:
        """Open the port, and know where others reach it."""
        config, around, handler = self.config, core.around, core.handler
        grpc_server, port = await serve(
            config.host, self._seat.place.ports.port, certificate, max_message_bytes(core.hidden_size),
            session=handler.session, push=handler.push, status=handler.status,
            deposit=around.deposit, withdraw=around.withdraw, tender=around.tender,
        )  # fmt: skip
        self._at_end(CLOSING_S, "closing links", handler.close)
        self._at_end(CLOSING_S, "closing streams", grpc_server.stop, 0.5)
        self._seat.place.remember(port=port, dht_port=self.dht_port)
        host = seat.own_host(config)
        facts = self.announcement.listening(host, config.announce_port or port, certificate.certificate_der)
        own, member = self.announcement.record.endpoint, certificate if config.secret else None
        if config.announce:
            await seat.try_announced(own, member)
        calls = partial(estimate, own, config.host, port, member)
        core.meter.step.start(await calls())
        if config.attester:
            self.announcement.attested(await asyncio.to_thread(attest, config.attester, facts))
        self._tasks.start(core.meter.step.start_again(calls), "what a step takes")

    async def _go_online(self, core: _Core) -> None:
        """Compute, and tell the directory: in this order, so that nobody comes too early."""
        self._at_end(CLOSING_S, "closing connections", core.neighbours.close)
        self._at_end(CLOSING_S, "ending tasks", self._tasks.close)
        self._tasks.start(core.handler.scheduler.run(), "computing")
        self._tasks.start(self.announcement.keep_current(self._look_where_it_is), "its heartbeat")
        self._tasks.start(self._tidy(core.handler), "tidying up")
        self._tasks.start(self._attend(core.handler), "looking after sessions")
        for work in self._payee.work(core.handler.used_share):
            self._tasks.start(work, "its account")
        await self.announcement.online()
        self._tasks.start(self._watch_disks(core.handler), "watching its disks")
        self._tasks.start(core.neighbours.run(self.config.record_life_s / 3), "its neighbours")
        self._stack.push_async_callback(self._say_goodbye, core.handler)

    # --- what others are told ----------------------------------------------------------------------------------------

    def _figures(self) -> Figures | None:
        """From the time on that this server computes."""
        return self._core.figures(self._payee.quote()) if self._core else None

    def _posted(self, record_hash: bytes, quote: Quote) -> None:
        self._payee.posted(record_hash, quote)

    def _describe(self, request: pb.StatusRequest, caller: str) -> pb.Status:
        if request.greeting:
            self._twins.hear(request.greeting, caller)
        return pb.Status(record=self.announcement.message(), records_rejected=self.directory.rejections.count)

    # --- what goes on until it leaves --------------------------------------------------------------------------------

    async def _tidy(self, handler: Handler) -> None:
        while True:
            await asyncio.sleep(self.config.record_life_s / 3)
            await handler.sweep()

    def _found_again(self) -> None:
        """Nodes of the directory that were silent are back; they know only what they are told."""
        if self._core:
            self.announcement.say_again()

    def _look_where_it_is(self) -> None:
        self.announcement.reachable_at(seat.address_now(self.config, self.announcement.record.endpoint.host))

    async def _attend(self, handler: Handler) -> None:
        handles = Handles()
        while True:
            await asyncio.sleep(ATTEND_EVERY_S)
            handles.look()
            await handler.attend()

    async def _watch_disks(self, handler: Handler) -> None:
        """Say it as soon as sessions cannot be taken for the time being, or can again."""
        while True:
            await asyncio.sleep(ATTEND_EVERY_S)
            await self.announcement.pause(handler.trouble())

    async def _say_goodbye(self, handler: Handler) -> None:
        """Leave the directory, refuse new sessions, and give the open ones time to finish."""
        deadline = time.monotonic() + self.config.drain_timeout_s
        handler.drain(self.config.drain_timeout_s)
        await within(GOODBYE_S, "the goodbye to the directory", self.announcement.leaving)
        while handler.open_sessions and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
