"""A swarm on loopback with several servers for each block range, for benchmarks in which servers come and go."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import swarm
from swarm.client.background import wait
from swarm.client.local_swarm import LocalServer
from swarm.errors import PeerUnreachable
from swarm.session.router import REFRESH_S
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import Peer

RANGES = ("0:10", "10:20", "20:30")  # of the demo model
STATUS_TIMEOUT_S = 0.5
OPTIONS = {"dtype": "float32", "threads": 1, "kv_memory": "256M"}


class Replicas:
    """`per_range` servers for each of `ranges`. A context manager; several threads may use it at once."""

    def __init__(self, per_range: int, ranges: Sequence[str] = RANGES):
        self.ranges, self.per_range = tuple(ranges), per_range
        self.local = swarm.LocalSwarm("demo", [blocks for blocks in ranges for _ in range(per_range)], **OPTIONS)
        self._gone: set[str] = set()  # ids of those that were sent away, dead yet or not
        self._lock = threading.Lock()
        self._connections: dict[str, Peer] = {}

    def __enter__(self) -> "Replicas":
        self.local.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        wait(self._disconnect())
        self.local.close()

    def live(self, blocks: str) -> list[LocalServer]:
        """Those that serve `blocks` and were not sent away."""
        start, stop = map(int, blocks.split(":"))
        return [
            server
            for server in list(self.local.servers)
            if server.blocks == (start, stop) and server.peer_id not in self._gone and server.alive
        ]

    def server(self, peer_id: str) -> LocalServer:
        return next(server for server in self.local.servers if server.peer_id == peer_id)

    def blocks_of(self, server: LocalServer) -> str:
        return f"{server.blocks[0]}:{server.blocks[1]}"

    # --- sending servers away ----------------------------------------------------------------------------------------

    def kill(self, *servers: LocalServer) -> None:
        """kill -9, all of them at the same time."""
        self._send(signal.SIGKILL, servers)
        for server in servers:
            server.kill()  # reaps it

    def hang(self, server: LocalServer) -> None:
        """The server keeps its connections and says nothing any more."""
        self._send(signal.SIGSTOP, [server])

    def resume(self, server: LocalServer) -> None:
        """It goes on where it was. It stays on the list of those sent away, as clients have given it up."""
        os.kill(server.pid, signal.SIGCONT)

    def drain(self, server: LocalServer) -> None:
        """The server says goodbye and leaves when its sessions have moved. Does not wait."""
        self._send(signal.SIGTERM, [server])

    def bury(self) -> None:
        """End whatever is left of those that were sent away."""
        for server in list(self.local.servers):
            if server.peer_id in self._gone:
                server.kill()

    def _send(self, number: signal.Signals, servers: Sequence[LocalServer]) -> None:
        with self._lock:
            self._gone.update(server.peer_id for server in servers)
        for server in servers:
            os.kill(server.pid, number)

    # --- bringing others ---------------------------------------------------------------------------------------------

    def start(self, blocks: str, **options: object) -> LocalServer:
        return self.local.start(blocks, **options)

    def ensure(self, least: int) -> None:
        """If a range has fewer than `least`, bring all to full strength, and wait until every client knows them: a
        session's picture of the swarm is never older than REFRESH_S when it begins."""
        if all(len(self.live(blocks)) >= least for blocks in self.ranges):
            return
        self.bury()
        missing = [blocks for blocks in self.ranges for _ in range(self.per_range - len(self.live(blocks)))]
        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(self.start, missing))
        time.sleep(REFRESH_S)

    # --- what they say of themselves ---------------------------------------------------------------------------------

    def statuses(self, client: swarm.Client, servers: Sequence[LocalServer]) -> dict[str, pb.Status]:
        """By peer id, of those that answer. client: whose picture of the swarm to use."""
        return wait(self._statuses(client, [server.peer_id for server in servers]))

    def busy(self, client: swarm.Client, servers: Sequence[LocalServer]) -> list[LocalServer]:
        """Those that hold a session."""
        answers = self.statuses(client, servers)
        return [server for server in servers if server.peer_id in answers and answers[server.peer_id].load.sessions]

    async def _statuses(self, client: swarm.Client, peer_ids: Sequence[str]) -> dict[str, pb.Status]:
        if not set(peer_ids) <= set(self._connections):
            await client.parts.router.table.refresh()
            for info in client.parts.router.table.listed():
                self._connections.setdefault(info.peer_id, Peer(info.endpoint, 2**24))
        known = [peer_id for peer_id in peer_ids if peer_id in self._connections]
        answers = await asyncio.gather(*(self._status(self._connections[peer_id]) for peer_id in known))
        return {peer_id: answer for peer_id, answer in zip(known, answers, strict=True) if answer}

    async def _status(self, peer: Peer) -> pb.Status | None:
        try:
            return await peer.status(STATUS_TIMEOUT_S)
        except PeerUnreachable:
            return None

    async def _disconnect(self) -> None:
        for peer in self._connections.values():
            await peer.close()


@contextlib.contextmanager
def replicated_swarm(per_range: int) -> Iterator[tuple[Replicas, swarm.Client]]:
    """Replicas, and a client of theirs that takes exact peers only."""
    with Replicas(per_range) as replicas, swarm.Client("demo", replicas.local.peers, quant="none") as client:
        yield replicas, client
