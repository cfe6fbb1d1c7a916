"""Records, the directory and the choice of a chain. The DHT is a real one."""

import asyncio
import itertools
import random
import time

import pytest
from hivemind.dht.node import DHTNode
from hypothesis import given
from hypothesis import strategies as st

from helpers import TwoNodes
from swarm.errors import AddressInUse, InvalidRequest, NoRoute, PeerUnreachable
from swarm.home import announced, claimed_identity, known_addresses
from swarm.peers import record as records
from swarm.peers.directory import Directory
from swarm.route.peer import PeerInfo
from swarm.route.route import fewest_hops, missing_blocks
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity


def make_record(identity: Identity, start: int = 0, stop: int = 10, **changes: object) -> pb.PeerRecord:
    now_ms = int(time.time() * 1000)
    record = pb.PeerRecord(
        version=records.VERSION,
        peer_id=identity.peer_id,
        model="demo",
        revision="r1",
        start=start,
        stop=stop,
        num_blocks=30,
        dtype="float32",
        endpoint=pb.Endpoint(peer_id=identity.peer_id, host="127.0.0.1", port=1234, certificate=b"certificate"),
        issued_ms=now_ms,
        expires_ms=now_ms + 30_000,
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def peer(name: str, start: int, stop: int) -> PeerInfo:
    return PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_signed_record_says_what_its_peer_said():
    identity = Identity()
    info = records.verify(records.sign(make_record(identity, 3, 7), identity))
    assert (info.peer_id, info.blocks, info.model) == (identity.peer_id, (3, 7), "demo")


def forged() -> bytes:
    return records.sign(make_record(Identity()), Identity())


def changed_after_signing() -> bytes:
    identity = Identity()
    signed = pb.SignedRecord.FromString(records.sign(make_record(identity), identity))
    signed.payload = make_record(identity, stop=30).SerializeToString()
    return signed.SerializeToString()


def unsigned() -> bytes:
    return pb.SignedRecord(payload=make_record(Identity()).SerializeToString()).SerializeToString()


def of_own_making(**changes: object) -> bytes:
    identity = Identity()
    return records.sign(make_record(identity, **changes), identity)


BAD_RECORDS = {
    "forged": forged,
    "changed": changed_after_signing,
    "unsigned": unsigned,
    "junk": lambda: b"\xff" * 100,
    "empty": lambda: b"",
    "oversized": lambda: of_own_making(software="x" * 5000),
    "expired": lambda: of_own_making(expires_ms=1),
    "from the future": lambda: of_own_making(issued_ms=int(time.time() * 1000) + 3_600_000),
    "immortal": lambda: of_own_making(expires_ms=int(time.time() * 1000) + 86_400_000),
    "reversed range": lambda: of_own_making(start=9, stop=3),
    "range outside the model": lambda: of_own_making(stop=31),
    "of another version": lambda: of_own_making(version=99),
}


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_bad_record_is_refused(kind):
    with pytest.raises(InvalidRequest):
        records.verify(BAD_RECORDS[kind]())


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_verifier(data):
    with pytest.raises(InvalidRequest):
        records.verify(data)


# --- the directory ---------------------------------------------------------------------------------------------------


def test_a_record_is_found_by_others_until_its_peer_says_goodbye():
    async def scenario():
        identity = Identity()
        async with TwoNodes() as (first, second):
            record = make_record(identity)
            await first.publish(record, identity)
            found = await second.peers("demo")
            await first.withdraw(record, identity)
            return found, await second.peers("demo"), await second.peers("another model")

    found, after, other = asyncio.run(scenario())
    assert [info.blocks for info in found] == [(0, 10)]
    assert after == []
    assert other == []


def test_a_peer_that_stops_refreshing_is_gone_when_its_record_expires():
    async def scenario():
        identity = Identity()
        async with TwoNodes() as (first, second):
            await first.publish(make_record(identity), identity, life_s=1.0)
            before = await second.peers("demo")
            await asyncio.sleep(1.2)
            return before, await second.peers("demo")

    before, after = asyncio.run(scenario())
    assert len(before) == 1
    assert after == []


def test_bad_records_are_ignored_and_counted_by_honest_nodes():
    async def scenario():
        identity = Identity()
        async with TwoNodes() as (first, second):
            await first.publish(make_record(identity), identity)
            rogue = await DHTNode.create(  # checks nothing, stores anything
                initial_peers=await first.addresses(), client_mode=True, nat_port_map=False, auto_nat=False
            )
            expires = time.time() + 30
            stored = [
                await rogue.store(key="swarm/v1/demo", subkey=f"fake{index}", value=make(), expiration_time=expires)
                for index, make in enumerate(BAD_RECORDS.values())
            ]
            good = records.sign(make_record(identity), identity)
            stored.append(  # a good record under another name, with a longer life, and without a subkey
                await rogue.store(key="swarm/v1/demo", subkey="thief", value=good, expiration_time=expires)
            )
            late = expires + 90
            stored.append(
                await rogue.store(key="swarm/v1/demo", subkey=identity.peer_id, value=good, expiration_time=late)
            )
            stored.append(await rogue.store(key="swarm/v1/demo", value=good, expiration_time=late))
            await rogue.shutdown()
            return stored, first.rejections.count + second.rejections.count, await second.peers("demo")

    stored, rejected, found = asyncio.run(scenario())
    assert not any(stored)
    assert rejected >= len(stored)
    assert [info.blocks for info in found] == [(0, 10)]


def test_an_unreachable_address_and_a_taken_port_are_named():
    async def scenario():
        first = await Directory.join()
        (address, *_) = await first.addresses()
        taken = int(address.split("/")[4])
        with pytest.raises(AddressInUse, match=str(taken)):
            await Directory.join(port=taken)
        await first.leave()
        with pytest.raises(PeerUnreachable, match="no peer answers at"):
            await Directory.join([address], client=True)
        with pytest.raises(InvalidRequest, match="not a peer address"):
            await Directory.join(["localhost:1234"], client=True)

    asyncio.run(scenario())


# --- this machine ----------------------------------------------------------------------------------------------------


def test_processes_on_one_machine_find_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    with announced(["/ip4/127.0.0.1/tcp/1/p2p/x"]):
        assert known_addresses() == ["/ip4/127.0.0.1/tcp/1/p2p/x"]
        (tmp_path / "nodes" / "999999999.json").write_text('{"pid": 999999999, "started": 1, "addresses": ["dead"]}')
        (tmp_path / "nodes" / "junk.json").write_text("{")
        assert known_addresses() == ["/ip4/127.0.0.1/tcp/1/p2p/x"]
    assert known_addresses() == []


def test_two_peers_on_one_machine_have_different_keys_and_keep_them(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    with claimed_identity() as (first, _), claimed_identity() as (second, _):
        assert first.peer_id != second.peer_id
    with claimed_identity() as (again, _):
        assert again.peer_id == first.peer_id


# --- the chain -------------------------------------------------------------------------------------------------------

ranges = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda r: r[0] < r[1]), max_size=7)


