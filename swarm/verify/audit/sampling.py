"""Which of a hop's work is audited: chosen after the hop has signed it, by what nobody can foresee."""

import hashlib
from collections.abc import Iterator, Sequence

from swarm.verify.audit.judging.judgement import SEGMENT
from swarm.wire.formats.receipts import SignedReceipt


def segments(receipts: Sequence[SignedReceipt], final: bool) -> Iterator[list[SignedReceipt]]:
    """`receipts` of one hop, in order, in runs that cover SEGMENT positions or more. final: nothing will follow, so a
    shorter rest is a segment, too."""
    run: list[SignedReceipt] = []
    for signed in receipts:
        run.append(signed)
        if sum(one.count for one in run) >= SEGMENT:
            yield run
            run = []
    if run and final:
        yield run


def is_chosen(nonce: bytes, segment: Sequence[SignedReceipt], rate: float) -> bool:
    """Whether a segment is to be audited, with probability `rate` over the client's secret nonce.

    The choice depends on all that was signed, so a hop cannot know it before, and a client cannot choose by anything
    but what it has drawn when the session began.
    """
    drawn = hashlib.sha256(b"swarm/audit/v1" + nonce + b"".join(one.receipt.hash for one in segment)).digest()
    return int.from_bytes(drawn[:8]) < rate * 2**64
