"""What is signed keeps its bytes: hashes, signatures and encodings, as version 0.1.0 made them.

A change here breaks receipts, ledgers and payments that exist. The values are in signed_formats.json, by format: the
hash that is signed, and the encoding with its signature, hexadecimal.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from swarm.errors import InvalidRequest
from swarm.market.auction.tender import Bid, Commitment, SignedBid, commitment_of
from swarm.market.auction.tender import Order as Tender
from swarm.market.channel.acknowledgements import Acknowledgement, SignedAcknowledgement
from swarm.market.channel.payments import authorise
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.market.ledger.bookkeeping.orders import KINDS, Order, SignedOrder, pack_payments, pack_vouchers
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.ledger import Posting
from swarm.market.rewards.ballots import Ballot
from swarm.market.rewards.claims import pack_claims
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import Receipt, SignedReceipt, Terms
from swarm.wire.identity import Identity, keccak256

KEY, OTHER = Identity(bytes(range(1, 33))), Identity(bytes(range(2, 34)))
GOLDEN = json.loads(Path(__file__).with_name("signed_formats.json").read_text())


class Sample(NamedTuple):
    """hash: what is signed."""

    hash: bytes
    encoding: bytes
    decode: Callable[[bytes], object]
    value: object  # what `decode` gives


def h(number: int) -> bytes:
    return bytes([number]) * 32


def receipt(index: int = 3) -> SignedReceipt:
    terms = Terms(h(1)[:16], 2**63 + 2, KEY.address, 4, 5, h(6), "int4/bfloat16", "cpu-1", 2, h(15))
    hashes = [h(number) for number in range(9, 15)]
    return Receipt(terms, index, 7, 8, 5, *hashes, 1_700_000_000_000).sign(KEY)


def voucher() -> SignedVoucher:
    return Voucher(h(1), h(2), 2**61 + 3, h(4)).sign(KEY)


def acknowledgement() -> SignedAcknowledgement:
    one = Acknowledgement(h(1), KEY.address, OTHER.address, h(2)[:16], 3, 2**63 + 4, 5000, h(6))
    return one.sign(KEY)


def tender(**changes: object) -> Tender:
    return Tender(
        h(1), "a/model", "main", 2, 9, 100, 20, Price(3, 40), 1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000,
        h(5), **changes,
    )  # fmt: skip


def bid() -> Bid:
    return Bid(tender().hash, h(1), KEY.address, 2, 7, Price(2, 30), 1_700_000_003_000, h(8))


def arguments(kind: str) -> tuple[int | bytes, ...]:
    """Of an order: something else in every place."""
    special = {
        "vouchers": pack_vouchers([voucher(), voucher()]),
        "payments": pack_payments({KEY.address: 2**40, OTHER.address: 7}),
        "first": receipt(0).encode(),
        "second": receipt(1).encode(),
    }
    by_type = {"uint64": lambda place: 10**9 + place, "address": lambda place: h(place)[:20], "bytes32": h,
               "bytes": lambda place: h(place) * 3}  # fmt: skip
    places = enumerate(KINDS[kind], 40)
    return tuple(special[name] if name in special else by_type[type_](place) for place, (type_, name) in places)


def order(kind: str) -> SignedOrder:
    return Order(h(1), kind, arguments(kind), h(7)[:16]).sign(KEY)


def record() -> Record:
    postings = (
        Posting(KEY.address, "available", -5),
        Posting(OTHER.address, "staked", 3),
        Posting(bytes(20), "burned", 2),
    )
    unsigned = Record(9, 1_700_000_000_000, order("transfer"), postings, h(3))
    return Record(9, 1_700_000_000_000, order("transfer"), postings, h(3), OTHER.sign_hash(unsigned.hash))


def opening() -> pb.Open:
    payment = pb.Payment(channel=h(2), bid=3, batch=True, prefill=4, decode=5, offer=b"offer")
    return pb.Open(session_id=h(1)[:16], start=1, stop=3, seq=2**63 + 1, quote=h(9), payment=payment)


def samples() -> dict[str, Sample]:
    plain, full = tender(), tender(stake=6, numerics="cpu-1", batch=True)
    commitment, ballot = commitment_of(bid(), KEY), Ballot(KEY.address, 3, {OTHER.address: 7, KEY.address: 9}, h(4))
    found = {
        "receipt": Sample(receipt().receipt.hash, receipt().encode(), SignedReceipt.decode, receipt()),
        "voucher": Sample(voucher().voucher.hash, voucher().encode(), SignedVoucher.decode, voucher()),
        "acknowledgement": Sample(
            acknowledgement().acknowledgement.hash, acknowledgement().encode(), SignedAcknowledgement.decode,
            acknowledgement(),
        ),
        "tender": Sample(plain.hash, plain.encode(), Tender.decode, plain),
        "tender with demands": Sample(full.hash, full.encode(), Tender.decode, full),
        "bid": Sample(bid().hash, bid().sign(KEY).encode(), SignedBid.decode, bid().sign(KEY)),
        "commitment": Sample(b"", commitment.encode(), Commitment.decode, commitment),
        "record": Sample(record().hash, record().encode(), Record.decode, record()),
        "ballot": Sample(ballot.digest, ballot.encode(), Ballot.decode, ballot),
    }  # fmt: skip
    orders = {kind: order(kind) for kind in KINDS}
    return found | {
        f"order {kind}": Sample(one.order.hash, one.encode(), SignedOrder.decode, one) for kind, one in orders.items()
    }


@pytest.mark.parametrize("name", GOLDEN["formats"])
def test_a_signed_format_keeps_its_bytes(name):
    sample, golden = samples()[name], GOLDEN["formats"][name]
    assert sample.hash.hex() == golden["hash"]
    assert sample.encoding.hex() == golden["encoding"]
    assert sample.decode(bytes.fromhex(golden["encoding"])) == sample.value


def test_every_format_has_its_bytes_on_record():
    assert samples().keys() == GOLDEN["formats"].keys()


@pytest.mark.parametrize("name", [name for name in GOLDEN["formats"] if not name.startswith("order")])
def test_what_is_longer_or_shorter_is_refused(name):
    sample = samples()[name]
    for wrong in (sample.encoding[:-1], sample.encoding + b"\0", b""):
        with pytest.raises(InvalidRequest):
            sample.decode(wrong)


def test_claims_are_acknowledgements_one_after_the_other():
    assert pack_claims([acknowledgement(), acknowledgement()]) == b"\2" + 2 * acknowledgement().encode()


def test_a_payment_keeps_its_signature():
    request = opening()
    authorise(request, OTHER.address, KEY)
    assert request.payment.signature.hex() == GOLDEN["payment"]


def test_what_a_contract_is_given_of_a_receipt_keeps_its_bytes():
    assert keccak256(receipt().receipt.words).hex() == GOLDEN["receipt words"]
