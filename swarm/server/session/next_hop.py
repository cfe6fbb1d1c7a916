"""Where one session's outputs go on this hop: to the client, to the next hop, or to the one that will replace it."""

from collections.abc import Callable

from swarm.server.links import Link, Links
from swarm.wire import messages_pb2 as pb
from swarm.wire.journal import Journal, as_replay

Relay = Callable[[pb.Step], None]


class NextHop:
    """Sends a session's computed steps to its successor, over a link or, where there is none, through the client."""

    def __init__(self, request: pb.Open, links: Links, journal: Journal, relay: Relay):
        """journal: of what was computed, from which a replacement of the successor is filled.
        relay: hands a step to the client, which passes it to the next hop."""
        self._session_id, self._start = request.session_id, request.stop  # by which the successor knows the session
        self._links, self._journal, self._relay = links, journal, relay
        self._successor_has = request.max_tokens if request.ends_replay else 0  # positions
        self._link: Link | None = None
        self._shadow: Link | None = None
        self._seq = request.seq  # of what is sent as a copy: newer than all that the receiver was sent before

    async def connect(self, endpoint: pb.Endpoint) -> bool:
        """Connect to the first successor; False if it cannot be reached from here, and all goes through the client."""
        self._link = await self._links.acquire(endpoint)
        return self._link is not None

    def note_trouble(self, link: Link) -> bool:
        """`link` does not deliver, or its peer refuses. Whether that is the present successor's trouble, and not that
        of one that was replaced, or of one to come, which is given up."""
        if link is self._shadow:
            self._drop_shadow()
        return link is self._link

    def send(self, step: pb.Step) -> bool:
        """Send a computed step on, which is in the journal by now; whether it went: a replay stops here if the
        successor holds its positions already."""
        step.session_id, step.start = self._session_id, self._start
        end = step.position + step.count
        if self._shadow:
            self._shadow.send(self._as_copy(step))
        if step.replay:
            if end <= self._successor_has:
                return False
            step.seq = max(step.seq, self._seq)  # the successor may be younger than this replay
        self._successor_has = end
        self._pass_on(step)
        return True

    async def reroute(self, request: pb.Reroute) -> pb.Rerouted:
        """Put another hop in the successor's place, filled from the journal, or beside it."""
        self._seq = max(self._seq, request.seq)
        if not request.HasField("next"):
            self._follow(None)
            return pb.Rerouted(seq=request.seq, complete=True)
        if self._shadow and self._shadow.endpoint == request.next:  # it holds all that was ever sent
            promoted, self._shadow = self._shadow, None
            self._follow(promoted)
            return pb.Rerouted(seq=request.seq, pushes=True, complete=True)
        self._drop_shadow()
        if not self._journal.complete:
            return pb.Rerouted(seq=request.seq)
        link = await self._links.acquire(request.next)
        # Nothing is awaited from here on: whatever is computed later is sent after the replays.
        if request.shadow:
            self._shadow = link
            if link:
                self._replay(self._journal.length, link.send)
            return pb.Rerouted(seq=request.seq, pushes=link is not None, complete=link is not None)
        self._follow(link)
        self._replay(request.answered, self._pass_on)
        self._successor_has = min(request.answered, self._journal.length)
        return pb.Rerouted(seq=request.seq, pushes=link is not None, complete=True)

    def close(self) -> None:
        """The session has ended."""
        self._follow(None)
        self._drop_shadow()

    def _replay(self, stop: int, send: Callable[[pb.Step], None]) -> None:
        for step in self._journal.steps(stop):
            send(self._as_copy(step))

    def _pass_on(self, step: pb.Step) -> None:
        if self._link:
            self._link.send(step)
        else:
            self._relay(step)

    def _as_copy(self, step: pb.Step) -> pb.Step:
        """`step` as a replay for a successor."""
        copy = as_replay(step, max(step.seq, self._seq))
        copy.session_id, copy.start = self._session_id, self._start
        return copy

    def _follow(self, link: Link | None) -> None:
        if self._link:
            self._links.release(self._link)
        self._link = link

    def _drop_shadow(self) -> None:
        if self._shadow:
            self._links.release(self._shadow)
            self._shadow = None
