"""The directory of real nodes: found until goodbye, bad records ignored."""

import asyncio
import time

import pytest
from hivemind.dht.node import DHTNode

from helpers import TwoNodes
from records import BAD_RECORDS, make_record
from swarm.errors import AddressInUse, InvalidRequest, PeerUnreachable
from swarm.peers import record as records
from swarm.peers.directory import Directory
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity

# --- the directory ---------------------------------------------------------------------------------------------------


def test_a_record_is_found_by_others_until_its_peer_says_goodbye():
    async def scenario():
        identity = Identity()
        async with TwoNodes() as (first, second):
            record = make_record(identity)
            await first.publish(record, identity)
            found = await second.peers("demo")
            record.state = pb.LEAVING
            await first.publish(record, identity)
            return found, await second.peers("demo"), await second.peers("another model")

    found, after, other = asyncio.run(scenario())
    assert [info.blocks for info in found] == [(0, 10)]
    assert after == []
    assert other == []


def test_an_address_at_which_another_peer_answers_is_told_apart_from_one_at_which_nobody_does():
    async def scenario() -> list[str]:
        said = []
        async with TwoNodes() as (first, second):
            (there, *_), (named, *_) = await first.addresses(), await second.addresses()
            place, _, _ = there.rpartition("/")
            wrong = f"{place}/{named.rpartition('/')[2]}"
            await second.leave()
            for addresses in ([wrong], [named]):
                with pytest.raises(PeerUnreachable) as raised:
                    await Directory.join(addresses, client=True)
                said.append(str(raised.value))
            return [*said, place.removesuffix("/p2p")]

    other, nobody, place = asyncio.run(scenario())
    assert other == f"another peer than the one named answers at {place}; give its address as it prints it"
    assert nobody.startswith("no peer answers at ")


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
