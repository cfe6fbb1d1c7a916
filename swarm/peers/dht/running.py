"""What there is of a node as long as one daemon lives: the daemon, hivemind's view of it, and calls through it."""

import asyncio
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DHTLocalStorage
from hivemind.dht.validation import RecordValidatorBase
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError
from hivemind.utils.multiaddr import Multiaddr

from swarm.errors import SwarmError
from swarm.peers.dht.daemon import Daemon, DaemonOptions
from swarm.peers.dht.private_p2p import PrivateP2P
from swarm.wire.secret import Secret

logger = logging.getLogger(__name__)

LEAVE_TIMEOUT_S = 2.0
DISCONNECT_TIMEOUT_S = 1.0  # which concerns nobody but this process's daemon
SET_UP_S = 30.0  # what takes a moment, on a busy machine
GRACE_S = 0.5  # that the others get to answer, when one has
SOME_ERRORS = (P2PDaemonError, OSError, EOFError, TimeoutError)  # of a daemon that is gone, or a node that is
_STRANGER = re.compile(r"\[(/[^]\s]+)\][^\n]*peer id mismatch")  # as go-libp2p says it
_MOST_STRANGERS = 64


@dataclass(frozen=True)
class NodeOptions:
    host: str = "127.0.0.1"
    port: int = 0  # 0: a free one
    identity: Path | None = None  # file of its key; None: a new one
    client: bool = False  # only asks, and stores nothing for others
    secret: Secret | None = None  # of a private swarm


@dataclass(frozen=True)
class Running:
    """Everything happens in the event loop that it was started in."""

    daemon: Daemon
    p2p: P2P
    dht: DHTNode
    port: int  # where others know it; 0 of one that does not listen
    strangers: dict[str, str] = field(default_factory=dict)  # by peer id: the address at which another node answered

    @classmethod
    async def start(
        cls, options: NodeOptions, port: int, node_id: DHTID, storage: DHTLocalStorage, validator: RecordValidatorBase
    ) -> "Running":
        """port: 0: a free one. node_id, storage: those from before, if a daemon is started again. Raises SwarmError."""
        listens = not options.client
        routes = listens and not options.secret  # libp2p's own routing answers whoever asks
        daemon = await Daemon.start(DaemonOptions(options.host, port, options.identity, listens, routes))
        setting_up = asyncio.create_task(cls._set_up(daemon, options, node_id, storage, validator))
        ended = asyncio.create_task(daemon.ended())  # then hivemind would wait for its answers for ever
        try:
            await asyncio.wait({setting_up, ended}, timeout=SET_UP_S, return_when=asyncio.FIRST_COMPLETED)
            if not setting_up.done():
                raise TimeoutError("it ended" if ended.done() else f"not within {SET_UP_S:.0f} s")
            return setting_up.result()
        except BaseException as error:
            setting_up.cancel()
            await asyncio.wait({setting_up})
            await daemon.stop()
            if isinstance(error, SOME_ERRORS):
                raise SwarmError(f"the libp2p daemon does not answer: {error}") from error
            raise
        finally:
            ended.cancel()

    @classmethod
    async def _set_up(
        cls,
        daemon: Daemon,
        options: NodeOptions,
        node_id: DHTID,
        storage: DHTLocalStorage,
        validator: RecordValidatorBase,
    ) -> "Running":
        secret, listens = options.secret, not options.client
        p2p = await (PrivateP2P.replicate(daemon.control, secret, listens) if secret else P2P.replicate(daemon.control))
        try:
            dht = await DHTNode.create(
                p2p=p2p, node_id=node_id, client_mode=options.client, record_validator=validator, num_workers=4
            )
            addresses = await p2p.get_visible_maddrs(latest=True) if listens else []
        except BaseException:
            await p2p.shutdown()
            raise
        dht.protocol.storage = storage
        control = p2p._client.control
        for task in (control._read_task, control._write_task):  # which fail when the daemon dies, and nobody asks why
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return cls(daemon, p2p, dht, port=int(str(addresses[0]).split("/")[4]) if addresses else 0)

    async def call(self, node: str, addresses: Sequence[str], timeout_s: float) -> bool:
        """Whether the node with that peer id answers; if so, both know each other from now on."""
        try:
            peer_id, places = PeerID.from_base58(node), [Multiaddr(address) for address in addresses]
        except ValueError:  # of a file that somebody wrote into
            return False
        if isinstance(self.p2p, PrivateP2P):
            self.p2p.introduce(peer_id, places)
        client = self.p2p._client
        for _ in range(2):
            try:
                async with asyncio.timeout(timeout_s / 2):
                    await client.connect(peer_id, places)
                    if await self.dht.protocol.call_ping(peer_id) is not None:
                        return True
            except Exception as error:  # hivemind raises whatever it happens to, when a stranger answers nonsense
                logger.debug("no answer from %s: %r", node, error)
                self._note_stranger(node, str(error))
            # The connection may be to where it was before, or from where this machine was: libp2p would find out in a
            # minute.
            with suppress(*SOME_ERRORS):
                async with asyncio.timeout(DISCONNECT_TIMEOUT_S):
                    await client.disconnect(peer_id)
        return False

    def _note_stranger(self, node: str, error: str) -> None:
        """Of what libp2p says only the first time: afterwards it does not try that address for a while."""
        if (found := _STRANGER.search(error)) and len(self.strangers) < _MOST_STRANGERS:
            self.strangers[node] = found[1]

    async def call_all(self, nodes: dict[str, Sequence[str]], timeout_s: float) -> bool:
        """Whether any of them answered. nodes: addresses by peer id. Does not wait for the slower ones once one has."""
        calls = {asyncio.create_task(self.call(id_, addresses, timeout_s)) for id_, addresses in nodes.items()}
        try:
            while calls:
                done, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                if any(call.result() for call in done):
                    if calls:
                        _, calls = await asyncio.wait(calls, timeout=GRACE_S)
                    return True
            return False
        finally:
            for call in calls:
                call.cancel()

    async def stop(self) -> None:
        """Without waiting for what a dead daemon would never answer."""
        if refresh := self.dht.cache_refresh_task:  # which hivemind leaves running, to be complained of at exit
            refresh.cancel()
        if self.daemon.is_alive:
            with suppress(*SOME_ERRORS):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self.dht.shutdown()
        self.dht.is_alive = False
        await self.p2p.shutdown()
        await self.daemon.stop()
