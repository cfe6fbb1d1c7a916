"""Evidence from a session that is still open: what a hop was given, and what it made of it."""

from collections.abc import Sequence

from swarm.errors import InvalidRequest
from swarm.session.hop import HopStream
from swarm.verify.audit.case import Case
from swarm.verify.receipts.checking import FaultKind
from swarm.verify.receipts.observer import SignedSession
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows
from swarm.wire.formats.merkle import merkle_root
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.transport import MAX_STEP_TOKENS


async def gather_case(
    session: SignedSession, stream: HopStream, segment: Sequence[SignedReceipt], sketches: bool
) -> Case | None:
    """One segment of one hop's work. The inputs come from whoever sent them, the hop before or the client itself.

    sketches: ask for those of the outputs. None if not all of it is to be had; whose fault that is, is in the
    session's faults. Raises InvalidRequest for work that cannot be audited, which is nobody's fault.
    """
    chain, receipts = session.chain, session.signed.of(stream).receipts[: segment[-1].receipt.index + 1]
    first, stop = segment[0].receipt.position, segment[-1].receipt.stop_position
    index = chain.streams.index(stream)
    inputs = chain.sent.rows(0, stop) if index == 0 else await fetch_rows(session, chain.streams[index - 1], 0, stop)
    if inputs is None or not await _sent_what_it_signed(session, stream, segment):
        return None
    given: Sequence[bytes] = ()
    if sketches and not (given := await _fetch_sketches(session, stream, segment)):
        return None
    try:
        return Case(tuple(receipts), first, inputs, sketches=tuple(given))
    except InvalidRequest as error:
        # A position that was computed twice, or by another hop before a repair. What the hop before handed out is what
        # it signed for, and that was compared with this hop's receipt when it came.
        raise InvalidRequest(f"this work cannot be audited: {error}") from error


async def fetch_rows(session: SignedSession, stream: HopStream, first: int, stop: int) -> Rows | None:
    """The outputs of a hop; None if it does not hand out those that it signed for, which is its fault."""
    parts, options = [], session.chain.options
    for position in range(first, stop, MAX_STEP_TOKENS):
        count = min(MAX_STEP_TOKENS, stop - position)
        answer = await stream.request(pb.Fetch(position=position, count=count))
        try:
            if not isinstance(answer, pb.Rows) or not answer.HasField("hidden"):
                raise InvalidRequest(f"no outputs of positions {position}:{position + count}")
            shape = count, options.hidden_size
            parts.append(codec.read_rows(answer.hidden, shape, options.wire_dtype))
        except InvalidRequest as error:
            _blame(session, stream, FaultKind.WITHHELD, str(error))
            return None
    rows = Rows.join(parts)
    if not _are_signed(rows, first, session.signed.of(stream).receipts):
        _blame(session, stream, FaultKind.WITHHELD, "its journal is not what it signed for")
        return None
    return rows


async def _sent_what_it_signed(session: SignedSession, stream: HopStream, segment: Sequence[SignedReceipt]) -> bool:
    """Of a prompt's chunk the client gets the last row only, which its receipt cannot be compared with: so the others
    are fetched here, and the row that came is compared with the one that was signed for."""
    for signed in segment:
        got = session.signed.receipts.got(session.signed.of(stream), signed.receipt)
        if not 0 < len(got) < signed.count:
            continue
        position = signed.receipt.position
        rows = await fetch_rows(session, stream, position, signed.receipt.stop_position)
        if rows is None:
            return False
        if any(rows.digests[at - position] != digest for at, digest in got.items()):
            _blame(session, stream, FaultKind.INVALID, "its outputs are not what the client got")
            return False
    return True


def _are_signed(rows: Rows, first: int, receipts: Sequence[SignedReceipt]) -> bool:
    """Whether `rows`, of positions `first` on, are the outputs that these receipts of one hop name, as far as they lie
    within. Of a position that was computed twice, the last counts."""
    until = first + len(rows)
    for signed in reversed(receipts):
        receipt = signed.receipt
        if receipt.position >= first and receipt.stop_position <= until:
            own = rows.digests[receipt.position - first : receipt.stop_position - first]
            if merkle_root(own) != receipt.outputs:
                return False
        until = min(until, receipt.position)
    return True


async def _fetch_sketches(session: SignedSession, stream: HopStream, segment: Sequence[SignedReceipt]) -> list[bytes]:
    answer = await stream.request(pb.Seal(first=segment[0].receipt.index, sketches=True))
    sketches = list(answer.sketches[: len(segment)]) if isinstance(answer, pb.Sealed) else []
    if len(sketches) < len(segment):
        _blame(session, stream, FaultKind.WITHHELD, "no sketches")
        return []
    return sketches


def _blame(session: SignedSession, stream: HopStream, kind: FaultKind, detail: str) -> None:
    """Also if it is gone: breaking off is no way out of being asked."""
    session.signed.receipts.blame(stream.hop.peer.peer_id, kind, detail)
