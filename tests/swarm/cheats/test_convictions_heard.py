"""Convictions in a real directory: heard until they expire, floods and all."""

import asyncio
import random
import time
from types import SimpleNamespace

import pytest
from hivemind.dht.node import DHTNode

from accusations import BAD, CHEAT, WITNESS, cannot_tell, conviction, signed
from helpers import TwoNodes
from swarm.errors import NoRoute
from swarm.peers import convictions
from swarm.peers.convictions import Conviction
from swarm.peers.dht.bounded_storage import MAX_PER_ANNOUNCER, MAX_PER_MODEL, BoundedStorage
from swarm.peers.directory import Directory
from swarm.peers.policy import Terms
from swarm.peers.table import PeerTable
from swarm.verify.fraud.inbox import FraudInbox
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from swarm.wire.tasks import TaskSet

KEY = convictions.dht_key("demo")


# --- in the DHT ------------------------------------------------------------------------------------------------------


def test_an_accusation_is_heard_by_others_for_its_own_model_until_it_expires():
    async def scenario():
        async with TwoNodes() as (first, second):
            assert await first.accuse(conviction(), WITNESS, life_s=1.5)
            heard, elsewhere = await second.accusations("demo"), await second.accusations("another")
            peers = await second.peers("demo")
            await asyncio.sleep(1.7)
            return heard, elsewhere, peers, await second.accusations("demo")

    heard, elsewhere, peers, later = asyncio.run(scenario())
    assert list(heard) == [f"{CHEAT.peer_id}/{WITNESS.peer_id}"]
    assert convictions.verify(heard[conviction().subkey], now_s=time.time() - 2).proof == b"two receipts"
    assert elsewhere == later == {}
    assert peers == []  # it is no record of a peer


def test_bad_convictions_are_ignored_and_counted_by_honest_nodes():
    async def scenario():
        async with TwoNodes() as (first, second):
            await first.accuse(conviction(), WITNESS)
            rogue = await DHTNode.create(  # checks nothing, stores anything
                initial_peers=await first.addresses(), client_mode=True, nat_port_map=False, auto_nat=False
            )
            good, expires, subkey = signed(), conviction().expires_ms / 1000, conviction().subkey

            async def store(value: bytes, key: str = KEY, subkey: object = subkey, expires: float = expires) -> bool:
                return await rogue.store(key=key, subkey=subkey, value=value, expiration_time=expires)

            stored = [await store(make()) for make in BAD.values()]
            stored += [
                await store(bytes(5000)),
                await store(good, key=convictions.dht_key("another")),
                await store(good, key="swarm/v1/demo"),  # where the records are
                await store(good, subkey=f"{CHEAT.peer_id}/{Identity().peer_id}"),
                await store(good, subkey=CHEAT.peer_id),
                await store(good, expires=expires + 90),  # a life that its announcer did not give it
                await rogue.store(key=KEY, value=good, expiration_time=expires + 90),  # without a subkey
            ]
            await rogue.shutdown()
            return stored, first.rejections.count + second.rejections.count, await second.accusations("demo")

    stored, rejected, found = asyncio.run(scenario())
    assert not any(stored)
    assert rejected >= len(stored)
    assert list(found) == [conviction().subkey]


def test_a_flood_neither_fills_a_node_nor_keeps_others_out(monkeypatch):
    monkeypatch.setattr("swarm.peers.dht.bounded_storage.MAX_PER_MODEL", 20)

    async def scenario():
        async with TwoNodes() as (first, second):
            by_one = [await first.accuse(conviction(accused=Identity().peer_id), WITNESS) for _ in range(12)]
            node = second._node
            for witness in (Identity() for _ in range(40)):  # fresh keys
                said = conviction(witness)
                await node.store(KEY, said.subkey, convictions.sign(said, witness), said.expires_ms / 1000)
            latecomer = Identity()
            taken = await first.accuse(conviction(latecomer), latecomer)
            return by_one, await second.accusations("demo"), taken, conviction(latecomer).subkey

    by_one, found, taken, late = asyncio.run(scenario())
    assert sum(by_one) == MAX_PER_ANNOUNCER
    assert len(found) <= 2 * 20  # two nodes, each of which let others go
    assert taken
    assert late in found


@pytest.mark.parametrize("announcers", [5, 40, 1000])
def test_a_nodes_storage_is_bounded_by_model_and_by_announcer(announcers):
    storage, expires, rng = BoundedStorage(), time.time() + 60, random.Random(announcers)
    for _ in range(2000):
        storage.store_subkey("key", f"{rng.randrange(400)}/{rng.randrange(announcers)}", b"", expires)
    held = [subkey for subkey, _ in storage.get("key").value.items()]
    assert len(held) == min(MAX_PER_MODEL, announcers * MAX_PER_ANNOUNCER)
    announcers = [subkey.split("/")[1] for subkey in held]
    assert all(announcers.count(name) <= MAX_PER_ANNOUNCER for name in set(announcers))
    for index in range(MAX_PER_MODEL + 1):  # peers' own records are no convictions
        storage.store_subkey("records", f"peer{index}", b"", expires)
    assert len(storage.get("records").value) == MAX_PER_MODEL + 1


def record_of_the_cheat() -> pb.PeerRecord:
    endpoint = pb.Endpoint(peer_id=CHEAT.peer_id, host="127.0.0.1", port=1, certificate=b"certificate")
    facts = {"model": "demo", "revision": "r", "stop": 10, "num_blocks": 10, "dtype": "float32"}
    return pb.PeerRecord(version=1, peer_id=CHEAT.peer_id, endpoint=endpoint, **facts)


def test_a_client_stops_using_a_peer_as_soon_as_a_proof_against_it_is_announced(monkeypatch, tmp_path):
    """The client's own table of a real directory; only the check of the proof is the test's."""
    monkeypatch.setattr("swarm.verify.fraud.inbox.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("swarm.peers.table.REFRESH_S", 0.1)
    config = SimpleNamespace(num_blocks=10, hidden_size=4)
    checkpoint = SimpleNamespace(name="demo", revision="r", config=config)

    async def is_proof(said: Conviction) -> bool:
        return said.proof == b"two receipts"

    async def scenario() -> tuple[list[str], str]:
        first = await Directory.join()
        await first.publish(record_of_the_cheat(), CHEAT)
        directory = await Directory.join(await first.addresses(), client=True)
        reputation = ReputationStore(tmp_path / "book.sqlite")
        inbox = FraudInbox(reputation, is_proof)
        table = PeerTable(directory, checkpoint, [Terms()], reputation)
        tasks = TaskSet("test")
        tasks.start(inbox.work())
        table._pings.round = cannot_tell  # nobody listens at that port
        await table.refresh()
        tasks.start(inbox.watch(table))
        before = [peer.peer_id for peer in table.usable()]
        await first.accuse(conviction(), WITNESS)
        try:
            async with asyncio.timeout(20):
                while not reputation.is_shunned(CHEAT.peer_id):
                    await asyncio.sleep(0.05)
            with pytest.raises(NoRoute) as refused:
                table.usable()
        finally:
            await tasks.close()
            await table.close()
            await first.leave()
        return before, str(refused.value)

    before, refusal = asyncio.run(scenario())
    assert before == [CHEAT.peer_id]
    assert "found to cheat" in refusal
    later = ReputationStore(tmp_path / "book.sqlite")
    assert later.is_shunned(CHEAT.peer_id)
    later.close()
