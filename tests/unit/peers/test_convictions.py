"""Convictions: their form, and what a client makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accusations import BAD, HOLDER, WITNESS, conviction, raw_bytes, signed
from swarm.errors import InvalidRequest
from swarm.peers import convictions
from swarm.peers.convictions import Bundle

# --- the form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evidence", [
    {"proof": bytes(800)}, {"kind": "audit", "proof": b"", "bundle": Bundle(bytes(32), 10**7, HOLDER)},
])  # fmt: skip
def test_a_signed_conviction_says_what_its_announcer_said(evidence):
    said = conviction(**evidence)
    assert convictions.verify(convictions.sign(said, WITNESS)) == said


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
