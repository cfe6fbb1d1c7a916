"""A disk that takes its time at the start of a server holds up nothing else there."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest

from swarm.market.billing import Billing, BillingOptions
from swarm.market.pricing.fixed import Fixed
from swarm.server.assembly import surround
from swarm.server.observers import Payee
from swarm.storage import connection
from swarm.wire.formats.quotes import Price
from swarm.wire.identity import Identity

SERVER = Identity(bytes([9]) * 32)


@pytest.fixture
def loops(monkeypatch, tmp_path) -> list[object]:
    """For every file that is opened from now on, the event loop of the thread that does it."""
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    found, real = [], connection.open_database

    def open_database(*arguments: object, **more: object) -> object:
        found.append(asyncio._get_running_loop())
        return real(*arguments, **more)

    monkeypatch.setattr(connection, "open_database", open_database)
    return found


async def bill(folder: object) -> None:
    options = BillingOptions(str(folder), Fixed(Price(1, 1)))
    await (await Billing.open(options, SERVER, lambda: None)).close()


async def sign(folder: object) -> None:
    async with AsyncExitStack() as stack:
        await surround(SimpleNamespace(peer=None), SERVER, Payee(), True, None, stack)


@pytest.mark.parametrize("start", [bill, sign])
def test_no_file_is_opened_in_the_event_loop(loops, tmp_path, start):
    asyncio.run(start(tmp_path / "ledger"))
    assert loops and not any(loops)
