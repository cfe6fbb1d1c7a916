"""Real servers, one of which serves another weight."""

import logging
from pathlib import Path

import pytest

import swarm
from helpers import listed, wait_until
from swarm.client.background import wait
from swarm.errors import RevisionMismatch
from swarm.model import open_checkpoint
from swarm.model.identity import weights_root
from swarm.peers.directory import Directory
from swarm.route.route import Hop
from swarm.session.hop import HopFailed
from swarm.session.session import Session
from swarm.session.wanted import Wanted
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from tampered import CHANGED, NUM_BLOCKS, digests_of, save_original, save_tampered

# --- digests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory, demo_checkpoint) -> Path:
    return save_original(tmp_path_factory.mktemp("original") / "small", demo_checkpoint)


@pytest.fixture(scope="module")
def tampered(tmp_path_factory, original) -> Path:
    return save_tampered(tmp_path_factory.mktemp("tampered") / "small", original)


# --- real servers ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local(original, tampered) -> swarm.LocalSwarm:
    """Two servers with the original's weights, and one that has changed some."""
    with swarm.LocalSwarm(str(original), ["0:4", "0:4"], threads=1, kv_memory="16M") as local:
        local.start("0:4", model=str(tampered))
        yield local


def honest(local: swarm.LocalSwarm) -> set[str]:
    return {server.peer_id for server in local.servers[:2]}


def test_servers_announce_their_weights_and_say_them_block_by_block(local, original, tampered):
    with swarm.Client(str(original), local.peers) as client:
        infos = {info.peer_id: info for info in listed(client)}
        for server, folder in zip(local.servers, (original, original, tampered), strict=True):
            info = infos[server.peer_id]
            status = wait(client.parts.router.table.connection_to(info).status(5.0))
            assert list(status.block_digests) == digests_of(folder)
            assert info.weights == weights_root(digests_of(folder))
            assert len(info.record_hash) == 32


def test_a_peer_with_one_changed_weight_is_never_chosen_by_who_has_the_files(local, original):
    with swarm.Client(str(original), local.peers) as client:
        for _ in range(12):
            assert client.generate("Hello", max_new_tokens=1).route[0].peer_id in honest(local)
    picky = swarm.Client(str(original), local.peers, excluded=honest(local), coverage_timeout_s=0.0)
    with picky, pytest.raises(swarm.NoRoute, match="excluded by this client"):
        picky.generate("Hello", max_new_tokens=1)


def test_a_peer_refuses_a_session_that_expects_other_weights(local, original):
    with swarm.Client(str(original), local.peers) as client:
        wait(client.parts.router.table.weigh())
        changed = next(info for info in listed(client) if info.peer_id == local.servers[2].peer_id)

        async def open_at(start: int, stop: int) -> None:
            hops, options = [Hop(changed, start, stop)], client.parts.generator.session_options([], Wanted(0, 9))
            session = Session(hops, [client.parts.router.connection_to(changed)], options)
            try:
                await session.open()
            finally:
                session.close()

        wait(open_at(0, CHANGED))  # of these blocks it has the same
        with pytest.raises(HopFailed, match="not those that the client expects") as failed:
            wait(open_at(CHANGED, NUM_BLOCKS))
        assert isinstance(failed.value.cause, RevisionMismatch)


def test_who_has_no_files_uses_the_replicas_that_agree_and_says_so_once(local, original, monkeypatch, caplog):
    checkpoint = open_checkpoint(str(original))
    checkpoint.local = False
    monkeypatch.setattr("swarm.client.assembly.open_checkpoint", lambda model, revision: checkpoint)
    with caplog.at_level(logging.WARNING), swarm.Client("small", local.peers) as client:
        assert {client.generate("Hello", max_new_tokens=1).route[0].peer_id for _ in range(12)} <= honest(local)
        assert client.parts.router.table.weights.root(0, NUM_BLOCKS) == weights_root(digests_of(original))
    assert sum("announce different weights" in record.message for record in caplog.records) == 1


def test_who_announces_weights_that_it_does_not_serve_is_found_out_when_a_session_opens(local, original):
    """A thief of addresses: its record is signed and says what the honest ones say, but leads to the changed server."""
    thief = Identity()

    async def publish(table) -> None:
        infos = {info.peer_id: info for info in table.listed()}
        good, changed = infos[local.servers[0].peer_id], infos[local.servers[2].peer_id]
        record = pb.PeerRecord(
            version=1, peer_id=thief.peer_id, model=good.model, revision=good.revision, stop=NUM_BLOCKS,
            num_blocks=NUM_BLOCKS, dtype=good.dtype, endpoint=changed.endpoint, weights=good.weights,
        )  # fmt: skip
        record.endpoint.peer_id = thief.peer_id
        directory = await Directory.join(local.peers)
        await directory.publish(record, thief)
        await directory.leave()

    with swarm.Client(str(original), local.peers) as client:
        listed(client)
        wait(publish(client.parts.router.table))
    with swarm.Client(str(original), local.peers, trusted=[thief.peer_id]) as client:
        with pytest.raises(RevisionMismatch, match="not those that the client expects"):
            client.generate("Hello", max_new_tokens=1)
        assert client.parts.router.table.reputation.standing(thief.peer_id).faults > 0
    with swarm.Client(str(original), local.peers) as client:
        assert client.generate("Hello", max_new_tokens=1).route[0].peer_id in honest(local)


def test_if_only_other_weights_are_served_the_client_says_so(local, original):
    for server in local.servers[:2]:
        server.stop()
    with swarm.Client(str(original), local.peers) as client:
        assert wait_until(lambda: not honest(local) & {info.peer_id for info in listed(client)}, timeout_s=40)
        with pytest.raises(RevisionMismatch, match="swarm identity"):
            client.generate("Hello", max_new_tokens=1)
