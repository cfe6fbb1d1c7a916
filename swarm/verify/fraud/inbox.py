"""Accusations that the directory spreads: which of them to check, and what becomes of accused and accuser."""

import asyncio
import hashlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress

from swarm.errors import InvalidRequest, SwarmError
from swarm.peers import convictions
from swarm.peers.convictions import Conviction
from swarm.peers.table import REFRESH_S, PeerTable
from swarm.verify.reputation.standing import Event
from swarm.verify.reputation.store import ReputationStore

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0
MAX_WAITING = 16  # accusations that are to be checked, of those with a proof and of those with evidence
MAX_PER_ACCUSED = 4  # of them: a flood about one peer does not keep out what is said of others
MAX_PER_LOOK = 64  # whose signatures are verified, at 40 us each
MAX_SEEN = 4096  # accusations that are not looked at again
RETRY_S = 120.0  # but for those that could not be checked: a peer was away or busy, or is better known by then
CHECK_TIMEOUT_S = 300.0  # fetching evidence and computing it again included

# Whether the proof of a conviction shows what it says of the very peer that it accuses: True, False, or None if that
# cannot be told here. A SwarmError means None too.
Check = Callable[[Conviction], Awaitable[bool | None]]


class FraudInbox:
    """What one client has still to check. Lives in one event loop; `watch` fills it, `work` empties it."""

    def __init__(self, reputation: ReputationStore, check: Check):
        self._reputation, self._check = reputation, check
        self._seen: dict[bytes, float] = {}  # until when (time.monotonic()), in the order in which they came
        self._proofs, self._evidence = _Line(), _Line()  # checked in a millisecond, and in minutes

    def consider(self, accusations: Mapping[str, bytes], peers: Collection[str]) -> None:
        """Put down what is new of `accusations` (see Directory.accusations), as far as it is about one of `peers`, its
        announcer has not lied before, and there is room for it. What finds no room now may find it another time."""
        named = [(convictions.parties(subkey), value) for subkey, value in accusations.items()]
        relevant = [(names, value) for names, value in named if names and self._is_news(*names, peers)]
        random.shuffle(relevant)
        relevant.sort(key=lambda item: self._reputation.slowdown(item[0][1]))  # who has proven itself is heard first
        for _, value in relevant[:MAX_PER_LOOK]:
            self._put_down(value)

    def _is_news(self, accused: str, announcer: str, peers: Collection[str]) -> bool:
        if accused not in peers or self._reputation.is_convicted(accused):
            return False
        return self._reputation.standing(announcer).is_credible

    def _put_down(self, value: bytes) -> None:
        try:
            conviction = convictions.verify(value)
        except InvalidRequest as error:  # expired since, or from a store that does not check
            logger.debug("ignored %s", error)
            return
        key, line = _key(conviction), self._evidence if conviction.bundle else self._proofs
        if self._seen.get(key, 0.0) > time.monotonic() or not line.has_room_for(conviction.accused):
            return
        self._seen[key] = math.inf
        if len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        line.put_nowait(conviction)

    async def work(self) -> None:
        """Check what is put down, for ever: at most one proof and one piece of evidence at a time."""
        await asyncio.gather(self._work(self._proofs), self._work(self._evidence))

    async def watch(self, table: PeerTable) -> None:
        """Put down what the directory spreads about the peers of `table`, for ever."""
        while True:
            await table.refresh(REFRESH_S)
            accusations = await table.directory.accusations(table.model)
            self.consider(accusations, {peer.peer_id for peer in table.listed()})
            await asyncio.sleep(LOOK_EVERY_S)

    async def _work(self, line: "_Line") -> None:
        while True:
            await self._judge(await line.get())

    async def _judge(self, conviction: Conviction) -> None:
        accused, announcer, proven = conviction.accused, conviction.announcer, None
        with suppress(SwarmError, TimeoutError):
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                proven = await self._check(conviction)
        if proven:
            logger.warning("peer %s is proven to have cheated (%s) and is not used again", accused, conviction.kind)
            evidence = conviction.bundle.digest if conviction.bundle else conviction.proof
            self._reputation.convict(accused, conviction.kind, evidence)
        elif proven is False:
            logger.info("peer %s accuses %s falsely", announcer, accused)
            self._reputation.observe(announcer, Event.FALSE_ACCUSATION)
        else:
            self._seen[_key(conviction)] = time.monotonic() + RETRY_S
            logger.info("peer %s accuses %s of something that cannot be checked here", announcer, accused)
            if not self._reputation.standing(accused).is_suspect:
                self._reputation.observe(accused, Event.ACCUSED)


class _Line(asyncio.Queue[Conviction]):
    """Accusations that wait to be checked, not too many about one peer."""

    def __init__(self) -> None:
        super().__init__(MAX_WAITING)
        self._accused: Counter[str] = Counter()

    def has_room_for(self, accused: str) -> bool:
        return not self.full() and self._accused[accused] < MAX_PER_ACCUSED

    def _put(self, conviction: Conviction) -> None:
        super()._put(conviction)
        self._accused[conviction.accused] += 1

    def _get(self) -> Conviction:
        conviction = super()._get()
        self._accused[conviction.accused] -= 1
        return conviction


def _key(conviction: Conviction) -> bytes:
    """The same however often the same is announced. Evidence may be had from another peer where one fails."""
    bundle = conviction.bundle
    evidence = bundle.digest + bundle.holder.peer_id.encode() if bundle else conviction.proof
    return hashlib.sha256(f"{conviction.subkey} {conviction.kind} ".encode() + evidence).digest()
