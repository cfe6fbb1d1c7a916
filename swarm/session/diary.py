"""What a client logs of its sessions, for whoever wants to know (`--verbose`): through whom they go, and who took whose
place."""

import logging
from collections.abc import Iterable

from swarm.results import Repair
from swarm.route.route import Hop
from swarm.session.chain import Chain

logger = logging.getLogger(__name__)

_NAME_DIGITS = 12  # of a session's id, as in a server's log


def opened(chain: Chain) -> None:
    hops, tokens = [stream.hop for stream in chain.streams], chain.options.max_tokens
    logger.info(
        "session %s opened, room for %d tokens: %s", _name(chain), tokens, _route(hops),
        extra=_fields(chain, hops) | {"max_tokens": tokens},
    )  # fmt: skip


def closed(chain: Chain) -> None:
    hops, tokens = [stream.hop for stream in chain.streams], chain.sent.length
    logger.info(
        "session %s closed after %d tokens", _name(chain), tokens, extra=_fields(chain, hops) | {"tokens": tokens}
    )


def replaced(chain: Chain, repair: Repair, reasons: Iterable[str]) -> None:
    """reasons: why each hop was lost, in words, as far as is known."""
    ranges = (f"{peer_id[-8:]} ({start}:{stop})" for peer_id, (start, stop) in
              zip(repair.peer_ids, repair.blocks, strict=True))  # fmt: skip
    why = "; ".join(filter(None, reasons)) or "it leaves"
    hops = [stream.hop for stream in chain.streams]
    logger.info(
        "session %s at token %d: %s replaced in %.2f s (%s); now %s", _name(chain), repair.position,
        " and ".join(ranges), repair.seconds, why, _route(hops),
        extra=_fields(chain, hops) | {"lost": repair.peer_ids, "reason": why, "seconds": round(repair.seconds, 3)},
    )  # fmt: skip


def _route(hops: Iterable[Hop]) -> str:
    return " > ".join(f"{hop.peer.peer_id[-8:]} {hop.start}:{hop.stop}" for hop in hops)


def _fields(chain: Chain, hops: Iterable[Hop]) -> dict[str, object]:
    return {"session": chain.id.hex(), "peers": [hop.peer.peer_id for hop in hops]}


def _name(chain: Chain) -> str:
    return chain.id.hex()[:_NAME_DIGITS]
