"""What people get wrong: calls written down by somebody who had not seen the code, before anything was mended.

calls.json is that list, as it was written; behind.json has those of them once more that would have to wait for a swarm,
beside one. What the columns mean is said in written_calls.py. decided.json says where something else holds, and why.
not_yet.json names those that are not answered as they should be yet: whoever mends one strikes it off there.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import swarm
from helpers import in_background
from model_files import save_byte_model
from shells import Outcome, Shells
from written_calls import Call, complaint, complaint_of, environment, read_calls

HERE = Path(__file__).parent
DECIDED = json.loads((HERE / "decided.json").read_text())
CALLS = [call for name in ("calls.json", "behind.json") for call in read_calls(HERE / name, DECIDED)]
NOT_YET = frozenset(json.loads((HERE / "not_yet.json").read_text()))
TYPED = [call for call in CALLS if call.kind == "cli"]
CODED = [call for call in CALLS if call.kind == "python"]
LIMIT_S = 60.0  # of one in Python; 15 s and less where nothing else runs


def marked(calls: list[Call]) -> list[Any]:
    """As parameters of a test."""
    not_yet = pytest.mark.xfail(strict=True, reason="not answered as it should be yet")
    return [pytest.param(call, id=call.id, marks=[not_yet] if call.id in NOT_YET else []) for call in calls]


class World(NamedTuple):
    """A model, and a swarm that serves it."""

    model: str
    peers: list[str]
    short: str


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    model = tmp_path_factory.mktemp("model") / "tiny"
    save_byte_model(model)
    with swarm.LocalSwarm(model, ["0:2", "2:4"], dtype="float32", threads=1, kv_memory="256M") as local:
        first = next(server for server in local.servers if server.blocks == (0, 2))
        yield World(str(model), local.peers, first.peer_id[-6:])


@pytest.fixture(scope="module")
def outcomes(request, world, tmp_path_factory) -> Iterator[dict[str, Future[Outcome]]]:
    """Of the command lines that are to be tested, by id: as many at once as there are cores."""

    def run(call: Call) -> Outcome:
        folder, home = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("home")
        env = environment(home, world.model, world.short, world.peers[0] if call.needs_swarm else "")
        return shells.run(f"{call.setup}\n{call.call}", folder, env)

    chosen = {item.callspec.params.get("typed") for item in request.session.items if hasattr(item, "callspec")}
    with Shells(tmp_path_factory.mktemp("shells")) as shells, ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {call.id: pool.submit(run, call) for call in TYPED if call in chosen}


@pytest.fixture(scope="module")
def client(world) -> Iterator[swarm.Client]:
    with swarm.Client(world.model, world.peers) as client:
        yield client


def test_what_was_decided_is_of_these_calls_has_a_reason_and_excuses_no_message():
    assert DECIDED.keys() <= {call.id for call in CALLS}
    for decision in DECIDED.values():
        assert decision["because"] and decision.keys() <= {"expect", "exit_status", "exception", "because"}


@pytest.mark.parametrize("coded", marked(CODED))
def test_a_wrong_call_in_python_gets_one_line(coded, world, outcomes, tmp_path, monkeypatch, request):
    """outcomes: which are on their way meanwhile."""
    known: dict[str, Any] = {"swarm": swarm, **world._asdict()}
    if coded.needs_swarm:
        known["client"] = request.getfixturevalue("client")
    else:  # these are made where no swarm is known, and a LocalSwarm of the same process would be
        monkeypatch.setattr("swarm.client.local.running._all", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    assert in_background(lambda: complaint_of(coded, known)).result(LIMIT_S) == ""


@pytest.mark.parametrize("typed", marked(TYPED))
def test_a_wrong_command_line_gets_one_line_and_the_right_exit_status(typed, outcomes):
    assert complaint(typed, outcomes[typed.id].result()) == ""
