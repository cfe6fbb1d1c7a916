"""A server's life as a Python program sees it, without the command line."""

import asyncio

import swarm
from swarm.server import life
from swarm.server.config import ServerConfig

MEMORY = {"memory_bytes": 210 * 2**20, "kv_memory_bytes": 64 * 2**20}  # for ten blocks of the demo model, in float32


def test_a_program_runs_a_server_that_moves_to_where_blocks_are_missing():
    """It fills the last gap; when another opens and its own blocks have a second server, it goes there."""
    told: list[life.Event] = []

    async def program(local: swarm.LocalSwarm) -> None:
        stop, ready, ready_again = asyncio.Event(), asyncio.Event(), asyncio.Event()

        def tell(event: life.Event) -> None:
            told.append(event)
            if isinstance(event, life.Ready):
                (ready_again if ready.is_set() else ready).set()

        config = ServerConfig(peers=tuple(local.peers), threads=1, record_life_s=6.0, drain_timeout_s=1.0, **MEMORY)
        running = asyncio.create_task(life.run(config, stop, tell))
        await happens(ready, running)
        await asyncio.to_thread(local.servers[0].stop)  # it says goodbye: there is but one place to move to
        await asyncio.to_thread(local.start, "20:30")
        await happens(ready_again, running)
        stop.set()
        await running

    options = {"dtype": "float32", "threads": 1, "kv_memory": "64M", "record_life": 6}
    with swarm.LocalSwarm("demo", ["0:10", "10:20"], **options) as local:
        asyncio.run(asyncio.wait_for(program(local), 120))
    first, second = (event for event in told if isinstance(event, life.Ready))
    assert (first.record.blocks, second.record.blocks) == ((20, 30), (0, 10))
    assert first.gaps == ()
    assert first.record.peer_id == second.record.peer_id
    kinds = [type(event) for event in told if not isinstance(event, life.Loading)]
    once = [life.Starting, life.Ready]
    assert kinds == [*once, life.Moving, *once, life.Draining, life.Stopped]
    assert life.Loading(10, 10) in told


async def happens(event: asyncio.Event, running: asyncio.Task[None]) -> None:
    """Wait for `event`, or fail with what `running` fails with."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    assert waiting.done()
