"""What a client opens a hop of an award with: the order's name, and every bid that it counts.

A peer can so work out for itself what it is to be paid (see swarm.market.auction.firm_bid).
"""

from collections.abc import Sequence

from swarm.errors import InvalidRequest
from swarm.market.auction.sealed import MAX_BIDS
from swarm.market.auction.tender import BID_BYTES, SignedBid

ORDER_HASH_BYTES = 32


def prove(order: bytes, bids: Sequence[SignedBid]) -> bytes:
    """order: its hash. bids: all that count."""
    return order + b"".join(one.encode() for one in bids)


def order_of(proof: bytes) -> bytes:
    """The hash of the order that `proof`, which is untrusted, is about. Raises InvalidRequest if it is malformed."""
    count, rest = divmod(len(proof) - ORDER_HASH_BYTES, BID_BYTES)
    if rest or not 1 <= count <= MAX_BIDS:
        raise InvalidRequest(f"an offer is an order's hash and from 1 to {MAX_BIDS} bids, and not {len(proof)} bytes")
    return proof[:ORDER_HASH_BYTES]


def bids_of(proof: bytes) -> list[SignedBid]:
    """The bids in `proof`, whose length has been checked. Raises InvalidRequest if one is not its peer's."""
    starts = range(ORDER_HASH_BYTES, len(proof), BID_BYTES)
    return [SignedBid.decode(proof[start : start + BID_BYTES]) for start in starts]
