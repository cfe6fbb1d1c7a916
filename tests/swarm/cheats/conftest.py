"""A swarm with a cheat in it, one for all tests of attacks."""

from collections.abc import Callable, Coroutine, Iterator

import pytest

import swarm
from cheats import CHEATING, Cheater, Swarm
from swarm.client.background import wait


@pytest.fixture(scope="session")
def swarm_(tmp_path_factory) -> Iterator[Swarm]:
    home = tmp_path_factory.mktemp("cheats")
    with (
        swarm.LocalSwarm("demo", ["0:1", "1:3", "1:3", "3:5"], dtype="bfloat16", threads=1, kv_memory="32M") as local,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CHEAT_FILE", str(home / "cheat"))
        local.program = (CHEATING,)
        cheater = Cheater(local.start("1:3"), home / "cheat")
        with swarm.Client("demo", local.peers, audit="off") as client:
            yield Swarm(local, cheater, client, home)


@pytest.fixture
def run(swarm_) -> Iterator[Callable[[Coroutine], object]]:
    swarm_.forget()
    yield wait
