"""What a client logs of its sessions, for whoever wants to know (`--verbose`): through whom they go, and who took whose
place."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarm.results import Repair
from swarm.route.route import Hop
from swarm.shown import count
from swarm.wire.peer_names import short_id

logger = logging.getLogger(__name__)

_NAME_DIGITS = 12  # of a session's id, as in a server's log


@dataclass(frozen=True)
class Diary:
    """Of one session. hops: its chain as it is now, or was last."""

    session_id: bytes
    hops: Sequence[Hop]

    def opened(self, max_tokens: int) -> None:
        extra = self._fields | {"max_tokens": max_tokens}
        room = count(max_tokens, "token")
        logger.info("session %s opened, room for %s: %s", self._name, room, self._route, extra=extra)

    def closed(self, tokens: int) -> None:
        logger.info(
            "session %s closed after %s", self._name, count(tokens, "token"), extra=self._fields | {"tokens": tokens}
        )

    def replaced(self, repair: Repair, reasons: Iterable[str]) -> None:
        """reasons: why each hop was lost, in words, as far as is known."""
        lost = zip(repair.peer_ids, repair.blocks, strict=True)
        names = " and ".join(f"{short_id(peer_id)} ({start}:{stop})" for peer_id, (start, stop) in lost)
        why = "; ".join(filter(None, reasons)) or "it leaves"
        logger.info(
            "session %s at token %d: %s replaced in %.2f s (%s); now %s",
            self._name, repair.position, names, repair.seconds, why, self._route,
            extra=self._fields | {"lost": repair.peer_ids, "reason": why, "seconds": round(repair.seconds, 3)},
        )  # fmt: skip

    @property
    def _route(self) -> str:
        return " > ".join(f"{short_id(hop.peer.peer_id)} {hop.start}:{hop.stop}" for hop in self.hops)

    @property
    def _fields(self) -> dict[str, object]:
        return {"session": self.session_id.hex(), "peers": [hop.peer.peer_id for hop in self.hops]}

    @property
    def _name(self) -> str:
        return self.session_id.hex()[:_NAME_DIGITS]
