"""Receipts in files: what a stranger finds in them, whatever was done to them."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import InvalidRequest, SwarmError
from swarm.verify.receipts import export
from swarm.verify.receipts.checking import FaultKind
from swarm.verify.receipts.export import MAX_LINE_BYTES, lines, load_receipts, save_receipts
from swarm.verify.receipts.report import check
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

HIDDEN = 8
PEERS = [Identity() for _ in range(3)]
CHUNKS = (5, 32, 7)


def terms_of(peer: Identity, start: int, stop: int, session: bytes, attempt: int) -> Terms:
    wire = codec.wire_dtype(torch.float32)
    return Terms(session, attempt, peer.address, start, stop, NOTHING, "none/float32", "numerics", wire, NOTHING)


class Hop:
    """Adds `offset` to what it gets, and signs for it as servers do."""

    def __init__(self, peer: Identity, start: int, stop: int, session: bytes, attempt: int, offset: float = 1.0):
        self.signed: list[SignedReceipt] = []
        self._writer = ReceiptWriter(peer, terms_of(peer, start, stop, session, attempt), self.signed.append)
        self._offset = offset

    def compute(self, position: int, x: torch.Tensor, before: Sequence[SignedReceipt] = ()) -> torch.Tensor:
        y = x + self._offset
        self._writer.record(position, codec.to_rows(x, torch.float32), codec.to_rows(y, torch.float32))
        self._writer.seal([signed.encode() for signed in before])
        return y


def compute(hops: Sequence[Hop], x: torch.Tensor, chunks: Sequence[int] = CHUNKS, linked: bool = True) -> None:
    """x through all hops. linked: each sees the receipts of the ones before."""
    position = 0
    for part in x.split(list(chunks)):
        before: list[SignedReceipt] = []
        for hop in hops:
            part = hop.compute(position, part, before if linked else ())
            before.append(hop.signed[-1])
        position += len(part)


def chain(session: bytes, attempts: Sequence[int] = (1, 2, 3), offset: float = 1.0) -> list[Hop]:
    return [
        Hop(peer, 10 * index, 10 * index + 10, session, attempt, offset)
        for index, (peer, attempt) in enumerate(zip(PEERS, attempts, strict=True))
    ]


def receipts_of(hops: Sequence[Hop]) -> list[SignedReceipt]:
    return [signed for hop in hops for signed in hop.signed]


@pytest.fixture
def hops():
    made = chain(new_session_id())
    compute(made, torch.randn(sum(CHUNKS), HIDDEN))
    return made


def test_what_was_saved_is_loaded_and_holds(hops, tmp_path):
    save_receipts(receipts_of(hops), tmp_path / "receipts")
    loaded = load_receipts(tmp_path / "receipts")
    assert loaded == receipts_of(hops)
    report = check(loaded)
    assert report.holds
    assert (report.receipts, report.links, report.unseen) == (9, 6, 0)
    assert [opening.blocks for opening in report.openings] == [(0, 10), (10, 20), (20, 30)]
    assert {opening.positions for opening in report.openings} == {(0, sum(CHUNKS))}


def test_the_order_of_lines_and_repetitions_make_no_difference(hops):
    receipts = receipts_of(hops)
    assert check([*reversed(receipts), *receipts]) == check(receipts)


def test_sessions_are_checked_apart(hops):
    other = chain(new_session_id())
    compute(other, torch.randn(40, HIDDEN), chunks=(40,), linked=False)
    report = check(receipts_of([*hops, *other]))
    assert report.holds
    assert report.receipts == 12
    assert report.links == 8


def test_nothing_is_not_enough():
    assert not check([]).holds


def test_a_receipt_that_was_left_out_is_missed(hops):
    receipts = receipts_of(hops)
    without = check([signed for signed in receipts if signed != hops[1].signed[1]])
    assert not without.holds
    assert "number 1 of the receipts" in without.gaps[0]
    assert PEERS[1].peer_id[-8:] in without.gaps[0]
    assert without.unseen == 1


def test_a_hop_that_was_left_out_is_missed(hops):
    report = check(receipts_of([hops[0], hops[2]]))
    assert not report.holds
    assert "nobody signed for blocks 10:20 at positions 0:44" in report.gaps[0]


def test_work_that_was_not_signed_to_the_end_is_missed(hops):
    del hops[2].signed[-1]
    report = check(receipts_of(hops))
    assert "nobody signed for blocks 20:30 at positions 37:44" in report.gaps[0]


def test_the_receipts_of_one_server_alone_hold(hops):
    report = check(hops[1].signed)
    assert report.holds
    assert report.unseen == 3


def resigned(signed: SignedReceipt, **changes: object) -> SignedReceipt:
    """By the same peer, with something else in it."""
    (peer,) = [peer for peer in PEERS if peer.peer_id == signed.peer_id]
    return replace(signed.receipt, **changes).sign(peer)


def kinds(receipts: Sequence[SignedReceipt]) -> list[tuple[str, FaultKind]]:
    return [(fault.peer_id, fault.kind) for fault in check(receipts).faults]


def test_two_receipts_for_the_same_work_convict_their_signer(hops):
    twin = resigned(hops[1].signed[2], outputs=bytes([1] * 32))
    assert (PEERS[1].peer_id, FaultKind.EQUIVOCATION) in kinds([*receipts_of(hops), twin])


def test_a_receipt_that_names_its_predecessors_and_other_inputs_convicts_its_signer(hops):
    hops[2].signed[-1] = resigned(hops[2].signed[-1], inputs=bytes([1] * 32))
    assert (PEERS[2].peer_id, FaultKind.CONTRADICTION) in kinds(receipts_of(hops))


def test_of_two_neighbours_who_disagree_one_lies():
    session = new_session_id()
    liars = chain(session)
    x = torch.randn(32, HIDDEN)
    for hop, row in zip(liars, (x, x + 5.0, x + 6.0), strict=True):  # the first says that it gave x + 1
        hop.compute(0, row)
    unlinked = [(peer.peer_id, FaultKind.UNLINKED) for peer in PEERS[:2]]
    assert kinds(receipts_of(liars)) == unlinked


@pytest.mark.parametrize("name", ["previous", "context"])
def test_a_receipt_that_does_not_follow_the_one_before_it_is_a_fault(hops, name):
    hops[0].signed[2] = resigned(hops[0].signed[2], **{name: bytes([1] * 32)})
    assert (PEERS[0].peer_id, FaultKind.INVALID) in kinds(receipts_of(hops))


def test_a_receipt_on_other_terms_than_the_one_before_it_is_a_fault(hops):
    last = hops[0].signed[2]
    hops[0].signed[2] = resigned(last, terms=replace(last.receipt.terms, format="int4/float32"))
    (fault,) = [fault for fault in check(receipts_of(hops)).faults if fault.kind is FaultKind.INVALID]
    assert "its format is 'int4/float32' and not 'none/float32'" in str(fault)


def test_a_receipt_that_names_something_else_than_its_predecessors_is_a_fault(hops):
    hops[2].signed[-1] = resigned(hops[2].signed[-1], upstream=hops[0].signed[-1].receipt.hash)
    assert (PEERS[2].peer_id, FaultKind.INVALID) in kinds(receipts_of(hops))


def test_a_replacement_that_computes_other_bits_while_it_is_filled_is_no_fault():
    """It takes the first hop's place after 32 tokens, whose outputs the second has had from its predecessor."""
    session = new_session_id()
    first, second, _ = chain(session)
    x = torch.randn(64, HIDDEN)
    compute([first, second], x[:32], chunks=(32,), linked=False)
    lost = first.signed.pop()  # it died before anybody got its receipt
    replacement = Hop(PEERS[2], 0, 10, session, attempt=9, offset=2.0)
    replacement.compute(0, x[:32])
    y = replacement.compute(32, x[32:])
    second.compute(32, y, [replacement.signed[-1]])
    report = check(receipts_of([replacement, second]))
    assert report.holds
    assert report.links == 1
    assert lost not in replacement.signed


