"""A look at the swarm ends, whatever its peers do."""

import asyncio
from types import SimpleNamespace

import pytest
from rich.console import Console

from swarm.cli.support.picture import Picture
from swarm.errors import PeerUnreachable
from swarm.peers.status import survey
from swarm.peers.status.overview import State
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb

SILENT = 100
CONSOLE = Console(width=200)


def listed(name: str) -> PeerInfo:
    endpoint = pb.Endpoint(peer_id=name, host="127.0.0.1", port=1)
    return PeerInfo(name, "m", "r", 0, 30, 30, "float32", "none", "", endpoint, pb.ONLINE, 0, 2**60,
                    pb.Load())  # fmt: skip


class Directory:
    """Lists many peers, until it is silent, too."""

    def __init__(self) -> None:
        self.is_silent = False

    async def peers(self, model: str, joining: bool) -> list[PeerInfo]:
        if self.is_silent:
            await asyncio.sleep(3600)
        return [listed(f"peer {number}") for number in range(SILENT)]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    for name in ("TIMEOUT_S", "VISIT_TIMEOUT_S", "DIRECTORY_TIMEOUT_S"):
        monkeypatch.setattr(survey, name, getattr(survey, name) / 10)


def test_peers_that_say_nothing_are_not_asked_one_after_the_other_for_ever():
    now: list[int] = []

    async def silent(timeout_s: float) -> pb.Status:
        now.append(len(now) - len(gone))
        await asyncio.sleep(timeout_s)
        gone.append(1)
        raise PeerUnreachable("no answer")

    async def close(grace_s: float = 0.0) -> None:
        pass

    async def scenario() -> set[State]:
        looking = survey.Survey(Directory(), "m", lambda endpoint: SimpleNamespace(status=silent, close=close))
        view = await looking.look()
        await looking.close()
        return {peer.state for peer in view.peers}

    gone: list[int] = []
    assert asyncio.run(scenario()) == {State.UNREACHABLE}
    assert len(now) == SILENT
    assert SILENT / (max(now) + 1) <= survey.MOST_ROUNDS  # so many at once that a look is over soon


def test_a_directory_that_says_nothing_is_named_and_what_it_said_before_is_shown():
    async def gone(timeout_s: float) -> pb.Status:
        raise PeerUnreachable("no answer")

    async def close(grace_s: float = 0.0) -> None:
        pass

    async def scenario() -> list[tuple[bool, int, str]]:
        directory, looks = Directory(), []
        looking = survey.Survey(directory, "m", lambda endpoint: SimpleNamespace(status=gone, close=close))
        for directory.is_silent in (False, True):
            view = await looking.look()
            lines = list(Picture(view, lambda gap: "serve").__rich_console__(CONSOLE, CONSOLE.options))
            looks.append((view.directory_answers, len(view.peers), str(lines[-1])))
        await looking.close()
        return looks

    (answered, peers, _), (answers, shown, said) = asyncio.run(scenario())
    assert (answered, answers, peers, shown) == (True, False, SILENT, SILENT)
    assert said == "The directory does not answer: what it said before is shown."
