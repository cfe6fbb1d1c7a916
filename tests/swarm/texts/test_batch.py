"""Scheduling by payment on real servers, and batches of prompts on what they have left over."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import swarm
from helpers import in_background, statuses, wait_until
from swarm.cli.batch import main
from swarm.client.background import wait
from swarm.errors import PeerBusy
from swarm.session.hop import HopFailed
from swarm.session.session import Session
from swarm.session.wanted import Wanted

PROMPTS = [f"{what} is" for what in ("The capital of France", "Water", "The sun", "A cat", "My name", "The sky")]
TOKENS = 6


@pytest.fixture(scope="module")
def local():
    """Two servers in a row, with room for one session."""
    with swarm.LocalSwarm("demo", ["0:15", "15:30"], quant="int4", threads=1, max_sessions=1) as servers:
        yield servers


@pytest.fixture(scope="module")
def client(local):
    with swarm.Client("demo", local.peers, audit="off") as one:
        yield one


def test_a_full_server_serves_the_higher_bid_first(client):
    async def session(fee: int) -> Session:
        wanted = Wanted(4, 4, priority_fee=fee)
        hops = await client.parts.router.chain(wanted)
        peers = [client.parts.router.connection_to(hop.peer) for hop in hops]
        return Session(hops, peers, client.parts.generator.session_options(hops, wanted))

    async def refusal(fee: int) -> str:
        with pytest.raises(HopFailed) as refused:
            await (await session(fee)).open()
        assert isinstance(refused.value.cause, PeerBusy)
        return str(refused.value)

    async def open_session(fee: int) -> Session:
        opened = await session(fee)
        await opened.open()
        return opened

    first = wait(open_session(0))
    assert "the one session of this peer is in use" in wait(refusal(0))
    assert "the one session" in wait(refusal(2**30))
    first.close()
    assert wait_until(lambda: not any(status.load.sessions for status in statuses(client)), 10)
    assert "what room there is goes to others; 1 that pay more or came earlier go first" in wait(refusal(0))
    wait(open_session(2**30)).close()


def test_an_on_demand_session_takes_a_batch_sessions_place_and_both_finish_with_the_right_text(client):
    long = client.generate(PROMPTS[0], max_new_tokens=40, ignore_eos=True)
    short = client.generate(PROMPTS[1], max_new_tokens=8, ignore_eos=True)
    stream = client.stream(PROMPTS[0], max_new_tokens=40, ignore_eos=True, batch=True)
    next(stream)
    on_demand = client.generate(PROMPTS[1], max_new_tokens=8, ignore_eos=True)
    assert on_demand.text == short.text
    assert not stream.generation.finish_reason
    list(stream)
    assert stream.generation.text == long.text
    assert stream.generation.pauses >= 1
    assert stream.generation.faults == []


def test_a_batch_session_takes_nobodys_place(client):
    stream = client.stream(PROMPTS[0], max_new_tokens=30, ignore_eos=True)
    next(stream)
    batch = in_background(lambda: client.generate(PROMPTS[1], max_new_tokens=4, batch=True))
    list(stream)
    assert stream.generation.reroutes == 0
    assert batch.result(timeout=60).pauses == 0


def batch_arguments(prompts: Path, answers: Path, peers: list[str]) -> list[str]:
    return [str(prompts), "-o", str(answers), "--max-new-tokens", str(TOKENS), "--concurrency", "2", "--ignore-eos",
            "--audit", "off", "--json", "--peers", *peers]  # fmt: skip


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def test_a_killed_batch_goes_on_and_ends_with_every_answer_once(local, client, tmp_path, capsys):
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    entries = [PROMPTS[0], *({"prompt": prompt, "id": prompt} for prompt in PROMPTS[1:5])]
    entries.append({"prompt": PROMPTS[5], "id": "short", "max_new_tokens": 2})
    prompts.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    arguments = batch_arguments(prompts, answers, local.peers)
    with subprocess.Popen([sys.executable, "-m", "swarm", "batch", *arguments], stderr=subprocess.DEVNULL) as run:
        assert wait_until(lambda: len(lines(answers)) >= 2, 60)
        run.send_signal(signal.SIGKILL)
    before = len(lines(answers))
    assert 2 <= before < len(PROMPTS)
    with open(answers, "a") as file:
        file.write('{"id": "short", "prompt_sha')  # as a machine that loses power leaves it
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["answered_before"], summary["answered"]) == (before, len(PROMPTS) - before)
    assert (summary["failed"], summary["late"]) == ({}, [])
    texts = [(entry["id"], entry["text"]) for entry in map(json.loads, lines(answers))]
    expected = client.generate(PROMPTS[:5], max_new_tokens=TOKENS, ignore_eos=True)
    expected.append(client.generate(PROMPTS[5], max_new_tokens=2, ignore_eos=True))
    ids = ["1", *PROMPTS[1:5], "short"]
    assert sorted(texts) == sorted((id_, one.text) for id_, one in zip(ids, expected, strict=True))
