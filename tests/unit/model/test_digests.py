"""Digests of weights: Merkle roots, one digest a block, kept on disk, printed by a command."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disks import small_files
from swarm.cli import identity as cli
from swarm.errors import InvalidRequest, ModelError
from swarm.model import digest_cache, open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import BlockId, block_digest, weights_root
from swarm.wire.formats.merkle import merkle_root
from tampered import CHANGED, NUM_BLOCKS, change_weight, digests_of, save_original, save_tampered


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
    return save_original(tmp_path_factory.mktemp("original") / "small", demo_checkpoint)


@pytest.fixture(scope="module")
def tampered(tmp_path_factory, original) -> Path:
    return save_tampered(tmp_path_factory.mktemp("tampered") / "small", original)


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
    with small_files(10):
        assert DigestCache(tmp_path / "full").digest(checkpoint, 0) == expected[0]
    assert list((tmp_path / "full").iterdir()) == []


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
