"""What this peer says of itself in the directory: the only owner of its record.

Readers get snapshots. What happens to a server is a method here, so that the order in which it becomes known is the
order in which it is said; nobody else writes a field.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from swarm.model.identity import weights_root
from swarm.peers.directory import Directory
from swarm.peers.record import MAX_PAUSED, VERSION, costs_message
from swarm.peers.twins import Twins
from swarm.route.costs import PeerCosts
from swarm.route.peer import PeerInfo
from swarm.version import __version__
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.facts import Facts
from swarm.wire.formats.quotes import Quote
from swarm.wire.identity import Identity

logger = logging.getLogger(__name__)

REFRESHES = 3  # publications in the life of one
RETRIES = 15  # the same, while none arrives
PROGRESS_EVERY_S = 3.0  # while it loads
APART_S = 1.0  # two publications, whatever happens in between
GOODBYE_PAUSE_S = 0.2  # between two tries


@dataclass(frozen=True)
class Figures:
    """What is new in every publication."""

    load: pb.Load
    costs: PeerCosts
    quote: Quote | None = None  # what it asks for its work; None: nothing


class Announcement:
    """Of one server. Lives in the event loop."""

    def __init__(
        self,
        directory: Directory,
        identity: Identity,
        record: pb.PeerRecord,
        life_s: float,
        figures: Callable[[], Figures | None],
        posted: Callable[[bytes, Quote], None],
        twins: Twins,
        clock: Callable[[], float] = time.monotonic,
    ):
        """record: what is known before any block is chosen, see `first_record`. life_s: that a publication is good for.
        figures: the newest; None as long as there are none. posted: called when the directory has a record with a
        quote, with the hash by which that can be named. twins: whose record this one's must not take the place of."""
        self._directory, self._identity, self._life_s, self._twins = directory, identity, life_s, twins
        self._figures, self._posted = figures, posted
        self._record = pb.PeerRecord()
        self._record.CopyFrom(record)
        self._has_left = False
        self._clock, self._said_s = clock, float("-inf")
        self._is_news = asyncio.Event()  # there is something to be said before it is due

    @property
    def record(self) -> PeerInfo:
        """What this peer says now: a snapshot, which stays as it is."""
        return PeerInfo.of(self.message())

    def message(self) -> pb.PeerRecord:
        """The same, as it travels: a copy."""
        copy = pb.PeerRecord()
        copy.CopyFrom(self._record)
        return copy

    # --- what becomes known while the server starts ------------------------------------------------------------------

    async def joining(self, start: int, stop: int, max_blocks: int) -> None:
        """Let others count on this server for blocks that it has yet to load. max_blocks: that it could serve."""
        self._record.start, self._record.stop, self._record.max_blocks = start, stop, max_blocks
        self._record.loaded = 0
        await self._become(pb.JOINING)

    def progress(self, loaded: int) -> None:
        """So many of its blocks are here by now. Said now and then, for whoever waits for them."""
        self._record.loaded = loaded
        if self._clock() - self._said_s > PROGRESS_EVERY_S:
            self.say_again()

    def loaded(self, digests: Sequence[bytes], quant: str, numerics_id: str) -> PeerInfo:
        """The blocks are here; returns what is said now. digests: of their weights, see swarm.model.identity."""
        self._record.weights = weights_root(digests)
        self._record.quant, self._record.numerics_id = quant, numerics_id
        return self.record

    def listening(self, host: str, port: int, certificate: bytes) -> Facts:
        """Where others reach this server, and the certificate that they will see (DER); returns what an attestation is
        to be about."""
        endpoint = pb.Endpoint(peer_id=self._record.peer_id, host=host, port=port, certificate=certificate)
        self._record.endpoint.CopyFrom(endpoint)
        return Facts.of(self._record)

    def reachable_at(self, host: str) -> None:
        """The same server, with the same certificate, is there now; before, perhaps, elsewhere."""
        if host != self._record.endpoint.host:
            logger.warning("this machine's address is %s now; others are told", host)
            self._record.endpoint.host = host

    def attested(self, evidence: bytes) -> None:
        """There is evidence of what runs here."""
        self._record.attestation = evidence

    # --- from then on ------------------------------------------------------------------------------------------------

    async def online(self) -> None:
        """Others may come; or this server stays, after it had announced to move."""
        await self._become(pb.ONLINE)

    async def moving(self) -> None:
        """This server is about to leave its blocks for others, if nobody else is."""
        await self._become(pb.MOVING)

    async def pause(self, why: str) -> None:
        """No new sessions are taken for the time being; with "": they are again. Said at once, if it is news."""
        if why[:MAX_PAUSED] != self._record.paused:
            self._record.paused = why[:MAX_PAUSED]
            logger.warning("this server takes no new sessions: %s", why) if why else logger.warning(
                "this server takes new sessions again"
            )
            await self._say()

    def say_again(self) -> None:
        """Soon: it may have been forgotten, or not have arrived."""
        self._is_news.set()

    async def leaving(self) -> None:
        """Goodbye: nobody chooses this peer any more, and nothing else is published afterwards. Not where a twin goes
        on under the same name. Returns when the directory has taken it."""
        self._record.state = pb.LEAVING
        self._has_left = True
        while not await self.publish():
            await asyncio.sleep(GOODBYE_PAUSE_S)

    async def keep_current(self, look: Callable[[], None] = lambda: None) -> None:
        """Say it again and again before it expires, until cancelled; soon, where the directory did not take it or
        there is news. look: called before, for what may have changed. Raises SwarmError if an older twin has come up:
        this server is to stop."""
        pause_s = self._life_s / REFRESHES
        while True:
            await asyncio.sleep(apart_s := min(APART_S, pause_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s - apart_s):
                    await self._is_news.wait()
            self._is_news.clear()
            look()
            while not await self.publish():
                await asyncio.sleep(self._life_s / RETRIES)

    async def publish(self) -> bool:
        """Say it again, with the newest figures; whether the directory took it. Raises SwarmError like
        `keep_current`."""
        if self._has_left:  # once more, for whom did not hear it
            return self._twins.is_seen or await self._publish()
        await self._twins.look()
        return await self._publish()

    async def _become(self, state: pb.PeerState) -> None:
        if not self._has_left:
            self._record.state = state
            await self._say()

    async def _say(self) -> None:
        """At once, or as soon as the directory takes it."""
        if not await self.publish():
            self.say_again()

    async def _publish(self) -> bool:
        if figures := self._figures():
            self._record.load.CopyFrom(figures.load)
            self._record.costs.CopyFrom(costs_message(figures.costs))
            if figures.quote:
                self._record.quote.CopyFrom(figures.quote.message())
        self._said_s = self._clock()
        published = await self._directory.publish(self.message(), self._identity, self._life_s)
        if figures and figures.quote:  # whatever is known of it here: others may have it
            self._posted(published.record_hash, figures.quote)
        return published.stored


def first_record(
    peer_id: str,
    model: str,
    revision: str,
    num_blocks: int,
    dtype: str,
    quant: str,
    pinned: bool,
    unsigned: bool = False,
    instance: bytes = b"",
) -> pb.PeerRecord:
    """What a server knows of itself before any block is chosen. pinned: its contributor chose the blocks. unsigned: it
    signs no receipts for its work. instance: see swarm.peers.twins."""
    return pb.PeerRecord(
        version=VERSION,
        peer_id=peer_id,
        model=model,
        revision=revision,
        num_blocks=num_blocks,
        dtype=dtype,
        quant=quant,
        software=f"swarm-inference {__version__}",
        pinned=pinned,
        unsigned=unsigned,
        instance=instance,
    )
