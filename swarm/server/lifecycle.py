"""A server from start to goodbye: identity, directory, weights, gRPC, heartbeat, drain."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from swarm.errors import InvalidRequest
from swarm.home import announced, claimed_identity, digests_folder, known_addresses
from swarm.model.blocks import BlockRange, check_block_range
from swarm.model.checkpoint import open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.families import ModelConfig
from swarm.model.identity import weights_root
from swarm.model.kv_cache import PagePool
from swarm.peers.directory import RECORD_LIFE_S, Directory
from swarm.server.announcement import Announcement, Figures, first_record
from swarm.server.assembly import Parts, attest, make_handler, open_billing, surround
from swarm.server.meter import Meter, measure
from swarm.server.neighbours import Neighbours
from swarm.server.placing import MEMORY_SHARE, Assignment, Placing, affordable_blocks, free_bytes, measure_speed
from swarm.server.rpc import Limits
from swarm.server.served import Served
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import DTYPES
from swarm.wire.formats.quotes import Quote
from swarm.wire.secret import Secret
from swarm.wire.tls import make_certificate
from swarm.wire.transport import announced_host, check_port_free, max_message_bytes, serve
from swarm_kernels import QUANTS

if TYPE_CHECKING:
    from swarm.market.billing import Billing, BillingOptions
    from swarm.verify.attestation import Attester

ATTEND_EVERY_S = 1.0  # how often it is looked for sessions that are not to go on
SERVED_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class ServerConfig:
    """What a server is asked to do; see `python -m swarm.server --help` for the meaning of each."""

    model: str = "demo"
    revision: str | None = None
    blocks: tuple[int, int] | None = None  # None: those that help the swarm most, now and later
    dtype: str | None = None  # None: float32, or bfloat16 for quantised blocks
    quant: str = "none"
    device: str | None = None  # None: a GPU if there is one
    threads: int | None = None  # None: found by trying
    peers: tuple[str, ...] = ()
    secret: Secret | None = None  # of a private swarm; None: open to all
    host: str = "127.0.0.1"
    announce: str | None = None  # the host that others are told; None: `host`, or this machine's outward address
    announce_port: int | None = None  # the port that others are told; None: the one listened on
    port: int = 0
    dht_port: int = 0
    identity: Path | None = None
    attester: "Attester | None" = None  # gives evidence of what runs here
    billing: "BillingOptions | None" = None  # None: it works for nothing
    receipts: bool = True  # signs for what it computes; else clients that want receipts go elsewhere
    assigned: Assignment | None = None  # where `blocks` is None: what this server has moved to
    memory_bytes: int | None = None  # for blocks and cache; None: most of what is free
    kv_memory_bytes: int = 2**30
    journal_bytes: int = 2**28
    max_sessions: int = 128
    max_context: int | None = None  # None: what the model was made for
    idle_timeout_s: float = 120.0
    drain_timeout_s: float = 30.0
    record_life_s: float = RECORD_LIFE_S
    parts: Parts = field(default_factory=Parts)  # what it computes and signs with


class Server:
    """One peer. `async with Server(config) as server: await server.failed()` serves until something breaks or the
    context is left, which says goodbye first and lets open sessions finish.
    """

    def __init__(self, config: ServerConfig, progress: Callable[[int, int], None] | None = None):
        """progress: called with (blocks loaded, blocks in all) while loading."""
        for value, known in ((config.dtype or SERVED_DTYPES[0], SERVED_DTYPES), (config.quant, QUANTS)):
            if value not in known:
                raise InvalidRequest(f"cannot serve in {value!r}; choose one of {', '.join(known)}")
        self.config, self._progress = config, progress
        self.dtype = config.dtype or ("float32" if config.quant == "none" else "bfloat16")
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.billing: Billing | None = None
        self._is_serving = False

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
    def staked(self) -> int:
        """Nano-credits that it has at stake on its ledger."""
        return self.billing.staked if self.billing else 0

    @property
    def dht_port(self) -> int:
        """Of the directory's node; its addresses are /ip4/HOST/tcp/PORT/p2p/PEER_ID."""
        return int(self.addresses[0].split("/")[4])

    async def failed(self) -> None:
        """Wait until one of the server's own tasks fails, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _start(self) -> None:
        config = self.config
        check_port_free(config.host, config.port)  # before the long work of loading
        self.checkpoint = open_checkpoint(config.model, config.revision)
        model = self.checkpoint.config
        if config.blocks:
            check_block_range(*config.blocks, model)
        members = config.peers or known_addresses(config.secret)
        await self._join(members)
        self.billing = await open_billing(config.billing, self.identity, lambda: self.announcement.record, self._stack)
        device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        start, stop = await self._choose_blocks(device, alone=not members)
        began = time.monotonic()
        blocks, pool, digests = await self._load(start, stop, device)
        self.reload_s = time.monotonic() - began
        self.announcement.loaded(weights_root(digests), blocks.quant, blocks.numerics_id)
        limits = Limits(
            config.max_sessions, config.max_context or model.max_context, config.idle_timeout_s, config.journal_bytes
        )
        self.certificate = make_certificate(config.secret)
        self._member = self.certificate if config.secret else None  # what other servers want to see
        served = Served(self.announcement.record, model.hidden_size, digests)
        self._around = surround(served, self.identity, self.billing, config.receipts, config.parts.writer, self._stack)
        self.handler = make_handler(
            served, blocks, pool, limits, self._around, config.parts,
            self._describe, self.meter.observe_batch, self._member,
        )  # fmt: skip
        await self._serve(model)

    async def _join(self, members: Sequence[str]) -> None:
        """Take part in the directory."""
        config = self.config
        self.identity, path = self._stack.enter_context(claimed_identity(config.identity))
        self.directory = await Directory.join(
            members, identity_path=path, host=config.host, port=config.dht_port, secret=config.secret
        )
        self._stack.push_async_callback(self.directory.leave)
        self.addresses = await self.directory.addresses()
        self._stack.enter_context(announced(self.addresses, config.secret))
        record = first_record(
            self.identity.peer_id,
            self.checkpoint.name,
            self.checkpoint.revision,
            self.checkpoint.config.num_blocks,
            self.dtype,
            pinned=config.blocks is not None,
        )
        self.announcement = Announcement(
            self.directory, self.identity, record, config.record_life_s, self._new_figures, self._posted
        )
        self.placing = Placing(self.directory, self.announcement)

    async def _load(self, start: int, stop: int, device: torch.device) -> tuple[BlockRange, PagePool, list[bytes]]:
        """The blocks and their cache, ready to compute, and measured; and the digests of the blocks' weights."""
        config, dtype = self.config, DTYPES[self.dtype]
        announcing = asyncio.create_task(self._keep_announced())
        try:
            pool = PagePool(self.checkpoint.config, stop - start, dtype, config.kv_memory_bytes, device)
            blocks, digests = await asyncio.to_thread(self._read, start, stop, device)
            if config.threads is None:
                await asyncio.to_thread(blocks.tune, pool.tensors)
            self.meter = Meter(measure(blocks, pool))  # here: another thread would leave a heap behind
        finally:
            announcing.cancel()
        return blocks, pool, digests

    def _read(self, start: int, stop: int, device: torch.device) -> tuple[BlockRange, list[bytes]]:
        """From the model's files. In one thread: each leaves a heap behind."""
        quant, threads, dtype = self.config.quant, self.config.threads, DTYPES[self.dtype]
        blocks = BlockRange.load(
            self.checkpoint, start, stop, dtype, device, self._progress, quant=quant, threads=threads
        )
        return blocks, DigestCache(digests_folder()).digests(self.checkpoint, start, stop)

    def _describe(self) -> pb.Status:
        return pb.Status(record=self.announcement.message(), records_rejected=self.directory.rejections.count)

    async def _choose_blocks(self, device: torch.device, alone: bool) -> tuple[int, int]:
        """Those asked for, or those that help the swarm most, as many as there is memory for."""
        config, quant, dtype = self.config, self.config.quant, DTYPES[self.dtype]
        if config.blocks:
            start, stop = config.blocks
            await self.announcement.joining(start, stop, stop - start)
            return start, stop
        if assigned := config.assigned:
            await self.announcement.joining(assigned.start, assigned.stop, assigned.max_blocks)
            return assigned.start, assigned.stop
        memory_bytes = config.memory_bytes or int(free_bytes(device) * MEMORY_SHARE)
        count = affordable_blocks(self.checkpoint, quant, dtype, memory_bytes - config.kv_memory_bytes)
        speed = await asyncio.to_thread(measure_speed, self.checkpoint, quant, dtype, device, config.threads)
        chosen = await self.placing.choose(count, speed, alone)
        return chosen.start, chosen.stop

    async def moves(self) -> Assignment:
        """Wait until other blocks would help the swarm more, and return them: the server is then to be closed, and
        another one started with that assignment. Never, where the contributor chose the blocks."""
        while True:
            await asyncio.sleep(self.config.record_life_s / 3 * random.uniform(0.75, 1.25))
            if self.config.blocks is None and (assignment := await self.placing.next_move(self.reload_s)):
                return assignment

    async def _serve(self, model: ModelConfig) -> None:
        """Open the port, start computing, and tell the directory: in this order, so that nobody comes too early."""
        config, handler, certificate = self.config, self.handler, self.certificate
        around = self._around
        grpc_server, port = await serve(
            config.host,
            config.port,
            certificate,
            max_message_bytes(model.hidden_size),
            session=handler.session,
            push=handler.push,
            status=handler.status,
            deposit=around.deposit,
            withdraw=around.withdraw,
            tender=around.tender,
        )
        host = config.announce or announced_host(config.host)
        facts = self.announcement.listening(host, config.announce_port or port, certificate.certificate_der)
        if config.attester:
            self.announcement.attested(await asyncio.to_thread(attest, config.attester, facts))
        self._stack.push_async_callback(handler.close)
        self._stack.push_async_callback(grpc_server.stop, grace=0.5)
        self._started_ms = int(time.time() * 1000)
        max_bytes = max_message_bytes(model.hidden_size)
        self.neighbours = Neighbours(self.directory, self.announcement, max_bytes, self._member)
        self._stack.push_async_callback(self.neighbours.close)
        work = [handler.scheduler.run(), self._heartbeat(), self._attend()]
        if self.billing:
            work += self.billing.work(handler.used_share)
        self._tasks = [asyncio.create_task(one) for one in work]
        self._stack.callback(self._cancel_tasks)
        self._is_serving = True
        await self.announcement.online()
        self._tasks.append(asyncio.create_task(self.neighbours.run(config.record_life_s / 3)))
        self._stack.push_async_callback(self._say_goodbye)

    def _new_figures(self) -> Figures | None:
        """What goes into every publication from the time on that this server computes."""
        if not self._is_serving:
            return None
        costs = replace(self.meter.costs(), started_ms=self._started_ms, links=self.neighbours.links())
        return Figures(self.handler.load(), costs, self.billing.quote() if self.billing else None)

    def _posted(self, record_hash: bytes, quote: Quote) -> None:
        if self.billing:
            self.billing.posted(record_hash, quote)

    async def _attend(self) -> None:
        while True:
            await asyncio.sleep(ATTEND_EVERY_S)
            await self.handler.attend()

    async def _heartbeat(self) -> None:
        """Refresh the record before it expires, and tidy up."""
        while True:
            await asyncio.sleep(self.config.record_life_s / 3)
            await self.announcement.publish()
            await self.handler.sweep()

    async def _keep_announced(self) -> None:
        """While the blocks load, which may take longer than a record lives."""
        while True:
            await asyncio.sleep(self.config.record_life_s / 3)
            await self.announcement.publish()

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _say_goodbye(self) -> None:
        """Leave the directory, refuse new sessions, and give the open ones time to finish."""
        self.handler.drain(self.config.drain_timeout_s)
        await self.announcement.leaving()
        deadline = asyncio.get_running_loop().time() + self.config.drain_timeout_s
        while self.handler.open_sessions and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
