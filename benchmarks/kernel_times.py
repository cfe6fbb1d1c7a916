"""Decode and prefill of all blocks of a model, by each kernel and format, against the memory's bandwidth.

    python benchmarks/kernel_times.py [--model demo] [--quick]

Batch-1 decode reads every weight once, so bytes of weights over the measured read bandwidth is its floor. Everything is
measured in one process with one thread, bandwidth and all kernels in turn, because a shared machine changes its speed
from one second to the next. The head is the client's part of a token, in int8 for quantised blocks.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import ctypes
import statistics
import time
from collections.abc import Callable

import torch
from matplotlib.figure import Figure

from harness.report import Report, make_parser, print_table
from swarm.model import BlockRange, Checkpoint, ModelEnds, open_checkpoint
from swarm_kernels import FORMATS, QUANTS, Segment, cpu, dispatch
from swarm_kernels.memory import Arena

PAGE = 32
PROBE_BYTES = 256 << 20


class Bandwidth:
    """Reads a large buffer with libc's memchr, in vectors and with nothing to compute."""

    def __init__(self) -> None:
        self._buffer = Arena().take(PROBE_BYTES).fill_(1)
        self._memchr = ctypes.CDLL(None).memchr
        self._memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def gb_per_s(self) -> float:
        return PROBE_BYTES / seconds(lambda: self._memchr(self._buffer.data_ptr(), 0, PROBE_BYTES)) / 1e9


class Subject:
    """All blocks of a model on one kernel, and the head that goes with them."""

    def __init__(self, checkpoint: Checkpoint, kernel: str, quant: str, dtype: torch.dtype):
        self.config, self.kernel, self.dtype = checkpoint.config, kernel, dtype
        self.format = quant if quant != "none" else str(dtype).removeprefix("torch.")
        self.blocks = load(checkpoint, kernel, quant, dtype)
        head = "int8" if quant != "none" else self.format
        self.ends = ModelEnds.load(checkpoint, torch.float32, head)
        self.block_bytes = weight_bytes(checkpoint, self.format)
        self.head_bytes = self.config.vocab_size * self.config.hidden_size * bits_per_weight(head) / 8

    def cache(self, sessions: int, positions: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        pages = sessions * -(-positions // PAGE)
        shape = (pages, PAGE, self.config.num_kv_heads, self.config.head_dim)
        return [tuple(torch.zeros(shape, dtype=self.dtype) for _ in "kv") for _ in range(self.config.num_blocks)]

    def step(self, sessions: int, start: int, count: int) -> Callable[[], object]:
        """A function that computes `count` tokens of each session from position `start` on."""
        cache = self.cache(sessions, start + count)
        per_session = len(cache[0][0]) // sessions
        tables = [list(range(index * per_session, (index + 1) * per_session)) for index in range(sessions)]
        batch = self.blocks.layout([Segment(table, start, count) for table in tables], PAGE)
        hidden = torch.randn(sessions * count, self.config.hidden_size).to(self.dtype)
        return lambda: self.blocks.forward(hidden, batch, cache)


def load(checkpoint: Checkpoint, kernel: str, quant: str, dtype: torch.dtype) -> BlockRange:
    available = cpu.is_available
    if kernel == "torch":
        cpu.is_available = lambda: False
        dispatch.logger.disabled = True
    try:
        return BlockRange.load(checkpoint, 0, checkpoint.config.num_blocks, dtype, quant=quant, threads=1)
    finally:
        cpu.is_available = available


def bits_per_weight(format: str) -> float:
    if format in FORMATS:
        return FORMATS[format].bits_per_weight
    return {"float32": 32, "bfloat16": 16, "bnb-int8": 8, "bnb-nf4": 4.5}[format]


def weight_bytes(checkpoint: Checkpoint, format: str) -> float:
    """Of all blocks; norms and biases are too small to matter."""
    weights = checkpoint.block_nbytes(torch.bfloat16) // 2 * checkpoint.config.num_blocks
    return weights * bits_per_weight(format) / 8


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(subject: Subject, bandwidth: Bandwidth, repeats: int) -> dict[str, object]:
    hidden = torch.randn(1, subject.config.hidden_size)
    works = {
        "blocks ms": subject.step(1, 128, 1),
        "head ms": lambda: subject.ends.logits(hidden),
        "8 sessions ms": subject.step(8, 128, 1),
        "context 1024 ms": subject.step(1, 1024, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    speeds = []
    for _ in range(repeats + 1):  # each after the others, as in a row of tokens: nothing finds its weights in a cache
        speeds.append(bandwidth.gb_per_s())
        works["blocks ms"]()
        for name, work in works.items():
            times[name].append(seconds(work))
    times = {name: values[1:] for name, values in times.items()}  # the first call allocates
    prefill = subject.step(1, 0, 512)
    row = {"kernel": subject.kernel, "format": subject.format}
    row |= {name: 1e3 * statistics.median(values) for name, values in times.items()}
    row["prefill 512 ms"] = 1e3 * statistics.median(seconds(prefill) for _ in range(max(2, repeats // 5)))
    token_s = (row["blocks ms"] + row["head ms"]) / 1e3
    row["bandwidth GB/s"] = statistics.median(speeds)
    row["% of it"] = 100 * (subject.block_bytes + subject.head_bytes) / token_s / 1e9 / row["bandwidth GB/s"]
    return row


def plot(rows: list[dict[str, object]], title: str) -> Figure:
    figure = Figure(figsize=(8, 0.42 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['kernel']} {row['format']}" for row in rows][::-1]
    blocks, heads = ([row[part] for row in rows][::-1] for part in ("blocks ms", "head ms"))
    axes.barh(names, blocks, label="blocks")
    axes.barh(names, heads, left=blocks, label="head")
    for index, row in enumerate(rows[::-1]):
        axes.text(blocks[index] + heads[index], index, f" {row['% of it']:.0f} % of bandwidth", va="center", fontsize=8)
    axes.set_xlim(right=1.25 * max(map(sum, zip(blocks, heads, strict=True))))
    axes.set_xlabel("ms per token, one session, context 128")
    axes.set_title(title, fontsize=9)
    axes.legend(frameon=False, loc="center right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="only the fused kernels")
    args = parser.parse_args()
    report = Report(args)
    torch.set_num_threads(1)
    checkpoint, bandwidth = open_checkpoint(args.model), Bandwidth()
    fused = ["none", *FORMATS] if cpu.is_available() else []
    cases = [("fused", quant, torch.bfloat16) for quant in fused]
    if not args.quick:
        cases += [("torch", "none", torch.float32), ("torch", "none", torch.bfloat16)]
        cases += [("bitsandbytes", quant, torch.bfloat16) for quant in QUANTS if quant.startswith("bnb")]
    rows = []
    for kernel, quant, dtype in cases:
        rows.append(measure(Subject(checkpoint, kernel, quant, dtype), bandwidth, args.repeats))
        print(f"{kernel} {rows[-1]['format']}: {rows[-1]['blocks ms']:.2f} ms, {rows[-1]['% of it']:.0f} %", flush=True)
    print_table(rows)
    report.save("kernels", {"model": args.model, "rows": rows})
    report.draw(plot(rows, f"{args.model}: one token on one thread"), "kernels")


if __name__ == "__main__":
    main()
