"""Evidence that servers keep for others: what they take, and what they hand out. gRPC and the bundles are real."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import torch

from clock import Clock
from disks import small_files
from swarm.errors import InvalidRequest, PeerBusy, PeerUnreachable
from swarm.route.peer import PeerInfo
from swarm.verify.audit.case import Case
from swarm.verify.fraud import evidence_store
from swarm.verify.fraud.evidence import Bundle
from swarm.verify.fraud.evidence_store import MAX_ARRIVING, MAX_KEPT, MIN_LIFE_S, EvidenceStore
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import blobs as blobs
from swarm.wire import messages_pb2 as pb
from swarm.wire.blobs import MAX_PARCEL_BYTES, PIECE_BYTES
from swarm.wire.codec import to_rows
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.tls import make_certificate
from swarm.wire.transport import Peer, max_message_bytes, serve

COLUMNS = 64
KEEPER, CHEAT, WITNESS = Identity(), Identity(), Identity()
RECORD = PeerInfo.of(pb.PeerRecord(peer_id=KEEPER.peer_id, model="demo", revision="r"))


def evidence(accuser: Identity = WITNESS, accused: Identity = CHEAT, model: str = "demo", rows: int = 3000) -> bytes:
    """A file about work that the accused has signed for; of more than one piece."""
    x = to_rows(torch.randn(rows, COLUMNS), torch.float32)
    signed: list[SignedReceipt] = []
    writer = ReceiptWriter(
        accused, Terms(bytes(16), 1, accused.address, 0, 2, bytes(32), "none/float32", "n", x.dtype, NOTHING),
        signed.append,
    )  # fmt: skip
    writer.record(0, x, x)
    writer.seal()
    return Bundle(Case(tuple(signed), 0, x, x), model, "r").encode(accuser)


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@asynccontextmanager
async def store_and_peer(folder, clock: Clock | None = None) -> AsyncIterator[tuple[EvidenceStore, Peer]]:
    """A server of nothing else, and a connection to it."""

    async def nothing(*arguments: object) -> None:
        pass

    store, certificate = EvidenceStore(RECORD, folder, clock or Clock()), make_certificate()
    methods = {"session": nothing, "push": nothing, "status": nothing, "tender": nothing}
    server, port = await serve("127.0.0.1", 0, certificate, max_message_bytes(COLUMNS), **methods,
                               deposit=store.deposit, withdraw=store.withdraw)  # fmt: skip
    endpoint = pb.Endpoint(peer_id=KEEPER.peer_id, host="127.0.0.1", port=port, certificate=certificate.certificate_der)
    peer = Peer(endpoint, max_message_bytes(COLUMNS))
    try:
        yield store, peer
    finally:
        await peer.close()
        await server.stop(0)


async def outcome(peer: Peer, data: bytes, digest: bytes | None = None) -> str:
    """Of a deposit: the name of the error, or "kept"."""
    try:
        await blobs.deposit(peer, data, digest or digest_of(data))
    except (InvalidRequest, PeerBusy) as error:
        return type(error).__name__
    return "kept"


async def raw(peer: Peer, *pieces: pb.DepositPiece) -> pb.Deposited:
    return await peer.deposit(iter(pieces), 20.0)


def test_what_was_deposited_is_handed_out_byte_by_byte_to_whoever_asks(tmp_path):
    data = evidence()

    async def scenario() -> tuple[list[bytes], str]:
        async with store_and_peer(tmp_path) as (_, peer):
            await blobs.deposit(peer, data, digest_of(data))
            again = await outcome(peer, data)
            asked = (blobs.withdraw(peer, digest_of(data), len(data)) for _ in range(3))
            return await asyncio.gather(*asked), again

    assert len(data) > 3 * PIECE_BYTES
    found, again = asyncio.run(scenario())
    assert found == [data] * 3
    assert again == "kept"  # and not sent twice
    assert not list(tmp_path.iterdir())  # what a server leaves behind when it is killed


def test_a_full_disk_takes_no_evidence_and_does_when_there_is_room(tmp_path):
    data = evidence()

    async def scenario() -> tuple[str, str]:
        async with store_and_peer(tmp_path) as (store, peer):
            with small_files(len(data) - 10):  # the last piece fits in part
                full = await outcome(peer, data)
            assert store.kept == store.arriving == 0
            return full, await outcome(peer, data)

    assert asyncio.run(scenario()) == ("PeerBusy", "kept")


def announced(data: bytes, nbytes: int | None = None) -> pb.DepositPiece:
    return pb.DepositPiece(digest=digest_of(data), nbytes=len(data) if nbytes is None else nbytes)


def refused_pieces() -> Iterator[tuple[list[pb.DepositPiece], str]]:
    """With the reason that is to be given."""
    good, other = evidence(rows=8), evidence(rows=8)
    assert len(good) == len(other)
    yield [], "0 bytes"
    yield [announced(good, MAX_PARCEL_BYTES + 1), pb.DepositPiece(data=good)], "at most"
    yield [announced(b"")], "0 bytes"
    yield [pb.DepositPiece(digest=b"1", nbytes=len(good)), pb.DepositPiece(data=good)], "a digest of 1"
    yield [announced(good), pb.DepositPiece(data=good), pb.DepositPiece(data=b"1")], "more evidence"
    yield [announced(good, len(good) + 1), pb.DepositPiece(data=good)], "not the"
    yield [announced(good), pb.DepositPiece(data=other)], "not the"
    yield [announced(b"12345"), pb.DepositPiece(data=b"12345")], "not an evidence file"


@pytest.mark.parametrize(("pieces", "reason"), refused_pieces())
def test_what_is_not_what_it_says_is_refused(tmp_path, pieces, reason):
    async def scenario() -> tuple[pb.Deposited, int]:
        async with store_and_peer(tmp_path) as (store, peer):
            answer = await raw(peer, *pieces)
            return answer, store.kept + store.arriving

    answer, held = asyncio.run(scenario())
    assert answer.failure.code == "InvalidRequest"
    assert reason in answer.failure.message
    assert held == 0


def cut(data: bytes) -> bytes:
    return data[:-1]


def altered(data: bytes) -> bytes:
    return data[:-200] + bytes([data[-200] ^ 1]) + data[-199:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(cut(evidence()), id="truncated"),
        pytest.param(altered(evidence()), id="altered"),
        pytest.param(evidence(model="another"), id="of another model"),
        pytest.param(evidence(accused=KEEPER), id="against its keeper"),
        pytest.param(evidence(accuser=CHEAT), id="against its accuser"),
    ],
)
def test_what_is_no_evidence_or_none_of_its_business_is_refused_by_a_server(tmp_path, data):
    async def scenario() -> str:
        async with store_and_peer(tmp_path) as (_, peer):
            return await outcome(peer, data)

    assert asyncio.run(scenario()) == "InvalidRequest"


def test_a_flood_finds_no_room_and_drives_out_nothing_until_it_has_had_its_time(tmp_path):
    async def scenario() -> tuple[list[str], list[str], bytes, int]:
        clock, first = Clock(), evidence(rows=8)
        async with store_and_peer(tmp_path, clock) as (store, peer):
            await blobs.deposit(peer, first, digest_of(first))
            same = await outcome(peer, evidence(rows=8))  # by the same accuser against the same peer
            flood = [await outcome(peer, evidence(Identity(), Identity(), rows=8)) for _ in range(12)]
            there = await blobs.withdraw(peer, digest_of(first), len(first))
            clock.now_s = MIN_LIFE_S
            late = [await outcome(peer, evidence(Identity(), rows=8)) for _ in range(2)]
            with pytest.raises(InvalidRequest, match="not any more"):
                await blobs.withdraw(peer, digest_of(first), len(first))
            assert there == first
            return [same, *flood], late, there, store.kept

    flood, late, _, kept = asyncio.run(scenario())
    assert flood == ["PeerBusy"] + ["kept"] * (MAX_KEPT - 1) + ["PeerBusy"] * (13 - MAX_KEPT)
    assert late == ["kept"] * 2
    assert kept == MAX_KEPT


def test_junk_takes_a_bounded_share_of_a_servers_time(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_store, "CHECKS", 3)

    async def scenario() -> list[str]:
        clock = Clock()
        async with store_and_peer(tmp_path, clock) as (_, peer):
            found = [await outcome(peer, bytes([index])) for index in range(5)]
            clock.now_s = evidence_store.CHECKS_PERIOD_S
            return [*found, await outcome(peer, evidence())]

    assert asyncio.run(scenario()) == ["InvalidRequest"] * 3 + ["PeerBusy"] * 2 + ["kept"]


def test_depositors_that_stall_hold_few_places_and_not_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_store, "TIMEOUT_S", 1.0)
    data = evidence(rows=8)

    async def scenario() -> tuple[str, list[str], str]:
        async with store_and_peer(tmp_path) as (store, peer):

            async def stall() -> AsyncIterator[pb.DepositPiece]:
                yield announced(data)
                await asyncio.sleep(60)

            stalled = [peer.deposit(stall(), 20.0) for _ in range(MAX_ARRIVING)]
            while store.arriving < MAX_ARRIVING:
                await asyncio.sleep(0.01)
            meanwhile = await outcome(peer, data)
            answers = [(await one).failure.code for one in stalled]
            return meanwhile, answers, await outcome(peer, data)

    assert asyncio.run(scenario()) == ("PeerBusy", ["InvalidRequest"] * MAX_ARRIVING, "kept")


def test_a_keeper_that_sends_something_else_is_found_out_before_it_fills_the_memory(tmp_path):
    data = evidence()

    async def scenario() -> None:
        async with store_and_peer(tmp_path) as (_, peer):
            await blobs.deposit(peer, data, digest_of(data))
            with pytest.raises(InvalidRequest, match="sends more than"):
                await blobs.withdraw(peer, digest_of(data), len(data) - 1)
            with pytest.raises(InvalidRequest, match="other evidence"):
                await blobs.withdraw(peer, digest_of(data), len(data) + 1)
            with pytest.raises(InvalidRequest, match="does not keep"):
                await blobs.withdraw(peer, bytes(32), len(data))
            nobody = pb.Endpoint(peer_id="nobody", host="127.0.0.1", port=1,
                                 certificate=make_certificate().certificate_der)  # fmt: skip
            gone = Peer(nobody, max_message_bytes(COLUMNS))
            with pytest.raises(PeerUnreachable):
                await blobs.withdraw(gone, digest_of(data), len(data))
            await gone.close()

    asyncio.run(scenario())
