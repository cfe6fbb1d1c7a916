"""Evidence against other peers that a server keeps for whoever asks: an accuser may be gone by then.

It takes a little of it, for a while, and for nobody's sake in particular: it checks that it is evidence, and leaves to
those who fetch it to find out what it proves (see swarm.verify.fraud.verifier).
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc

from swarm.errors import InvalidRequest, PeerBusy, SwarmError
from swarm.route.peer import PeerInfo
from swarm.verify.fraud.evidence import Bundle
from swarm.wire import messages_pb2 as pb
from swarm.wire.blobs import MAX_PARCEL_BYTES, PIECE_BYTES, TIMEOUT_S
from swarm.wire.failures import failure
from swarm.wire.formats.merkle import DIGEST_BYTES
from swarm.wire.rate_limit import Allowance

MAX_KEPT = 8
MAX_BYTES = 2**28  # of all that is kept; as much again may be on its way
MIN_LIFE_S = 300.0  # in which clients hear of it, and for which nothing new takes its place
MAX_ARRIVING = 4  # at once
MAX_LEAVING = 4  # at once: activations go over the same link
CHECKS, CHECKS_PERIOD_S = 32, 600.0  # of what arrived: each may take seconds of a processor

_Parties = tuple[str, str]  # peer ids of accuser and accused
_Withdrawing = grpc.aio.ServicerContext[pb.Withdrawal, pb.WithdrawnPiece]


@dataclass(frozen=True)
class _Kept:
    """file: without a name, so that it is gone from the disk with whoever has it open last."""

    digest: bytes
    parties: _Parties
    file: IO[bytes]
    nbytes: int
    since_s: float


class EvidenceStore:
    """The service's methods Deposit and Withdraw. Lives in the event loop."""

    def __init__(self, record: PeerInfo, folder: Path, now: Callable[[], float] = time.monotonic):
        """record: of this server. folder: on the disk that is to hold the evidence; it is created. now:
        seconds, never running backwards."""
        folder.mkdir(parents=True, exist_ok=True)
        self._record, self._folder, self._now = record, folder, now
        self._kept: dict[bytes, _Kept] = {}  # by digest, oldest first
        self._arriving: list[int] = []  # bytes of each
        self._leaving = 0
        self._checks = Allowance(CHECKS, CHECKS_PERIOD_S, now)
        self._checking = asyncio.Lock()  # one at a time is in memory

    @property
    def kept(self) -> int:
        """Pieces of evidence that are kept."""
        return len(self._kept)

    @property
    def arriving(self) -> int:
        """Pieces that are on their way here."""
        return len(self._arriving)

    # --- in ----------------------------------------------------------------------------------------------------------

    async def deposit(self, requests: AsyncIterator[pb.DepositPiece], context: object) -> pb.Deposited:
        """The answer says why, where it is not kept."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._take(requests)
        except TimeoutError:
            return pb.Deposited(failure=failure(InvalidRequest(f"this evidence took longer than {TIMEOUT_S:.0f} s")))
        except OSError as error:
            return pb.Deposited(failure=failure(PeerBusy(f"this peer cannot store evidence now: {error.strerror}")))
        except SwarmError as error:
            return pb.Deposited(failure=failure(error))
        return pb.Deposited()

    async def _take(self, requests: AsyncIterator[pb.DepositPiece]) -> None:
        first = await anext(requests, pb.DepositPiece())
        digest, nbytes = first.digest, first.nbytes
        if len(digest) != DIGEST_BYTES or not 0 < nbytes <= MAX_PARCEL_BYTES:
            raise InvalidRequest(
                f"evidence of {nbytes} bytes with a digest of {len(digest)}; at most {MAX_PARCEL_BYTES} are kept"
            )
        if digest in self._kept:
            return
        with self._reserved(nbytes):
            file = await asyncio.to_thread(_nameless, self._folder)
            await _spool(file, requests, digest, nbytes)
            parties = await self._check(file, nbytes)
            self._keep(_Kept(digest, parties, file, nbytes, self._now()))

    @contextmanager
    def _reserved(self, nbytes: int) -> Iterator[None]:
        """Room for so much more. Raises PeerBusy if there is none, even without all that may give way."""
        young = [kept.nbytes for kept in self._kept.values() if not self._gives_way(kept)]
        taken = [*young, *self._arriving]
        if len(self._arriving) >= MAX_ARRIVING or len(taken) >= MAX_KEPT or sum(taken) + nbytes > MAX_BYTES:
            raise PeerBusy(f"this peer keeps {len(young)} pieces of evidence and has no room for another now")
        self._arriving.append(nbytes)
        try:
            yield
        finally:
            self._arriving.remove(nbytes)

    async def _check(self, file: IO[bytes], nbytes: int) -> _Parties:
        """Whether it is worth keeping. Raises InvalidRequest, PeerBusy."""
        async with self._checking:
            if not self._checks.spend():
                raise PeerBusy("this peer has been given too much evidence lately")
            model, revision, accuser, accused = await asyncio.to_thread(_read_facts, file, nbytes)
        if (model, revision) != (self._record.model, self._record.revision):
            raise InvalidRequest(f"this peer serves {self._record.model!r}, and keeps no evidence about {model!r:.100}")
        if accused in (accuser, self._record.peer_id):
            raise InvalidRequest(f"this peer keeps no evidence by {accuser} against {accused}")
        return accuser, accused

    def _keep(self, new: _Kept) -> None:
        """In place of an older one by the same accuser against the same peer, or of the oldest, as far as needed."""
        same = [digest for digest, kept in self._kept.items() if kept.parties == new.parties]
        if any(not self._gives_way(self._kept[digest]) for digest in same):
            raise PeerBusy("this peer keeps evidence by the same accuser against the same peer already")
        for digest in same:
            del self._kept[digest]
        # By what was reserved, those that may give way suffice.
        while len(self._kept) >= MAX_KEPT or sum(kept.nbytes for kept in self._kept.values()) + new.nbytes > MAX_BYTES:
            del self._kept[next(iter(self._kept))]
        self._kept[new.digest] = new

    def _gives_way(self, kept: _Kept) -> bool:
        return self._now() - kept.since_s >= MIN_LIFE_S

    # --- out ---------------------------------------------------------------------------------------------------------

    async def withdraw(self, request: pb.Withdrawal, context: _Withdrawing) -> None:
        """What is kept under a digest, in pieces; or why there is nothing."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    await self._hand_out(request.digest, context)
        except SwarmError as error:
            await context.write(pb.WithdrawnPiece(failure=failure(error)))

    async def _hand_out(self, digest: bytes, context: _Withdrawing) -> None:
        kept = self._kept.get(digest)
        if kept is None:
            raise InvalidRequest("this peer does not keep that evidence, or not any more")
        if self._leaving >= MAX_LEAVING:
            raise PeerBusy(f"this peer hands out evidence to {self._leaving} others now")
        self._leaving += 1
        try:
            for offset in range(0, kept.nbytes, PIECE_BYTES):
                data = await asyncio.to_thread(os.pread, kept.file.fileno(), PIECE_BYTES, offset)
                await context.write(pb.WithdrawnPiece(data=data))
        finally:
            self._leaving -= 1


def _nameless(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder, buffering=0)  # else a full disk is heard of when it is closed


async def _spool(file: IO[bytes], pieces: AsyncIterator[pb.DepositPiece], digest: bytes, nbytes: int) -> None:
    """Write what arrives to `file`. Raises InvalidRequest as soon as it is not what was announced."""
    hasher, received = hashlib.sha256(), 0

    def write(data: bytes) -> None:
        hasher.update(data)
        while data:  # a disk that is all but full takes a part
            data = data[file.write(data) :]

    async for piece in pieces:
        received += len(piece.data)
        if received > nbytes:
            raise InvalidRequest(f"more evidence than the {nbytes} bytes that were announced")
        await asyncio.to_thread(write, piece.data)
    if received < nbytes or hasher.digest() != digest:
        raise InvalidRequest(f"{received} bytes of evidence that are not the {nbytes} that were announced")


def _read_facts(file: IO[bytes], nbytes: int) -> tuple[str, str, str, str]:
    """Model, revision, accuser and accused of the evidence in `file`; the rest of it is not kept in memory."""
    bundle = Bundle.decode(os.pread(file.fileno(), nbytes, 0))
    return bundle.model, bundle.revision, bundle.accuser, bundle.case.peer_id
