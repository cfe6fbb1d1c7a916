"""What a step of a session takes of this machine's processors outside the blocks: it is received, checked, signed and
sent. Estimated at the start, and from then on learned from what the process takes in all."""

import asyncio
import hashlib
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from swarm.errors import PeerUnreachable
from swarm.route.means import RunningMean
from swarm.wire import messages_pb2 as pb
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, max_message_bytes

WINDOW_STEPS = 64  # of sessions, of which a mean is taken
SETTLED_S = 5.0  # after which this machine is done with starting servers, and before they say their figures again
_APART = 1.6  # times that, at most: who started together is not to try it together again
PAUSE_S = 0.5  # without a batch: what the process did meanwhile was no step
_RATE = 0.3  # of the difference, that a window moves the mean
_MOST_S = 0.05  # more is something else
_CALLS, _AT_ONCE, _ROUNDS = 32, 8, 3
_CALLS_PER_STEP = 2.0  # by measurement: a step against a call of this process to itself, which is both ends of it
_TIMEOUT_S = 5.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


async def estimate(own: pb.Endpoint, host: str, port: int, member: Certificate | None) -> float:
    """Seconds, by calls of this process to itself; 0 if it does not answer. own: as others are told. host, port: where
    it listens. member: in a private swarm, its certificate."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    here = pb.Endpoint(peer_id=own.peer_id, host=host, port=port, certificate=own.certificate)
    peer = Peer(here, max_message_bytes(hidden_size=0), member)
    try:
        await peer.status(_TIMEOUT_S)
        return _CALLS_PER_STEP * statistics.median([await _call_s(peer) for _ in range(_ROUNDS)])
    except PeerUnreachable:
        return 0.0
    finally:
        await peer.close()


async def _call_s(peer: Peer) -> float:
    before_s = time.process_time()
    for _ in range(_CALLS // _AT_ONCE):
        await asyncio.gather(*(peer.status(_TIMEOUT_S) for _ in range(_AT_ONCE)))
    return (time.process_time() - before_s) / _CALLS


class StepCost:
    """A running mean."""

    def __init__(
        self,
        threads: int,
        processor: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ):
        """threads: that compute the blocks. processor: seconds that this process has taken of all."""
        self._threads, self._processor, self._clock = threads, processor, clock
        self._mean, self._is_learned = RunningMean(_RATE), False
        self._last_s, self._began_s = clock(), processor()  # of this window
        self._steps, self._computing_s = 0, 0.0

    @property
    def value_s(self) -> float:
        """0 until anything is known."""
        return self._mean.value

    def start(self, estimated_s: float) -> None:
        """For as long as nothing is learned: of several estimates the least, since others only ever add to one."""
        if estimated_s and not self._is_learned:
            known_s = self._mean.value if self._mean.is_known else estimated_s
            self._mean = RunningMean(_RATE, start=min(known_s, estimated_s))

    async def start_again(self, estimate: Callable[[], Awaitable[float]]) -> None:
        """Once more when the start is over: where several servers start together, each has a cold cache at every call,
        and finds half as much again."""
        await asyncio.sleep(SETTLED_S * random.uniform(1.0, _APART))
        if not self._is_learned:
            self.start(await estimate())

    def observe(self, steps: int, is_decoding: bool, processor_s: float) -> None:
        """A batch of so many steps was computed. is_decoding: nothing but single tokens. processor_s: that each
        computing thread took."""
        now_s = self._clock()
        if not is_decoding or now_s - self._last_s > PAUSE_S:
            self._begin()
            return
        self._last_s = now_s
        self._steps += steps
        self._computing_s += processor_s * self._threads
        if self._steps >= WINDOW_STEPS:
            taken_s = (self._processor() - self._began_s - self._computing_s) / self._steps
            self._mean.observe(min(max(taken_s, 0.0), _MOST_S))
            self._is_learned = True
            self._begin()

    def _begin(self) -> None:
        self._last_s, self._began_s = self._clock(), self._processor()
        self._steps, self._computing_s = 0, 0.0


def processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> bytes:
    """A name of this machine until it is started again, which tells nothing else; empty if there is none."""
    try:
        return hashlib.sha256(b"swarm/machine/v1" + _BOOT_ID.read_bytes()).digest()[:8]
    except OSError:
        return b""
