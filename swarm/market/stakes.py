"""Who has enough at stake to be worth a client's money. Looked up on the ledger, off the event loop."""

import asyncio
import logging
import time
from collections.abc import Sequence

from swarm import shown
from swarm.errors import SwarmError
from swarm.market.ledger.ledger import Ledger
from swarm.market.stake import quoted_stake
from swarm.peers.policy import PeerPolicy, nobody
from swarm.program import option
from swarm.route.peer import PeerInfo
from swarm.wire.formats.amounts import format_amount, format_credits, parse_amount
from swarm.wire.identity import address_of
from swarm.wire.peer_names import short_id

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0  # for what a peer has at stake
LOOK_AGAIN_S = 5.0  # for what those have that lack some
PATIENCE_S = 2.0  # that a picture of the swarm waits for the ledger, when there are new peers
_NAMED = 3  # peers in a message


class Stakes(PeerPolicy):
    """Of the peers that are listed now. Only what is bonded counts: what is on its way back may be gone before it is
    known what its owner did. Lives in one event loop."""

    is_waived_at_will = True

    def __init__(self, ledger: Ledger | None = None, least: int | None = None, allow_unstaked: bool = False):
        """ledger: None: nobody needs stake. least: nano-credits that every peer needs; by default, those that want to
        be paid need what their quote calls for, see swarm.market.stake. allow_unstaked: stake is not looked at when
        peers are chosen."""
        self._ledger, self._least, self._allow_unstaked = ledger, least, allow_unstaked
        self._known: dict[str, tuple[float, int]] = {}  # by peer id: when it was looked up, and what was there
        self._looking: asyncio.Task[None] | None = None

    async def look(self, peers: Sequence[PeerInfo]) -> None:
        """Look up those of `peers` that are new or due, in the background; wait, but not for long, if one is new."""
        if self._ledger is None:
            return
        listed = {peer.peer_id: peer for peer in peers}
        self._known = {peer_id: known for peer_id, known in self._known.items() if peer_id in listed}
        if self._looking is None or self._looking.done():
            due = [peer.peer_id for peer in listed.values() if self._is_due(peer)]
            self._looking = asyncio.create_task(self._look_up(self._ledger, due)) if due else None
        if self._looking and not listed.keys() <= self._known.keys():
            await asyncio.wait([self._looking], timeout=PATIENCE_S)

    def close(self) -> None:
        if self._looking:
            self._looking.cancel()

    def of(self, peer_id: str) -> int:
        """Nano-credits; 0 for a peer that was not looked up yet."""
        return self._known.get(peer_id, (0.0, 0))[1]

    def needed(self, peer: PeerInfo) -> int:
        """Nano-credits that this client wants to see at stake before it uses a peer."""
        if self._ledger is None or self._allow_unstaked:
            return 0
        return quoted_stake(peer.asks, peer.stop - peer.start) if self._least is None else self._least

    def accept(self, peer: PeerInfo) -> bool:
        """Whether it has enough."""
        return self.of(peer.peer_id) >= self.needed(peer)

    def why(self, peer: PeerInfo) -> str:
        has, needs = self.of(peer.peer_id), self.needed(peer)
        return f"has too little at stake, {format_amount(has)} of {format_credits(needs)}"

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        named = ", ".join(f"peer {short_id(peer.peer_id)} {self.why(peer)}" for peer in peers[:_NAMED])
        more = f" and {shown.count(len(peers) - _NAMED, 'other')} as well" if len(peers) > _NAMED else ""
        return nobody(f"no peer of {model!r} has enough at stake: {named}{more}; {self.hint(peers)}", peers)

    def hint(self, peers: Sequence[PeerInfo]) -> str:
        if all(map(self.accept, peers)):
            return ""
        return f"{option('allow_unstaked')} uses them all the same, {option('min_stake')} asks for less"

    def _is_due(self, peer: PeerInfo) -> bool:
        when, _ = self._known.get(peer.peer_id, (float("-inf"), 0))
        return time.monotonic() - when > (LOOK_EVERY_S if self.accept(peer) else LOOK_AGAIN_S)

    async def _look_up(self, ledger: Ledger, peer_ids: Sequence[str]) -> None:
        for peer_id in peer_ids:
            try:
                account = await asyncio.to_thread(ledger.account, address_of(peer_id))
            except SwarmError as error:  # what was known before still counts
                logger.warning("the ledger does not say what peers have at stake: %s", error)
                return
            self._known[peer_id] = time.monotonic(), account.staked


def make_stakes(ledger: Ledger | None, least: int | str | None, allow_unstaked: bool) -> Stakes:
    """least: nano-credits, or credits as text. Raises InvalidRequest."""
    return Stakes(ledger, parse_amount(least) if isinstance(least, str) else least, allow_unstaked)
