"""Which peers' evidence a client's own verifier accepts. Each is judged once, off the event loop."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from swarm.errors import SwarmError
from swarm.peers.policy import PeerPolicy, nobody
from swarm.route.peer import PeerInfo
from swarm.verify.attestation import Verifier
from swarm.wire.formats.facts import Facts
from swarm.wire.peer_names import short_id

logger = logging.getLogger(__name__)

_Claim = tuple[Facts | None, bytes]


class Attested(PeerPolicy):
    """By what the verifier said of the peers that are listed now. Lives in one event loop."""

    reason = "gives no evidence that this client's verifier accepts"

    def __init__(self, verifier: Verifier):
        self._verifier = verifier
        self._known: dict[_Claim, bool] = {}

    async def look(self, peers: Sequence[PeerInfo]) -> None:
        """Ask the verifier about those of `peers` that are new, or claim something new; forget all others."""
        claims = [_claim(peer) for peer in peers]
        fresh = [claim for claim in claims if claim not in self._known]
        if fresh:
            self._known |= await asyncio.to_thread(self._verdicts, fresh)
        self._known = {claim: self._known[claim] for claim in claims}

    def accept(self, peer: PeerInfo) -> bool:
        """False for a peer that was not judged yet."""
        return self._known.get(_claim(peer), False)

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        text = f"no peer serves {model!r} with evidence that its verifier accepts, as this client demands"
        return nobody(text, peers)

    def _verdicts(self, claims: Iterable[_Claim]) -> dict[_Claim, bool]:
        return {claim: self._verdict(*claim) for claim in claims}

    def _verdict(self, facts: Facts | None, evidence: bytes) -> bool:
        try:
            return facts is not None and self._verifier(facts, evidence) is True
        except Exception as error:  # somebody else's code, on a stranger's bytes: no reason to trust the stranger
            logger.warning("the attestation verifier failed on peer %s: %r", facts and short_id(facts.peer_id), error)
            return False


def _claim(peer: PeerInfo) -> _Claim:
    return peer.facts, peer.attestation
