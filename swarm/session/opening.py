"""Opening a session on the best chain that has room."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from swarm.errors import NoRoute, PeerBusy, PeerUnreachable, RevisionMismatch
from swarm.peers.absent import NOBODY, Avoid
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.coverage import WaitForCoverage
from swarm.session.hop import HopFailed
from swarm.session.observers import HopObserver
from swarm.session.router import Router
from swarm.session.session import Session

MAX_REFUSALS = 2  # then the swarm is full for the moment, and asking everyone would only make it busier
FIRST_PAUSE_S = 0.05
LAST_PAUSE_S = 1.0

Choose = Callable[[Avoid], Awaitable[list[Hop]]]  # the chain to take, without these peers; raises NoRoute
Describe = Callable[[Sequence[Hop]], SessionOptions]  # what a session on these hops is opened for
Observe = Callable[[], HopObserver]  # a new session's observer


async def open_session(
    router: Router,
    busy_timeout_s: float,
    coverage: WaitForCoverage,
    choose: Choose,
    describe: Describe,
    avoid: Avoid = NOBODY,
    observe: Observe = HopObserver,
) -> Session:
    """A session on the best chain, its pages reserved on every hop; waits for room if all are full, and for peers while
    nobody serves some of the blocks, or nobody on the client's terms: others may come, and prices fall.

    busy_timeout_s: how long to wait for room. coverage: for peers, now and while it is open. avoid: peers that are not
    wanted.
    Raises NoRoute if there is no chain, and none in time; RevisionMismatch, InvalidRequest, and PeerBusy if there is no
    room in time.
    """
    deadline, pause_s = time.monotonic() + busy_timeout_s, FIRST_PAUSE_S
    with coverage:
        while True:
            try:
                return await _Attempt(router, observe, coverage).open(choose, describe, avoid)
            except NoRoute as error:
                if not await coverage.pause(error):
                    raise
            except PeerBusy:  # they are there
                coverage.renew()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LAST_PAUSE_S)


class _Attempt:
    """At a session: chain after chain, until one has room on all its hops or too many have none."""

    def __init__(self, router: Router, observe: Observe, coverage: WaitForCoverage):
        self._router, self._observe, self._coverage = router, observe, coverage
        self._full: dict[str, str] = {}  # peer ids, as in Avoid
        self._refusal: PeerBusy | None = None  # the last one
        self._mismatch: RevisionMismatch | None = None

    async def open(self, choose: Choose, describe: Describe, avoid: Avoid) -> Session:
        """Raises PeerBusy, as the last peer said it that had no room; NoRoute, RevisionMismatch, InvalidRequest."""
        while self._refusal is None or len(self._full) <= MAX_REFUSALS:
            try:
                hops = await choose({**avoid, **self._full})
            except NoRoute as error:
                raise self._refusal or self._mismatch or error from None  # which are why there is no route
            peers = [self._router.connection_to(hop.peer) for hop in hops]
            session = Session(hops, peers, describe(hops), self._router, self._observe(), self._coverage)
            self._router.sessions.add(session)
            try:
                await session.open()
                return session
            except BaseException as error:  # also when the caller has left
                session.close()
                if not isinstance(error, HopFailed):
                    raise
                self._note(error, hops)
        raise self._refusal

    def _note(self, failure: HopFailed, hops: Sequence[Hop]) -> None:
        """Remember why a chain did not do; raises the cause if no other would."""
        cause = failure.cause
        self._router.note_refusal(failure, hops)
        if isinstance(cause, PeerBusy):
            self._refusal = cause
            self._full.update(dict.fromkeys(failure.peer_ids, "has no room"))
        elif isinstance(cause, RevisionMismatch):
            self._mismatch = cause
        elif not isinstance(cause, PeerUnreachable):
            raise cause from failure