def test_a_step_that_was_repeated_with_other_bits_is_no_fault():
    """The first time its receipt does not match what the predecessor signs for in the end."""
    first, second, _ = chain(new_session_id())
    x = torch.randn(8, HIDDEN)
    second.compute(0, x)
    y = first.compute(0, x)
    second.compute(0, y)
    assert check(receipts_of([first, second])).holds


# --- hostile files -------------------------------------------------------------------------------------------------


def write(tmp_path, text: str | bytes):
    path = tmp_path / "hostile"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


HOSTILE = {
    "not JSON": b"\xff\xfe\x00",
    "deep": b"[" * 4000,
    "a list": b"[]",
    "a number": b"1" * 4000,
    "no receipt": b"{}",
    "a receipt of the wrong type": b'{"receipt": 7}',
    "no hexadecimal": b'{"receipt": "zz"}',
    "a short receipt": b'{"receipt": "01"}',
    "a line without end": b" " * (MAX_LINE_BYTES + 1),
    "an empty line": b"\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path, hops, text):
    good = "\n".join(lines(hops[0].signed)).encode()
    with pytest.raises(InvalidRequest, match=r"hostile, line 4: "):
        load_receipts(write(tmp_path, good + b"\n" + text))


def test_a_file_without_end_is_not_read_to_its_end(tmp_path, hops, monkeypatch):
    monkeypatch.setattr(export, "MAX_RECEIPTS", 2)
    with pytest.raises(InvalidRequest, match="line 3: more than 2 receipts"):
        load_receipts(write(tmp_path, "\n".join([*lines(hops[0].signed), "and so on"])))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SwarmError, match="nothing"):
        load_receipts(tmp_path / "nothing")


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 7))
def test_no_bit_of_a_receipt_can_be_changed(place, bit):
    hop = Hop(PEERS[0], 0, 10, new_session_id(), 1)
    hop.compute(0, torch.zeros(2, HIDDEN))
    data = bytearray(hop.signed[0].encode())
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(InvalidRequest):
        SignedReceipt.decode(bytes(data))


@pytest.mark.parametrize("name", ["peer", "positions", "format", "outputs", "time", "note"])
def test_words_that_were_not_signed_are_refused(tmp_path, hops, name):
    (line,) = lines(hops[0].signed[:1])
    changed = {**json.loads(line), name: "something else"}
    with pytest.raises(InvalidRequest, match="is not what was signed"):
        load_receipts(write(tmp_path, json.dumps(changed)))
