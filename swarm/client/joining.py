"""Joining a swarm as a client, whose members may be about to start."""

from collections.abc import Callable, Sequence

from swarm.errors import PeerUnreachable
from swarm.home import acquaintances_file
from swarm.peers.directory import Directory
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.wire.secret import Secret

PAUSE_S = 1.0  # between two tries to find anybody
JOIN_TIMEOUT_S = 10.0  # of one


async def find_members(find: Callable[[], Sequence[str]], secret: Secret | None, wait_s: float) -> Directory:
    """The directory of the swarm that has any of the addresses that `find` gives. wait_s: how long to wait while there
    are none, or none of them answers, beyond one try. Raises as `find` and Directory.join do."""
    with WaitForCoverage(wait_s, lambda status: None, Waits()) as members:
        while True:
            try:
                return await Directory.join(
                    find(),
                    client=True,
                    timeout_s=JOIN_TIMEOUT_S,
                    secret=secret,
                    memory=acquaintances_file(secret=secret),
                )
            except PeerUnreachable as error:
                if not await members.pause(error, PAUSE_S):
                    raise
