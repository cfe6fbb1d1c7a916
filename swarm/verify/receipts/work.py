"""A server signs for what it computes: the receipts' side of its seam, see swarm.server.observers."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from swarm.errors import DiskTrouble, InvalidRequest, PeerBusy
from swarm.server.observers import SessionObserver, WorkObserver
from swarm.server.served import Served
from swarm.server.session.outbox import Outbox
from swarm.server.session.steps import Slice, Work
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows
from swarm.wire.formats.receipts import SignedReceipt, Terms, Tokens
from swarm.wire.identity import Identity

MAX_HELD = 256  # receipts of the hops before this one that wait for something to go along with

Remember = Callable[[bytes, int, int], Awaitable[bool]]
NewWriter = Callable[[Identity, Terms, Callable[[SignedReceipt], None]], ReceiptWriter]


class SignedSession(SessionObserver):
    """Of one session: everything that it computes is signed for, and its receipts travel with what it sends on."""

    def __init__(self, writer: ReceiptWriter, remember: Remember, outbox: Outbox):
        """remember: of a session's name, first block and attempt, whether they are new; from then on they are not.
        Raises DiskTrouble if it cannot."""
        self._writer, self._remember, self._outbox = writer, remember, outbox
        self._is_remembered = False
        self._held: list[bytes] = []
        outbox.before_end(self._sign_off)

    @property
    def terms(self) -> Terms:
        return self._writer.terms

    @property
    def tokens(self) -> Tokens:
        """All that receipts were, or will be, signed for."""
        return self._writer.tokens

    @property
    def last(self) -> bytes:
        """Hash of the last receipt."""
        return self._writer.last

    async def secured(self) -> None:
        """Remembers it: two openings under one name could make two receipts that look like a fraud."""
        terms = self.terms
        try:
            is_new = await self._remember(terms.session, terms.start, terms.attempt)
        except DiskTrouble as error:
            raise PeerBusy(f"this peer opens no session now: {error}") from error
        if not is_new:
            raise InvalidRequest("this session was opened here before; open it again under a higher number")
        self._is_remembered = True

    def may_compute(self, work: Work) -> bool:
        """Nothing is signed for under a name that might be used once more."""
        return self._is_remembered

    def computed(self, item: Slice, outputs: Rows) -> None:
        step = item.work.step
        self._writer.record(item.position, item.inputs, outputs, step.prompt)
        if step.seal and item.final:
            self._writer.seal(step.receipts)

    def outgoing(self, receipts: Sequence[bytes]) -> Sequence[bytes]:
        held, self._held = self._held, []
        return [*held, *receipts, *self._writer.take()]

    def held(self, receipts: Sequence[bytes]) -> None:
        """The next step takes them along."""
        self._held = [*self._held, *receipts][-MAX_HELD:]

    async def answer(self, message: pb.ToServer) -> bool:
        """Sign what is not signed yet, and answer with the receipts asked for."""
        if not message.HasField("seal"):
            return False
        request = message.seal
        self._writer.seal()
        receipts, sketches = self._writer.since(request.first)
        sealed = pb.Sealed(seq=request.seq, receipts=receipts, sketches=sketches if request.sketches else ())
        self._outbox.send_large(pb.ToClient(sealed=sealed))
        return True

    def _sign_off(self) -> None:
        """A client that is about to ask for signatures finds nobody any more."""
        self._writer.seal()
        with suppress(InvalidRequest):
            self._outbox.send_large(pb.ToClient(sealed=pb.Sealed(receipts=self.outgoing(()))))


class ReceiptObserver(WorkObserver):
    """Of one server."""

    def __init__(self, identity: Identity, served: Served, store: ReceiptStore, new_writer: NewWriter = ReceiptWriter):
        """identity: signs. store: keeps what was signed, and remembers what was opened."""
        self._identity, self._served, self._store, self._new_writer = identity, served, store, new_writer

    def trouble(self) -> str:
        return self._store.trouble()

    async def admit(self, request: pb.Open, outbox: Outbox) -> SignedSession:
        peer, weights = self._served.peer, self._served.weights(request.start, request.stop)
        terms = Terms.of(request, self._identity.address, weights, peer.format, peer.numerics_id)
        writer = self._new_writer(self._identity, terms, self._store.add)
        return SignedSession(writer, self._store.remember_opening, outbox)
