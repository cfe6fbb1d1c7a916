"""The client's end of a step: norm, head and sampling, for all its sessions together.

Sessions hand in one row of hidden state each. Whatever is waiting when the worker becomes free is one matrix product,
so that eight sessions read the head's weights once and not eight times.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from swarm.generate.sampling import Sampler
from swarm.model.ends import ModelEnds
from swarm.route.peer import PeerInfo

# The head that suits a chain: none is rounded more than the coarsest block before it, and none costs more than it must.
HEAD_FORMATS = ("float32", "bfloat16", "int8")
GATHER_S = 0.001  # without another row: no more are coming now
INLINE_S = 0.01  # how long the event loop may be busy with one product

_Waiting = tuple[torch.Tensor, Sampler, "asyncio.Future[int]"]


def head_format(peers: Iterable[PeerInfo]) -> str:
    """One of HEAD_FORMATS, for a chain of `peers`."""
    peers = list(peers)
    if peers and all(peer.quant != "none" for peer in peers):
        return "int8"
    return "bfloat16" if peers and all(peer.dtype == "bfloat16" for peer in peers) else "float32"


class Heads:
    """Lives in one event loop, and computes there as long as that is quick, else in one thread: handing a product over
    and back costs a session's token 0.2 ms."""

    def __init__(self, ends: ModelEnds):
        self.ends = ends
        self._waiting: list[_Waiting] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="head")
        self._task: asyncio.Task | None = None
        self._sessions = 0
        self._row_s = INLINE_S  # running mean: the first products go to the thread

    @contextmanager
    def session(self) -> Iterator[None]:
        """While one more session is generating."""
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    async def pick(self, hidden: torch.Tensor, sampler: Sampler) -> int:
        """The next token of one session. hidden: [1, hidden_size], the last block's output."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((hidden, sampler, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await self._gather()
            batch, self._waiting = self._waiting, []
            try:
                if len(batch) * self._row_s <= INLINE_S:
                    tokens = self._pick_all(batch)
                else:
                    tokens = await loop.run_in_executor(self._thread, self._pick_all, batch)
            except Exception as error:  # whatever it is, it is the callers': none may wait for ever
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, _, future), token in zip(batch, tokens, strict=True):
                if not future.done():  # its caller may have left
                    future.set_result(token)

    async def _gather(self) -> None:
        """The rows of one batch arrive within a millisecond or two, each on a stream of its own: take them together,
        or the first goes alone and they come back to the servers one by one."""
        seen = 0
        while seen < len(self._waiting) < self._sessions:
            seen = len(self._waiting)
            await asyncio.sleep(GATHER_S)

    def _pick_all(self, batch: list[_Waiting]) -> list[int]:
        started = time.perf_counter()
        logits = self.ends.logits(torch.cat([hidden for hidden, _, _ in batch]))
        tokens = [sampler.pick(row) for row, (_, sampler, _) in zip(logits, batch, strict=True)]
        self._row_s += 0.2 * ((time.perf_counter() - started) / len(batch) - self._row_s)
        return tokens

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
