"""Which peers' evidence a client's own verifier accepts. Each is judged once, off the event loop."""

import asyncio
import logging
from collections.abc import Iterable

from swarm.route.peer import PeerInfo
from swarm.verify.attestation import Verifier
from swarm.wire.formats.facts import Facts

logger = logging.getLogger(__name__)

_Claim = tuple[Facts, bytes]


class Verdicts:
    """What the verifier said of the peers that are listed now. Lives in one event loop."""

    def __init__(self, verifier: Verifier | None):
        """verifier: None: every peer will do."""
        self._verifier = verifier
        self._known: dict[_Claim, bool] = {}

    async def judge(self, peers: Iterable[PeerInfo]) -> None:
        """Ask the verifier about those of `peers` that are new, or claim something new; forget all others."""
        if self._verifier is None:
            return
        claims = [_claim(peer) for peer in peers]
        fresh = [claim for claim in claims if claim not in self._known]
        if fresh:
            self._known |= await asyncio.to_thread(self._verdicts, fresh)
        self._known = {claim: self._known[claim] for claim in claims}

    def accept(self, peer: PeerInfo) -> bool:
        """False for a peer that was not judged yet."""
        return self._verifier is None or self._known.get(_claim(peer), False)

    def __str__(self) -> str:
        return " with evidence that its verifier accepts" if self._verifier else ""

    def _verdicts(self, claims: Iterable[_Claim]) -> dict[_Claim, bool]:
        return {claim: self._verdict(*claim) for claim in claims}

    def _verdict(self, facts: Facts, evidence: bytes) -> bool:
        try:
            return self._verifier(facts, evidence) is True
        except Exception as error:  # somebody else's code, on a stranger's bytes: no reason to trust the stranger
            logger.warning("the attestation verifier failed on peer %s: %r", facts.peer_id[-8:], error)
            return False


def _claim(peer: PeerInfo) -> _Claim:
    return peer.facts, peer.attestation
