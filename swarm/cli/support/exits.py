"""Exit statuses, the same for all verbs; docs/command_line.md has them. Beside these, 128 and a signal's number: the
program was cut short by it. Imports nothing heavy."""

import signal

from swarm.errors import (
    InvalidRequest,
    LedgerRefusal,
    NoRoute,
    PeerBusy,
    PeerUnreachable,
    PrivateSwarm,
    RevisionMismatch,
    SwarmError,
    UnusableFile,
)

DONE = 0
FAILED = 1  # whatever is not one of these
WRONG = 2  # what was typed, or a settings file says, cannot work as it is
LATER = 3  # the swarm cannot do it now; a later try may
REFUTED = 4  # what was to be checked was, and it does not hold
UNREAD = 128 + signal.SIGPIPE  # whoever reads this, as in `| head -1`, has read enough: as of other programs

_STATE_OF_THINGS = LedgerRefusal, RevisionMismatch, PrivateSwarm, UnusableFile  # no matter of how it was typed


def status_of(error: SwarmError) -> int:
    """With which a program ends that this error ends."""
    if isinstance(error, NoRoute | PeerUnreachable | PeerBusy):
        return LATER
    if isinstance(error, InvalidRequest) and not isinstance(error, _STATE_OF_THINGS):
        return WRONG
    return FAILED
