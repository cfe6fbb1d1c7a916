"""Which blocks this server serves, where its contributor did not say: at the start, and when others would help more.

The plans themselves are in swarm.route.placement. Servers that see the same directory make the same plan, in which one
of them moves. Two may still see different pictures, or join in the same second, and both fill the same gap; therefore
each announces what it is about to do, waits, and looks again whether somebody else has announced something that makes
it pointless.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch

from swarm.errors import ModelError
from swarm.model.blocks import BlockRange
from swarm.model.kv_cache import PagePool
from swarm.model.weights import Checkpoint
from swarm.peers.directory import Directory
from swarm.route.costs import BATCHES
from swarm.route.peer import PeerInfo
from swarm.route.placement.placed import Placed, place, placed_from_record
from swarm.route.placement.rebalance import Move, next_move, worth_moving
from swarm.server.meter import measure
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from swarm_kernels import weight_bits

MEMORY_SHARE = 0.8  # of what is free, that a server takes if it is not told how much
SETTLE_S = (0.5, 1.5)  # between an announcement and the second look; random, so that not all look at once
PROBE_CACHE_BYTES = 2**25

logger = logging.getLogger(__name__)


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses now."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def affordable_blocks(checkpoint: Checkpoint, quant: str, dtype: torch.dtype, memory_bytes: int) -> int:
    """How many blocks of the model fit into `memory_bytes`. Raises ModelError if not even one does."""
    bits = weight_bits(quant, dtype)
    block_bytes = checkpoint.block_nbytes(dtype) * bits / (8 * dtype.itemsize)
    count = min(int(memory_bytes / block_bytes), checkpoint.config.num_blocks)
    if count < 1:
        raise ModelError(
            f"a block of this model takes {block_bytes / 2**20:.0f} MiB as {quant}, and {memory_bytes / 2**20:.0f} MiB "
            "are left beside the cache; give --memory or lower --kv-memory, or choose a smaller --quant"
        )
    return count


def measure_speed(
    checkpoint: Checkpoint, quant: str, dtype: torch.dtype, device: torch.device, threads: int | None
) -> float:
    """Tokens/s through one block of the model on this machine, in the largest batch that is measured."""
    blocks = BlockRange.load(checkpoint, 0, 1, dtype, device, quant=quant, threads=threads)
    pool = PagePool(checkpoint.config, 1, dtype, PROBE_CACHE_BYTES, device)
    return BATCHES[-1] / measure(blocks, pool).decode_block_s(BATCHES[-1])


@dataclass(frozen=True)
class Assignment:
    """Blocks that a server is to serve, and how many it could."""

    start: int
    stop: int
    max_blocks: int


class Placing:
    """One server's part in the placement of all. Lives in the event loop."""

    def __init__(self, directory: Directory, identity: Identity, record: pb.PeerRecord, life_s: float):
        """record: what this server announces of itself; its blocks and its state are set here."""
        self._directory, self._identity, self._record, self._life_s = directory, identity, record, life_s
        self._rng = random.Random()
        self._well_placed: tuple | None = None  # the picture in which there was nothing to do

    async def choose(self, max_blocks: int, blocks_per_s: float, alone: bool = False) -> Assignment:
        """The range that this server takes, announced as one that it is about to serve.

        alone: this server starts a swarm, and need not look out for others that start in the same second.
        """
        while True:
            others = await self._others()
            placed = [placed_from_record(peer) for peer in others]
            chosen = Assignment(*place(max_blocks, blocks_per_s, placed, self._record.num_blocks), max_blocks)
            await self.announce(chosen)
            if alone:
                return chosen
            await self._settle()
            if not self._outbid(await self._others(), others):
                return chosen

    async def announce(self, assignment: Assignment) -> None:
        """Let others count on this server for these blocks, although it has yet to load them."""
        self._record.start, self._record.stop = assignment.start, assignment.stop
        self._record.max_blocks, self._record.state = assignment.max_blocks, pb.JOINING
        await self._publish()

    def _outbid(self, now: Sequence[PeerInfo], then: Sequence[PeerInfo]) -> bool:
        """Whether somebody with a smaller peer id has announced since to join where this server wants to. Of two that
        want the same, one gives way."""
        known = {(peer.peer_id, peer.blocks) for peer in then}
        return any(
            peer.state == pb.JOINING
            and (peer.peer_id, peer.blocks) not in known
            and peer.peer_id < self._record.peer_id
            and peer.start < self._record.stop
            and peer.stop > self._record.start
            for peer in now
        )

    async def keep_announced(self) -> None:
        """While the blocks load, which may take longer than a record lives."""
        while True:
            await asyncio.sleep(self._life_s / 3)
            await self._publish()

    async def next_move(self, reload_s: float) -> Assignment | None:
        """Where this server should go now, if anywhere: announced, and agreed by all that can be seen.

        reload_s: what loading takes here.
        """
        move = await self._plan(reload_s)
        if move is None:
            return None
        self._record.state = pb.MOVING
        await self._publish()
        await self._settle()
        if await self._plan(reload_s) == move:
            return Assignment(move.start, move.stop, self._record.max_blocks)
        self._record.state = pb.ONLINE
        await self._publish()
        return None

    async def _plan(self, reload_s: float) -> Move | None:
        others = await self._others()
        if any(peer.state == pb.MOVING and peer.peer_id < self._record.peer_id for peer in others):
            return None
        if self._record.state != pb.MOVING and any(peer.state == pb.MOVING for peer in others):
            return None
        placed = [placed_from_record(peer) for peer in others] + [self._placed()]
        picture = tuple(sorted((peer.peer_id, peer.start, peer.stop, peer.blocks_per_s) for peer in placed))
        if picture == self._well_placed:
            return None
        move = await asyncio.to_thread(next_move, placed, self._record.num_blocks)
        if move is None:
            self._well_placed = picture
        if move is None or move.peer_id != self._record.peer_id or not worth_moving(move, reload_s):
            return None
        return move

    def _placed(self) -> Placed:
        return placed_from_record(PeerInfo.of(self._record))

    async def _others(self) -> list[PeerInfo]:
        """Everyone who serves this revision of the model, or is about to."""
        peers = await self._directory.peers(self._record.model, joining=True)
        return [
            peer for peer in peers if peer.peer_id != self._record.peer_id and peer.revision == self._record.revision
        ]

    async def _publish(self) -> None:
        await self._directory.publish(self._record, self._identity, self._life_s)

    async def _settle(self) -> None:
        await asyncio.sleep(self._rng.uniform(*SETTLE_S))
