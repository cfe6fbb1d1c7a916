"""What members of a private swarm encrypt for one another, and secrets."""

import asyncio
import subprocess
import sys
from contextlib import suppress

import msgpack
import pytest
from hivemind.p2p import PeerID
from hivemind.proto import dht_pb2
from hivemind.utils.multiaddr import Multiaddr
from hypothesis import given
from hypothesis import strategies as st

import swarm
from swarm.home import announced, find_swarm, known_addresses
from swarm.peers.dht.daemon import Daemon, DaemonOptions
from swarm.peers.dht.private_p2p import AddressBook, PairCipher, PrivateP2P, unpack
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret, find_secret

SECRET, OTHER = Secret.generate(), Secret.generate()


# --- keys and messages -----------------------------------------------------------------------------------------------

CIPHER = PairCipher(Secret(SECRET))

ALICE, BOB, CAROL = (PeerID.from_base58(Identity().peer_id) for _ in range(3))


def test_an_encrypted_message_holds_for_one_sender_one_receiver_and_one_purpose():
    encrypted = CIPHER.encrypt(b"a message", ALICE, BOB, b"find")
    assert CIPHER.decrypt(encrypted, ALICE, BOB, b"find") == b"a message"
    assert b"a message" not in encrypted
    for sender, receiver, purpose in [
        (CAROL, BOB, b"find"),
        (ALICE, CAROL, b"find"),
        (BOB, ALICE, b"find"),
        (ALICE, BOB, b"store"),
    ]:
        with pytest.raises(swarm.PrivateSwarm):
            CIPHER.decrypt(encrypted, sender, receiver, purpose)
    with pytest.raises(swarm.PrivateSwarm):
        PairCipher(Secret(OTHER)).decrypt(encrypted, ALICE, BOB, b"find")


@given(st.binary(max_size=100))
def test_no_bytes_of_an_outsider_open(data):
    with pytest.raises(swarm.PrivateSwarm):
        CIPHER.decrypt(data, ALICE, BOB, b"find")


@given(
    st.binary(max_size=50)
    | st.recursive(
        st.integers(-(2**63), 2**63) | st.binary(max_size=200) | st.text(max_size=5) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.binary(), inner, max_size=3),
    ).map(lambda value: msgpack.packb([b"message", value], default=lambda _: 0))
)
def test_what_a_hostile_member_sends_is_a_message_or_refused(data):
    with suppress(swarm.InvalidRequest):
        message, addresses = unpack(data)
        assert isinstance(message, bytes)
        assert all(isinstance(name, bytes) for key, value in addresses.items() for name in [key, *value])


def test_a_nodes_own_word_on_its_addresses_counts_for_more_than_anothers():
    book = AddressBook()
    book.note({b"bob": [b"wrong"], b"carol": [b"here"]}, teller=b"alice")
    book.note({b"bob": [b"right"]}, teller=b"bob")
    book.note({b"bob": [b"wrong"], b"carol": [b"there"]}, teller=b"alice")
    assert book.of([b"bob", b"carol", b"dave"]) == {b"bob": [b"right"], b"carol": [b"here"]}
    for number in range(10_001):
        book.note({number.to_bytes(4, "big"): [b"x"] * 99}, teller=b"alice")
    assert len(book._known) == 10_000
    assert len(book.of([(10_000).to_bytes(4, "big")]).popitem()[1]) == 8


def test_an_answer_to_one_call_is_none_to_another():
    """A member in the middle, or one that is slow, cannot have an old answer taken for a new one."""

    async def exchange() -> None:
        secret, daemons = Secret(SECRET), [await Daemon.start(DaemonOptions(routes=False)) for _ in range(2)]
        server, caller = [await PrivateP2P.replicate(daemon.control, secret, listens=True) for daemon in daemons]
        addresses = [str(address).rsplit("/p2p/", 1)[0] for address in await server.get_visible_maddrs()]
        caller.introduce(server.peer_id, [Multiaddr(address) for address in addresses])
        kept = []

        async def answer(request: dht_pb2.PingRequest, context: object) -> dht_pb2.PingResponse:
            return dht_pb2.PingResponse(dht_time=7.0)

        encrypt = server._cipher.encrypt
        server._cipher.encrypt = lambda *args: kept.append(encrypt(*args)) or kept[0]  # always what it said first
        try:
            await server.add_protobuf_handler("ping", answer, dht_pb2.PingRequest)
            call = (server.peer_id, "ping", dht_pb2.PingRequest(), dht_pb2.PingResponse)
            assert (await caller.call_protobuf_handler(*call)).dht_time == 7.0
            with pytest.raises(swarm.PrivateSwarm):
                await caller.call_protobuf_handler(*call)
        finally:
            for p2p, daemon in zip((server, caller), daemons, strict=True):
                await p2p.shutdown()
                await daemon.stop()

    asyncio.run(exchange())


def test_a_secret_that_could_be_guessed_is_refused_and_a_generated_one_is_not(tmp_path, monkeypatch):
    with pytest.raises(swarm.InvalidRequest, match="can be guessed"):
        Secret("correct horse")
    assert Secret(f" {SECRET}\n").name == Secret(SECRET).name != Secret(OTHER).name
    with pytest.raises(swarm.InvalidRequest, match="cannot read the secret file"):
        find_secret(file=tmp_path / "missing")
    monkeypatch.setenv("SWARM_SECRET", SECRET)
    assert find_secret().name == Secret(SECRET).name
    printed = subprocess.run([sys.executable, "-m", "swarm", "secret"], capture_output=True, text=True, check=True)
    assert Secret(printed.stdout)


def test_swarms_on_one_machine_are_told_apart_by_their_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    address = f"/ip4/127.0.0.1/tcp/1/p2p/{Identity().peer_id}"
    with announced([address], Secret(SECRET)):
        assert known_addresses() == known_addresses(Secret(OTHER)) == []
        assert find_swarm(None, Secret(SECRET)) == [address]
        with pytest.raises(swarm.PrivateSwarm, match="is private; give its secret"):
            find_swarm(None)
        assert all(SECRET not in file.read_text() for file in (tmp_path / "nodes").iterdir())
