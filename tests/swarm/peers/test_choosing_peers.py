"""Whom a client lets compute: by peer id, or by evidence that its own verifier accepts; also when a peer has died."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import fake_quotes
import swarm
from helpers import listed
from swarm.client.background import wait
from swarm.peers import record as records
from swarm.route.costs import BATCHES, Link, PeerCosts
from swarm.route.peer import MAX_LINKS, PeerInfo
from swarm.verify.attestation import attest, load_attester
from swarm.verify.attested import Attested
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.facts import MAX_EVIDENCE_BYTES, Facts
from swarm.wire.identity import Identity
from swarm.wire.tls import MAX_CERTIFICATE_BYTES

PROMPT = "The capital of France is"
TOKENS = 60


@pytest.fixture(scope="module")
def local():
    """Two peers with evidence of their own, and others that serve the same: see `crooks`."""
    with pytest.MonkeyPatch.context() as patch:
        path = f"{Path(__file__).parents[2] / 'support' / 'trust'}:{os.environ.get('PYTHONPATH', '')}"
        patch.setenv("PYTHONPATH", path)  # where the servers find the plug-in
        with swarm.LocalSwarm(
            "demo", ["0:15", "15:30"], quant="int4", threads=1, attestation="fake_quotes:attest"
        ) as local:
            yield local


@pytest.fixture(scope="module")
def client(local):
    """Any peer will do for it."""
    with swarm.Client("demo", local.peers) as client:
        yield client


@pytest.fixture(scope="module")
def crooks(local, client) -> dict[str, str]:
    """Peer ids of one that replays the last peer's quote, and one whose kernels were changed."""
    victim = local.servers[1].peer_id
    (quote,) = [peer.attestation for peer in listed(client) if peer.peer_id == victim]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOLEN_QUOTE", quote.hex())
        replaying = local.start("15:30", attestation="fake_quotes:replay")
    changed = local.start("29:30", attestation="fake_quotes:attest_other_kernels")
    return {"replaying": replaying.peer_id, "changed": changed.peer_id}


def test_a_client_uses_only_peers_whose_evidence_its_verifier_accepts(local, crooks):
    honest = {server.peer_id for server in local.servers} - set(crooks.values())
    with swarm.Client("demo", local.peers, attestation=fake_quotes.verify) as client:
        assert {peer.peer_id for peer in listed(client)} == honest | set(crooks.values())
        assert {peer.peer_id for peer in client.parts.router.table.usable()} == honest
        assert {hop.peer_id for hop in client.generate(PROMPT, max_new_tokens=2).route} == honest


def test_a_client_whose_verifier_accepts_nobody_is_told_so(local):
    def broken(facts: Facts, evidence: bytes) -> bool:
        raise RuntimeError("no connection to the hardware's maker")

    for verifier in (broken, lambda facts, evidence: False):
        with (
            swarm.Client("demo", local.peers, attestation=verifier, coverage_timeout_s=0.0) as client,
            pytest.raises(swarm.NoRoute, match="with evidence that its verifier accepts"),
        ):
            client.generate(PROMPT)


@pytest.mark.slow
def test_the_command_line_takes_peers_to_use_peers_to_leave_out_and_blocks_to_keep(local, crooks):
    trusted = [server.peer_id for server in local.servers[:2]]
    command = [sys.executable, "-m", "swarm", "generate", PROMPT, "--max-new-tokens", "2", "--json", "--peers"]
    command += [*local.peers, "--wait", "0"]
    options = [["--trusted", *trusted, "--local-blocks", "2:1"], ["--excluded", trusted[0]]]
    running = [subprocess.Popen(command + more, stdout=-1, stderr=-1, text=True) for more in options]
    (output, _), (_, error) = [process.communicate(timeout=90) for process in running]
    route = json.loads(output)["route"]
    assert [hop["peer_id"] for hop in route] == trusted
    assert [hop["blocks"] for hop in route] == [[2, 15], [15, 29]]
    assert "no peer serves blocks 0:15" in error


def test_a_replacement_never_comes_from_outside_a_clients_lists(local, client, crooks):
    """The last peer dies in the middle of four generations. The one that takes anybody goes on with a crook; those that
    accept only certain peers, or exclude the crooks, end instead."""
    trusted, victim = [server.peer_id for server in local.servers[:2]], local.servers[1]
    terms = [{"trusted": trusted}, {"excluded": crooks.values()}, {"attestation": fake_quotes.verify}]
    with ExitStack() as stack:
        strict = [
            stack.enter_context(swarm.Client("demo", local.peers, coverage_timeout_s=0.5, max_reroutes=1, **more))
            for more in terms
        ]
        streams = [one.stream(PROMPT, max_new_tokens=TOKENS, ignore_eos=True) for one in [*strict, client]]
        for stream in streams:
            next(stream)
        victim.kill()
        *ended, replaced = streams
        for stream in ended:
            with pytest.raises(swarm.NoRoute):
                list(stream)
            assert not {hop.peer_id for hop in stream.generation.route} & set(crooks.values())
            assert len(stream.generation.token_ids) < TOKENS
        list(replaced)
        assert replaced.generation.route[-1].peer_id == crooks["replaying"]
        assert len(replaced.generation.token_ids) == TOKENS


