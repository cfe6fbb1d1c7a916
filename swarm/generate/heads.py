"""The client's end of a step: norm, head and sampling, for all its sessions together.

Sessions hand in one row of hidden state each; those that wait are one matrix product.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import torch

from swarm.generate.formats import head_format
from swarm.generate.gatherer import INLINE_S, Gatherer
from swarm.generate.sampler import Sampler
from swarm.model.checkpoint import Checkpoint
from swarm.model.ends import ModelEnds
from swarm.route.means import RunningMean
from swarm.route.peer import PeerInfo

_FEW_TOKENS = 64  # whose rows are read sooner than a thread has them

_Row = tuple[torch.Tensor, Sampler]  # [1, hidden_size], the last block's output


class Heads:
    """One head. Lives in one event loop."""

    def __init__(self, ends: ModelEnds):
        self.ends = ends
        self._row_s = RunningMean(0.2, start=INLINE_S)  # more than one go to the thread at first
        self._gatherer: Gatherer[_Row, int] = Gatherer("head", self._pick_all, self._is_quick)

    def session(self) -> AbstractContextManager[None]:
        """While one more session is generating."""
        return self._gatherer.session()

    async def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """Of all of a session's tokens, which may take a second: beside the event loop. [n, hidden_size]. Raises
        InvalidRequest for an id outside the vocabulary."""
        if len(tokens) <= _FEW_TOKENS:
            return self.ends.embed(tokens)
        return await asyncio.to_thread(self.ends.embed, tokens)

    async def pick(self, hidden: torch.Tensor, sampler: Sampler) -> int:
        """The next token of one session. hidden: [1, hidden_size], the last block's output."""
        return await self._gatherer.submit((hidden, sampler))

    def close(self) -> None:
        self._gatherer.close()

    def _is_quick(self, rows: Sequence[_Row]) -> bool:
        return len(rows) * self._row_s.value <= INLINE_S

    def _pick_all(self, rows: Sequence[_Row]) -> list[int]:
        started = time.perf_counter()
        hidden, samplers = zip(*rows, strict=True)
        logits = self.ends.logits(torch.cat(hidden))
        tokens = [sampler.pick(row) for row, sampler in zip(logits, samplers, strict=True)]
        self._row_s.observe((time.perf_counter() - started) / len(rows))
        return tokens


class HeadPool:
    """The heads that chains call for, each loaded when the first one does. Lives in one event loop."""

    def __init__(self, checkpoint: Checkpoint, format: str | None = None):
        """format: one of swarm.generate.formats.HEAD_FORMATS, for all chains; None: what suits each."""
        self._checkpoint, self._format = checkpoint, format
        self._loading: dict[str, asyncio.Task[Heads]] = {}

    @property
    def formats(self) -> list[str]:
        """Of those that are loaded, or are being loaded."""
        return list(self._loading)

    async def for_chain(self, peers: Iterable[PeerInfo]) -> Heads:
        """Raises ModelError."""
        format = self._format or head_format(peers)
        if format not in self._loading:
            self._loading[format] = asyncio.create_task(self._load(format))
        return await asyncio.shield(self._loading[format])

    async def _load(self, format: str) -> Heads:
        return Heads(await asyncio.to_thread(ModelEnds.load, self._checkpoint, torch.float32, format))

    def close(self) -> None:
        """After the last session."""
        for loading in self._loading.values():
            if loading.done() and not loading.cancelled() and not loading.exception():
                loading.result().close()
