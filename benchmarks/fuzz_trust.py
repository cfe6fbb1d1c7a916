"""Hostile bytes for everything that verification reads: is anything accepted that nobody signed, does anything break?

Honest samples of each kind are mutated, read as the library reads them, and what is accepted compared with the samples.

    python benchmarks/fuzz_trust.py [--rounds 100000] [--seed 0]
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import asyncio
import gc
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import psutil
import torch
from google.protobuf.message import DecodeError, Message

from harness.report import Report, make_parser, print_table
from swarm.errors import InvalidRequest
from swarm.peers import convictions
from swarm.peers.convictions import Conviction
from swarm.server.admission.line import Ask, Place
from swarm.server.links import Links
from swarm.server.session.outbox import Outbox
from swarm.server.session.reservation import Reservation
from swarm.server.session.session import Session
from swarm.server.session.steps import Slice
from swarm.verify.audit.case import Case
from swarm.verify.fraud.evidence import Bundle
from swarm.verify.fraud.proofs import AUDIT, EQUIVOCATION, Proof
from swarm.verify.receipts.checking import ChainReceipts
from swarm.verify.receipts.work import SignedSession
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import to_rows
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.journal import Journals
from swarm.wire.session_id import new_session_id

WIDTH, TOKENS = 16, 6
MAX_GROWTH_BYTES = 32 * 2**20  # of this process, between a tenth of the rounds and the end


class Accepted(Exception):
    """Something passed that nobody signed."""


@dataclass(frozen=True)
class Target:
    """samples: honest bytes. read: raises what is raised for hostile bytes, and Accepted if something passes that is
    none of the samples. forge: bytes of good form that somebody else has signed."""

    name: str
    samples: Sequence[bytes]
    read: Callable[[bytes], None]
    forge: Callable[[random.Random], bytes] | None = None


@dataclass
class Outcome:
    rounds: int = 0
    accepted: int = 0  # the same as a sample in meaning, though perhaps not in bytes
    seconds: float = 0.0
    crashes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # bytes in hexadecimal

    def row(self) -> dict[str, object]:
        return {
            "rounds": self.rounds, "same as a sample": self.accepted, "wrongly accepted": len(self.wrong),
            "crashes": len(self.crashes), "per second": self.rounds / self.seconds,
        }  # fmt: skip


# --- honest samples --------------------------------------------------------------------------------------------------


class World:
    """Three peers, of which the last lies, and their receipts for the same work."""

    def __init__(self):
        self.peers = [Identity() for _ in range(4)]
        self.session = new_session_id()
        self.x = torch.randn(TOKENS, WIDTH)
        self.receipts = [self._sign(peer, self.x + (index == 2)) for index, peer in enumerate(self.peers[:3])]
        self.encoded = [signed.encode() for signed in self.receipts]

    def terms(self, peer: Identity) -> Terms:
        return Terms(
            self.session, 1, peer.address, 0, 1, NOTHING, "none/bfloat16", "cpu-1", pb.FLOAT32, NOTHING
        )  # fmt: skip

    def _sign(self, peer: Identity, y: torch.Tensor) -> SignedReceipt:
        signed: list[SignedReceipt] = []
        writer = ReceiptWriter(peer, self.terms(peer), signed.append)
        writer.record(0, to_rows(self.x, torch.float32), to_rows(y, torch.float32))
        writer.seal()
        return signed[0]

    @property
    def proofs(self) -> list[Proof]:
        other = replace(self.receipts[0].receipt, outputs=NOTHING).sign(self.peers[0])
        outvoted = [self.receipts[2], *self.receipts[:2]]
        return [Proof.of(EQUIVOCATION, [self.receipts[0], other]), Proof.of(AUDIT, outvoted)]

    @property
    def bundle(self) -> Bundle:
        rows, wrong = to_rows(self.x, torch.float32), to_rows(self.x + 1, torch.float32)
        return Bundle(Case((self.receipts[2],), 0, rows, wrong), "demo", "revision")

    def forge_receipt(self, rng: random.Random) -> bytes:
        """A receipt in a peer's name, by somebody else's key."""
        victim = rng.choice(self.receipts)
        receipt = replace(victim.receipt, outputs=rng.randbytes(32))
        return replace(victim, receipt=receipt, signature=self.peers[3].sign_hash(receipt.hash)).encode()


def make_targets() -> list[Target]:
    world = World()
    accuser = world.peers[3]
    proofs = world.proofs
    now_ms = int(time.time() * 1000)
    announced = [
        Conviction("demo", proof.accused, accuser.peer_id, proof.kind, proof.encode(), None, now_ms, now_ms + 200_000)
        for proof in proofs
    ]
    step = pb.Step(count=TOKENS, hidden=to_rows(world.x, torch.float32).message(), seq=2, seal=True)
    step.receipts.extend(world.encoded)
    to_server = [pb.ToServer(step=step), pb.ToServer(seal=pb.Seal(seq=3)), pb.ToServer(fetch=pb.Fetch(count=2))]
    to_client = [pb.ToClient(result=step), pb.ToClient(sealed=pb.Sealed(seq=1, receipts=world.encoded))]
    return [
        Target("receipt", world.encoded, lambda data: read_receipt(data, world), world.forge_receipt),
        _by_meaning("proof", [proof.encode() for proof in proofs], Proof.decode),
        _by_meaning("evidence", [world.bundle.encode(accuser)], _read_bundle),
        _by_meaning("conviction", [convictions.sign(one, accuser) for one in announced], convictions.verify),
        Target("to server", _serialised(to_server), lambda data: read_to_server(data, world)),
        Target("to client", _serialised(to_client), lambda data: read_to_client(data, world)),
        Target("bundle", _serialised([pb.Bundle(steps=[step, step])]), lambda data: read_bundle(data, world)),
    ]


def _serialised(messages: Sequence[Message]) -> list[bytes]:
    return [message.SerializeToString() for message in messages]


# --- reading ---------------------------------------------------------------------------------------------------------


def _by_meaning(name: str, samples: Sequence[bytes], decode: Callable[[bytes], object]) -> Target:
    """What is accepted must mean what a sample means."""
    honest = [decode(sample) for sample in samples]

    def read(data: bytes) -> None:
        if decode(data) not in honest:
            raise Accepted

    return Target(name, samples, read)


def _read_bundle(data: bytes) -> tuple[bytes, str]:
    bundle = Bundle.decode(data)
    return bundle.digest, bundle.accuser


def read_receipt(data: bytes, world: World) -> None:
    """Receipts have one encoding."""
    SignedReceipt.decode(data)
    if data not in world.encoded:
        raise Accepted


def read_to_server(data: bytes, world: World) -> None:
    """As a server does, which signs what it computes from it."""
    message = pb.ToServer.FromString(data)
    _serve(_open_session(world), message, world)


def read_bundle(data: bytes, world: World) -> None:
    session = _open_session(world)
    for step in pb.Bundle.FromString(data).steps:
        _serve(session, pb.ToServer(step=step), world)


def read_to_client(data: bytes, world: World) -> None:
    """As a client does that watches all peers: nobody is blamed for bytes that were garbled on their way."""
    message = pb.ToClient.FromString(data)
    receipts = ChainReceipts()
    receipts.sent(0, to_rows(world.x, torch.float32).digests, seal=True)
    receipts.expect(world.terms(world.peers[0]), world.peers[0].peer_id)
    for receipt in [*message.result.receipts, *message.sealed.receipts]:
        receipts.add(receipt)
    if receipts.faults or any(signed.encode() not in world.encoded for signed in receipts.all()):
        raise Accepted


def _open_session(world: World) -> Session:
    request = pb.Open(session_id=world.session, stop=1, wire_dtype=pb.FLOAT32, max_tokens=64)
    writer = ReceiptWriter(world.peers[0], world.terms(world.peers[0]), lambda signed: None)
    outbox, links = Outbox(), Links(2**20, lambda link, step: None, lambda link, refusal: None)
    signed = SignedSession(writer, lambda *opening: True, outbox)
    reservation = Reservation.of(request, [0], Place(Ask("client", 1), 0.0, 0.0, 0))
    return Session(request, reservation, signed, outbox, Journals(WIDTH, 2**20), links)


def _serve(session: Session, message: pb.ToServer, world: World) -> None:
    if message.WhichOneof("kind") != "step":
        asyncio.run(session.answer(message, pb.Load))
        return
    session.accept(message.step)
    work = session.steps.waiting[-1]
    session.computed(Slice.next(session, work.remaining), work.hidden, pb.Visit())
    for data in work.step.receipts:
        with suppress(InvalidRequest):
            read_receipt(data, world)


# --- fuzzing ---------------------------------------------------------------------------------------------------------


def mutate(rng: random.Random, samples: Sequence[bytes]) -> bytes:
    """A sample with one to four changes."""
    data = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 40))
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = rng.randbytes(length)
            case 4:
                other = rng.choice(samples)
                start = rng.randrange(len(other))
                data[at : at + length] = other[start : start + length]
            case _:
                data[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\x80\x80\x80"))
    return bytes(data)


def fuzz(rounds: int, seed: int) -> tuple[dict[str, Outcome], int]:
    """Outcomes by kind, and by how many bytes this process grew."""
    rng, targets, process = random.Random(seed), make_targets(), psutil.Process()
    outcomes = {target.name: Outcome() for target in targets}
    before = 0
    for number in range(rounds):
        if number == rounds // 10:
            gc.collect()
            before = process.memory_info().rss
        target = targets[number % len(targets)]
        forged = target.forge and rng.random() < 0.1
        data = target.forge(rng) if forged else mutate(rng, target.samples)
        _one(target, data, outcomes[target.name])
    gc.collect()
    return outcomes, process.memory_info().rss - before


def _one(target: Target, data: bytes, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        target.read(data)
        outcome.accepted += 1
    except (InvalidRequest, DecodeError):
        pass
    except Accepted:
        outcome.wrong.append(data.hex())
    except Exception as error:  # anything else that hostile bytes may raise is what is looked for
        outcome.crashes.append(f"{type(error).__name__}: {error} by {data.hex()}")
    outcome.seconds += time.perf_counter() - started
    outcome.rounds += 1


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = Report(args)
    torch.set_num_threads(1)
    outcomes, growth = fuzz(args.rounds, args.seed)
    rows = [{"kind": name, **outcome.row()} for name, outcome in outcomes.items()]
    print_table(rows)
    total = {what: sum(row[what] for row in rows) for what in ("rounds", "wrongly accepted", "crashes")}
    print(f"memory grew by {growth / 2**20:.1f} MiB in {args.rounds * 9 // 10} rounds")
    for outcome in outcomes.values():
        for line in [*outcome.crashes[:3], *outcome.wrong[:3]]:
            print(line[:400])
    report.save("fuzz_trust", {"total": total, "kinds": rows, "growth_bytes": growth})
    if total["wrongly accepted"] or total["crashes"] or growth > MAX_GROWTH_BYTES:
        raise SystemExit("something is wrong: see above")


if __name__ == "__main__":
    main()
