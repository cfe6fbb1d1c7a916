"""Names of sessions: UUIDs of version 7, which begin with the time (RFC 9562, section 5.7).

A server signs receipts for a session's name. So that nobody can make it sign two different ones under the same name, it
refuses a name that it has seen, and, as it cannot remember for ever, one that is older than its memory.
"""

import os

from swarm.clock import now_ms
from swarm.errors import InvalidRequest

SESSION_ID_BYTES = 16
MAX_AGE_S = 24 * 3600  # of a session when it is opened on a hop, as replacements are while it goes on
MAX_SKEW_S = 600  # by which a client's clock may be ahead


def new_session_id() -> bytes:
    """74 random bits and the time: whoever knows it may send steps."""
    stamp, noise = now_ms().to_bytes(6), bytearray(os.urandom(10))
    noise[0] = 0x70 | noise[0] & 0x0F  # version
    noise[2] = 0x80 | noise[2] & 0x3F  # variant
    return stamp + bytes(noise)


def check_session_id(session_id: bytes, now_s: float) -> None:
    """Raises InvalidRequest unless this is the name of a session that was begun lately."""
    if len(session_id) != SESSION_ID_BYTES or session_id[6] >> 4 != 7:
        raise InvalidRequest("a session id is a UUID of version 7, 16 bytes")
    age_s = now_s - int.from_bytes(session_id[:6]) / 1000
    if not -MAX_SKEW_S <= age_s <= MAX_AGE_S:
        raise InvalidRequest(
            f"a session id that is {age_s:.0f} s old; at most {MAX_AGE_S} s are allowed: start a new session, or check "
            "the clocks of both machines"
        )
