"""The door of one server: lets sessions in, and ends background sessions whose room others need."""

import time
from collections.abc import Callable, Mapping

from swarm.errors import InvalidRequest, PeerBusy
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.server.admission.line import (
    MAX_FEE,
    Ask,
    Occupant,
    Place,
    Room,
    WaitingList,
    background_reserve,
    who_gives_way,
)
from swarm.server.session.outbox import FAREWELL_TIMEOUT_S
from swarm.server.session.reservation import SessionKey
from swarm.server.session.session import Session
from swarm.shown import count
from swarm.wire import messages_pb2 as pb
from swarm.wire.rate_limit import network_of

PATIENCE_S = 30.0  # a background session without a turn for so long goes elsewhere, lest its client take us for hung


class Door:
    """Lives in the event loop."""

    def __init__(
        self,
        pool: PagePool,
        max_sessions: int,
        sessions: Mapping[SessionKey, Session],
        clock: Callable[[], float] = time.monotonic,
        trouble: Callable[[], str] = lambda: "",
    ):
        """sessions: those that are open, kept by the caller. clock: that of the sessions' pace, in seconds. trouble:
        why nobody may come in for the time being; empty: they may."""
        self._trouble = trouble
        self._pool, self._max_sessions, self._sessions, self._clock = pool, max_sessions, sessions, clock
        self._waiting = WaitingList()
        self._is_closed = False

    def check_open(self) -> None:
        """Raises PeerBusy if nobody is let in now, however much room there is."""
        if self._is_closed:
            raise PeerBusy("this peer is leaving the swarm")
        if trouble := self._trouble():
            raise PeerBusy(f"this peer takes no new sessions for now: {trouble}")

    def enter(self, request: pb.Open, caller: str) -> Place:
        """Let `request`, which has been checked, in: its pages are free, and to be taken at once. caller: as gRPC names
        it. Raises InvalidRequest for a session that is open; PeerBusy, and then keeps its place in line for when it
        asks again."""
        if (request.session_id, request.start) in self._sessions:
            raise InvalidRequest("this session is open here already")
        self.check_open()
        ask, now = _ask(request, caller), self._clock()
        if ask.pages > self._pool.num_pages:
            raise self._refusal(request, ask, Room(ask.pages, 1))
        claim = self._waiting.claim(ask, now)
        needed = claim.plus(background_reserve(self._total)) if ask.background else claim
        if self._free.holds(needed):
            return self._waiting.take(ask, now)
        if not ask.background:
            self._make_room(claim)
        raise self._refusal(request, ask, claim)

    def left(self, session: Session) -> None:
        """`session` is closed."""
        if not session.steps.used:
            self._waiting.give_back(session.reservation.place, self._clock())

    def close(self) -> None:
        """Nobody comes in any more: this peer leaves."""
        self._is_closed = True

    def sweep(self) -> None:
        """Send background sessions elsewhere for which there is no time here."""
        horizon = self._clock() - PATIENCE_S
        for session in self._background():
            if session.steps.waiting and max(session.pace.served, session.pace.last_active) < horizon:
                _end(session, f"this peer had no time for background work for {PATIENCE_S:.0f} s")

    @property
    def used_share(self) -> float:
        """Of the room for sessions."""
        free, total = self._free, self._total
        return 1 - min(free.pages / total.pages, free.sessions / total.sessions)

    @property
    def _total(self) -> Room:
        return Room(self._pool.num_pages, self._max_sessions)

    @property
    def _free(self) -> Room:
        return Room(self._pool.free_pages, self._max_sessions - len(self._sessions))

    def _background(self) -> list[Session]:
        return [session for session in self._sessions.values() if session.reservation.background]

    def _make_room(self, claim: Room) -> None:
        """End as many background sessions as `claim` needs. Their room is free a moment later, when their streams are
        closed."""
        short, occupants = claim.less(self._free), []
        for session in self._background():
            pages = len(session.reservation.pages)
            if session.outbox.ended:
                short = short.less(Room(pages, 1))
            else:
                fee, length = session.reservation.priority_fee, session.steps.length
                occupants.append(Occupant(session, fee, pages, length))
        for session in who_gives_way(occupants, short):
            _end(session, "an on-demand session needs the room of this background session")

    def _refusal(self, request: pb.Open, ask: Ask, claim: Room) -> PeerBusy:
        free, total, before = self._free, self._total, claim.sessions - 1
        if ask.pages > free.pages:
            text = f"no room for {count(request.max_tokens, 'token')}: {count(ask.pages, 'page')} needed, "
            text += f"{free.pages} of {total.pages} free"
        elif free.sessions < 1:
            text = f"all {total.sessions} sessions of this peer are in use"
            if total.sessions == 1:
                text = "the one session of this peer is in use"
        elif before:
            text = "what room there is goes to others"
        else:
            text = "this peer has no idle room for background sessions"
        return PeerBusy(f"{text}; {before} that pay more or came earlier go first" if before else text)


def _ask(request: pb.Open, caller: str) -> Ask:
    """A fee is taken for what the request says: where there is anything to pay, it was checked with the payment."""
    payment, pages = request.payment, -(-request.max_tokens // PAGE_TOKENS)
    return Ask(payment.channel or network_of(caller), pages, min(payment.bid, MAX_FEE), payment.batch)


def _end(session: Session, why: str) -> None:
    """One that reads nothing would keep the room."""
    session.outbox.end(PeerBusy(f"{why}; it may go on here later, or elsewhere now"), FAREWELL_TIMEOUT_S)
