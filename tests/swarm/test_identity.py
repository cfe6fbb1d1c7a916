"""What a model's weights are known by: digests of blocks, and who is believed to serve which."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

import swarm
from helpers import listed, wait_until
from swarm.cli import identity as cli
from swarm.client.background import wait
from swarm.errors import InvalidRequest, ModelError, RevisionMismatch
from swarm.model import digest_cache, open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import BlockId, block_digest, weights_root
from swarm.peers.directory import Directory
from swarm.peers.weights import KnownWeights
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.hop import HopFailed
from swarm.session.session import Session
from swarm.session.wanted import Wanted
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.merkle import merkle_root
from swarm.wire.identity import Identity

NUM_BLOCKS = 4
CHANGED = 2  # the block of which the copy differs


def root_by_the_book(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = root_by_the_book(leaves[:split]), root_by_the_book(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_a_merkle_root_is_that_of_the_rfc(leaves):
    assert merkle_root(leaves) == root_by_the_book(leaves)


# --- digests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory, demo_checkpoint) -> Path:
    """A small random model, with the demo's tokenizer."""
    folder = tmp_path_factory.mktemp("original") / "small"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=demo_checkpoint.config.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=NUM_BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    demo_checkpoint.load_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tampered(tmp_path_factory, original) -> Path:
    """The same, but for one weight of one block, between the bytes that a revision samples."""
    folder = tmp_path_factory.mktemp("tampered") / "small"
    shutil.copytree(original, folder)
    change_weight(folder)
    return folder


