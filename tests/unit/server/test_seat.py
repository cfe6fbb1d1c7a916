"""Where a server may listen, by where the others of its swarm are."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from swarm.errors import InvalidRequest
from swarm.home import acquaintances_file
from swarm.peers.dht.acquaintances import Acquaintances
from swarm.server import seat
from swarm.server.config import ServerConfig
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret

SECRET = Secret(Secret.generate())
ELSEWHERE, HERE = "/ip4/192.0.2.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001"


@pytest.fixture
def key(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    return tmp_path / "key"


def remember(key: Path, *places: str, secret: Secret | None = None) -> None:
    """The server with that key has met peers there."""
    known = Acquaintances(acquaintances_file(Identity.load_or_create(key).peer_id, secret))
    for number, place in enumerate(places):
        known.met(f"peer{number}", [place])
    known.save()


def sits(key: Path, *members: str, **options: object) -> bool:
    async def take() -> seat.Seat:
        async with AsyncExitStack() as stack:
            return await seat.take(ServerConfig(identity=key, **options), members, stack)

    return asyncio.run(take()).path == key


@pytest.mark.parametrize("secret", [None, SECRET], ids=["open", "private"])
def test_a_server_that_goes_on_in_a_swarm_on_other_machines_is_not_at_an_address_of_its_own(key, secret):
    remember(key, ELSEWHERE, secret=secret)
    with pytest.raises(
        InvalidRequest, match=r"the swarm at 192\.0\.2\.7 would be told .* at 127\.0\.0\.1, .* 0\.0\.0\.0"
    ):
        sits(key, secret=secret)


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"announce": "192.0.2.9"}], ids=str)
def test_it_begins_where_others_are_told_an_address_that_they_reach(key, options):
    remember(key, ELSEWHERE)
    assert sits(key, **options)


def test_it_begins_where_one_of_those_met_is_here_or_it_has_met_nobody_of_that_swarm(key):
    assert sits(key)
    remember(key, ELSEWHERE, HERE)
    assert sits(key)
    remember(key, ELSEWHERE, secret=SECRET)
    assert sits(key)


def test_what_it_is_told_now_counts_for_more_than_whom_it_has_met(key):
    remember(key, ELSEWHERE)
    assert sits(key, f"{HERE}/p2p/another")
