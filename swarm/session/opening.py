"""Opening a session on the best chain that has room."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from swarm.errors import NoRoute, PeerBusy, PeerUnreachable, RevisionMismatch
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.hop import HopFailed
from swarm.session.limits import ClientLimits
from swarm.session.router import Router
from swarm.session.session import Session

MAX_REFUSALS = 2  # then the swarm is full for the moment, and asking everyone would only make it busier
FIRST_PAUSE_S = 0.05
LAST_PAUSE_S = 1.0

Choose = Callable[[Collection[str]], Awaitable[list[Hop]]]  # the chain to take, without these peers; raises NoRoute


async def open_session(
    router: Router,
    limits: ClientLimits,
    choose: Choose,
    options: Callable[[Sequence[Hop]], SessionOptions],
    avoid: Collection[str] = (),
) -> Session:
    """A session on the best chain, its pages reserved on every hop; waits for room if all are full.

    options: for a chain of these hops. avoid: peers that are not wanted.
    Raises NoRoute, RevisionMismatch, InvalidRequest, and PeerBusy if there is no room in time.
    """
    deadline, pause_s = time.monotonic() + limits.busy_timeout_s, FIRST_PAUSE_S
    while True:
        refusal = await _try(router, choose, options, avoid)
        if isinstance(refusal, Session):
            return refusal
        if time.monotonic() > deadline:
            raise refusal
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LAST_PAUSE_S)


async def _try(
    router: Router, choose: Choose, options: Callable[[Sequence[Hop]], SessionOptions], avoid: Collection[str]
) -> Session | PeerBusy:
    """A session, or what the last peer said that had no room for one."""
    full: set[str] = set()
    refusal: PeerBusy | None = None
    mismatch: RevisionMismatch | None = None
    while len(full) <= MAX_REFUSALS:
        try:
            hops = await choose(full | set(avoid))
        except NoRoute:
            if refusal is not None:
                return refusal
            if mismatch is not None:  # which is why there is no route
                raise mismatch from None
            raise
        session = Session(hops, [router.connection_to(hop.peer) for hop in hops], options(hops), router)
        router.watch(session)
        try:
            await session.open()
            return session
        except HopFailed as failure:
            session.close()
            if isinstance(failure.cause, PeerBusy):
                refusal = failure.cause
                full.update(failure.peer_ids)
                for peer_id in failure.peer_ids if failure.load else ():
                    router.note_load(peer_id, failure.load)
            elif isinstance(failure.cause, PeerUnreachable):
                for peer_id in failure.peer_ids:
                    router.report_failure(peer_id)
            elif isinstance(failure.cause, RevisionMismatch):
                mismatch = failure.cause
                for hop in hops:
                    if hop.peer.peer_id in failure.peer_ids:
                        router.report_other_weights(hop.peer)
            else:
                raise failure.cause from failure
        except BaseException:  # the caller has left
            session.close()
            raise
    return refusal
