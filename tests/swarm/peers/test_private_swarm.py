"""A private swarm: members find one another and work, and outsiders get nothing."""

import asyncio
import json
import subprocess
import sys
import time

import grpc
import pytest
from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure, P2PHandlerError
from hivemind.proto import dht_pb2
from hivemind.utils import MSGPackSerializer

import swarm
from helpers import listed
from swarm.client.background import wait
from swarm.peers import record as records
from swarm.peers.directory import Directory
from swarm.server.config import ServerConfig
from swarm.server.server import Server
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret, find_secret
from swarm.wire.tls import make_certificate
from swarm.wire.transport import Peer

SECRET, OTHER = Secret.generate(), Secret.generate()


@pytest.fixture(scope="module")
def local():
    with swarm.LocalSwarm("demo", ["0:15", "15:30"], secret=SECRET, quant="int4", threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def member(local):
    with swarm.Client("demo", local.peers, secret=SECRET) as client:
        yield client


# --- members ---------------------------------------------------------------------------------------------------------


def test_a_member_generates_and_its_hops_push_to_one_another(member):
    out = member.generate("The capital of France is", max_new_tokens=4)
    assert "Paris" in out.text
    assert [hop.blocks for hop in out.route] == [(0, 15), (15, 30)]
    pushed = [wait(member.parts.router.table.connection_to(peer).status(5.0)).bytes_pushed for peer in listed(member)]
    assert sum(pushed) > 0


def test_nodes_that_joined_through_different_members_find_one_another():
    """Each joins through the one before, which leaves in the end: what they know of the others it has told them."""

    async def chain() -> list[set[str]]:
        nodes, secret, peers, names = [], Secret(SECRET), [], set()
        for _ in range(4):
            nodes.append(await Directory.join(peers, secret=secret))
            peers = await nodes[-1].addresses()
        first, *middle, last = nodes
        await asyncio.gather(*(node.leave() for node in middle))
        for node in (first, last):
            identity = Identity()
            names.add(identity.peer_id)
            await node.publish(
                pb.PeerRecord(version=records.VERSION, peer_id=identity.peer_id, model="demo", stop=1, num_blocks=1,
                              state=pb.JOINING), identity
            )  # fmt: skip
        seen = [{peer.peer_id for peer in await node.peers("demo", joining=True)} for node in (first, last)]
        await asyncio.gather(first.leave(), last.leave())
        return [names, *seen]

    names, *seen = wait(chain())
    assert seen == [names, names]


@pytest.mark.slow
def test_the_status_verb_needs_the_secret_and_takes_it_from_a_file(local, tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    command = [sys.executable, "-m", "swarm", "status", "--json", "--peers", *local.peers]
    given = [["--secret-file", str(file)], []]
    running = [subprocess.Popen(command + more, stdout=-1, stderr=-1, text=True) for more in given]
    (output, _), (nothing, error) = [process.communicate(timeout=60) for process in running]
    assert len(json.loads(output)["peers"]) == 2
    assert nothing == ""
    assert error.startswith("error: this swarm is private")


def test_the_secret_is_not_among_the_arguments_that_all_users_of_a_machine_can_see(local):
    for server in local.servers:
        with open(f"/proc/{server.pid}/cmdline") as arguments:
            assert SECRET not in arguments.read()


# --- outsiders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "message"),
    [(None, "is private; give its secret"), (OTHER, "its secret is another than the one given")],
    ids=["none", "wrong"],
)
def test_neither_client_nor_server_gets_in_without_the_right_secret(local, tmp_path, monkeypatch, secret, message):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    with pytest.raises(swarm.PrivateSwarm, match=message):
        swarm.Client("demo", local.peers, secret=secret)
    config = ServerConfig(blocks=(0, 1), peers=tuple(local.peers), secret=find_secret(secret))
    with pytest.raises(swarm.PrivateSwarm, match=message):
        wait(Server(config).__aenter__())


def test_whoever_knows_a_peers_address_and_certificate_cannot_call_it(member):
    """With no certificate, with one of his own making, and with one of another swarm."""
    endpoint = listed(member)[0].endpoint
    for certificate in (None, make_certificate(), make_certificate(Secret(OTHER))):

        async def call(certificate=certificate) -> None:
            peer = Peer(endpoint, 2**20, certificate)
            try:
                with pytest.raises(swarm.PeerUnreachable):
                    await peer.status(timeout_s=2.0)
                for stream in (peer.session(), peer.push()):
                    with pytest.raises(grpc.RpcError):
                        await stream.read()
            finally:
                await peer.close()

        wait(call())


def outsiders_record() -> tuple[pb.PeerRecord, Identity]:
    """In order, but for the secret."""
    identity, now_ms = Identity(), int(time.time() * 1000)
    endpoint = pb.Endpoint(
        peer_id=identity.peer_id, host="127.0.0.1", port=9, certificate=make_certificate().certificate_der
    )
    return pb.PeerRecord(
        version=records.VERSION, peer_id=identity.peer_id, model="demo", start=0, stop=30, num_blocks=30,
        endpoint=endpoint, issued_ms=now_ms, expires_ms=now_ms + 60_000,
    ), identity  # fmt: skip


def test_a_raw_dht_node_can_neither_read_nor_list_nor_store(local, member):
    record, identity = outsiders_record()

    async def attack() -> None:
        p2p = await P2P.create(initial_peers=local.peers, dht_mode="client", nat_port_map=False, auto_nat=False)
        node = await DHTNode.create(p2p=p2p, initial_peers=local.peers, ensure_bootstrap_success=False)
        try:
            key = "swarm/v1/demo"
            assert await node.get(key, latest=True) is None
            member_id = PeerID.from_base58(local.peers[0].rsplit("/", 1)[1])
            requests = {
                "rpc_ping": (dht_pb2.PingRequest(), dht_pb2.PingResponse),
                "rpc_find": (dht_pb2.FindRequest(keys=[bytes(20)]), dht_pb2.FindResponse),
                "rpc_store": (_store_request(key, record, identity), dht_pb2.StoreResponse),
            }
            for name, (request, answer) in requests.items():
                with pytest.raises(P2PHandlerError, match="private"):
                    await p2p.call_protobuf_handler(member_id, f"DHTProtocol.{name}", request, answer)
        finally:
            await node.shutdown()
            await p2p.shutdown()

    wait(attack())
    assert {peer.peer_id for peer in listed(member)} == {server.peer_id for server in local.servers}


def test_libp2p_tells_an_outsider_of_no_other_member_than_the_one_he_knows(local):
    """As it does in an open swarm, where it has to: the servers' nodes are found through each other."""

    async def others(peers: list[str], ids: list[str]) -> list[str]:
        p2p = await P2P.create(initial_peers=peers, dht_mode="client", nat_port_map=False, auto_nat=False)
        found = []
        for peer_id in ids:
            try:
                await p2p._client.connect(PeerID.from_base58(peer_id), [])
                found.append(peer_id)
            except ControlFailure:
                pass
        await p2p.shutdown()
        return found

    async def in_an_open_swarm() -> None:
        first = await Directory.join()
        second = await Directory.join(await first.addresses())
        peer_id = (await second.addresses())[0].rsplit("/", 1)[1]
        async with asyncio.timeout(60):
            while await others(await first.addresses(), [peer_id]) != [peer_id]:  # libp2p's table lags behind
                await asyncio.sleep(0.2)
        await second.leave()
        await first.leave()

    wait(in_an_open_swarm())
    assert wait(others(local.peers, [server.peer_id for server in local.servers])) == []


def _store_request(key: str, record: pb.PeerRecord, identity: Identity) -> dht_pb2.StoreRequest:
    return dht_pb2.StoreRequest(
        keys=[DHTID.generate(source=key).to_bytes()],
        subkeys=[MSGPackSerializer.dumps(record.peer_id)],
        values=[MSGPackSerializer.dumps(records.sign(record, identity))],
        expiration_time=[record.expires_ms / 1000],
        in_cache=[False],
    )


def test_a_secret_for_a_swarm_that_is_open_to_all_is_an_error(tmp_path, monkeypatch):
    async def join() -> None:
        public = await Directory.join()
        try:
            await Directory.join(await public.addresses(), client=True, secret=Secret(SECRET))
        finally:
            await public.leave()

    with pytest.raises(swarm.PrivateSwarm, match="not private; leave the secret out"):
        wait(join())


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (None, Secret(SECRET), "is private; give its secret"),
        (Secret(SECRET), None, "not private; leave the secret out"),
    ],
    ids=["became private", "became open"],
)
def test_who_was_in_the_swarm_before_does_not_begin_one_of_its_own_where_the_peer_that_is_named_refuses_it(
    tmp_path, before, after, message
):
    """Only an outage, whose end is waited for, is a reason to be alone."""

    async def scenario() -> None:
        key, options = tmp_path / "key", {"identity_path": tmp_path / "own", "memory": tmp_path / "met.json"}
        first = await Directory.join(identity_path=key, secret=before)
        told = await first.addresses()
        member = await Directory.join(told, secret=before, **options)
        await asyncio.gather(member.leave(), first.leave())
        first = await Directory.join(identity_path=key, port=int(told[0].split("/")[4]), secret=after)
        try:
            with pytest.raises(swarm.PrivateSwarm, match=message):
                await Directory.join(told, secret=before, **options)
        finally:
            await first.leave()

    wait(scenario())
