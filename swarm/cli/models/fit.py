"""How many blocks fit into how much memory, as a server decides it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from swarm.cli.models.shape import Shape
from swarm.model.kv_cache import PAGE_TOKENS
from swarm.model.layout import blocks_within, packed_nbytes
from swarm.wire.codec import DTYPES
from swarm_kernels import FORMATS

_MIB = 1 << 20


@dataclass(frozen=True)
class Format:
    """Of weights, with what a server computes in where it is not told."""

    quant: str
    dtype: str

    def __str__(self) -> str:
        return self.dtype if self.quant == "none" else self.quant

    def suits(self, shape: Shape) -> bool:
        """Whether the rows of its matrices divide into this format's groups."""
        group = FORMATS[self.quant].group if self.quant in FORMATS else 1
        return all(length % group == 0 for length in shape.row_lengths)

    def block_nbytes(self, shape: Shape) -> float:
        return packed_nbytes(shape.block_weights, self.quant, DTYPES[self.dtype])

    def token_nbytes(self, shape: Shape, blocks: int) -> int:
        """Of one token's keys and values; 0 where that is not known."""
        return (shape.kv_values or 0) * blocks * DTYPES[self.dtype].itemsize


def formats(quants: Iterable[str]) -> Iterator[Format]:
    for quant in quants:
        if quant == "none":
            yield Format("none", "float32")
        yield Format(quant, "bfloat16")


@dataclass(frozen=True)
class Cache:
    """How much of a server's memory is for keys and values: so many bytes, or what some sessions need."""

    nbytes: int
    context: int | None = None  # tokens of a session
    sessions: int | None = None  # that are to have room; then `nbytes` does not count


@dataclass(frozen=True)
class Fit:
    """What a server with so much memory serves."""

    memory_nbytes: int
    cache_nbytes: int
    blocks: int
    tokens: int | None  # that its cache has room for; None: not known
    sessions: int | None  # of the length that was asked for


def fit(shape: Shape, format: Format, memory_nbytes: int, cache: Cache) -> Fit:
    """memory_nbytes: as --memory of a server, for blocks and cache."""
    if cache.sessions and cache.context:
        return _fit_sessions(shape, format, memory_nbytes, cache.context, cache.sessions)
    return _fit(shape, format, memory_nbytes, cache.nbytes, cache.context)


def _fit(shape: Shape, format: Format, memory_nbytes: int, cache_nbytes: int, context: int | None) -> Fit:
    blocks = blocks_within(memory_nbytes - cache_nbytes, format.block_nbytes(shape), shape.num_blocks)
    page_nbytes = PAGE_TOKENS * format.token_nbytes(shape, blocks)
    pages = cache_nbytes // page_nbytes if page_nbytes else None
    tokens = pages * PAGE_TOKENS if pages is not None else None
    sessions = pages // _pages(context) if pages is not None and context else None
    return Fit(memory_nbytes, cache_nbytes, blocks, tokens, sessions)


def _fit_sessions(shape: Shape, format: Format, memory_nbytes: int, context: int, sessions: int) -> Fit:
    """As many blocks as leave room for the sessions' keys and values in them, and with all of the rest for these: a
    server with less for them would take another block, and have room for fewer sessions."""
    for blocks in range(shape.num_blocks, 0, -1):
        needed = sessions * _pages(context) * PAGE_TOKENS * format.token_nbytes(shape, blocks)
        left = int(memory_nbytes - blocks * format.block_nbytes(shape)) // _MIB * _MIB  # as one writes it, with an M
        if left >= needed:
            cache_nbytes = -(-needed // _MIB) * _MIB if blocks == shape.num_blocks else left
            return _fit(shape, format, memory_nbytes, cache_nbytes, context)
    return Fit(memory_nbytes, 0, 0, None, None)


def _pages(tokens: int) -> int:
    """A session takes whole ones."""
    return -(-tokens // PAGE_TOKENS)
