"""A server's blocks are read and measured beside the event loop, in which the directory's node answers others."""

import asyncio
import re
import threading

import pytest

from swarm.errors import InvalidRequest
from swarm.model.blocks import BlockRange
from swarm.model.kv_cache import PagePool
from swarm.route.costs import PeerCosts
from swarm.server import loading
from swarm.server.config import ServerConfig


def test_blocks_are_read_tuned_and_measured_in_one_thread_that_is_not_the_event_loops(monkeypatch, tmp_path):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    threads: list[threading.Thread] = []

    def measure(blocks: BlockRange, pool: PagePool) -> PeerCosts:
        threads.append(threading.current_thread())
        return PeerCosts((0.001,))

    read = BlockRange.load

    def load(*given: object, **options: object) -> BlockRange:
        threads.append(threading.current_thread())
        return read(*given, **options)

    monkeypatch.setattr(loading, "measure", measure)
    monkeypatch.setattr(BlockRange, "load", load)
    config = ServerConfig(model="demo", blocks=(0, 1), kv_memory_bytes=2**24)
    loaded = asyncio.run(loading.Loader(config).load(0, 1))
    assert loaded.costs == PeerCosts((0.001,))
    reading, measuring = threads
    assert reading is measuring is not threading.main_thread()


def test_blocks_asked_for_that_do_not_fit_into_the_memory_given_are_refused_before_they_are_loaded():
    def asked(memory_bytes: int) -> ServerConfig:
        return ServerConfig(model="demo", blocks=(0, 30), memory_bytes=memory_bytes, kv_memory_bytes=2**26)

    said = r"blocks 0:30 as float32 and the cache take (\d+) MiB, 64 MiB .* memory is 10 MiB; raise memory"
    with pytest.raises(InvalidRequest, match=said) as told:
        loading.Loader(asked(10 * 2**20))
    (needed,) = re.findall(said, str(told.value))
    loading.Loader(asked(int(needed) * 2**20))
    with pytest.raises(InvalidRequest):
        loading.Loader(asked((int(needed) - 1) * 2**20))
