"""A server's blocks: how many there is memory for, how fast they are here, and reading them."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from swarm.errors import InvalidRequest, ModelError
from swarm.home import digests_folder
from swarm.model.blocks import BlockRange, check_block_range
from swarm.model.checkpoint import Checkpoint, open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.kv_cache import PagePool
from swarm.model.layout import block_weights, blocks_within, packed_nbytes
from swarm.program import option
from swarm.route.costs import BATCHES, PeerCosts
from swarm.server.config import ServerConfig
from swarm.server.costs.measuring import measure
from swarm.wire.codec import DTYPES
from swarm_kernels import MEMORY_SHARE, free_nbytes

logger = logging.getLogger(__name__)

PROBE_CACHE_BYTES = 2**25

Progress = Callable[[int, int], object]  # (blocks loaded, blocks in all)


@dataclass(frozen=True)
class Loaded:
    """Blocks and their cache, ready to compute."""

    blocks: BlockRange
    pool: PagePool
    digests: list[bytes]  # of the blocks' weights, see swarm.model.identity
    costs: PeerCosts  # what they take here
    seconds: float  # that it took to load them


class Loader:
    """Of one server."""

    def __init__(self, config: ServerConfig, progress: Progress | None = None):
        """progress: called in the thread that loads. Raises ModelError, InvalidRequest for blocks that are not in the
        model, or take more memory than they may."""
        self.checkpoint = open_checkpoint(config.model, config.revision)
        if config.blocks:
            check_block_range(*config.blocks, self.checkpoint.config)
        self._config, self._progress = config, progress
        self._dtype = DTYPES[config.activations]
        self._device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if config.blocks and config.memory_bytes:
            self._refuse_more_than(config.memory_bytes, *config.blocks)

    def _refuse_more_than(self, memory_bytes: int, start: int, stop: int) -> None:
        """Raises InvalidRequest if these blocks and the cache take more."""
        config = self._config
        block_bytes = packed_nbytes(block_weights(self.checkpoint.config), config.quant, self._dtype)
        needed = math.ceil((stop - start) * block_bytes) + config.kv_memory_bytes
        if needed > memory_bytes:
            raise InvalidRequest(
                f"blocks {start}:{stop} as {_format(config.quant, self._dtype)} and the cache take "
                f"{math.ceil(needed / 2**20)} MiB, {config.kv_memory_bytes / 2**20:.0f} MiB of that the cache, and "
                f"{option('memory')} is {memory_bytes / 2**20:.0f} MiB; raise {option('memory')}, lower "
                f"{option('kv_memory')}, or choose fewer blocks or a smaller {option('quant')}"
            )

    def affordable_blocks(self) -> int:
        """As many as there is memory for. Raises ModelError if that is none."""
        config = self._config
        memory_bytes = config.memory_bytes or int(free_nbytes(self._device) * MEMORY_SHARE)
        left = memory_bytes - config.kv_memory_bytes
        return affordable_blocks(self.checkpoint, config.quant, self._dtype, left, bool(config.memory_bytes))

    async def speed(self) -> float:
        """Tokens/s through one block of the model on this machine, in the largest batch that is measured."""
        return await asyncio.to_thread(self._measure_speed)

    def _measure_speed(self) -> float:
        blocks = self._read(0, 1, None)
        pool = PagePool(self.checkpoint.config, 1, self._dtype, PROBE_CACHE_BYTES, self._device)
        return BATCHES[-1] / measure(blocks, pool).decode_block_s(BATCHES[-1])

    async def load(self, start: int, stop: int) -> Loaded:
        """Blocks `start` to `stop` - 1, tuned to this machine, and measured."""
        began = time.monotonic()
        pool = PagePool(self.checkpoint.config, stop - start, self._dtype, self._config.kv_memory_bytes, self._device)
        blocks, digests, costs = await asyncio.to_thread(self._prepare, start, stop, pool)
        return Loaded(blocks, pool, digests, costs, time.monotonic() - began)

    def _prepare(self, start: int, stop: int, pool: PagePool) -> tuple[BlockRange, list[bytes], PeerCosts]:
        """In one thread, since each leaves a heap behind; and none of it in the event loop, where the directory's node
        answers others."""
        began = time.monotonic()
        blocks = self._read(start, stop, self._progress)
        took_s = time.monotonic() - began
        extra = {"blocks": [start, stop], "seconds": round(took_s, 3)}
        logger.info("loading blocks %d:%d … done in %.1f s", start, stop, took_s, extra=extra)
        digests = DigestCache(digests_folder()).digests(self.checkpoint, start, stop)
        if self._config.threads is None:
            blocks.tune(pool.tensors)
        return blocks, digests, measure(blocks, pool)

    def _read(self, start: int, stop: int, progress: Progress | None) -> BlockRange:
        quant, threads = self._config.quant, self._config.threads
        return BlockRange.load(
            self.checkpoint, start, stop, self._dtype, self._device, progress, quant=quant, threads=threads
        )


def affordable_blocks(
    checkpoint: Checkpoint, quant: str, dtype: torch.dtype, memory_bytes: int, is_given: bool = False
) -> int:
    """How many blocks of the model fit into `memory_bytes`. is_given: whether the user said how much there is. Raises
    ModelError if not even one does."""
    block_bytes = packed_nbytes(block_weights(checkpoint.config), quant, dtype)
    count = blocks_within(memory_bytes, block_bytes, checkpoint.config.num_blocks)
    if count < 1:
        left = f"{memory_bytes / 2**20:.0f} MiB are" if memory_bytes > 0 else "nothing is"
        raise ModelError(
            f"a block of this model takes {block_bytes / 2**20:.0f} MiB as {_format(quant, dtype)}, and {left} "
            f"left beside the cache; {'raise' if is_given else 'give'} {option('memory')} or lower "
            f"{option('kv_memory')}, or choose a smaller {option('quant')}"
        )
    return count


def _format(quant: str, dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.") if quant == "none" else quant
