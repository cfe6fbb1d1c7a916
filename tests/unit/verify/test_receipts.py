"""A receipt's signature, and a chain of honest hops."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receipt_chain import IDENTITIES, Chain, make_receipt, make_terms
from swarm.errors import InvalidRequest
from swarm.wire.formats.receipts import VERSION, Receipt, SignedReceipt, Terms
from swarm.wire.formats.signed import MAX_TEXT_BYTES
from swarm.wire.identity import Identity

# --- the signature --------------------------------------------------------------------------------------------------


def test_a_receipt_is_hashed_and_signed_as_wallets_do_it():
    """The vector is from eth-account 0.14, an implementation of EIP-712 that has nothing in common with this one."""
    key = Identity(bytes(range(1, 33)))
    terms = Terms(
        bytes([1]) * 16, 2, key.address, 4, 5, bytes([6]) * 32, "int4/bfloat16", "cpu-1", 2, bytes([15]) * 32
    )  # fmt: skip
    hashes = [bytes([number]) * 32 for number in range(9, 15)]
    receipt = Receipt(terms, 3, 7, 8, 5, *hashes, 1_700_000_000_000)
    assert receipt.hash.hex() == "d3f91fc96a0c1c99dd5cec5b522c7fb024570581b72f78e77d11a8508f9dfdfe"
    signature = receipt.sign(key).signature
    # A wallet counts the recovery id from 27.
    assert (signature[:64] + bytes([signature[64] + 27])).hex() == (
        "fbbf5b1ca5a0b7708808638a3f819beac3df52aef16b7d27679a04347cff14aa1a"
        "b39bd8f7dc942b09eef16db7a2ea7c9324944d92751c1ec1d37eeb2ff028791b"
    )


def test_a_receipt_survives_its_encoding():
    signed = make_receipt().sign(IDENTITIES[0])
    assert SignedReceipt.decode(signed.encode()) == signed


def test_a_peer_signs_in_no_other_name():
    with pytest.raises(ValueError, match="signed by the peer that it names"):
        make_receipt().sign(IDENTITIES[1])


@given(data=st.data())
def test_no_byte_of_a_receipt_can_be_changed(data):
    encoded = make_receipt().sign(IDENTITIES[0]).encode()
    at, bit = data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(encoded)
    changed[at] ^= 1 << bit
    with pytest.raises(InvalidRequest):
        SignedReceipt.decode(bytes(changed))


@given(data=st.binary(max_size=800))
def test_rubbish_is_no_receipt(data):
    for junk in (data, bytes([VERSION]) + data, make_receipt().sign(IDENTITIES[0]).encode()[: len(data)]):
        with pytest.raises(InvalidRequest):
            SignedReceipt.decode(junk)


@pytest.mark.parametrize(
    "changes",
    [{"count": 0}, {"position": 2**32 - 1}, {"format": "x" * (MAX_TEXT_BYTES + 1)}, {"format": "\x1b[2J"},
     {"numerics_id": "\u00e4"}, {"start": 1}],
)  # fmt: skip
def test_a_signed_receipt_that_makes_no_sense_is_refused(changes):
    named = {field.name for field in fields(Terms)}
    terms = replace(make_terms(IDENTITIES[0]), **{key: value for key, value in changes.items() if key in named})
    receipt = make_receipt(terms=terms, **{key: value for key, value in changes.items() if key not in named})
    with pytest.raises(InvalidRequest):
        SignedReceipt.decode(receipt.sign(IDENTITIES[0]).encode())


_EVENTS = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 5), st.booleans()),
    st.tuples(st.just("again"), st.integers(1, 5), st.booleans()),  # the last step got lost, and is sent once more
    st.tuples(st.just("rewind"), st.integers(1, 8), st.booleans()),
    st.tuples(st.just("replace"), st.integers(1, 2), st.booleans()),
)


@given(events=st.lists(_EVENTS, max_size=12))
@settings(max_examples=60)
def test_honest_hops_are_never_blamed_whatever_happens_to_their_session(events):
    """Chunks of any size, sealed or not, positions computed again, hops replaced in the middle of a chunk."""
    chain, seeds = Chain(), iter(range(1000))
    for kind, number, seal in events:
        if kind == "step":
            chain.step(chain.length, next(seeds), number, seal)
        elif kind == "replace":
            chain.replace(number)
            if chain.length:  # what had no answer is sent again
                chain.step(chain.length - 1, next(seeds), 1, seal)
        elif chain.length:
            back = 1 if kind == "again" else min(number, chain.length)
            chain.step(chain.length - back, next(seeds), number, seal)
    chain.settle()
    assert not chain.receipts.faults
    assert all(hop.watched.signed_length == chain.length for hop in chain.hops)
