"""A client's stream to one hop: what is asked of it, and what becomes of it when it breaks or is given up."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

from memory_hops import OPTIONS, chain_of
from swarm.session.chain import Chain
from swarm.session.hop import HopFailed, HopStream
from swarm.wire import messages_pb2 as pb
from swarm.wire.tls import make_certificate
from swarm.wire.transport import Peer, serve


class OpenedCall:
    """Opens, and breaks off at once."""

    def __init__(self):
        self._answers = [pb.ToClient(opened=pb.Opened())]

    async def write(self, message: pb.ToServer) -> None:
        if not self._answers:
            raise asyncio.InvalidStateError("finished")

    async def read(self) -> pb.ToClient:
        if not self._answers:
            await asyncio.sleep(60)
        return self._answers.pop()

    def cancel(self) -> None:
        pass


async def ignore(stream: HopStream, message: pb.ToClient | HopFailed) -> None:
    pass


def test_asking_a_broken_stream_again_and_again_neither_grows_nor_complains():
    """As who waits for a replacement to catch up does, fifty times a second."""
    complaints: list[dict] = []

    async def scenario() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        connection = SimpleNamespace(peer_id="x", address="x", session=OpenedCall)
        stream = HopStream(chain_of((0, 10))[0].hop, connection, ignore, iter(range(1, 100)).__next__)
        await stream.open(pb.Open(), 1.0)
        for _ in range(50):
            assert await stream.probe() is None
        stream.close()
        depth, traceback = 0, stream.failure.__traceback__
        while traceback:
            depth, traceback = depth + 1, traceback.tb_next
        return depth

    assert asyncio.run(scenario()) < 20
    assert not complaints


def test_a_question_waits_until_what_is_being_sent_has_gone():
    """The server is real, and does not read for a while: what is sent waits for room on the connection."""
    reads, arrived = asyncio.Event(), []

    async def session(requests: object, context: object) -> None:
        await context.read()
        await context.write(pb.ToClient(opened=pb.Opened()))
        await reads.wait()
        while isinstance(message := await context.read(), pb.ToServer):
            arrived.append(message.WhichOneof("kind"))
            if message.HasField("seal"):
                await context.write(pb.ToClient(sealed=pb.Sealed(seq=message.seal.seq)))

    async def scenario() -> tuple[pb.Sealed, HopFailed | None]:
        async with only_sessions(session) as connection:
            stream = HopStream(chain_of((0, 10))[0].hop, connection, ignore, iter(range(1, 100)).__next__)
            await stream.open(pb.Open(), 5.0)
            steps = [pb.Step(hidden=pb.Tensor(data=bytes(2**20))) for _ in range(4)]
            sending = [asyncio.create_task(stream.send(step)) for step in steps]
            asking = asyncio.create_task(stream.request(pb.Seal()))
            await asyncio.sleep(0.1)
            assert not all(task.done() for task in sending)
            reads.set()
            await asyncio.gather(*sending)
            answer = await asking
            stream.close()
            return answer, stream.failure

    answer, failure = asyncio.run(scenario())
    assert failure is None and isinstance(answer, pb.Sealed)
    assert arrived == ["step"] * 4 + ["seal"]


@asynccontextmanager
async def only_sessions(session: Callable[[object, object], Awaitable[None]]) -> AsyncIterator[Peer]:
    """A connection to a server of which only this method is used."""
    certificate = make_certificate()
    unused = dict.fromkeys(("push", "status", "deposit", "withdraw", "tender"), session)
    server, port = await serve("127.0.0.1", 0, certificate, 2**22, session=session, **unused)
    endpoint = pb.Endpoint(peer_id="x", host="127.0.0.1", port=port, certificate=certificate.certificate_der)
    connection = Peer(endpoint, 2**22)
    try:
        yield connection
    finally:
        await connection.close()
        await server.stop(0)


def test_a_session_that_ends_while_it_is_being_opened_is_closed_on_all_hops():
    """As when a handover is given up because the generation is complete."""
    closed: list[str] = []

    class SlowCall:
        def __init__(self, name: str):
            self._name, self._answers = name, [pb.ToClient(opened=pb.Opened())] if name == "quick" else []

        async def write(self, message: pb.ToServer) -> None:
            pass

        async def read(self) -> pb.ToClient:
            if not self._answers:
                await asyncio.sleep(60)
            return self._answers.pop()

        def cancel(self) -> None:
            closed.append(self._name)

    def connection(name: str) -> SimpleNamespace:
        return SimpleNamespace(peer_id=name, address=name, session=lambda: SlowCall(name))

    async def scenario() -> None:
        hops, peers = [one.hop for one in chain_of((0, 10), (10, 20))], [connection("quick"), connection("slow")]
        opening = asyncio.create_task(Chain(OPTIONS).open_streams(hops, peers))
        await asyncio.sleep(0.05)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)

    asyncio.run(scenario())
    assert sorted(closed) == ["quick", "slow"]


def test_a_hop_that_answers_slowly_is_slow_and_not_dead():
    """It took half a second to open the session, and takes as long to answer; later a bit longer."""

    class SlowCall:
        delays_s = iter([0.5, 0.55, 0.8])

        def __init__(self) -> None:
            self._answers: asyncio.Queue[pb.ToClient] = asyncio.Queue()

        async def write(self, message: pb.ToServer) -> None:
            answer = pb.ToClient(progress=pb.Progress(seq=message.probe.seq))
            if message.HasField("open"):
                answer = pb.ToClient(opened=pb.Opened())
            asyncio.get_running_loop().call_later(next(self.delays_s), self._answers.put_nowait, answer)

        async def read(self) -> pb.ToClient:
            return await self._answers.get()

        def cancel(self) -> None:
            pass

    async def scenario() -> list[bool]:
        connection = SimpleNamespace(peer_id="x", address="x", session=SlowCall)
        stream = HopStream(chain_of((0, 10))[0].hop, connection, ignore, iter(range(1, 100)).__next__)
        await stream.open(pb.Open(), 2.0)
        answers = [await stream.probe() is not None for _ in range(2)]
        stream.close()
        return answers

    assert asyncio.run(scenario()) == [True, True]


def test_a_hop_that_opens_while_this_process_is_at_something_else_is_not_late():
    class PromptCall:
        async def write(self, message: pb.ToServer) -> None:
            asyncio.get_running_loop().call_soon(time.sleep, 0.3)  # here

        async def read(self) -> pb.ToClient:
            await asyncio.sleep(0.1)
            return pb.ToClient(opened=pb.Opened())

        def cancel(self) -> None:
            pass

    async def scenario() -> pb.Opened:
        connection = SimpleNamespace(peer_id="x", address="x", session=PromptCall)
        stream = HopStream(chain_of((0, 10))[0].hop, connection, ignore, iter(range(1, 100)).__next__)
        try:
            return await stream.open(pb.Open(), 0.2)
        finally:
            stream.close()

    assert isinstance(asyncio.run(scenario()), pb.Opened)
