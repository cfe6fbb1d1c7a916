"""The auditor: whom it visits, what it asks, and what it does about what it finds."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

import swarm
from swarm.auditor.canaries import MAX_NEW_TOKENS, MAX_PROMPT_WORDS, Canaries
from swarm.auditor.visits import Visits
from swarm.cli import auditor as cli
from swarm.client.background import wait
from swarm.errors import NoRoute
from swarm.generate.options import parse_options
from swarm.home import standing_file
from swarm.peers import convictions
from swarm.peers.directory import Directory
from swarm.route.peer import PeerInfo
from swarm.route.route import chain_of
from swarm.verify.fraud.proofs import EQUIVOCATION, Proof
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity

# --- whom it visits ------------------------------------------------------------------------------------------------


def peer(name: str, start: int, stop: int) -> PeerInfo:
    return PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), pb.ONLINE, 0, 0, pb.Load())


SWARM = [peer("whole", 0, 12), peer("left", 0, 6), peer("right", 6, 12), peer("middle", 3, 9), peer("one", 5, 6)]


def test_every_plan_covers_the_model_once():
    visits = Visits(random.Random(1))
    for _ in range(50):
        chain = visits.plan(SWARM, 12)
        assert [hop.blocks[0] for hop in chain] == [0, *(hop.blocks[1] for hop in chain[:-1])]
        assert chain[-1].blocks[1] == 12
        known = {one.peer_id: one for one in SWARM}
        for hop in chain:
            assert known[hop.peer_id].start <= hop.blocks[0] < hop.blocks[1] <= known[hop.peer_id].stop
        visits.note(chain, SWARM)


def test_all_of_every_peers_blocks_are_visited_about_equally_often():
    visits, whole = Visits(random.Random(2)), dict.fromkeys((one.peer_id for one in SWARM), 0)
    ranges = {one.peer_id: one.blocks for one in SWARM}
    for _ in range(100):
        chain = visits.plan(SWARM, 12)
        visits.note(chain, SWARM)
        for hop in chain:
            whole[hop.peer_id] += hop.blocks == ranges[hop.peer_id]
    assert min(whole.values()) >= 8  # of 20, as who serves much is also needed for a part of it
    assert max(visits.counts.values()) <= 2 * min(visits.counts.values())


def test_a_newcomer_is_visited_next():
    visits = Visits(random.Random(3))
    for _ in range(5):
        visits.note(visits.plan(SWARM[:3], 12), SWARM[:3])
    assert "middle" in [hop.peer_id for hop in visits.plan(SWARM[:4], 12)]


@pytest.mark.parametrize("peers", [[], SWARM[1:2], [SWARM[1], peer("late", 7, 12)]])
def test_a_model_that_is_not_all_served_cannot_be_visited(peers):
    with pytest.raises(NoRoute, match="no peer serves blocks"):
        Visits(random.Random()).plan(peers, 12)


# --- what it asks --------------------------------------------------------------------------------------------------


def test_prompts_are_ever_new_and_as_varied_as_users():
    canaries = Canaries(random.Random(4), has_chat=True)
    prompts = [canaries.prompt() for _ in range(200)]
    texts = [one if isinstance(one, str) else one[0]["content"] for one in prompts]
    assert len(set(texts)) == len(texts)
    assert 50 < sum(isinstance(one, str) for one in prompts) < 150
    lengths = sorted(len(text.split()) for text in texts)
    assert 1 <= lengths[0] < 20 < lengths[100] < 100 < lengths[-1] <= MAX_PROMPT_WORDS
    counts = {canaries.new_tokens() for _ in range(200)}
    assert len(counts) > 50
    assert max(counts) <= MAX_NEW_TOKENS


def test_a_model_without_a_chat_template_gets_text():
    canaries = Canaries(random.Random(5), has_chat=False)
    assert all(isinstance(canaries.prompt(), str) for _ in range(20))


# --- on a real swarm -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crook(tmp_path_factory):
    """A peer's key, in a file for its server."""
    path = tmp_path_factory.mktemp("crook") / "identity.key"
    return Identity.load_or_create(path), path


@pytest.fixture(scope="module")
def local(crook):
    """The whole model in two halves; and a peer with a few blocks, whom no client would choose."""
    with swarm.LocalSwarm("demo", ["0:15", "15:30"], quant="int4", threads=1) as local:
        local.start("12:15", identity=crook[1])
        yield local


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    return tmp_path


