"""Waiting for somebody to serve blocks that nobody serves, and saying so."""

import asyncio
import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

RETRY_S = 0.25  # between two looks for somebody who serves what nobody serves

OnWait = Callable[[str], None]  # told what is waited for; "": for nothing any longer


class WaitForCoverage:
    """A wait of `timeout_s` at most, of which the log hears once and `on_wait` all the time. A context: what is left
    has waited enough."""

    def __init__(self, timeout_s: float, on_wait: OnWait):
        self._timeout_s, self._on_wait = timeout_s, on_wait
        self._deadline: float | None = None

    def __enter__(self) -> "WaitForCoverage":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._deadline is not None:
            self._on_wait("")

    async def pause(self, blocks: str) -> bool:
        """Wait a little before another look; False if there is no time left for one. blocks: are missing, "4:6"."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._timeout_s
        left_s = self._deadline - now
        if left_s <= 0:
            return False
        status = f"waiting up to {left_s:.0f} s for a peer that serves blocks {blocks}"
        if left_s == self._timeout_s:
            logger.warning(status)
        self._on_wait(status)
        await asyncio.sleep(RETRY_S)
        return True
