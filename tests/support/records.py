"""Records of peers."""

import time

from swarm.peers import record as records
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity


def make_record(identity: Identity, start: int = 0, stop: int = 10, **changes: object) -> pb.PeerRecord:
    now_ms = int(time.time() * 1000)
    record = pb.PeerRecord(
        version=records.VERSION,
        peer_id=identity.peer_id,
        model="demo",
        revision="r1",
        start=start,
        stop=stop,
        num_blocks=30,
        dtype="float32",
        endpoint=pb.Endpoint(peer_id=identity.peer_id, host="127.0.0.1", port=1234, certificate=b"certificate"),
        issued_ms=now_ms,
        expires_ms=now_ms + 30_000,
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def forged() -> bytes:
    return records.sign(make_record(Identity()), Identity())


def changed_after_signing() -> bytes:
    identity = Identity()
    signed = pb.SignedRecord.FromString(records.sign(make_record(identity), identity))
    signed.payload = make_record(identity, stop=30).SerializeToString()
    return signed.SerializeToString()


def unsigned() -> bytes:
    return pb.SignedRecord(payload=make_record(Identity()).SerializeToString()).SerializeToString()


def of_own_making(**changes: object) -> bytes:
    identity = Identity()
    return records.sign(make_record(identity, **changes), identity)


BAD_RECORDS = {
    "forged": forged,
    "changed": changed_after_signing,
    "unsigned": unsigned,
    "junk": lambda: b"\xff" * 100,
    "empty": lambda: b"",
    "oversized": lambda: of_own_making(software="x" * 5000),
    "expired": lambda: of_own_making(expires_ms=1),
    "from the future": lambda: of_own_making(issued_ms=int(time.time() * 1000) + 3_600_000),
    "immortal": lambda: of_own_making(expires_ms=int(time.time() * 1000) + 86_400_000),
    "reversed range": lambda: of_own_making(start=9, stop=3),
    "range outside the model": lambda: of_own_making(stop=31),
    "of another version": lambda: of_own_making(version=99),
}