def audit(capsys, local: swarm.LocalSwarm, *arguments: str) -> list[dict]:
    """The events of an auditor, which ends by itself."""
    assert cli.main(["--peers", *local.peers, "--every", "0", "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("by", ["local", "peers"])
def test_every_peer_is_visited_and_passes(home, capsys, local, by):
    *events, summary = audit(capsys, local, "--rounds", "3", "--audit", by)
    assert [event["event"] for event in events] == ["audit"] * len(events)
    assert summary["event"] == "summary"
    assert set(summary["peers"]) == {server.peer_id for server in local.servers}
    assert (summary["rounds"], summary["errors"], summary["convicted"]) == (3, 0, [])
    audited = {(event["peer_id"], *event["blocks"]) for event in events}
    assert audited >= {(server.peer_id, *server.blocks) for server in local.servers}
    if by == "local":
        assert {(event["by"], event["verdict"]) for event in events} == {("local", "PASS")}
        return
    # Of the three, only the first serves what another does.
    first, _, inner = (server.peer_id for server in local.servers)
    judged = {(event["by"], event["verdict"]) for event in events if event["peer_id"] == inner}
    assert judged == {(first, "PASS")}
    assert {event["verdict"] for event in events} <= {"PASS", None}


def test_the_budget_ends_it(home, capsys, local):
    *_, summary = audit(capsys, local, "--budget", "40", "--audit-rate", "0")
    assert summary["tokens"] <= 40
    assert not summary["peers"]


@pytest.mark.slow
def test_ctrl_c_ends_it_with_a_summary(home, local):
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm.auditor", "--peers", *local.peers, "--every", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    lines = list(itertools.islice(process.stdout, 2))
    assert all(re.match(r"\d\d:\d\d:\d\d  PASS ", line) for line in lines), lines
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert re.search(r"\d+ rounds, 0 of them failed; \d peers visited, \d+ tokens; \d+ pass, 0 suspect", out)


def test_a_swarm_with_a_gap_is_reported_and_waited_for(home, capsys, local):
    reputation = ReputationStore(standing_file())
    reputation.convict(local.servers[1].peer_id, EQUIVOCATION, b"")
    reputation.close()
    event, summary = audit(capsys, local, "--rounds", "1")
    assert event["event"] == "error"
    assert "no peer serves blocks 15:30" in event["message"]
    assert (summary["rounds"], summary["errors"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--every", "nan"], "--every must be a number of seconds, not nan"),
        (["--rounds", "0"], "--rounds must be positive, not 0"),
        (["--budget", "1"], "--budget must be 2 or more, not 1"),
        (["--audit-rate", "2"], "--audit-rate must be a share from 0 to 1"),
    ],
)
def test_a_bad_argument_gets_one_line(home, capsys, arguments, message):
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


# --- chains that are asked for -------------------------------------------------------------------------------------


def chain_with(local: swarm.LocalSwarm, peer_id: str) -> list[swarm.Hop]:
    left, right, _ = (server.peer_id for server in local.servers)
    return [swarm.Hop(left, (0, 12)), swarm.Hop(peer_id, (12, 15)), swarm.Hop(right, (15, 30))]


def test_a_generation_can_be_repeated_on_its_own_route(home, local, crook):
    with swarm.Client("demo", local.peers, audit="off") as client:
        chosen = chain_with(local, crook[0].peer_id)
        out = client.generate("The capital of France is", max_new_tokens=4, through=chosen)
        assert [(hop.peer_id, hop.blocks) for hop in out.route] == [(hop.peer_id, hop.blocks) for hop in chosen]
        again = client.generate("The capital of France is", max_new_tokens=4, through=out.route)
        assert again.token_ids == out.token_ids
        assert again.route == out.route


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ([("left", (0, 6))], swarm.InvalidRequest, "ends at block 6 and not at 12"),
        ([("right", (6, 12))], swarm.InvalidRequest, "goes on with blocks 6:12 after block 0"),
        ([("left", (0, 6)), ("one", (6, 5))], swarm.InvalidRequest, "goes on with blocks 6:5 after block 6"),
        ([("nobody", (0, 12))], NoRoute, "has an id that ends in 'nobody'"),
        ([("left", (0, 12))], NoRoute, "peer 'left' serves blocks 0:6, and not 0:12"),
    ],
)
def test_a_chain_that_is_none_is_refused(wanted, error, message):
    with pytest.raises(error, match=re.escape(message)):
        chain_of(wanted, SWARM, 0, 12)


def test_a_chain_of_something_else_than_hops_is_refused():
    with pytest.raises(swarm.InvalidRequest, match=re.escape("a list of swarm.Hop")):
        parse_options({"through": ["0:12"]})


# --- convicts, in the end: from then on all clients know ------------------------------------------------------------


def test_a_convict_is_not_visited_and_is_announced_again(home, capsys, local, crook, monkeypatch):
    identity, _ = crook
    with swarm.Client("demo", local.peers, audit="off") as client:
        out = client.generate("Hello", max_new_tokens=2, through=chain_with(local, identity.peer_id))
    (first,) = [one for one in out.receipts if one.peer_id == identity.peer_id][:1]
    proof = Proof.of(EQUIVOCATION, [first, replace(first.receipt, outputs=bytes(32)).sign(identity)])
    reputation = ReputationStore(standing_file())
    reputation.convict(proof.accused, proof.kind, proof.encode())
    reputation.close()
    *_, summary = audit(capsys, local, "--rounds", "2")
    assert identity.peer_id not in summary["peers"]
    assert len(summary["peers"]) == 2
    (heard,) = heard_in(local)
    assert (heard.accused, heard.proof) == (identity.peer_id, proof.encode())


def heard_in(local: swarm.LocalSwarm) -> list[convictions.Conviction]:
    async def listen() -> dict[str, bytes]:
        directory = await Directory.join(local.peers, client=True)
        try:
            return await directory.accusations("demo")
        finally:
            await directory.leave()

    return [convictions.verify(data) for data in wait(listen()).values()]
