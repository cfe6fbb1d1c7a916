"""What is compared: the swarm, llama.cpp and transformers, each as an engine that is there within a `with`."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from itertools import pairwise

import torch
from transformers import AutoModelForCausalLM

import swarm
from speed.room import BLOCKS, Room
from swarm.measure.measuring import Engine, SwarmEngine
from swarm.model.checkpoint import demo_file

LLAMA_KINDS = ("Q8_0", "Q4_0")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NO_LLAMA = (
    "llama-cpp-python is not installed, so llama.cpp is left out; `make llama-cpp` builds it, which "
    "takes ten minutes of all cores"
)


@dataclass(frozen=True)
class Competitor:
    """name: as the tables have it. open: loads it. element: bytes of each key and value that it keeps in this machine's
    memory. is_ours: it is
    started here."""

    name: str
    open: Callable[[Room], AbstractContextManager[Engine]]
    element: int
    is_ours: bool = True


BASE = "transformers float32"  # what ratios are against


def local_swarms(hops: list[int], quants: list[str]) -> list[Competitor]:
    """Of servers of our own on this machine."""
    return [_local_swarm(peers, quant) for peers in hops for quant in quants]


def _local_swarm(peers: int, quant: str) -> Competitor:
    name = f"swarm {'float32' if quant == 'none' else quant}, {peers} peer{'s' * (peers > 1)}"
    return Competitor(name, lambda room: _swarm(peers, quant, room), 4 if quant == "none" else 2)


def swarm_there(model: str, peers: list[str], quant: str | None) -> Competitor:
    """Of others, at `peers`."""
    return Competitor("swarm at --peers", lambda room: _joined(model, peers, quant, room), 0, is_ours=False)


def llama_cpp() -> list[Competitor]:
    """Nothing if it is not installed."""
    return [_llama_cpp(kind) for kind in LLAMA_KINDS] if find_spec("llama_cpp") else []


def _llama_cpp(kind: str) -> Competitor:
    return Competitor(f"llama.cpp {kind}", lambda room: _llama(kind), 2)


def transformers() -> list[Competitor]:
    return [_transformers(dtype) for dtype in DTYPES]


def _transformers(dtype: str) -> Competitor:
    return Competitor(f"transformers {dtype}", lambda room: _loaded(dtype), DTYPES[dtype].itemsize)


@contextmanager
def _swarm(peers: int, quant: str, room: Room) -> Iterator[Engine]:
    dtype, element = ("float32", 4) if quant == "none" else ("bfloat16", 2)
    memory = {"kv_memory": str(room.bytes(element))}
    with (
        swarm.LocalSwarm("demo", split(peers), quant=quant, dtype=dtype, threads=1, **memory) as local,
        _joined("demo", local.peers, None, room) as engine,
    ):
        yield engine


@contextmanager
def _joined(model: str, peers: list[str], quant: str | None, room: Room) -> Iterator[Engine]:
    with swarm.Client(model, peers, quant=quant, max_concurrent=room.sessions) as client:
        yield SwarmEngine(client)


def split(peers: int) -> list[str]:
    """Ranges of blocks, as equal as can be."""
    edges = [round(index * BLOCKS / peers) for index in range(peers + 1)]
    return [f"{start}:{stop}" for start, stop in pairwise(edges)]


@contextmanager
def _llama(kind: str) -> Iterator[Engine]:
    from harness.llama_cpp_engine import LlamaCpp, requantised  # noqa: PLC0415  # not installed everywhere

    engine = LlamaCpp(requantised(demo_file(), kind))
    try:
        yield engine.generate
    finally:
        engine.close()


@contextmanager
def _loaded(dtype: str) -> Iterator[Engine]:
    path = demo_file()
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=DTYPES[dtype])

    @torch.inference_mode()
    def generate(prompts: list[list[int]], count: int) -> list[list[float]]:
        """All prompts are one batch, and so are their steps."""
        started = time.perf_counter()
        out = model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        tokens = out.logits[:, -1:].argmax(-1)
        times = [time.perf_counter() - started]
        for _ in range(count - 1):
            out = model(tokens, past_key_values=out.past_key_values, use_cache=True)
            tokens = out.logits[:, -1:].argmax(-1)
            times.append(time.perf_counter() - started)
        return [times] * len(prompts)

    yield generate


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' bars and warnings while it loads; what it raises comes through."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with redirect_stderr(StringIO()):
        yield


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
