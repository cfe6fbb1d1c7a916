"""Who is asked to decide a dispute: drawn so that neither side can choose."""

import hashlib
import math
from collections.abc import Mapping


def draw_panel(seed: bytes, chances: Mapping[str, float], k: int) -> list[str]:
    """`k` of the candidates, or all if there are fewer; each with a chance in proportion to what is given for it.

    seed: what the dispute is about, so that everybody draws the same. chances: of candidates by peer id, such as their
    stake; those without any are not drawn. Efraimidis and Spirakis, 2006: the candidates with the largest u^(1/chance),
    where u is uniform, here a hash of seed and candidate.
    """

    def rank(peer_id: str) -> float:
        hashed = hashlib.sha256(b"swarm/panel/v1" + seed + peer_id.encode()).digest()
        return math.log((int.from_bytes(hashed[:8]) + 1) / (2**64 + 1)) / chances[peer_id]

    candidates = [peer_id for peer_id, chance in chances.items() if chance > 0]
    return sorted(candidates, key=rank, reverse=True)[:k]