def change_weight(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    header_bytes = int.from_bytes(data[:8], "little")
    tensor = json.loads(data[8 : 8 + header_bytes])[f"model.layers.{CHANGED}.mlp.up_proj.weight"]
    data[8 + header_bytes + tensor["data_offsets"][0] + 1000] ^= 1
    file.write_bytes(data)


def digests_of(folder: Path) -> list[bytes]:
    checkpoint = open_checkpoint(str(folder))
    return [block_digest(checkpoint, index) for index in range(NUM_BLOCKS)]


def test_one_bit_changes_the_digest_of_its_block_alone_where_the_revision_does_not_notice(original, tampered):
    assert open_checkpoint(str(original)).revision == open_checkpoint(str(tampered)).revision
    differing = [a != b for a, b in zip(digests_of(original), digests_of(tampered), strict=True)]
    assert differing == [index == CHANGED for index in range(NUM_BLOCKS)]


def test_blocks_and_configs_that_differ_have_other_digests_though_their_bytes_are_the_same(original, tmp_path):
    config = json.loads((original / "config.json").read_text())
    folder = tmp_path / "small"
    shutil.copytree(original, folder)
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert not set(digests_of(folder)) & set(digests_of(original))


def test_a_digest_means_the_same_in_every_version_of_this_software(demo_checkpoint):
    """Peers compare them. Change the domain in swarm/model/identity.py where they change."""
    digests = [block_digest(demo_checkpoint, index) for index in range(demo_checkpoint.config.num_blocks)]
    assert weights_root(digests).hex() == "35a8fec767eff7d73ad84103f325ee3c94b7d0d14a76f68e40c06f48d788a008"


def test_a_block_outside_the_model_has_no_digest(demo_checkpoint):
    for index in (-1, 30):
        with pytest.raises(ModelError, match="outside this model"):
            block_digest(demo_checkpoint, index)


def test_a_digest_is_kept_until_the_file_changes(original, tmp_path, monkeypatch):
    folder, cache = tmp_path / "small", DigestCache(tmp_path / "digests")
    shutil.copytree(original, folder)
    expected = digests_of(original)
    assert cache.digests(open_checkpoint(str(folder)), 0, NUM_BLOCKS) == expected
    with monkeypatch.context() as patch:
        patch.setattr(digest_cache, "block_digest", None)  # nothing is read a second time
        assert DigestCache(tmp_path / "digests").digests(open_checkpoint(str(folder)), 0, NUM_BLOCKS) == expected
    change_weight(folder)
    assert cache.digest(open_checkpoint(str(folder)), CHANGED) != expected[CHANGED]


def test_a_broken_or_unwritable_cache_is_none(original, tmp_path):
    checkpoint, expected = open_checkpoint(str(original)), digests_of(original)
    cache = DigestCache(tmp_path / "digests")
    cache.digest(checkpoint, 0)
    for file in (tmp_path / "digests").iterdir():
        file.write_bytes(b"\xff junk")
    assert cache.digest(checkpoint, 0) == expected[0]
    (tmp_path / "file").touch()
    assert DigestCache(tmp_path / "file").digest(checkpoint, 0) == expected[0]


@given(st.binary(min_size=32, max_size=32), st.integers(0, 9999))
def test_a_block_is_named_in_one_line(digest, index):
    block = BlockId("owner/name", digest, index, "int4/bfloat16")
    assert BlockId.parse(str(block)) == block


@given(st.text(max_size=200))
def test_no_text_crashes_the_parser_of_block_names(text):
    with pytest.raises(InvalidRequest, match="names no block"):
        BlockId.parse(text)


def test_the_command_prints_what_another_machine_can_check(original, tampered, capsys):
    assert cli.main(["--model", str(original), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["root"] == weights_root(digests_of(original)).hex()
    assert cli.main(["--model", str(original), "--check", *printed["ids"]]) == 0
    assert cli.main(["--model", str(tampered), "--check", *printed["ids"]]) == 1
    assert f"block {CHANGED} of 'small' has the digest" in capsys.readouterr().err


# --- whom to believe -------------------------------------------------------------------------------------------------


def peer(name: str, start: int, digests: list[bytes]) -> PeerInfo:
    stop = start + len(digests)
    return PeerInfo(
        name * 10,
        "m",
        "r",
        start,
        stop,
        12,
        "float32",
        "none",
        "",
        pb.Endpoint(),
        pb.ONLINE,
        0,
        0,
        pb.Load(),
        weights=weights_root(digests),
    )


def some(*kinds: int) -> list[bytes]:
    return [hashlib.sha256(bytes([kind])).digest() for kind in kinds]


def test_who_has_the_files_believes_nobody_else():
    known, right, wrong = KnownWeights("m"), peer("a", 0, some(0, 1)), [peer(name, 0, some(0, 9)) for name in "bcd"]
    for other in wrong:
        known.hear(other, some(0, 9))
    for block, digest in enumerate(some(0, 1)):
        known.learn(block, digest)
    assert not known.contradicts(right)
    assert all(map(known.contradicts, wrong))
    assert known.root(0, 2) == right.weights
    assert known.unheard([right, *wrong]) == []


@given(st.permutations([("a", 0, (0, 1)), ("b", 0, (0, 1)), ("c", 1, (1, 2)), ("d", 0, (0, 9)), ("e", 1, (9, 2))]))
def test_who_has_no_files_believes_most_of_those_that_contradict_each_other(said):
    known, peers = KnownWeights("m"), {}
    for name, start, kinds in said:
        peers[name] = peer(name, start, some(*kinds))
        known.hear(peers[name], some(*kinds))
    assert {name for name in peers if known.contradicts(peers[name])} == {"d", "e"}
    assert known.root(0, 3) == weights_root(some(0, 1, 2))
    assert known.root(0, 4) == b""
    known.keep_only([peers["d"]])
    assert not known.contradicts(peers["d"])


def test_a_contradiction_is_warned_of_once(caplog):
    known = KnownWeights("m")
    with caplog.at_level(logging.WARNING):
        for name, kinds in {"a": (0, 1), "b": (0, 2), "c": (0, 3)}.items():
            known.hear(peer(name, 0, some(*kinds)), some(*kinds))
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "peers announce different weights for block 1 of 'm'"
    ]


@pytest.mark.parametrize("said", [some(0, 2), some(0), some(0, 1, 2), [b"short", b""], []])
def test_who_says_something_else_than_its_record_counts_for_nothing(said):
    known, liar = KnownWeights("m"), peer("a", 0, some(0, 1))
    assert known.unheard([liar]) == [liar]
    with pytest.raises(InvalidRequest, match="other weights in its record"):
        known.hear(liar, said)
    assert known.contradicts(liar)
    assert known.root(0, 2) == b""
    assert known.unheard([liar]) == []


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
    picky, refusal = swarm.Client(str(original), local.peers, excluded=honest(local)), "as this client demands"
    with picky, pytest.raises(swarm.NoRoute, match=refusal):
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
