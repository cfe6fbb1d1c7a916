"""Waiting for a chain where there is none, as while nobody serves some of the blocks, and saying so."""

import asyncio
import logging
import time
from collections.abc import Callable

from swarm.errors import NoRoute, SwarmError

logger = logging.getLogger(__name__)

RETRY_S = 0.25  # between two looks for a chain

OnWait = Callable[[str], None]  # told what is waited for; "": for nothing any longer


class WaitForCoverage:
    """A wait of `timeout_s` at most, of which the log hears once and `on_wait` all the time. A context: what is left
    has waited enough."""

    def __init__(self, timeout_s: float, on_wait: OnWait):
        self._timeout_s, self._on_wait = timeout_s, on_wait
        self._deadline: float | None = None
        self._logged = False

    def __enter__(self) -> "WaitForCoverage":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._deadline is not None:
            self._on_wait("")

    async def pause(self, missing: SwarmError) -> bool:
        """Wait a little before another look; False if there is no time left for one. missing: why there is no chain."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._timeout_s
        left_s = self._deadline - now
        if left_s <= 0:
            return False
        blocks = missing.uncovered if isinstance(missing, NoRoute) else ""
        what = f" for a peer that serves blocks {blocks}" if blocks else f", since {missing}"
        status = f"waiting up to {left_s:.0f} s{what}"
        if not self._logged:
            logger.warning(status)
            self._logged = True
        self._on_wait(status)
        await asyncio.sleep(RETRY_S)
        return True
