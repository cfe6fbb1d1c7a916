"""Evidence from a session that is still open: what a hop was given, and what it made of it."""

from collections.abc import Sequence

from swarm.client.chain import Chain
from swarm.client.hop_stream import HopStream
from swarm.errors import InvalidRequest
from swarm.trust.case import Case
from swarm.trust.checking import FaultKind
from swarm.trust.receipts import SignedReceipt
from swarm.wire import codec
from swarm.wire.codec import Rows
from swarm.wire.transport import MAX_STEP_TOKENS


async def gather_case(
    chain: Chain, stream: HopStream, segment: Sequence[SignedReceipt], sketches: bool
) -> Case | None:
    """One segment of one hop's work. The inputs come from whoever sent them, the hop before or the client itself.

    sketches: ask for those of the outputs. None if not all of it is to be had; whose fault that is, is in
    chain.receipts.faults.
    """
    receipts = stream.receipts.receipts[: segment[-1].receipt.index + 1]
    first, stop = segment[0].receipt.position, segment[-1].receipt.stop_position
    index = chain.streams.index(stream)
    inputs = chain.sent.rows(0, stop) if index == 0 else await fetch_rows(chain, chain.streams[index - 1], 0, stop)
    if inputs is None:
        return None
    given: Sequence[bytes] = ()
    if sketches and not (given := await _fetch_sketches(chain, stream, segment)):
        return None
    try:
        return Case(tuple(receipts), first, inputs, sketches=tuple(given))
    except InvalidRequest as error:
        # A position that was computed twice, after a repair, is nobody's fault. Other rows than the hop signed for are
        # the sender's: its own receipt, which names the same rows, was compared with this hop's when it came.
        if index and "signed for" in str(error):
            _blame(chain, chain.streams[index - 1], FaultKind.WITHHELD, str(error))
        return None


async def fetch_rows(chain: Chain, stream: HopStream, first: int, stop: int) -> Rows | None:
    """The outputs of a hop; None if it does not hand them out, which is its fault."""
    parts = []
    for position in range(first, stop, MAX_STEP_TOKENS):
        count = min(MAX_STEP_TOKENS, stop - position)
        answer = await stream.fetch(position, count, chain.next_seq())
        try:
            if answer is None or not answer.HasField("hidden"):
                raise InvalidRequest(f"no outputs of positions {position}:{position + count}")
            shape = count, chain.options.hidden_size
            parts.append(codec.read_rows(answer.hidden, shape, chain.options.wire_dtype))
        except InvalidRequest as error:
            _blame(chain, stream, FaultKind.WITHHELD, str(error))
            return None
    return Rows.join(parts)


async def _fetch_sketches(chain: Chain, stream: HopStream, segment: Sequence[SignedReceipt]) -> list[bytes]:
    answer = await stream.seal(chain.next_seq(), first=segment[0].receipt.index, sketches=True)
    sketches = list(answer.sketches[: len(segment)]) if answer else []
    if len(sketches) < len(segment):
        _blame(chain, stream, FaultKind.WITHHELD, "no sketches")
        return []
    return sketches


def _blame(chain: Chain, stream: HopStream, kind: FaultKind, detail: str) -> None:
    if not stream.failure:  # else it is gone, which is a fault of another kind
        chain.receipts.blame(stream.hop.peer.peer_id, kind, detail)
