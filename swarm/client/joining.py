"""Joining a swarm as a client, whose members may be about to start."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from swarm.client.background import wait
from swarm.client.config import ClientConfig
from swarm.client.local.running import latest, serving
from swarm.errors import PeerUnreachable
from swarm.home import acquaintances_file, find_swarm, known_addresses
from swarm.peers.directory import Directory
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.wire.secret import Secret, find_secret

logger = logging.getLogger(__name__)

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


class Joining:
    """A client on its way into its swarm, from when this is made: in the background, since what else a client does
    before it can generate takes as long. In a `with` statement; one that fails leaves the swarm."""

    def __init__(self, config: ClientConfig):
        """Where no peers are given, a LocalSwarm of this process that has the model comes first, the one that was
        started last; those given may be one's, too. Raises InvalidRequest for a secret that is none. What is wrong with
        the swarm is said by `directory`: first a client says what is wrong with its model."""
        self._is_told = bool(config.peers)  # where the swarm is
        local = serving(config.peers) if config.peers else latest(config.model)
        self._local, self.secret = local, find_secret(config.secret)
        if local and not config.peers:
            self.secret = self.secret or local.secret
            logger.info("joining %s", self.where())
        self.given: list[str] | None = None  # addresses that others on this machine do not find by themselves
        self.members: list[str] = []  # through which it joins, once it has
        self._peers, self._wait_s = config.peers or (local.peers if local else None), config.limits.coverage_timeout_s
        self._task = wait(self._begin())

    def __enter__(self) -> "Joining":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind:
            wait(self._give_up())

    def where(self) -> str:
        """What the swarm is, as far as that is known: for a `repr`."""
        if self._local is None or self._is_told:
            return ""
        return "the LocalSwarm of this process" + ("" if self._local.is_open else ", which is stopped")

    def ended(self) -> str:
        """That the swarm is no more, where that is known: in one line."""
        if self._local is None or self._local.is_open:
            return ""
        return (
            f"the LocalSwarm of {self._local.settings.model} that this client was made for was stopped; make another "
            "client for the one that runs now"
        )

    def check(self) -> None:
        """Raises as `directory` does, if that is known by now."""
        if self._task.done():
            self._task.result()

    async def directory(self) -> Directory:
        """Once there. Raises as `find_members` does, PeerUnreachable also if nothing is known of a swarm, PrivateSwarm
        for a secret that is missing or wrong."""
        return await self._task

    async def _begin(self) -> asyncio.Task[Directory]:
        return asyncio.create_task(self._join())

    async def _join(self) -> Directory:
        addresses = self.members = await asyncio.to_thread(find_swarm, self._peers, self.secret)
        if self._peers and not {*self._peers} <= {*await asyncio.to_thread(known_addresses, self.secret)}:
            self.given = list(self._peers)
        return await find_members(lambda: addresses, self.secret, self._wait_s)

    async def _give_up(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled() and not self._task.exception():
            await self._task.result().leave()
