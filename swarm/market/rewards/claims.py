"""What servers claim for an epoch's free work: clients' acknowledgements, revealed in the ledger as ballots are."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from swarm.errors import InvalidRequest
from swarm.market.channel.acknowledgements import ACKNOWLEDGEMENT_BYTES, Acknowledgement, SignedAcknowledgement
from swarm.market.ledger.ledger import Ledger
from swarm.market.pricing.policy import Work
from swarm.market.rewards.epochs import Span, revealed
from swarm.wire.session_id import MAX_AGE_S, MAX_SKEW_S

VERSION = 2  # of payloads; ballots are 1
MAX_CLAIMS = 512  # of one server in one epoch: more does not fit into an order


def pack_claims(signed: Iterable[SignedAcknowledgement]) -> bytes:
    """The payload that is committed to; at most MAX_CLAIMS of them."""
    return bytes([VERSION]) + b"".join(one.encode() for one in signed)


def unpack_claims(data: bytes) -> list[SignedAcknowledgement]:
    """What is good in a payload, which is untrusted: one bad claim does not spoil the others."""
    if len(data) > 1 + MAX_CLAIMS * ACKNOWLEDGEMENT_BYTES or data[:1] != bytes([VERSION]):
        return []
    found = []
    for at in range(1, len(data), ACKNOWLEDGEMENT_BYTES):
        try:
            found.append(SignedAcknowledgement.decode(data[at : at + ACKNOWLEDGEMENT_BYTES]))
        except InvalidRequest:
            continue
    return found


def claimed(ledger: Ledger, ended: Sequence[Span], span: Span, reveal_s: int) -> list[Work]:
    """Acknowledged work of an epoch that has ended, by server and client. ended: all epochs that have.

    A claim counts if the server that reveals it is the one that it names, its session began no longer than MAX_AGE_S
    before the epoch, and its work was in no claim before.
    """
    horizon_ms = span.begun_ms - MAX_AGE_S * 1000
    before = [one for one in ended if one.epoch < span.epoch and one.ended_ms + MAX_SKEW_S * 1000 >= horizon_ms]
    counted = {one.work for earlier in before for one in _claims(ledger, earlier, reveal_s)}
    work: dict[tuple[bytes, bytes], int] = defaultdict(int)
    for one in _claims(ledger, span, reveal_s):
        if one.work not in counted and horizon_ms <= one.begun_ms <= span.ended_ms + MAX_SKEW_S * 1000:
            counted.add(one.work)
            work[one.server, one.client] += one.block_tokens
    return [Work(server, client, count, 0, 0) for (server, client), count in sorted(work.items())]


def _claims(ledger: Ledger, span: Span, reveal_s: int) -> list[Acknowledgement]:
    """Of one epoch, each revealed by the server that it names."""
    payloads = revealed(ledger, span, reveal_s).items()
    found = [(server, signed.acknowledgement) for server, data in payloads for signed in unpack_claims(data)]
    return [one for server, one in found if (one.server, one.ledger) == (server, ledger.id)]
