"""Clients that nobody refers to any more: a notebook's cell that is run again makes another, and the first one's
connections, its node of the directory and its files would stay for as long as the kernel lives."""

import _thread
import asyncio
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from swarm.client.background import wait
from swarm.errors import SwarmError
from swarm.forks import Owner

if TYPE_CHECKING:
    from swarm.client.assembly import Parts
    from swarm.client.client import Client

GRACE_S = 5.0  # that audits under way get
_LEAVE_S = 10.0  # beyond that


def close_when_dropped(client: "Client", parts: "Parts") -> "weakref.finalize[..., Client]":
    """What it is made of is closed then. At the end of the process there is nothing left to do."""
    finalizer = weakref.finalize(client, _dropped, parts, Owner())
    finalizer.atexit = False
    return finalizer


def _dropped(parts: "Parts", owner: Owner) -> None:
    """Called by the garbage collector, in any thread and amid anything: nothing may wait here, nor take a lock."""
    if owner.is_here:
        with suppress(RuntimeError):  # the process ends, and starts no threads any more
            _thread.start_new_thread(_close, (parts,))


def _close(parts: "Parts") -> None:
    with suppress(SwarmError, TimeoutError):  # whoever would have heard of it is gone
        wait(_leave(parts))
    parts.close()


async def _leave(parts: "Parts") -> None:
    async with asyncio.timeout(GRACE_S + _LEAVE_S):
        await parts.leave(GRACE_S)
