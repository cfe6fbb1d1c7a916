"""Replacing hops of a chain while its session lives: after they failed, or before they leave."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from swarm.errors import NoRoute, PeerBusy, PeerUnreachable, RevisionMismatch
from swarm.peers.absent import Avoid
from swarm.results import Repair
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.chain import Chain
from swarm.session.coverage import WaitForCoverage
from swarm.session.hop import HopFailed, HopStream
from swarm.wire import messages_pb2 as pb
from swarm.wire.peer_names import short_id
from swarm.wire.transport import OPENING_S, Peer

logger = logging.getLogger(__name__)

SPARE_TIMEOUT_S = OPENING_S + 0.5  # and the way there and back: a spare that takes longer is no help now
CATCH_UP_POLL_S = 0.02
CATCH_UP_TIMEOUT_S = 30.0
MAX_SHADOWS = 3  # tried for one hop that leaves; then the session stays there, and is repaired when it has left


class Spares(Protocol):
    """Who else could serve. Knows the swarm, and remembers who failed."""

    async def replacement(
        self,
        lost: Sequence[Hop],
        before: PeerInfo | None,
        after: PeerInfo | None,
        replay_tokens: int,
        avoid: Avoid,
        background: bool = False,
    ) -> list[Hop]:
        """Hops over the blocks of `lost`, between two peers (None: the client), without the peers in `avoid`.

        background: at the idle price. replay_tokens: that they have to compute before they can go on. Raises NoRoute if
        nobody covers the blocks, or not at a price that the client pays, RevisionMismatch if only others' weights are
        served: nobody can take over yet.
        """

    def connection_to(self, peer: PeerInfo) -> Peer:
        """The connection to a peer."""

    def replaceable(self, lost: Sequence[Hop]) -> list[Hop]:
        """Those of `lost` for which somebody else is known who could take over."""

    def report_failure(self, peer_id: str, why: str) -> None:
        """Do not choose this peer again for a while. why: what it did, in words."""

    def note_refusal(self, failure: HopFailed, hops: Sequence[Hop]) -> None:
        """A session was to be opened on `hops`, and one of them refused: choose it less, or not again, as `failure`
        says."""

    def observe_steps(self, hops: Sequence[Hop], step_s: float) -> None:
        """A token takes so long around a chain of these hops, in the mean of some."""


class Recovery:
    """Keeps one session's chain whole."""

    def __init__(self, chain: Chain, spares: Spares, coverage: WaitForCoverage):
        """coverage: what the generation waits for, and how long it may."""
        self._chain, self._spares, self._coverage = chain, spares, coverage
        self.repairs: list[Repair] = []
        self._shadowing: asyncio.Task[list[HopStream]] | None = None
        self._leavers: list[HopStream] = []  # hops that said they leave; `_shadowing` is to replace the first
        self._tries: Counter[HopStream] = Counter()  # to fill a replacement for a leaver

    def close(self) -> None:
        self._abandon()

    # --- hops that say nothing ---------------------------------------------------------------------------------------

    def given_up(self, silent: Sequence[HopStream]) -> list[HopStream]:
        """Those of the hops that do not answer that are to be replaced; none: wait on. One whose work nobody else could
        do is waited for, since it may only be slow: a connection to one that is gone breaks by itself, within seconds.
        silent: in the chain's order."""
        replaceable, streams = self._spares.replaceable([stream.hop for stream in silent]), self._chain.streams
        kept: list[HopStream] = []
        for stream in silent:
            place = streams.index(stream)
            if stream.hop not in replaceable or (place and streams[place - 1] in kept):  # which would have to fill it
                kept.append(stream)
        if len(kept) < len(silent):
            return [stream for stream in silent if stream not in kept]
        names = " and ".join(short_id(stream.hop.peer.peer_id) for stream in kept)
        waits = self._coverage.goes_on(f"waiting for an answer of {names}; nobody else serves the same blocks")
        return [] if waits else kept

    # --- after a failure ---------------------------------------------------------------------------------------------

    async def repair(self, answered: int) -> None:
        """Replace all hops that failed, until the chain is whole. answered: positions whose outputs arrived.

        Raises HopFailed if nobody serves their blocks in time, or a predecessor's journal is lost.
        """
        started = time.monotonic()
        self._abandon()
        lost: list[HopStream] = []
        while broken := self._chain.broken():
            first, last = broken[0]
            lost += self._chain.streams[first : last + 1]
            try:
                await self._replace(first, last, answered)
            except HopFailed as failure:
                if not failure.peer_ids:  # nobody is left to take over: nothing that another round would mend
                    raise
        if lost:
            self._record(lost, answered, time.monotonic() - started, planned=False)

    async def _replace(self, first: int, last: int, answered: int) -> None:
        """Put others in the place of hops `first` to `last`, and bring them up to position `answered`."""
        for stream in self._chain.streams[first : last + 1]:
            stream.close()  # a peer that is to take its own place again must have let go of the session
            if not (stream.failure and isinstance(stream.failure.cause, PeerBusy)):
                self._spares.report_failure(stream.hop.peer.peer_id, str(stream.failure or ""))
        streams = await self._open_spares(first, last)
        self._chain.splice(first, last, streams)
        if first == 0:
            await self._chain.replay(streams[0], answered)
            return
        before = self._chain.streams[first - 1]
        answer = await before.reroute(pb.Reroute(next=streams[0].hop.peer.endpoint, answered=answered))
        if not answer.complete:
            peer_id = before.hop.peer.peer_id
            raise HopFailed(PeerUnreachable(f"peer {short_id(peer_id)} has lost its journal of this session"), [])

    async def _open_spares(self, first: int, last: int) -> list[HopStream]:
        """Streams to peers that cover what hops `first` to `last` do; waits while nobody can take over."""
        avoid: dict[str, str] = {}
        with self._coverage as coverage:
            while True:
                try:
                    return await self._try_open(first, last, avoid, filled=False)
                except (NoRoute, RevisionMismatch) as error:
                    if not await coverage.pause(error):
                        raise HopFailed(error, []) from error
                    avoid.clear()

    async def _try_open(self, first: int, last: int, avoid: dict[str, str], filled: bool) -> list[HopStream]:
        """avoid: peers that are not tried; those that refuse are added. Raises NoRoute, or RevisionMismatch, when there
        is nobody left to try."""
        streams = self._chain.streams
        lost = [stream.hop for stream in streams[first : last + 1]]
        before = streams[first - 1].hop.peer if first else None
        after = streams[last + 1] if last + 1 < len(streams) else None
        following, background = after.hop.peer if after else None, self._chain.options.background
        refusal: HopFailed | None = None
        while True:
            replayed = self._chain.sent.length
            try:
                hops = await self._spares.replacement(lost, before, following, replayed, avoid, background)
            except (NoRoute, RevisionMismatch) as error:
                if refusal:  # which is why
                    blocks = f"{lost[0].start}:{lost[-1].stop}"
                    raise NoRoute(f"nobody can take over blocks {blocks}: {refusal}") from error
                raise
            peers, replayed = [self._spares.connection_to(hop.peer) for hop in hops], self._chain.sent.length
            try:
                return await self._chain.open_streams(hops, peers, after, SPARE_TIMEOUT_S, replayed, filled)
            except HopFailed as failure:
                logger.info("a spare refused: %s", failure)
                self._spares.note_refusal(failure, hops)
                avoid.update(dict.fromkeys(failure.peer_ids, f"refused: {failure.cause}"))
                if not isinstance(failure.cause, PeerUnreachable):  # whoever is gone is no reason, but nobody
                    refusal = failure

    # --- before somebody leaves --------------------------------------------------------------------------------------

    def prepare(self, leaver: HopStream) -> None:
        """A hop says that it will leave: fill a replacement while it goes on serving."""
        self._leavers.append(leaver)
        self._shadow_next()

    def _shadow_next(self) -> None:
        self._leavers = [stream for stream in self._leavers if stream in self._chain.streams and not stream.failure]
        if self._leavers and self._shadowing is None:
            self._shadowing = asyncio.create_task(self._shadow(self._leavers[0]))

    async def _shadow(self, leaver: HopStream) -> list[HopStream]:
        """Streams that hold all that `leaver` holds, and go on receiving what it receives."""
        chain = self._chain
        index = chain.streams.index(leaver)
        streams = await self._try_open(index, index, {leaver.hop.peer.peer_id: "is about to leave"}, filled=True)
        try:
            if index == 0:
                await chain.follow(streams[0])
            else:
                request = pb.Reroute(next=streams[0].hop.peer.endpoint, shadow=True)
                answer = await chain.streams[index - 1].reroute(request)
                if not answer.complete:
                    raise NoRoute("the predecessor cannot fill another hop")
            await self._caught_up(streams[-1])
        except BaseException:
            self._drop_shadow(streams)
            raise
        return streams

    async def _caught_up(self, stream: HopStream) -> None:
        """Wait until `stream` has computed all but the token or two that are just on their way."""
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            while True:
                if stream.failure:
                    raise stream.failure.again()
                progress = await stream.probe()
                if progress and progress.computed >= self._chain.sent.length - 2:
                    return
                await asyncio.sleep(CATCH_UP_POLL_S)

    async def hand_over(self) -> None:
        """If a replacement for a leaving hop is ready, put it in that hop's place. For between two steps."""
        task = self._shadowing
        if task is None or not task.done():
            return
        leaver = self._leavers.pop(0)
        self._shadowing = None
        if task.cancelled() or task.exception() or leaver.failure:
            self._discard(task)
            self._tries[leaver] += 1
            if self._tries[leaver] < MAX_SHADOWS:
                self._leavers.append(leaver)
        else:
            await self._switch(leaver, task.result())
        self._shadow_next()

    async def _switch(self, leaver: HopStream, streams: Sequence[HopStream]) -> None:
        started, index = time.monotonic(), self._chain.streams.index(leaver)
        if index:
            try:
                await self._chain.streams[index - 1].reroute(pb.Reroute(next=streams[0].hop.peer.endpoint))
            except HopFailed:
                self._drop_shadow(streams)  # the repair that is now due replaces both
                return
        self._chain.unfollow()
        self._chain.observer.took_over(streams, self._chain.sent.length)
        await self._chain.observer.leaving(leaver)
        self._chain.splice(index, index, streams)
        self._record([leaver], self._chain.sent.length, time.monotonic() - started, planned=True)

    def _discard(self, task: asyncio.Task[list[HopStream]]) -> None:
        if task.cancelled():
            return
        if error := task.exception():
            logger.info("a session stays on a peer that leaves: %s", error)
        else:
            self._drop_shadow(task.result())

    def _abandon(self) -> None:
        """Give up a handover that is under way."""
        if self._shadowing is None:
            return
        if self._shadowing.done():
            self._discard(self._shadowing)
        else:
            self._shadowing.cancel()
        self._shadowing, self._leavers = None, []

    def _drop_shadow(self, streams: Sequence[HopStream]) -> None:
        self._chain.unfollow()
        for stream in streams:
            stream.close()

    def _record(self, lost: Sequence[HopStream], position: int, seconds: float, planned: bool) -> None:
        peer_ids = tuple(stream.hop.peer.peer_id for stream in lost)
        blocks = tuple((stream.hop.start, stream.hop.stop) for stream in lost)
        self.repairs.append(Repair(peer_ids, blocks, position, seconds, planned))