def brute_force(peers: list[PeerInfo], num_blocks: int) -> int | None:
    """The fewest hops of any chain, by trying all of them."""
    for length in range(1, len(peers) + 1):
        for chain in itertools.permutations(peers, length):
            block = 0
            for hop in chain:
                if not hop.start <= block < hop.stop:
                    break
                block = hop.stop
            else:
                if block >= num_blocks:
                    return length
    return None


@given(ranges, st.integers())
def test_the_chain_covers_the_model_with_the_fewest_hops(blocks, seed):
    peers = [peer(str(index), *r) for index, r in enumerate(blocks)]
    best = brute_force(peers, 12)
    if best is None:
        with pytest.raises(NoRoute):
            fewest_hops(peers, 12, random.Random(seed))
        return
    chain = fewest_hops(peers, 12, random.Random(seed))
    assert len(chain) == best
    assert [hop.start for hop in chain] == [0] + [hop.stop for hop in chain[:-1]]
    assert chain[-1].stop == 12
    assert all(hop.peer.start <= hop.start < hop.stop <= hop.peer.stop for hop in chain)


@given(ranges)
def test_missing_blocks_are_those_that_nobody_serves(blocks):
    gaps = missing_blocks([peer("x", *r) for r in blocks], 12)
    missing = {block for start, stop in gaps for block in range(start, stop)}
    assert missing == set(range(12)) - {block for start, stop in blocks for block in range(start, stop)}


def test_the_error_names_the_gap_and_the_command_that_fills_it():
    with pytest.raises(NoRoute, match=r"4:6.*--blocks 4:6"):
        fewest_hops([peer("a", 0, 4), peer("b", 6, 12)], 12, random.Random(0))
