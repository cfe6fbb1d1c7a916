"""Records of peers: signed, and refused if they are bad; keys of peers on one machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import BAD_RECORDS, make_record
from swarm.errors import InvalidRequest
from swarm.home import announced, claimed_identity, known_addresses
from swarm.peers import record as records
from swarm.wire.identity import Identity

# --- records ---------------------------------------------------------------------------------------------------------


def test_a_signed_record_says_what_its_peer_said():
    identity = Identity()
    info = records.verify(records.sign(make_record(identity, 3, 7), identity))
    assert (info.peer_id, info.blocks, info.model) == (identity.peer_id, (3, 7), "demo")


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_bad_record_is_refused(kind):
    with pytest.raises(InvalidRequest):
        records.verify(BAD_RECORDS[kind]())


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_verifier(data):
    with pytest.raises(InvalidRequest):
        records.verify(data)


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
