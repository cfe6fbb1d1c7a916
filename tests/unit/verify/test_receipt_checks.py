"""Who is blamed where receipts do not fit."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from receipt_chain import IDENTITIES, Chain, make_receipt, make_terms, rows
from swarm.verify.receipts.checking import FaultKind
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.receipts.writing import MAX_CHUNK, ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import NOTHING, Receipt, SignedReceipt, is_equivocation
from swarm.wire.session_id import new_session_id


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
    wrong.writer._receipts[0], wrong.writer._sketches[0] = signed.encode(), b""
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


@pytest.mark.parametrize("index", [1, 2])
def test_nobody_is_blamed_where_a_hop_is_replaced_in_the_middle_of_a_chunk(index):
    """It signs for what it was filled with, up to there, and its neighbours for the whole chunk."""
    chain = Chain()
    chain.step(0, 0, 3, seal=True)
    chain.step(3, 1, 3, seal=False)
    chain.replace(index)
    chain.step(6, 2, 3, seal=True)
    chain.step(9, 3, 3, seal=True)
    chain.settle()
    assert not chain.receipts.faults


def test_a_replaced_hop_that_splits_a_later_chunk_is_blamed():
    chain = Chain()
    chain.step(0, 0, 3, seal=True)
    chain.replace(1)
    chain.step(3, 1, 3, seal=True)
    chain.step(6, 2, 1, seal=False)
    chain.hops[1].writer.seal()
    chain.step(7, 3, 2, seal=True)
    chain.settle()
    assert {fault.kind for fault in chain.receipts.faults} == {FaultKind.UNLINKED}
    assert IDENTITIES[1].peer_id in {fault.peer_id for fault in chain.receipts.faults}


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
        assert asyncio.run(store.remember_opening(session, 0, 2**64 - 1)) == expected
        store.close()
