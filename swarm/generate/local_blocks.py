"""The first and the last blocks of the model, computed by the client itself.

The swarm then sees neither embeddings, from which the text can be read off, nor the last hidden states, from which the
next token can. What it does see still tells much of the text, less so the more blocks lie before it: this makes
reading harder, and is no encryption.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass

import torch

from swarm.errors import InvalidRequest
from swarm.generate.formats import format_of
from swarm.generate.gatherer import INLINE_S, Gatherer
from swarm.model.blocks import BlockRange
from swarm.model.checkpoint import Checkpoint
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.program import option
from swarm.route.means import RunningMean
from swarm.route.peer import PeerInfo
from swarm.session.session import CHUNK_TOKENS, Session
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import DTYPES
from swarm_kernels import Segment


class LocalBlocks:
    """Loads the blocks in the formats that chains call for, each when first wanted. Lives in one event loop."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        first: int,
        last: int,
        *,
        quant: str | None = None,
        dtype: str | None = None,
        kv_bytes: int = 2**30,
    ):
        """first, last: how many blocks at either end of the model. quant, dtype: of the local blocks; None: as the
        chain's. kv_bytes: for keys and values, all sessions together, in each format.

        Raises InvalidRequest if that leaves no block to the swarm.
        """
        num_blocks = checkpoint.config.num_blocks
        if min(first, last) < 0 or first + last >= num_blocks:
            raise InvalidRequest(
                f"{option('local_blocks')} {first}:{last} leave nothing to the swarm, or less: the model has "
                f"{num_blocks} blocks; give two counts from 0 up whose sum is less"
            )
        self.start, self.stop = first, num_blocks - last  # what is left to the swarm
        self._checkpoint, self._quant, self._dtype, self._kv_bytes = checkpoint, quant, dtype, kv_bytes
        self._loaded: dict[tuple[str, str], asyncio.Task[_Computer]] = {}  # by quant and dtype

    async def prepare(self, peers: Iterable[PeerInfo]) -> None:
        """Load what a chain of `peers` calls for, so that the first prompt need not wait for it. Raises ModelError."""
        await self._computer_for(peers)

    @asynccontextmanager
    async def around(self, session: Session, max_tokens: int) -> AsyncIterator["LocalWay"]:
        """The way through the whole model that leads through `session` for the blocks between. max_tokens: positions
        to reserve; waits while other sessions have the room. Raises InvalidRequest if there can never be enough."""
        computer = await self._computer_for(hop.peer for hop in session.hops)
        pages = await computer.reserve(max_tokens)
        try:
            with computer.session():
                yield LocalWay(computer, pages, session)
        finally:
            computer.release(pages)

    async def _computer_for(self, peers: Iterable[PeerInfo]) -> "_Computer":
        quant, dtype = format_of(list(peers))
        format = self._quant or quant, self._dtype or dtype
        if format not in self._loaded:
            self._loaded[format] = asyncio.create_task(asyncio.to_thread(self._load, *format))
        return await asyncio.shield(self._loaded[format])

    def _load(self, quant: str, dtype: str) -> "_Computer":
        num_blocks = self._checkpoint.config.num_blocks
        ranges = [(start, stop) for start, stop in ((0, self.start), (self.stop, num_blocks)) if start < stop]
        blocks = [BlockRange.load(self._checkpoint, *range_, DTYPES[dtype], quant=quant) for range_ in ranges]
        return _Computer(blocks, self._kv_bytes)

    def close(self) -> None:
        """After the last session."""
        for loading in self._loaded.values():
            if loading.done() and not loading.cancelled() and not loading.exception():
                loading.result().close()


