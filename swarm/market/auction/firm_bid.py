"""A bid that its peer stands by: to whom it is revealed, and what may be opened at which price. Pure.

Which bids count is the client's word, but not which there were: a peer remembers the commitments that it was shown
before it revealed, and takes no bid into account that is not among them. So a client that has read a peer's bid cannot
invent another one that pays it less, and cannot pay it less than the others' bids say. Stakes are the client's own
demand: all bids that it counts are taken to have what the order asks for.
"""

import hashlib
from collections.abc import Sequence

from swarm.errors import InvalidRequest
from swarm.market.auction.auction import Award, Lease, clear
from swarm.market.auction.offer import bids_of
from swarm.market.auction.sealed import check_commitments
from swarm.market.auction.tender import Commitment, Order, SignedBid

MAX_AWARDS = 8  # of one order: an award without a winner that turned out to be full is another one


class FirmBid:
    """One peer's bid for one order."""

    def __init__(self, order: Order, signed: SignedBid, commitment: Commitment):
        self.order, self.commitment, self._signed = order, commitment, signed
        self.left = (signed.bid.stop - signed.bid.start) * (order.prompt_tokens + order.new_tokens)  # block-tokens
        self._shown: dict[bytes, bytes] = {}  # hashes of all bids by peer, once this one is revealed
        self._awards: dict[bytes, Award | None] = {}  # by SHA-256 of the offer; None: senseless

    def reserve(self, block_tokens: int) -> None:
        """A session is open that may use so many."""
        self.left -= block_tokens

    def release(self, block_tokens: int) -> None:
        """It is over, and did not use so many of them."""
        self.left += block_tokens

    @property
    def is_revealed(self) -> bool:
        return bool(self._shown)

    def reveal(self, shown: Sequence[Commitment]) -> SignedBid:
        """The bid, for a client that shows all commitments. Raises InvalidRequest if it shows others than before."""
        check_commitments(self.commitment, shown)
        bids = {one.peer: one.bid for one in shown}
        if self._shown and self._shown != bids:
            raise InvalidRequest("other commitments than were shown when this bid was revealed first")
        self._shown = bids
        return self._signed

    def lease(self, proof: bytes, start: int, stop: int) -> Lease:
        """What this peer is to be paid for blocks start:stop. proof: of an offer, untrusted, of checked length.

        Takes milliseconds where there are many bids. Raises InvalidRequest if the offer does not make this peer the
        winner of these blocks, NoRoute if its bids leave a block out.
        """
        award = self._award(proof)
        for lease in award.leases:
            if (lease.peer, lease.start, lease.stop) == (self.commitment.peer, start, stop):
                return lease
        raise InvalidRequest(f"by the bids of this offer, blocks {start}:{stop} are not this peer's to compute")

    def _award(self, proof: bytes) -> Award:
        key = hashlib.sha256(proof).digest()
        if key not in self._awards:
            if len(self._awards) >= MAX_AWARDS:
                raise InvalidRequest(f"{MAX_AWARDS} offers were made of one order; place another")
            self._awards[key] = None
            self._awards[key] = self._clear(bids_of(proof))
        if (award := self._awards[key]) is None:
            raise InvalidRequest("an offer that was refused before")
        return award

    def _clear(self, bids: Sequence[SignedBid]) -> Award:
        if any(self._shown.get(one.bid.peer) != one.bid.hash for one in bids):
            raise InvalidRequest("an offer with a bid that nobody had committed to when this peer revealed its own")
        return clear(self.order, bids, {one.bid.peer: self.order.stake for one in bids})
