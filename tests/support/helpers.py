"""What several test files need to look at a running swarm."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import swarm
from swarm.client.background import wait
from swarm.peers.directory import Directory
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` comes true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def listed(client: swarm.Client) -> list[PeerInfo]:
    """What the directory says now."""
    wait(client.parts.router.table.refresh())
    return client.parts.router.table.listed()


def statuses(client: swarm.Client) -> list[pb.Status]:
    """What every peer that lives says of itself, in the order of their blocks."""

    async def ask() -> list[pb.Status]:
        table = client.parts.router.table
        await table.refresh()
        answers = []
        for info in sorted(table.listed(), key=lambda info: info.blocks):
            with suppress(swarm.PeerUnreachable):
                answers.append(await table.connection_to(info).status(timeout_s=5.0))
        return answers

    return wait(ask())


def pages_in_use(client: swarm.Client) -> int:
    """On all peers together."""
    return sum(status.load.total_pages - status.load.free_pages for status in statuses(client))


def in_background(work: Callable[[], object]):
    """Start `work` in a thread; the future has its result."""
    return ThreadPoolExecutor(1).submit(work)


class TwoNodes:
    """A directory with a second node that joined through the first."""

    async def __aenter__(self) -> tuple[Directory, Directory]:
        self.first = await Directory.join()
        self.second = await Directory.join(await self.first.addresses())
        return self.first, self.second

    async def __aexit__(self, *exception: object) -> None:
        await self.second.leave()
        await self.first.leave()