class LocalWay:
    """One session's positions through the local blocks and the swarm's. Not for concurrent use."""

    def __init__(self, computer: "_Computer", pages: list[int], session: Session):
        self._computer, self._pages, self._session = computer, pages, session

    async def forward(self, position: int, hidden: torch.Tensor, want: pb.Want = pb.LAST) -> torch.Tensor:
        """As Session.forward, for the whole model: from embeddings to the last block's output."""
        first, last = self._computer.first, self._computer.last
        if first:
            hidden = await self._computer.forward(first, self._pages, position, hidden)
        if not last:
            return await self._session.forward(position, hidden, want)
        hidden = await self._session.forward(position, hidden, pb.ALL)  # the last blocks' cache wants all positions
        hidden = await self._computer.forward(last, self._pages, position, hidden)
        return hidden if want == pb.ALL else hidden[-1:]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Consecutive positions of one session on their way through one range."""

    blocks: BlockRange
    segment: Segment
    hidden: torch.Tensor  # [count, hidden_size]


class _Computer:
    """The local blocks in one format, and their cache."""

    def __init__(self, ranges: list[BlockRange], kv_bytes: int):
        config = ranges[0].config
        self.first = next((blocks for blocks in ranges if blocks.start == 0), None)
        self.last = next((blocks for blocks in ranges if blocks.start > 0), None)
        count = sum(blocks.stop - blocks.start for blocks in ranges)
        self._pool = PagePool(config, count, ranges[0].dtype, kv_bytes, ranges[0].device)
        self._freed = asyncio.Event()
        self._decode_s = RunningMean(0.2, 1.0)  # of a batch of single tokens; falls at once and rises slowly
        self._gatherer: Gatherer[_Rows, torch.Tensor] = Gatherer(
            "local-blocks", self._compute, self._is_quick, _share_a_chunk
        )

    # --- memory ------------------------------------------------------------------------------------------------------

    async def reserve(self, tokens: int) -> list[int]:
        """Pages for `tokens` positions, once there are enough."""
        if tokens > self._pool.num_pages * PAGE_TOKENS:
            raise InvalidRequest(
                f"{tokens} tokens need more room for keys and values than this client has, which is for "
                f"{self._pool.num_pages * PAGE_TOKENS}; raise local_kv_bytes, or ask for fewer tokens"
            )
        while self._pool.free_pages * PAGE_TOKENS < tokens:
            self._freed.clear()
            await self._freed.wait()
        return self._pool.allocate(tokens)

    def release(self, pages: list[int]) -> None:
        """Rows of theirs that are still in computation do no harm: whoever gets the pages next writes them later."""
        self._pool.free(pages)
        self._freed.set()

    # --- computing ---------------------------------------------------------------------------------------------------

    def session(self) -> AbstractContextManager[None]:
        """While one more session is generating."""
        return self._gatherer.session()

    async def forward(self, blocks: BlockRange, pages: list[int], position: int, hidden: torch.Tensor) -> torch.Tensor:
        """hidden [tokens, hidden_size], of positions `position`, `position` + 1, ... -> the same shape."""
        outputs = []
        for first in range(0, len(hidden), CHUNK_TOKENS):
            rows = hidden[first : first + CHUNK_TOKENS]
            segment = Segment(pages, position + first, len(rows))
            outputs.append(await self._gatherer.submit(_Rows(blocks, segment, rows)))
        return torch.cat(outputs)

    def _is_quick(self, batch: Sequence[_Rows]) -> bool:
        return _is_decoding(batch) and self._decode_s.is_known and self._decode_s.value <= INLINE_S

    def _compute(self, batch: Sequence[_Rows]) -> list[torch.Tensor]:
        started, blocks = time.perf_counter(), batch[0].blocks
        own = blocks.stop - blocks.start
        cache = self._pool.tensors[:own] if blocks is self.first else self._pool.tensors[-own:]
        hidden = torch.cat([rows.hidden for rows in batch]).to(blocks.dtype)
        layout = blocks.layout([rows.segment for rows in batch], PAGE_TOKENS)
        outputs = blocks.forward(hidden, layout, cache)
        if _is_decoding(batch):
            self._decode_s.observe(time.perf_counter() - started)
        return list(torch.split(outputs, [rows.segment.count for rows in batch]))

    def close(self) -> None:
        self._gatherer.close()


def _is_decoding(batch: Sequence[_Rows]) -> bool:
    return all(rows.segment.count == 1 for rows in batch)


def _share_a_chunk(batch: Sequence[_Rows], more: _Rows) -> bool:
    """Whether one batch can take `more`: it is for the same blocks, and all together make no more than a chunk."""
    tokens = sum(rows.segment.count for rows in batch) + more.segment.count
    return more.blocks is batch[0].blocks and tokens <= CHUNK_TOKENS
