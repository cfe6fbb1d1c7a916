"""Convictions, signed by a witness."""

import time
from dataclasses import replace

import msgpack

from swarm.peers import convictions
from swarm.peers.convictions import Bundle, Conviction
from swarm.peers.record import MAX_LIFE_S
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity

CHEAT, WITNESS = Identity(), Identity()

HOLDER = pb.Endpoint(peer_id=WITNESS.peer_id, host="127.0.0.1", port=1234, certificate=b"certificate")


def now_ms() -> int:
    return int(time.time() * 1000)


def conviction(witness: Identity = WITNESS, **changes: object) -> Conviction:
    said = Conviction(
        "demo",
        CHEAT.peer_id,
        witness.peer_id,
        "equivocation",
        b"two receipts",
        issued_ms=now_ms(),
        expires_ms=now_ms() + 60_000,
    )
    return replace(said, **changes)


def signed(witness: Identity = WITNESS, **changes: object) -> bytes:
    return convictions.sign(conviction(witness, **changes), witness)


def raw(*fields: object) -> bytes:
    payload = msgpack.packb(list(fields))
    signature = WITNESS.sign(convictions.DOMAIN, payload)
    return pb.SignedRecord(payload=payload, signature=signature).SerializeToString()


def held_by(**changes: object) -> bytes:
    holder = pb.Endpoint()
    holder.CopyFrom(HOLDER)
    for name, value in changes.items():
        setattr(holder, name, value)
    return signed(proof=b"", bundle=Bundle(bytes(32), 1, holder))


def replayed_in_another_name() -> bytes:
    """Somebody else's words, under one's own signature."""
    theirs = pb.SignedRecord.FromString(signed())
    theirs.signature = Identity().sign(convictions.DOMAIN, theirs.payload)
    return theirs.SerializeToString()


def from_another_domain() -> bytes:
    payload = pb.SignedRecord.FromString(signed()).payload
    signature = WITNESS.sign(b"swarm/peer-record/v1", payload)
    return pb.SignedRecord(payload=payload, signature=signature).SerializeToString()


BAD = {
    "forged": lambda: convictions.sign(conviction(), Identity()),
    "replayed in another name": replayed_in_another_name,
    "signed for another purpose": from_another_domain,
    "unsigned": lambda: pb.SignedRecord(payload=pb.SignedRecord.FromString(signed()).payload).SerializeToString(),
    "junk": lambda: b"\xff" * 100,
    "empty": lambda: b"",
    "not msgpack": lambda: raw_bytes(b"\xc1"),
    "a deep nest": lambda: raw_bytes(b"\x91" * 3000),
    "too few fields": lambda: raw(1, "demo"),
    "other types": lambda: raw(1, "demo", b"accused", 7, "audit", 0, 2**60, b"proof", b"", 0, b""),
    "of another version": lambda: raw(
        2, "demo", CHEAT.peer_id, WITNESS.peer_id, "audit", now_ms(), now_ms() + 60_000, b"proof", b"", 0, b""
    ),
    "expired": lambda: signed(expires_ms=now_ms() - 1),
    "from the future": lambda: signed(issued_ms=now_ms() + 3_600_000, expires_ms=now_ms() + 3_660_000),
    "immortal": lambda: signed(expires_ms=now_ms() + (MAX_LIFE_S + 60) * 1000),
    "of an unknown kind": lambda: signed(kind="heresy"),
    "of oneself": lambda: signed(accused=WITNESS.peer_id),
    "of a strange name": lambda: signed(accused="a/b" * 10),
    "without evidence": lambda: signed(proof=b""),
    "with two kinds of evidence": lambda: signed(bundle=Bundle(bytes(32), 1, HOLDER)),
    "with a short digest": lambda: signed(proof=b"", bundle=Bundle(bytes(31), 1, HOLDER)),
    "with an empty bundle": lambda: signed(proof=b"", bundle=Bundle(bytes(32), 0, HOLDER)),
    "with a huge bundle": lambda: signed(proof=b"", bundle=Bundle(bytes(32), 2**40, HOLDER)),
    "held nowhere": lambda: held_by(host=""),
    "held at no port": lambda: held_by(port=0),
    "held by nobody": lambda: held_by(certificate=b""),
}  # fmt: skip


def raw_bytes(payload: bytes) -> bytes:
    signature = WITNESS.sign(convictions.DOMAIN, payload)
    return pb.SignedRecord(payload=payload, signature=signature).SerializeToString()


async def cannot_tell(said: Conviction) -> None:
    pass
