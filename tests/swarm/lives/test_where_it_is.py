"""Where a server is, and that it is the only one of its name: on machines that start, travel, and join other
networks."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swarm.errors import SwarmError
from swarm.server import seat
from swarm.server import server as servers
from swarm.server.announcement import Announcement
from swarm.server.config import ServerConfig
from swarm.server.loading import Loader
from swarm.server.server import Server

ELSEWHERE = "192.0.2.7"  # no machine's


@pytest.fixture
def config(tmp_path, monkeypatch) -> ServerConfig:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    torch.set_num_threads(1)
    return ServerConfig(blocks=(0, 1), kv_memory_bytes=2**24, drain_timeout_s=0, identity=Path(tmp_path / "key"))


def test_a_machine_that_has_no_network_yet_is_waited_for_and_it_is_said_once(config, monkeypatch, caplog):
    answers = [SwarmError("cannot tell this machine's address"), SwarmError("likewise"), "127.0.0.1", "127.0.0.1"]

    def announced_host(host: str, others: object) -> str:
        answer = answers.pop(0)
        if isinstance(answer, str):
            return answer
        raise answer

    async def starts() -> None:
        monkeypatch.setattr(seat, "announced_host", announced_host)
        monkeypatch.setattr(seat, "LOOK_EVERY_S", 0.01)
        async with Server(config):
            assert not answers

    with caplog.at_level(logging.WARNING):
        asyncio.run(starts())
    assert sum("waiting until there is one" in message for message in caplog.messages) == 1


def test_others_are_told_another_address_only_when_the_last_one_is_gone(config, monkeypatch):
    async def moves() -> None:
        async with Server(config) as server:
            monkeypatch.setattr(seat, "announced_host", lambda host, others: ELSEWHERE)  # a private network came up
            server._look_where_it_is()
            assert server.announcement.record.endpoint.host == "127.0.0.1"
            monkeypatch.setattr(seat, "is_here", lambda host: False)
            server._look_where_it_is()
            assert server.announcement.record.endpoint.host == ELSEWHERE

    asyncio.run(moves())


def test_two_that_begin_a_swarm_at_the_same_time_in_one_home_are_of_one(config, monkeypatch, tmp_path):
    async def starts() -> None:
        async with Server(config) as first:
            looks: list[list[str]] = []

            def known_addresses(secret: object) -> list[str]:
                """Neither was announced when the other looked first."""
                looks.append(real(secret) if looks else [])
                return looks[-1]

            real = servers.known_addresses
            monkeypatch.setattr(servers, "known_addresses", known_addresses)
            async with Server(replace(config, identity=tmp_path / "other")) as second:
                assert len(looks) == 2
                for server in (first, second):
                    async with asyncio.timeout(60):
                        while len(await server.directory.peers("demo")) < 2:
                            await asyncio.sleep(0.1)

    asyncio.run(starts())


def test_a_twin_that_comes_up_while_it_loads_ends_the_loading(config, monkeypatch):
    async def loads_for_ever(loader: Loader, start: int, stop: int) -> None:
        await asyncio.sleep(3600)

    async def finds_a_twin(announcement: Announcement) -> None:
        raise SwarmError("this server's key is in use elsewhere")

    async def starts() -> None:
        monkeypatch.setattr(Loader, "load", loads_for_ever)
        monkeypatch.setattr(Announcement, "keep_current", finds_a_twin)
        with pytest.raises(SwarmError, match="in use elsewhere"):
            async with asyncio.timeout(60), Server(config):
                pass

    asyncio.run(starts())
