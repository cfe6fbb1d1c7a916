"""Announcements of proven cheating: which the directory takes, and what a client makes of them. The DHT is real."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace

import msgpack
import pytest
from hivemind.dht.node import DHTNode
from hypothesis import given
from hypothesis import strategies as st

from helpers import TwoNodes
from swarm.errors import InvalidRequest, NoRoute, PeerUnreachable
from swarm.peers import convictions
from swarm.peers.bounded_storage import MAX_PER_ANNOUNCER, MAX_PER_MODEL, BoundedStorage
from swarm.peers.convictions import Bundle, Conviction
from swarm.peers.directory import Directory
from swarm.peers.record import MAX_LIFE_S
from swarm.peers.table import PeerTable
from swarm.peers.terms import Terms
from swarm.verify.fraud.inbox import MAX_PER_ACCUSED, FraudInbox
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from swarm.wire.tasks import TaskSet

CHEAT, WITNESS = Identity(), Identity()
HOLDER = pb.Endpoint(peer_id=WITNESS.peer_id, host="127.0.0.1", port=1234, certificate=b"certificate")
KEY = convictions.dht_key("demo")


def now_ms() -> int:
    return int(time.time() * 1000)


def conviction(witness: Identity = WITNESS, **changes: object) -> Conviction:
    said = Conviction(
        "demo",
        CHEAT.peer_id,
        witness.peer_id,
        "equivocation",
        b"two receipts",
        issued_ms=now_ms(),
        expires_ms=now_ms() + 60_000,
    )
    return replace(said, **changes)


def signed(witness: Identity = WITNESS, **changes: object) -> bytes:
    return convictions.sign(conviction(witness, **changes), witness)


# --- the form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evidence", [
    {"proof": bytes(800)}, {"kind": "audit", "proof": b"", "bundle": Bundle(bytes(32), 10**7, HOLDER)},
])  # fmt: skip
def test_a_signed_conviction_says_what_its_announcer_said(evidence):
    said = conviction(**evidence)
    assert convictions.verify(convictions.sign(said, WITNESS)) == said


def raw(*fields: object) -> bytes:
    payload = msgpack.packb(list(fields))
    signature = WITNESS.sign(convictions._DOMAIN, payload)
    return pb.SignedRecord(payload=payload, signature=signature).SerializeToString()


def held_by(**changes: object) -> bytes:
    holder = pb.Endpoint()
    holder.CopyFrom(HOLDER)
    for name, value in changes.items():
        setattr(holder, name, value)
    return signed(proof=b"", bundle=Bundle(bytes(32), 1, holder))


def replayed_in_another_name() -> bytes:
    """Somebody else's words, under one's own signature."""
    theirs = pb.SignedRecord.FromString(signed())
    theirs.signature = Identity().sign(convictions._DOMAIN, theirs.payload)
    return theirs.SerializeToString()


def from_another_domain() -> bytes:
    payload = pb.SignedRecord.FromString(signed()).payload
    signature = WITNESS.sign(b"swarm/peer-record/v1", payload)
    return pb.SignedRecord(payload=payload, signature=signature).SerializeToString()


BAD = {
    "forged": lambda: convictions.sign(conviction(), Identity()),
    "replayed in another name": replayed_in_another_name,
    "signed for another purpose": from_another_domain,
    "unsigned": lambda: pb.SignedRecord(payload=pb.SignedRecord.FromString(signed()).payload).SerializeToString(),
    "junk": lambda: b"\xff" * 100,
    "empty": lambda: b"",
    "not msgpack": lambda: raw_bytes(b"\xc1"),
    "a deep nest": lambda: raw_bytes(b"\x91" * 3000),
    "too few fields": lambda: raw(1, "demo"),
    "other types": lambda: raw(1, "demo", b"accused", 7, "audit", 0, 2**60, b"proof", b"", 0, b""),
    "of another version": lambda: raw(
        2, "demo", CHEAT.peer_id, WITNESS.peer_id, "audit", now_ms(), now_ms() + 60_000, b"proof", b"", 0, b""
    ),
    "expired": lambda: signed(expires_ms=now_ms() - 1),
    "from the future": lambda: signed(issued_ms=now_ms() + 3_600_000, expires_ms=now_ms() + 3_660_000),
    "immortal": lambda: signed(expires_ms=now_ms() + (MAX_LIFE_S + 60) * 1000),
    "of an unknown kind": lambda: signed(kind="heresy"),
    "of oneself": lambda: signed(accused=WITNESS.peer_id),
    "of a strange name": lambda: signed(accused="a/b" * 10),
    "without evidence": lambda: signed(proof=b""),
    "with two kinds of evidence": lambda: signed(bundle=Bundle(bytes(32), 1, HOLDER)),
    "with a short digest": lambda: signed(proof=b"", bundle=Bundle(bytes(31), 1, HOLDER)),
    "with an empty bundle": lambda: signed(proof=b"", bundle=Bundle(bytes(32), 0, HOLDER)),
    "with a huge bundle": lambda: signed(proof=b"", bundle=Bundle(bytes(32), 2**40, HOLDER)),
    "held nowhere": lambda: held_by(host=""),
    "held at no port": lambda: held_by(port=0),
    "held by nobody": lambda: held_by(certificate=b""),
}  # fmt: skip


def raw_bytes(payload: bytes) -> bytes:
    signature = WITNESS.sign(convictions._DOMAIN, payload)
    return pb.SignedRecord(payload=payload, signature=signature).SerializeToString()


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_conviction_is_refused(kind):
    with pytest.raises(InvalidRequest):
        convictions.verify(BAD[kind]())


def test_an_oversized_conviction_is_neither_made_nor_read():
    with pytest.raises(InvalidRequest, match="as a bundle"):
        signed(proof=bytes(4096))
    with pytest.raises(InvalidRequest, match="at most 4096"):
        convictions.verify(bytes(4097))


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_verifier(data):
    for bad in (data, raw_bytes(data)):
        with pytest.raises(InvalidRequest):
            convictions.verify(bad)


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
    monkeypatch.setattr("swarm.peers.bounded_storage.MAX_PER_MODEL", 20)

    async def scenario():
        async with TwoNodes() as (first, second):
            by_one = [await first.accuse(conviction(accused=Identity().peer_id), WITNESS) for _ in range(12)]
            node = second._node
            for witness in (Identity() for _ in range(40)):  # fresh keys
                said = conviction(witness)
                await node.store(KEY, convictions.sign(said, witness), said.expires_ms / 1000, subkey=said.subkey)
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


# --- what a client makes of them -------------------------------------------------------------------------------------


def judged(check: Callable[[Conviction], Awaitable[bool | None]], *said: Conviction) -> ReputationStore:
    """What a client knows after it heard `said`, twice, all by the same witness."""

    async def scenario() -> ReputationStore:
        reputation = ReputationStore()
        inbox = FraudInbox(reputation, check)
        working = asyncio.create_task(inbox.work())
        for _ in range(2):
            accusations = {one.subkey: convictions.sign(one, WITNESS) for one in said}
            inbox.consider(accusations, {one.accused for one in said})
            await asyncio.sleep(0.05)
        working.cancel()
        return reputation

    return asyncio.run(scenario())


def test_a_proven_cheat_is_shunned_for_good_and_its_proof_is_checked_once():
    asked: list[Conviction] = []

    async def check(said: Conviction) -> bool:
        asked.append(said)
        return True

    reputation = judged(check, conviction())
    assert reputation.is_convicted(CHEAT.peer_id)
    assert reputation.standing(WITNESS.peer_id).is_credible
    assert len(asked) == 1


def test_a_false_accusation_counts_against_its_announcer_who_is_not_heard_again():
    asked: list[Conviction] = []

    async def check(said: Conviction) -> bool:
        asked.append(said)
        return False

    others = [conviction(accused=Identity().peer_id) for _ in range(3)]
    reputation = judged(check, conviction(), *others)
    assert not reputation.is_shunned(CHEAT.peer_id)
    assert not reputation.standing(CHEAT.peer_id).is_suspect
    assert not reputation.standing(WITNESS.peer_id).is_credible
    assert reputation.slowdown(WITNESS.peer_id) > reputation.slowdown(CHEAT.peer_id)
    assert reputation.audit_rate(CHEAT.peer_id) == 0.2

    async def again() -> int:
        inbox = FraudInbox(reputation, cannot_tell)
        inbox.consider({conviction().subkey: signed(proof=b"another")}, {CHEAT.peer_id})
        return inbox._proofs.qsize()

    assert asyncio.run(again()) == 0


async def cannot_tell(said: Conviction) -> None:
    pass


async def cannot_be_fetched(said: Conviction) -> None:
    raise PeerUnreachable("nobody holds the evidence")


@pytest.mark.parametrize("check", [cannot_tell, cannot_be_fetched])
def test_what_cannot_be_checked_makes_a_suspect_of_the_accused_and_nothing_worse(check):
    reputation, stranger = judged(check, conviction()), ReputationStore()
    assert reputation.standing(CHEAT.peer_id).is_suspect
    assert not reputation.is_shunned(CHEAT.peer_id)
    assert reputation.slowdown(CHEAT.peer_id) == pytest.approx(stranger.slowdown(CHEAT.peer_id))
    assert reputation.audit_rate(CHEAT.peer_id) == 1.0
    assert reputation.standing(WITNESS.peer_id).is_credible


def test_a_flood_about_one_peer_leaves_room_for_what_is_said_of_another():
    async def scenario() -> list[str]:
        inbox, victim, flood = (
            FraudInbox(ReputationStore(), cannot_tell),
            Identity().peer_id,
            [Identity() for _ in range(50)],
        )
        accusations = {conviction(one, accused=victim).subkey: signed(one, accused=victim) for one in flood}
        inbox.consider(accusations | {conviction().subkey: signed()}, {victim, CHEAT.peer_id, "somebody else"})
        inbox.consider({"junk": b"junk", "a/b": b"junk"}, {"a"})
        return [inbox._proofs.get_nowait().accused for _ in range(inbox._proofs.qsize())]

    waiting = asyncio.run(scenario())
    assert len(waiting) == MAX_PER_ACCUSED + 1
    assert CHEAT.peer_id in waiting


def test_a_client_stops_using_a_peer_as_soon_as_a_proof_against_it_is_announced(monkeypatch, tmp_path):
    """The client's own table of a real directory; only the check of the proof is the test's."""
    monkeypatch.setattr("swarm.verify.fraud.inbox.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("swarm.peers.table.REFRESH_S", 0.1)
    config = SimpleNamespace(num_blocks=10, hidden_size=4)
    checkpoint = SimpleNamespace(name="demo", revision="r", config=config)
    endpoint = pb.Endpoint(peer_id=CHEAT.peer_id, host="127.0.0.1", port=1, certificate=b"certificate")
    record = pb.PeerRecord(
        version=1,
        peer_id=CHEAT.peer_id,
        model="demo",
        revision="r",
        stop=10,
        num_blocks=10,
        dtype="float32",
        endpoint=endpoint,
    )

    async def is_proof(said: Conviction) -> bool:
        return said.proof == b"two receipts"

    async def scenario() -> tuple[list[str], str]:
        first = await Directory.join()
        await first.publish(record, CHEAT)
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
