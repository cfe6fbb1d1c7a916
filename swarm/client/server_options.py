"""The options of `swarm.LocalSwarm`: each an argument of `python -m swarm.server`, checked before a process is started.

Tests hold the names to the server's own arguments.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from swarm import kinds, shown
from swarm.errors import InvalidRequest, ModelError
from swarm.model.blocks import check_ascending, parse_block_range
from swarm.sizes import size
from swarm.wire.dtypes import SERVED_DTYPES
from swarm.wire.formats.amounts import parse_amount
from swarm_kernels import QUANTS

Written = Callable[[str, Any], str]  # an option's name and value -> as the command line takes it


class ServerKeywords(TypedDict, total=False):
    """None, and False for a flag, are as if it were not given."""

    dtype: str | None
    quant: str | None
    device: str | None
    threads: int | None
    memory: int | str | None  # bytes, or a size like "2G"
    kv_memory: int | str | None
    journal_memory: int | str | None
    revision: str | None
    host: str | None
    announce: str | None
    port: int | None
    dht_port: int | None
    identity: str | os.PathLike[str] | None
    record_life: float | None  # seconds
    ledger: str | os.PathLike[str] | None
    pricing: str | None
    price: int | str | None  # nano-credits, or credits as text
    prefill_price: int | str | None
    stake: int | str | None
    settle_every: float | None  # seconds
    epoch: float | None  # seconds
    max_context: int | None  # tokens
    max_sessions: int | None
    idle_timeout: float | None  # seconds
    drain: float | None  # seconds
    attestation: str | None
    no_receipts: bool
    verbose: bool
    log_format: str | None


def _as(kind: kinds.Kind) -> Written:
    return lambda name, value: str(kind(name, value))


def _amount(name: str, value: object) -> str:
    if isinstance(value, str):
        parse_amount(value)
        return value
    return f"{kinds.whole(0, otherwise=' (nano-credits), or credits as text, like 0.5')(name, value)}n"


def _size(name: str, value: object) -> str:
    if isinstance(value, str):
        try:
            return str(size(value))
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}: {error}") from None
    return str(kinds.whole(1, otherwise=" (bytes), or a size like '512M'")(name, value))


_WRITTEN: dict[str, Written] = {
    "dtype": _as(kinds.one_of(SERVED_DTYPES)),
    "quant": _as(kinds.one_of(QUANTS)),
    "log_format": _as(kinds.one_of(("text", "json"))),
    **dict.fromkeys(("device", "revision", "host", "announce", "pricing", "attestation"), _as(kinds.text)),
    **dict.fromkeys(("identity", "ledger"), _as(kinds.path)),
    **dict.fromkeys(("threads", "max_context", "max_sessions"), _as(kinds.whole(1))),
    **dict.fromkeys(("port", "dht_port"), _as(kinds.whole(0, 65_535))),
    **dict.fromkeys(("record_life", "settle_every", "epoch", "idle_timeout", "drain"), _as(kinds.seconds())),
    **dict.fromkeys(("memory", "kv_memory", "journal_memory"), _size),
    **dict.fromkeys(("price", "prefill_price", "stake"), _amount),
}
_MOST_BLOCKS = 10**9
FLAGS = dict.fromkeys(("no_receipts", "verbose"), False)  # and their default
_HINTS = {
    **dict.fromkeys(("temperature", "max_new_tokens", "verify"), "it is an option of swarm.Client.generate"),
    **dict.fromkeys(("torch_dtype", "precision"), "dtype"),
    **dict.fromkeys(("quantization", "quantisation", "load_in_8bit", "load_in_4bit"), "quant"),
    **dict.fromkeys(("num_threads", "cores", "cpus"), "threads"),
    **dict.fromkeys(("receipts",), "no_receipts=True is for servers that sign nothing"),
    **dict.fromkeys(("servers", "num_servers", "num_peers", "n", "size"), "blocks has a range for each server"),
    **dict.fromkeys(("model_name", "model_id", "model_path"), "model"),
    **dict.fromkeys(("block", "layers", "ranges"), "blocks"),
    **dict.fromkeys(("kv_cache", "cache", "kv_bytes"), "kv_memory"),
}


def checked(options: Mapping[str, Any]) -> dict[str, str | bool]:
    """As the command line takes them: text, or True for a flag. Raises InvalidRequest."""
    known = _WRITTEN.keys() | FLAGS.keys()
    if strange := sorted(options.keys() - known):
        raise kinds.unknown(strange[0], known | {"model", "blocks", "secret"}, _HINTS, "swarm.LocalSwarm")
    given = {name: value for name, value in options.items() if value is not None}
    flags = {name: True for name in FLAGS if name in given and kinds.flag(name, given[name])}
    return {**{name: _WRITTEN[name](name, value) for name, value in given.items() if name not in FLAGS}, **flags}


def ranges(blocks: object) -> list[str]:
    """One for each server, from what a caller gave: ranges like "0:10" or (0, 10), or "auto"; one alone is for one
    server. Raises InvalidRequest."""
    if isinstance(blocks, str) or _is_pair(blocks):
        return [_range(blocks)]
    if not isinstance(blocks, list | tuple):
        raise kinds.refused("blocks", "a list with a range like '0:10' for each server", blocks)
    return [_range(one) for one in blocks]


def _range(blocks: Any) -> str:
    if blocks == "auto":
        return "auto"
    if not isinstance(blocks, str) and not _is_pair(blocks):
        raise InvalidRequest(f"blocks of a server are a range like '0:10', or 'auto', not {shown.value(blocks)}")
    if not isinstance(blocks, str) and max(map(abs, blocks)) > _MOST_BLOCKS:
        raise InvalidRequest(f"no model has so many blocks as {shown.value(blocks)}")
    try:
        start, stop = parse_block_range(blocks if isinstance(blocks, str) else shown.span(blocks))
        check_ascending(start, stop)
        return shown.span((start, stop))
    except ModelError as error:
        raise InvalidRequest(str(error)) from error


def _is_pair(blocks: object) -> bool:
    return isinstance(blocks, tuple) and len(blocks) == 2 and all(type(one) is int for one in blocks)
