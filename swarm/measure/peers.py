"""The peers that runs went through: who, what they serve, how far away they are, where the time of a token goes."""

import time
from typing import Any

from swarm.client.background import wait
from swarm.client.client import Client
from swarm.errors import InvalidRequest, PeerUnreachable
from swarm.measure.measuring import LEAST_TOKENS, SwarmEngine
from swarm.peers.pings import TIMEOUT_S, measure_round_trip
from swarm.results import Hop, HopTiming
from swarm.route.peer import PeerInfo
from swarm.wire.peer_names import short_id


def describe(engine: SwarmEngine, is_there: bool = True) -> list[dict[str, object]]:
    """A row for each peer that sessions went through, by blocks; of one that has left, what is known from then. What a
    token takes at the peer is measured anew, of one session alone.

    is_there: else nobody is asked: the swarm may be what the measurement failed for.
    """
    served = dict(engine.hops)
    known: dict[str, PeerInfo] = {}
    timings: dict[Hop, HopTiming] = {}
    if is_there:
        known = {info.peer_id: info for info in engine.client.usable_peers()}
        engine([[1]], 4 * LEAST_TOKENS)
        alone = engine.generations[0]
        timings = dict(zip(alone.route, alone.timings, strict=False))
    hops = sorted(served | dict.fromkeys(timings, 0), key=lambda hop: (hop.blocks, hop.peer_id))
    return [
        {
            **_row(hop, timings.get(hop)),
            "format": engine.served.get(hop.peer_id),
            "round_trip_ms": _round_trip_ms(engine.client, known.get(hop.peer_id)),
            "sessions": served.get(hop, 0),
        }
        for hop in hops
    ]


def _row(hop: Hop, timing: HopTiming | None) -> dict[str, object]:
    steps = timing.steps if timing else 0
    return {
        "peer_id": hop.peer_id,
        "blocks": list(hop.blocks),
        "address": hop.address,
        "compute_ms": round(1000 * timing.compute_s / steps, 3) if timing and steps else None,
        "queue_ms": round(1000 * timing.queue_s / steps, 3) if timing and steps else None,
    }


def _round_trip_ms(client: Client, info: PeerInfo | None) -> float | None:
    round_trip_s = _round_trip_s(client, info) if info else None
    return None if round_trip_s is None else round(1000 * round_trip_s, 2)


def _round_trip_s(client: Client, info: PeerInfo) -> float | None:
    """From here; None if it does not answer."""

    async def ask() -> float:
        peer = client.parts.router.connection_to(info)
        return (await measure_round_trip(peer, TIMEOUT_S, time.perf_counter))[1]

    try:
        return wait(ask())
    except (PeerUnreachable, InvalidRequest):  # the latter for a certificate that is none
        return None


def as_cells(row: dict[str, Any]) -> dict[str, str]:
    """For a table that people read."""
    return {
        "peer": short_id(row["peer_id"]),
        "blocks": f"{row['blocks'][0]}:{row['blocks'][1]}",
        "address": row["address"],
        "format": row["format"] or "?",
        "sessions so far": str(row["sessions"]),
        "round trip ms": _number(row["round_trip_ms"]),
        "compute ms": _number(row["compute_ms"]),
        "queue ms": _number(row["queue_ms"]),
    }


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"
