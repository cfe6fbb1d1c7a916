"""The seam of a session: who else is told of what passes between the client and the hops of its chain.

Receipts and payment are put in here, by whoever assembles a client. Nothing in this package knows of either.
"""

from collections.abc import Sequence

from swarm.session.hop import HopStream
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb

Hops = Sequence[HopStream]


class HopObserver:
    """Of one session. This one does nothing, which is all that a free session without receipts needs.

    `hops` are those of the chain as it is at that moment, in order. What an observer has to say to a hop it says with
    `HopStream.tell` and `HopStream.request`. An observer keeps what it knows of a hop by its HopStream: a peer that is
    opened again, to take its own place, is another one.
    """

    async def opening(self, hop: HopStream, request: pb.Open, live_from: int) -> None:
        """The session is about to be opened on a hop by `request`, in which `payment` may be filled in.

        live_from: positions below are going to be replayed to it. Whatever is raised here refuses the whole chain,
        before any of its hops is asked.
        """

    def opened(self, hop: HopStream, request: pb.Open, answer: pb.Opened, live_from: int) -> None:
        """The hop has opened the session, as have all that were asked with it. Called in the chain's order."""

    def sending(self, hops: Hops, position: int, rows: codec.Rows, prompt: bool) -> bool:
        """A step is about to go to the first of `hops`, among which is one that is being filled to take its place.

        prompt: it is priced as prefill. Returns whether every hop is to sign here for what it has computed.
        """
        return False

    async def computing(self, hops: Hops) -> None:
        """The hops are at work: the time to do what nobody should have to wait for. Raises HopFailed."""

    def answered(self, hops: Hops, step: pb.Step, prompt: bool, digests: Sequence[bytes]) -> None:
        """The last hop's answer, which has passed all of `hops`; none, if it is to something that was sent before a
        repair. digests: of those of its rows that came to the client, its last ones."""

    async def waiting(self, hops: Hops) -> None:
        """No answer came in time: a hop may be waiting for something. Raises HopFailed."""

    def took_over(self, hops: Hops, position: int) -> None:
        """`hops`, which were filled while another served, take its place from `position` on."""

    async def leaving(self, hop: HopStream) -> None:
        """A hop has computed all that it ever will: its place is taken."""

    def parting(self, hop: HopStream, receipts: Sequence[bytes]) -> None:
        """A hop is about to end the session, and has signed for what it has done."""

    async def closing(self, hops: Hops, alive: Hops) -> None:
        """Everything was answered, and nothing more is to be computed, or not before it was looked at.

        alive: those of `hops` that had not failed until now.
        """

    def closed(self, hop: HopStream) -> None:
        """The session has ended on this hop, or was not opened. May be told again."""


class Observers(HopObserver):
    """Several, told in turn."""

    def __init__(self, *observers: HopObserver):
        self._observers = observers

    async def opening(self, hop: HopStream, request: pb.Open, live_from: int) -> None:
        for one in self._observers:
            await one.opening(hop, request, live_from)

    def opened(self, hop: HopStream, request: pb.Open, answer: pb.Opened, live_from: int) -> None:
        for one in self._observers:
            one.opened(hop, request, answer, live_from)

    def sending(self, hops: Hops, position: int, rows: codec.Rows, prompt: bool) -> bool:
        seal = False
        for one in self._observers:
            seal |= one.sending(hops, position, rows, prompt)
        return seal

    async def computing(self, hops: Hops) -> None:
        for one in self._observers:
            await one.computing(hops)

    def answered(self, hops: Hops, step: pb.Step, prompt: bool, digests: Sequence[bytes]) -> None:
        for one in self._observers:
            one.answered(hops, step, prompt, digests)

    async def waiting(self, hops: Hops) -> None:
        for one in self._observers:
            await one.waiting(hops)

    def took_over(self, hops: Hops, position: int) -> None:
        for one in self._observers:
            one.took_over(hops, position)

    async def leaving(self, hop: HopStream) -> None:
        for one in self._observers:
            await one.leaving(hop)

    def parting(self, hop: HopStream, receipts: Sequence[bytes]) -> None:
        for one in self._observers:
            one.parting(hop, receipts)

    async def closing(self, hops: Hops, alive: Hops) -> None:
        for one in self._observers:
            await one.closing(hops, alive)

    def closed(self, hop: HopStream) -> None:
        for one in self._observers:
            one.closed(hop)
