"""A server that opens a session: what may happen before it is known whether that can be."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from types import SimpleNamespace

import pytest

from swarm.errors import DiskTrouble
from swarm.server.observers import SessionObserver, WorkObserver
from swarm.server.rpc import Handler, Limits
from swarm.session.recovery import SPARE_TIMEOUT_S
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import OPENING_S
from waiting_sessions import HIDDEN, make_session, make_step


class Securing(SessionObserver):
    """Nothing is computed before `disk` is done."""

    def __init__(self, disk: Callable[[], Awaitable[None]]):
        self._disk, self._is_secured = disk, False

    async def secured(self) -> None:
        await self._disk()
        self._is_secured = True

    def may_compute(self, work: object) -> bool:
        return self._is_secured


def test_what_is_pushed_to_a_session_before_it_is_secured_is_computed_as_soon_as_it_is(monkeypatch):
    """And not when it is next looked for sessions that may go on."""
    monkeypatch.setattr("swarm.server.rpc.check_opening", lambda *arguments: None)

    async def scenario() -> list[bool]:
        ready: list[bool] = []
        scheduler = SimpleNamespace(
            add=lambda session: None, remove=lambda session: None, queued_tokens=0, decoding=0, busy_s=0.0
        )
        scheduler.wake = lambda: ready.append(sessions[0].is_ready())
        pool = SimpleNamespace(num_pages=8, free_pages=8, allocate=lambda tokens: [0])
        served = SimpleNamespace(hidden_size=HIDDEN)
        handler = Handler(served, scheduler, pool, Limits(), WorkObserver(), lambda *_: pb.Status())
        secured = asyncio.Event()
        sessions = [make_session(observer=Securing(secured.wait))]
        handler._new_session = lambda *arguments: sessions[0]
        said: asyncio.Queue[pb.ToClient] = asyncio.Queue()
        sent = asyncio.Queue()
        sent.put_nowait(pb.ToServer(open=pb.Open(session_id=bytes(16), stop=2, max_tokens=8, wire_dtype=pb.FLOAT32)))
        context = SimpleNamespace(read=sent.get, write=said.put, peer=lambda: "ipv4:192.0.2.1:1")
        stream = asyncio.create_task(handler.session(None, context))
        await asyncio.sleep(0.01)
        handler._accept(sessions[0], make_step(0, 1))
        secured.set()
        await said.get()
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
        await handler.links.close()
        return ready

    assert asyncio.run(scenario()) == [False, True]


def test_the_next_hop_is_dialled_while_the_disk_is_written():
    async def scenario() -> float:
        session = make_session(observer=Securing(lambda: asyncio.sleep(0.2)))
        session.next_hop = SimpleNamespace(connect=lambda endpoint: asyncio.sleep(0.2, True), close=lambda: None)
        began_s = time.monotonic()
        assert await session.connect(pb.Open())
        return time.monotonic() - began_s

    assert asyncio.run(scenario()) < 0.35


def test_a_session_that_cannot_be_secured_dials_nobody_any_more():
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise DiskTrouble("full")

    async def scenario() -> bool:
        session, ended = make_session(observer=Securing(fails)), asyncio.Event()

        async def connect(endpoint: pb.Endpoint) -> bool:
            try:
                return await asyncio.sleep(60, True)
            finally:
                ended.set()

        session.next_hop = SimpleNamespace(connect=connect, close=lambda: None)
        with pytest.raises(DiskTrouble):
            await session.connect(pb.Open())
        await asyncio.sleep(0)
        return ended.is_set()

    assert asyncio.run(scenario())


def test_a_server_whose_disk_does_not_answer_says_so_before_its_client_takes_it_for_dead(tmp_path):
    with closing(ReceiptStore(tmp_path / "receipts.db")) as store:
        store._writer.put(lambda database: time.sleep(SPARE_TIMEOUT_S))  # as a disk that hangs
        began_s = time.monotonic()
        with pytest.raises(DiskTrouble):
            asyncio.run(store.remember_opening(b"s" * 16, 0, 1))
        assert OPENING_S <= time.monotonic() - began_s < SPARE_TIMEOUT_S
