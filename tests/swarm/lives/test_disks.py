"""A server whose disk fails finishes what it does, takes nothing new, says why, and is back when its disk is."""

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

import swarm
from disks import gone, locked
from helpers import listed, statuses, wait_until
from swarm.client.local_swarm import LocalServer

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def pair():
    with swarm.LocalSwarm("demo", ["0:30"] * 2, quant="int4", threads=1) as local:
        yield local


@pytest.fixture
def client(pair):
    with swarm.Client("demo", pair.peers, audit="off", busy_timeout_s=1, coverage_timeout_s=1) as client:
        yield client


def receipts_file(server) -> Path:
    return server.home / "receipts" / f"{server.peer_id}.db"


def works(client: swarm.Client) -> bool:
    with suppress(swarm.SwarmError):
        return bool(client.generate(PROMPT, max_new_tokens=4, ignore_eos=True).token_ids)
    return False


def kept(server, session: bytes) -> set[bytes]:
    with closing(sqlite3.connect(receipts_file(server))) as database:
        return {data for (data,) in database.execute("SELECT data FROM receipts WHERE session = ?", (session,))}


def test_a_session_goes_on_while_its_server_cannot_write_and_new_ones_go_elsewhere(pair, client):
    stream = client.stream(PROMPT, max_new_tokens=160, ignore_eos=True)
    next(stream)
    busy = next(one for one in pair.servers if one.peer_id == stream.generation.route[0].peer_id)
    (other,) = [one for one in pair.servers if one is not busy]
    with locked(receipts_file(busy)):
        text = "".join(stream)
        assert wait_until(lambda: any(peer.paused for peer in listed(client)), 30)
        for _ in range(3):
            generation = client.generate(PROMPT, max_new_tokens=4, ignore_eos=True)
            assert [hop.peer_id for hop in generation.route] == [other.peer_id]
    generation = stream.generation
    assert text and len(generation.token_ids) == 160 and not generation.repairs
    session = generation.receipts[0].receipt.terms.session
    assert wait_until(lambda: kept(busy, session) == {one.encode() for one in generation.receipts}, 30)
    assert wait_until(lambda: not any(peer.paused for peer in listed(client)), 30)


def test_where_no_server_can_write_a_client_hears_why_and_it_works_again_afterwards(pair, client):
    assert works(client)
    with locked(*map(receipts_file, pair.servers)):
        with pytest.raises(swarm.SwarmError, match="it cannot write its receipts: database is locked"):
            client.generate(PROMPT, max_new_tokens=4, ignore_eos=True)
        assert wait_until(lambda: all(status.record.paused for status in statuses(client)), 30)
    assert wait_until(lambda: works(client), 30)
    for server in pair.servers:
        assert wait_until(lambda server=server: said(server)[-1] == "new sessions again", 30)
        assert said(server) == ["no new sessions", "new sessions again"] * (len(said(server)) // 2)  # once each time


def said(server: LocalServer) -> list[str]:
    return re.findall(r"this server takes (new sessions again|no new sessions)", server.log())


def test_a_server_whose_receipts_are_taken_away_waits_for_them_to_come_back(pair, client):
    folders = [receipts_file(server).parent for server in pair.servers]
    with gone(folders[0]), gone(folders[1]):
        with pytest.raises(swarm.SwarmError, match="it cannot write its receipts: the file is gone; put it back"):
            client.generate(PROMPT, max_new_tokens=4, ignore_eos=True)
        assert not any(folder.exists() for folder in folders)
    assert wait_until(lambda: works(client), 30)
