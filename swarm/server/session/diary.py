"""What a server logs of its sessions, for whoever wants to know (`--verbose`): who came, for what, and how it ended."""

import logging
import time

from swarm.errors import SwarmError
from swarm.server.session.session import Session
from swarm.shown import count

logger = logging.getLogger(__name__)

_NAME_DIGITS = 12  # of a session's id: as many as tell the sessions of a day apart


class Entry:
    """Of one session stream, which may never become a session. Lives in the event loop."""

    def __init__(self, caller: str):
        """caller: the client's address, as gRPC names it."""
        self._client = caller.removeprefix("ipv4:").removeprefix("ipv6:")
        self._began_s = time.monotonic()

    def opened(self, session: Session, pushes: bool) -> None:
        """pushes: its outputs go to the next hop from here, and not by way of the client."""
        held = session.reservation
        onward = ", which relays," if session.next_hop and not pushes else ""
        logger.info(
            "session %s opened for %s%s: blocks %d:%d, room for %s%s",
            _name(session), self._client, onward, held.start, held.stop, count(held.max_tokens, "token"),
            ", background" if held.background else "",
            extra=self._fields(session) | {"blocks": [held.start, held.stop], "max_tokens": held.max_tokens},
        )  # fmt: skip

    def closed(self, session: Session, why: str) -> None:
        """why: in words."""
        length, lasted_s = session.steps.length, time.monotonic() - self._began_s
        logger.info(
            "session %s closed after %.1f s and %s: %s", _name(session), lasted_s, count(length, "token"), why,
            extra=self._fields(session) | {"tokens": length, "seconds": round(lasted_s, 3), "reason": why},
        )  # fmt: skip

    def refused(self, error: SwarmError) -> None:
        """It did not become a session."""
        extra = {"client": self._client, "reason": str(error), "code": type(error).__name__}
        logger.info("a session for %s is refused: %s", self._client, error, extra=extra)

    def _fields(self, session: Session) -> dict[str, object]:
        return {"session": session.reservation.key[0].hex(), "client": self._client}


def _name(session: Session) -> str:
    return session.reservation.key[0].hex()[:_NAME_DIGITS]
