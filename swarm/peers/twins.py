"""A twin: another process that uses this one's key, as when a key was copied to a second machine. Others would see now
the one and now the other under the same name, and the goodbye of either would remove both.

Each start of a process has an instance, a number that its record names. Whoever finds a live record under its own peer
id with another one, asks at the address in it: a twin answers, what a crash has left behind does not. A twin that
cannot be reached is known by its renewing its record. A process that finds one before it has published anything does
not begin; of two that run already, the one that started later stops.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm.clock import now_ms
from swarm.errors import InvalidRequest, PeerUnreachable, SwarmError
from swarm.home.nodes import is_node_at
from swarm.peers.directory import READING_SHARE, Directory
from swarm.peers.record import INSTANCE_BYTES
from swarm.program import command
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.hosts import join_address
from swarm.wire.identity import Identity, signer_of
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, max_message_bytes

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 2.0
LOOK_TIMEOUT_S = 2.0  # before each publication, which must not wait long
BEGIN_TIMEOUT_S = 10.0
SAY_EVERY_S = 60.0
_MARGIN_S = 5.0
_DOMAIN = b"swarm/twin/v1"
_REMEDY = (
    "a key belongs on one machine: stop one of the two, and give it a key of its own (move its key file away; "
    f"`{command('identity', 'export')}` moves one properly)"
)


def others_than(peer_id: str, addresses: Sequence[str]) -> list[str]:
    """Those of `addresses` that are not a peer's own."""
    return [address for address in addresses if not address.endswith(f"/p2p/{peer_id}")]


def refuse_to_join(peer_id: str, addresses: Sequence[str]) -> None:
    """Before this process, whose peer id that is, listens: raises SwarmError if it is to join a swarm of nobody but
    itself, and somebody is there. Asks the network."""
    there = [] if others_than(peer_id, addresses) else [address for address in addresses if is_node_at(address)]
    if there:
        raise SwarmError(f"this server's key is in use at {there[0]} already; {_REMEDY}")


def new_instance() -> bytes:
    """Of a process that starts now: one that starts later has a greater one."""
    return now_ms().to_bytes(8) + os.urandom(INSTANCE_BYTES - 8)


@dataclass(frozen=True)
class Own:
    """What tells this process from its twins."""

    identity: Identity
    model: str
    instance: bytes


class Twins:
    """Of one server. Lives in the event loop."""

    def __init__(
        self, directory: Directory, own: Own, member: Certificate | None, clock: Callable[[], float] = time.monotonic
    ):
        """member: in a private swarm, this server's certificate."""
        self._directory, self._own, self._member, self._clock = directory, own, member, clock
        self._began_s = clock()
        self._look_again_s = self._say_again_s = float("-inf")
        self._left_behind_ms = 0  # when the newest record of those that do not answer was issued
        self.is_seen = False  # at the last look: then a goodbye under this key would not be this process's alone

    async def refuse(self) -> None:
        """Before anything is published. Raises SwarmError if there is a twin."""
        if twin := await self._find(BEGIN_TIMEOUT_S):
            raise SwarmError(f"this server's key is in use at {_place(twin)} already; {_REMEDY}")

    async def look(self) -> None:
        """From then on, before each publication: a twin is told of, once a minute. Raises SwarmError if it started
        earlier."""
        if self._clock() < self._look_again_s:
            return
        began_s = self._clock()
        twin = await self._find(LOOK_TIMEOUT_S)
        self._look_again_s = self._clock() + (self._clock() - began_s) / READING_SHARE
        self.is_seen = twin is not None
        if twin is None:
            return
        if len(twin.instance) == INSTANCE_BYTES and twin.instance < self._own.instance:
            raise SwarmError(
                f"this server's key is in use at {_place(twin)}, too, by a process that started earlier: this "
                f"one stops; {_REMEDY}"
            )
        self._say(f"at {_place(twin)}")

    # --- asking, and being asked -------------------------------------------------------------------------------------

    def greeting(self) -> bytes:
        """What a process tells its twin: that it is there, in a way that nobody else can."""
        own = self._own
        return own.instance + own.identity.sign(_DOMAIN, own.instance)

    def hear(self, greeting: bytes, caller: str) -> None:
        """Of whoever asks for this server's status, from the address `caller`. Most say nothing."""
        own, (instance, signature) = self._own, (greeting[:INSTANCE_BYTES], greeting[INSTANCE_BYTES:])
        try:
            is_twin = instance != own.instance and signer_of(_DOMAIN, instance, signature) == own.identity.peer_id
        except InvalidRequest:
            return
        if is_twin:
            self._say(f"on the machine that calls from {caller}")

    def _say(self, where: str) -> None:
        if self._clock() >= self._say_again_s:
            self._say_again_s = self._clock() + SAY_EVERY_S
            logger.warning("this server's key is used by another process, too, %s; %s", where, _REMEDY)

    async def _find(self, timeout_s: float) -> PeerInfo | None:
        """timeout_s: for the directory: if it does not answer, there is nobody to be found."""
        try:
            async with asyncio.timeout(timeout_s):
                record = await self._directory.own_record(self._own.model, self._own.identity.peer_id)
        except (TimeoutError, PeerUnreachable):
            return None
        if record is None or record.instance == self._own.instance or record.state == pb.LEAVING:
            return None
        return record if await self._answers(record) or self._is_renewed(record) else None

    async def _answers(self, record: PeerInfo) -> bool:
        if record.state == pb.JOINING:  # it has no address yet
            return False
        try:
            peer = Peer(record.endpoint, max_message_bytes(hidden_size=0), self._member)
        except InvalidRequest:
            return False
        try:
            status = await peer.status(ASK_TIMEOUT_S, greeting=self.greeting())
        except PeerUnreachable:
            return False
        finally:
            await peer.close()
        return bool(status.record.peer_id == record.peer_id and status.record.instance == record.instance)

    def _is_renewed(self, record: PeerInfo) -> bool:
        """Whether it was issued since this process began. Clocks differ, so that only what comes after all that can be
        left from before does count."""
        life_s = (record.expires_ms - record.issued_ms) / 1000
        if self._clock() - self._began_s <= life_s + _MARGIN_S:
            self._left_behind_ms = max(self._left_behind_ms, record.issued_ms)
        return record.issued_ms > self._left_behind_ms


def _place(twin: PeerInfo) -> str:
    if twin.state == pb.JOINING:
        return "an address that is not known yet"
    return join_address(twin.endpoint.host, twin.endpoint.port)