# --- evidence and facts ----------------------------------------------------------------------------------------------


def full_record(identity: Identity, evidence: bytes) -> pb.PeerRecord:
    """As large as a record of the demo model gets."""
    endpoint = pb.Endpoint(peer_id=identity.peer_id, host="h" * 60, port=65535, certificate=bytes(400))
    links = {Identity().peer_id: Link(0.1, 1e9) for _ in range(MAX_LINKS)}
    costs = PeerCosts(decode_s=(1.0,) * len(BATCHES), prefill_s=1.0, queue_s=1.0, started_ms=2**41,
                      links=links)  # fmt: skip
    now_ms = 1_800_000_000_000
    return pb.PeerRecord(
        version=records.VERSION, peer_id=identity.peer_id, model="m" * 60, revision="r" * 40, start=1000, stop=2000,
        num_blocks=2000, dtype="bfloat16", quant="int4-g64", endpoint=endpoint, state=pb.MOVING, issued_ms=now_ms,
        expires_ms=now_ms + 30_000, software="swarm-inference 10.10.10", numerics_id="n" * 80, max_blocks=2000,
        weights=bytes(32), costs=records.costs_message(costs), attestation=evidence,
        load=pb.Load(free_pages=2**31, total_pages=2**31, sessions=1000, queued_tokens=2**20, decoding=1000),
    )  # fmt: skip


def test_a_record_with_all_that_it_may_hold_has_room_for_the_largest_evidence():
    identity = Identity()
    record = full_record(identity, bytes(MAX_EVIDENCE_BYTES))
    assert len(record.endpoint.certificate) < MAX_CERTIFICATE_BYTES
    info = records.verify(records.sign(record, identity), record.issued_ms / 1000)
    assert info.attestation == record.attestation
    record.attestation += b"x"
    record.costs.ClearField("links")
    with pytest.raises(swarm.InvalidRequest, match="bytes of attestation"):
        records.verify(records.sign(record, identity), record.issued_ms / 1000)


def test_facts_differ_where_anything_that_evidence_should_cover_differs():
    record = full_record(Identity(), b"")
    changes = {"peer_id": "x", "model": "x", "revision": "x", "start": 1, "stop": 1001, "quant": "none",
               "dtype": "float32", "numerics_id": "x", "weights": b"x", "software": "x"}  # fmt: skip
    digests = {Facts.of(record).digest()}
    for name, value in changes.items():
        changed = pb.PeerRecord.FromString(record.SerializeToString())
        setattr(changed, name, value)
        digests.add(Facts.of(changed).digest())
    record.endpoint.certificate = b"x"
    digests.add(Facts.of(record).digest())
    assert len(digests) == len(changes) + 2
    record.load.sessions += 1  # changes by the second
    record.quote.decode += 1
    assert Facts.of(record).digest() in digests


def test_a_verifier_is_asked_once_of_each_claim_and_again_of_a_changed_one():
    asked = []
    attested = Attested(lambda facts, evidence: bool(asked.append(facts)) or evidence == b"good")
    record = full_record(Identity(), b"good")
    peer = PeerInfo.of(record)
    assert not attested.accept(peer)
    for _ in range(2):
        wait(attested.look([peer]))
        assert attested.accept(peer)
    record.attestation = b"bad"
    wait(attested.look([PeerInfo.of(record)]))
    assert not attested.accept(PeerInfo.of(record))
    assert len(asked) == 2


@pytest.mark.parametrize(
    "name",
    [
        "fake_quotes",
        "fake_quotes:",
        "no_such_module:attest",
        ":attest",
        "",
        "json:nothing",
        "fake_quotes:_HARDWARE_KEY",
    ],
)
def test_a_plug_in_that_is_none_is_named(name):
    with pytest.raises(swarm.InvalidRequest, match="plug-in"):
        load_attester(name)


@pytest.mark.parametrize(("given", "message"), [(b"", "0 bytes"), (bytes(9999), "9999 bytes"), ("text", "a str")])
def test_evidence_is_bytes_that_fit_into_a_record(given, message):
    with pytest.raises(swarm.InvalidRequest, match=message):
        attest(lambda facts: given, Facts.of(pb.PeerRecord()))


def test_a_plug_in_that_fails_is_one_line_to_the_servers_owner():
    with pytest.raises(swarm.InvalidRequest, match="failed: ZeroDivisionError"):
        attest(lambda facts: 1 // 0, Facts.of(pb.PeerRecord()))
