"""Looking at the swarm that serves one model: the directory's list, and a question to every peer on it."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

from swarm.clock import now_s
from swarm.errors import PeerUnreachable
from swarm.peers.directory import Directory
from swarm.peers.pings import measure_round_trip
from swarm.peers.poll import MEASURED_AT_ONCE, poll
from swarm.peers.status.overview import Answer, Overview, make_overview
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.connections import Connections
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, max_message_bytes

TIMEOUT_S = 1.5  # for one answer
VISIT_TIMEOUT_S = 4.0  # for all of one peer's
MOST_ROUNDS = 4  # of visits, however many peers there are: a look ends, whatever they do
DIRECTORY_TIMEOUT_S = 5.0


class Stakes(Protocol):
    """See swarm.market.stakes."""

    async def look(self, peers: Sequence[PeerInfo]) -> None: ...

    def of(self, peer_id: str) -> int: ...


def connect(endpoint: pb.Endpoint, member: Certificate | None = None) -> Peer:
    """A connection for small messages. member: in a private swarm, this process's certificate. Raises InvalidRequest
    for a certificate of the other side that is none."""
    return Peer(endpoint, max_message_bytes(hidden_size=0), member)


class Survey:
    """Looks as often as asked, over connections that it keeps. Lives in one event loop."""

    def __init__(
        self,
        directory: Directory,
        model: str,
        connect: Callable[[pb.Endpoint], Peer] = connect,
        stakes: Stakes | None = None,
    ):
        """model: as its records name it, see swarm.model.names.model_name. stakes: what peers have at stake."""
        self._directory, self._model, self._stakes = directory, model, stakes
        self._known: dict[str, PeerInfo] = {}  # at the look before
        self._answers: dict[str, Answer] = {}
        self._connections = Connections(connect)

    async def look(self) -> Overview:
        """The swarm now, within DIRECTORY_TIMEOUT_S + MOST_ROUNDS * VISIT_TIMEOUT_S. A peer that the directory has just
        ceased to list is leaving as long as it answers; while the directory says nothing, what it said counts."""
        listed, answers_now = await self._listed()
        departed = {
            id_: replace(info, state=pb.LEAVING)
            for id_, info in self._known.items()
            if id_ not in listed and info.state != pb.JOINING
        }
        asked = [info for info in [*listed.values(), *departed.values()] if info.state != pb.JOINING]
        at_once = max(MEASURED_AT_ONCE, math.ceil(len(asked) / MOST_ROUNDS))
        answers = await poll(
            asked, lambda info: visit(self._connections.to(info.endpoint)), at_once, timeout_s=VISIT_TIMEOUT_S
        )
        known = listed | {id_: info for id_, info in departed.items() if id_ in answers}
        staked = await self._staked(known.values())
        picture = make_overview(self._model, list(known.values()), answers, self._answers, now_s(), staked)
        self._known, self._answers = known, answers
        self._connections.keep_only(known)
        return replace(picture, directory_answers=answers_now)

    async def _listed(self) -> tuple[dict[str, PeerInfo], bool]:
        """By peer id; and whether the directory says so now."""
        try:
            async with asyncio.timeout(DIRECTORY_TIMEOUT_S):
                peers = await self._directory.peers(self._model, joining=True)
        except (TimeoutError, PeerUnreachable):
            return self._known, False
        return {info.peer_id: info for info in peers}, True

    async def _staked(self, infos: Collection[PeerInfo]) -> dict[str, int]:
        """Of those that want to be paid."""
        if self._stakes is None:
            return {}
        paid = [info for info in infos if info.asks.is_paid]
        await self._stakes.look(paid)
        return {info.peer_id: self._stakes.of(info.peer_id) for info in paid}

    async def close(self) -> None:
        await self._connections.close()


async def visit(peer: Peer, clock: Callable[[], float] = time.perf_counter) -> Answer:
    """What `peer` says, and how far away it is. Raises PeerUnreachable."""
    status, round_trip_s = await measure_round_trip(peer, TIMEOUT_S, clock)
    return Answer(status, round_trip_s, clock())
