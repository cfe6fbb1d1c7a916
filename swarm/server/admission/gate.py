"""The door of one server: lets sessions in, and ends batch sessions whose room others need."""

import asyncio
import time
from collections.abc import Mapping

from swarm.errors import PeerBusy
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.server.admission.waiting import (
    MAX_BID,
    Ask,
    Place,
    Room,
    WaitingList,
    batch_reserve,
    network_of,
    who_gives_way,
)
from swarm.server.session.session import Session, SessionKey
from swarm.wire import messages_pb2 as pb

BATCH_PATIENCE_S = 30.0  # a batch session without a turn for so long goes elsewhere, lest its client take us for hung
FAREWELL_TIMEOUT_S = 5.0  # for a client to take what ended its session


class Gate:
    """Lives in the event loop."""

    def __init__(self, pool: PagePool, max_sessions: int, sessions: Mapping[SessionKey, Session], accounts: bool):
        """sessions: those that are open, kept by the caller. accounts: whether this peer is paid; then a bid counts
        only where there is a channel to pay it from. A peer that works for nothing takes a bid for what it says."""
        self._pool, self._max_sessions, self._sessions, self._accounts = pool, max_sessions, sessions, accounts
        self._waiting = WaitingList()

    def enter(self, request: pb.Open, caller: str) -> Place:
        """Let `request` in: its pages are free, and to be taken at once. caller: as gRPC names it. Raises PeerBusy, and
        then keeps its place in line for when it asks again."""
        ask, now = self._ask(request, caller), time.monotonic()
        if ask.pages > self._pool.num_pages:
            raise self._refusal(request, ask, Room(ask.pages, 1))
        claim = self._waiting.claim(ask, now)
        needed = claim.plus(batch_reserve(self._total)) if ask.batch else claim
        if self._free.holds(needed):
            return self._waiting.take(ask, now)
        if not ask.batch:
            self._make_room(claim)
        raise self._refusal(request, ask, claim)

    def left(self, session: Session) -> None:
        """`session` is closed."""
        if not session.used:
            self._waiting.give_back(session.place, time.monotonic())

    def sweep(self) -> None:
        """Send batch sessions elsewhere for which there is no time here."""
        horizon = time.monotonic() - BATCH_PATIENCE_S
        for session in self._sessions.values():
            if session.batch and session.queue and max(session.served, session.last_active) < horizon:
                self._end(session, f"this peer had no time for batch work for {BATCH_PATIENCE_S:.0f} s")

    @property
    def _total(self) -> Room:
        return Room(self._pool.num_pages, self._max_sessions)

    @property
    def _free(self) -> Room:
        return Room(self._pool.free_pages, self._max_sessions - len(self._sessions))

    def _ask(self, request: pb.Open, caller: str) -> Ask:
        payment, pages = request.payment, -(-request.max_tokens // PAGE_TOKENS)
        bid = 0 if self._accounts and not payment.channel else min(payment.bid, MAX_BID)
        return Ask(payment.channel or network_of(caller), pages, bid, payment.batch)

    def _make_room(self, claim: Room) -> None:
        """End as many batch sessions as `claim` needs. Their room is free a moment later, when their streams are
        closed."""
        batch = [session for session in self._sessions.values() if session.batch]
        short = claim.less(self._free)
        for session in batch:
            if session.ended:
                short = short.less(Room(len(session.pages), 1))
        for session in who_gives_way([session for session in batch if not session.ended], short):
            self._end(session, "an on-demand session needs the room of this batch session")

    def _end(self, session: Session, why: str) -> None:
        if not session.ended:
            session.end(PeerBusy(f"{why}; it may go on here later, or elsewhere now"))
            # One that reads nothing would keep the room.
            asyncio.get_running_loop().call_later(FAREWELL_TIMEOUT_S, session.overflowed.set)

    def _refusal(self, request: pb.Open, ask: Ask, claim: Room) -> PeerBusy:
        free, total, before = self._free, self._total, claim.sessions - 1
        if ask.pages > free.pages:
            text = f"no room for {request.max_tokens} tokens: {ask.pages} pages needed, "
            text += f"{free.pages} of {total.pages} free"
        elif free.sessions < 1:
            text = f"all {total.sessions} sessions of this peer are in use"
        elif before:
            text = "what room there is goes to others"
        else:
            text = "this peer has no idle room for batch sessions"
        return PeerBusy(f"{text}; {before} that bid more or came earlier go first" if before else text)
