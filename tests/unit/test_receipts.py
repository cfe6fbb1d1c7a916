"""What hops sign and what clients make of it, without a network: honest hops are never blamed, and nothing passes that
is not exactly what an honest hop signed."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import InvalidRequest
from swarm.verify.receipts.checking import ChainReceipts, FaultKind, HopReceipts
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.receipts.writing import MAX_CHUNK, ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows, to_rows
from swarm.wire.formats.receipts import NOTHING, VERSION, Receipt, SignedReceipt, Terms, is_equivocation
from swarm.wire.formats.signed import MAX_TEXT_BYTES
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

WIDTH = 4
IDENTITIES = [Identity() for _ in range(4)]


def make_terms(
    identity: Identity, start: int = 0, stop: int = 1, attempt: int = 1, session: bytes = bytes(16)
) -> Terms:
    address = identity.address
    return Terms(session, attempt, address, start, stop, NOTHING, "none/bfloat16", "cpu-1", pb.FLOAT32, NOTHING)


def make_receipt(identity: Identity = IDENTITIES[0], **changes: object) -> Receipt:
    values = {"terms": make_terms(identity), "index": 0, "position": 0, "count": 1, "prefill": 0, "time_ms": 1}
    hashes = ("inputs", "context", "outputs", "sketch", "upstream", "previous")
    return Receipt(**{**values, **{name: name.encode().ljust(32) for name in hashes}, **changes})


def rows(seed: int, count: int) -> Rows:
    return to_rows(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), torch.float32)


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


# --- a chain of honest hops -----------------------------------------------------------------------------------------


class Chain:
    """Hops in a row that compute something, and the client that watches them."""

    def __init__(self, hops: int = 3):
        self.session, self.attempts = new_session_id(), 0
        self.receipts = ChainReceipts()
        self.hops = [self.open(index) for index in range(hops)]
        self.length = 0

    def open(self, index: int, live_from: int = 0) -> "Hop":
        self.attempts += 1
        terms = make_terms(IDENTITIES[index], index, index + 1, self.attempts, self.session)
        watched = self.receipts.expect(terms, IDENTITIES[index].peer_id, live_from)
        return Hop(ReceiptWriter(IDENTITIES[index], terms, lambda signed: None), watched, {})

    def step(self, position: int, seed: int, count: int, seal: bool, only: Sequence["Hop"] | None = None) -> None:
        """Rows go through all hops, and their receipts along with them."""
        sent, receipts = rows(seed, count), []
        if only is None:
            self.receipts.sent(position, sent.digests, seal)
        for hop in self.hops if only is None else only:
            sent = hop.compute(position, sent)
            if seal:
                hop.writer.seal(receipts)
            receipts += hop.writer.take()
        last = self.hops[-1]
        for at, digest in enumerate(sent.digests, position):
            self.receipts.received(at, digest, last.watched)
        for receipt in receipts:
            self.receipts.add(receipt)
        self.length = position + count

    def settle(self) -> None:
        for hop in self.hops:
            hop.writer.seal()
            for receipt in hop.writer.since(len(hop.watched.receipts))[0]:
                self.receipts.add(receipt)
        self.receipts.check_chunks([hop.watched for hop in self.hops])

    def replace(self, index: int) -> None:
        """One hop dies before it has signed for its last work; another takes its place, filled from the journal of the
        hop before."""
        hop = self.hops[index] = self.open(index, live_from=self.length)
        inputs = self.hops[index - 1].journal
        for position in range(0, self.length, 3):
            count = min(3, self.length - position)
            hop.compute(position, Rows.join([inputs[at] for at in range(position, position + count)]))
            hop.writer.seal()


@dataclass
class Hop:
    writer: ReceiptWriter
    watched: HopReceipts
    journal: dict[int, Rows]  # outputs by position

    def compute(self, position: int, inputs: Rows) -> Rows:
        outputs = to_rows(inputs.tensor() * 2 + 1, torch.float32)
        self.writer.record(position, inputs, outputs)
        self.journal |= {position + at: outputs[at : at + 1] for at in range(len(outputs))}
        return outputs


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


def sealed_chain() -> Chain:
    chain = Chain()
    for position in range(0, 12, 3):
        chain.step(position, position, 3, seal=position % 2 == 0)
    chain.settle()
    assert not chain.receipts.faults
    return chain


def test_receipts_of_an_earlier_session_count_for_nothing():
    old, new = sealed_chain(), Chain()
    new.step(0, 0, 3, seal=True)
    before = new.receipts.all()
    for signed in old.receipts.all():
        new.receipts.add(signed.encode())
    # The attempts are the same, so the session's name tells them apart: who hands in old work is blamed for it.
    assert new.receipts.all() == before
    assert {fault.kind for fault in new.receipts.faults} <= {FaultKind.INVALID}


_CHANGES: dict[str, Callable[[Receipt], Receipt]] = {
    "inputs": lambda receipt: replace(receipt, inputs=os.urandom(32)),
    "outputs": lambda receipt: replace(receipt, outputs=os.urandom(32)),
    "context": lambda receipt: replace(receipt, context=os.urandom(32)),
    "previous": lambda receipt: replace(receipt, previous=os.urandom(32)),
    "position": lambda receipt: replace(receipt, position=receipt.position + 1),
    "count": lambda receipt: replace(receipt, count=receipt.count + 1),
    "vast": lambda receipt: replace(receipt, count=2**31),
    **{
        name: lambda receipt, name=name, value=value: replace(
            receipt, terms=replace(receipt.terms, **{name: value})
        )
        for name, value in {
            "session": bytes(16), "stop": 9, "format": "int4/bfloat16", "numerics_id": "gpu", "wire_dtype": pb.FLOAT16,
            "quote": bytes([1]) * 32,
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("change", _CHANGES)
@pytest.mark.parametrize("hop", [0, 1, 2])
def test_a_hop_that_signs_for_something_else_is_blamed_or_has_not_signed(change, hop):
    chain = Chain()
    for position in range(0, 6, 3):
        chain.step(position, position, 3, seal=False)
    wrong = chain.hops[hop]
    wrong.writer.seal()
    (data,), _ = wrong.writer.since(0)
    signed = _CHANGES[change](SignedReceipt.decode(data).receipt).sign(IDENTITIES[hop])
    chain.receipts.add(signed.encode())
    wrong.writer._signed[0] = signed.encode(), b""
    chain.settle()
    blamed = {fault.peer_id for fault in chain.receipts.faults}
    assert IDENTITIES[hop].peer_id in blamed or wrong.watched.signed_length < chain.length
    assert not blamed & {IDENTITIES[other].peer_id for other in range(3) if abs(other - hop) > 1}


def test_a_link_is_checked_whichever_of_its_receipts_comes_first():
    for late in (0, 1):
        chain = Chain(2)
        chain.step(0, 0, 3, seal=False)
        receipts = []
        for index, hop in enumerate(chain.hops):
            hop.writer.seal()
            receipt = SignedReceipt.decode(hop.writer.since(0)[0][0]).receipt
            changed = replace(receipt, outputs=bytes(32)) if index == 0 else receipt
            receipts.append(changed.sign(IDENTITIES[index]).encode())
        for data in (receipts[1 - late], receipts[late]):
            chain.receipts.add(data)
        assert {fault.kind for fault in chain.receipts.faults} == {FaultKind.UNLINKED}
        assert len(chain.receipts.faults) == 2


def test_a_receipt_that_was_good_is_still_checked_where_one_after_it_was_not():
    """They wait for the first: what is wrong with a later one must not let an earlier one pass."""
    identity, chain = IDENTITIES[0], Chain(1)
    for position in range(3):
        chain.step(position, position, 1, seal=False)
    hop = chain.hops[0].watched
    first = make_receipt(terms=hop.expected, previous=NOTHING, context=bytes(32)).sign(identity)
    chain.receipts.add(replace(first.receipt, index=1).sign(identity).encode())
    chain.receipts.add(first.encode())
    assert chain.receipts.faults and not hop.receipts


def test_two_receipts_for_one_place_are_equivocation_and_one_receipt_twice_is_not():
    one = make_receipt().sign(IDENTITIES[0])
    other = make_receipt(outputs=bytes(32)).sign(IDENTITIES[0])
    another_attempt = make_receipt(terms=replace(one.receipt.terms, attempt=2)).sign(IDENTITIES[0])
    assert is_equivocation(one, other)
    assert not is_equivocation(one, one) and not is_equivocation(one, another_attempt)


def test_what_nobody_asks_to_sign_is_signed_before_it_fills_the_memory():
    signed = []
    writer = ReceiptWriter(IDENTITIES[0], make_terms(IDENTITIES[0]), signed.append)
    for position in range(2 * MAX_CHUNK):
        writer.record(position, rows(0, 1), rows(1, 1))
    assert [one.count for one in signed] == [MAX_CHUNK] * 2


def test_a_server_remembers_openings_after_a_restart(tmp_path):
    """Else a client could open a session again under the same name, and have two receipts for one place."""
    session = new_session_id()
    for expected in (True, False):
        store = ReceiptStore(tmp_path / "receipts.db")
        assert store.remember_opening(session, 0, 2**64 - 1) == expected
        store.close()
