"""The peers of one model, as the directory lists them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from swarm.peers.directory import Directory
from swarm.route.peer import PeerInfo


class Listing:
    """Read anew when it is older than somebody wants it. Lives in one event loop."""

    def __init__(self, directory: Directory, model: str, on_news: Callable[[Sequence[PeerInfo]], Awaitable[None]]):
        """on_news: what is to be done with a new list before anybody uses it."""
        self._directory, self._model, self._on_news = directory, model, on_news
        self._read_s = float("-inf")
        self._reading = asyncio.Lock()
        self.peers: Sequence[PeerInfo] = ()

    async def refresh(self, max_age_s: float = 0.0) -> None:
        """Ask the directory, unless the list is no older than that."""
        async with self._reading:
            if time.monotonic() - self._read_s > max_age_s:
                self.peers = await self._directory.peers(self._model)
                await self._on_news(self.peers)
                self._read_s = time.monotonic()
