"""Collecting sealed bids: what comes late, changes, or was never committed to, does not count. Reads no clock."""

from collections.abc import Sequence

from swarm.errors import InvalidRequest
from swarm.market.auction.tender import Commitment, Order, SignedBid

MAX_BIDS = 256  # for one order; who comes later is turned away


class SealedBids:
    """The bids for one order, of one peer one at most. All that raises InvalidRequest changes nothing."""

    def __init__(self, order: Order):
        self.order = order
        self._commitments: dict[bytes, Commitment] = {}  # by peer
        self._bids: dict[bytes, SignedBid] = {}

    def accept(self, commitment: Commitment, now_ms: int) -> None:
        """A peer's commitment, which arrived at `now_ms` (Unix time, by the client's clock). Sent again, it is fine."""
        if now_ms >= self.order.commit_by_ms:
            raise InvalidRequest(f"a commitment {now_ms - self.order.commit_by_ms} ms after the order's deadline")
        if commitment.order != self.order.hash:
            raise InvalidRequest("a commitment to a bid for another order")
        if commitment.peer not in self._commitments and len(self._commitments) >= MAX_BIDS:
            raise InvalidRequest(f"{MAX_BIDS} peers have bid already")
        if self._commitments.setdefault(commitment.peer, commitment).bid != commitment.bid:
            raise InvalidRequest("a second commitment: a peer bids once for an order")

    @property
    def commitments(self) -> tuple[Commitment, ...]:
        """What every bidder is shown before it reveals."""
        return tuple(self._commitments.values())

    def reveal(self, signed: SignedBid, now_ms: int) -> None:
        """A bid, which arrived at `now_ms`, after all commitments are in."""
        if not self.order.commit_by_ms <= now_ms < self.order.reveal_by_ms:
            raise InvalidRequest("a bid revealed before others had to commit themselves, or after the order's deadline")
        commitment = self._commitments.get(signed.bid.peer)
        if commitment is None or commitment.bid != signed.bid.hash:
            raise InvalidRequest("a bid that its peer did not commit to")
        self._bids[signed.bid.peer] = signed

    @property
    def bids(self) -> tuple[SignedBid, ...]:
        """All that were revealed."""
        return tuple(self._bids.values())


def check_commitments(own: Commitment, all_shown: Sequence[Commitment]) -> None:
    """What a bidder looks at before it reveals: `own` is among those shown, each of another peer, for the same order.

    Raises InvalidRequest if the client did not close its order properly; a peer then keeps its bid to itself.
    """
    if len(all_shown) > MAX_BIDS or len({one.peer for one in all_shown}) != len(all_shown):
        raise InvalidRequest(f"commitments of one peer twice, or more than {MAX_BIDS}")
    if own not in all_shown or any(one.order != own.order for one in all_shown):
        raise InvalidRequest("commitments to other orders, or without one's own")
