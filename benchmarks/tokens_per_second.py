"""Tokens per second of the swarm against llama.cpp and transformers, in one run.

    python benchmarks/tokens_per_second.py [--quick]

Everything runs on this machine: real server processes on loopback, with gRPC, TLS and hashing between them, the demo
model, one compute thread per process. llama.cpp is left out where llama-cpp-python is not installed. A figure is the
number of sessions over the median time between two tokens of a session, in the second half of its tokens. The context
is the length of each session's prompt; time to first token is that of one prompt of 512 tokens. First the engines take
turns with one session each; then each runs all its cases. Writes JSON and plots.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

import torch
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM

import swarm
from harness.report import Report, make_parser, print_table, prompt_tokens
from swarm.model.checkpoint import demo_file

PREFILL = 512
BLOCKS = 30

# prompts, new tokens -> seconds to the first session's first token, and between the tokens of each session
Engine = Callable[[list[list[int]], int], tuple[float, list[list[float]]]]


def split(peers: int) -> list[str]:
    edges = [round(index * BLOCKS / peers) for index in range(peers + 1)]
    return [f"{start}:{stop}" for start, stop in itertools.pairwise(edges)]


@contextmanager
def swarm_engine(peers: int, quant: str) -> Iterator[Engine]:
    dtype = "float32" if quant == "none" else "bfloat16"
    servers = swarm.LocalSwarm("demo", split(peers), quant=quant, dtype=dtype, threads=1, kv_memory="2G")
    with servers as local, swarm.Client("demo", local.peers, max_concurrent=64) as client:

        def generate(prompts: list[list[int]], count: int) -> tuple[float, list[list[float]]]:
            outs = client.generate(prompts, max_new_tokens=count + 1, ignore_eos=True)
            return outs[0].time_to_first_token_s, [out.step_latencies_s for out in outs]

        yield generate


@contextmanager
def llama_cpp_engine(kind: str, sessions: int, positions: int) -> Iterator[Engine]:
    from harness.llama_cpp_engine import LlamaCpp, requantised  # noqa: PLC0415  # not installed everywhere

    engine = LlamaCpp(requantised(demo_file(), kind), sessions, positions)

    def generate(prompts: list[list[int]], count: int) -> tuple[float, list[list[float]]]:
        first_token_s, seconds = engine.generate(prompts, count)
        return first_token_s, [seconds] * len(prompts)

    try:
        yield generate
    finally:
        engine.close()


@contextmanager
def transformers_engine() -> Iterator[Engine]:
    path = demo_file()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)

    @torch.inference_mode()
    def generate(prompts: list[list[int]], count: int) -> tuple[float, list[list[float]]]:
        started = time.perf_counter()
        out = model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        first_token_s, seconds = time.perf_counter() - started, []
        for _ in range(count):
            started = time.perf_counter()
            tokens = out.logits[:, -1:].argmax(-1)
            out = model(tokens, past_key_values=out.past_key_values, use_cache=True)
            seconds.append(time.perf_counter() - started)
        return first_token_s, [seconds] * len(prompts)

    yield generate


def decode_rate(engine: Engine, sessions: int, context: int, count: int) -> float:
    """Tokens per second of all sessions together."""
    prompts = [prompt_tokens(context, session) for session in range(sessions)]
    _, latencies = engine(prompts, count)
    return sum(1 / statistics.median(steps[len(steps) // 2 :]) for steps in latencies)


def measure(name: str, engine: Engine, cases: list[tuple[int, int]], repeats: int, count: int) -> list[dict]:
    """cases: (sessions, context)"""
    engine([prompt_tokens(16, 0)], 8)  # warms up
    rows = []
    for sessions, context in cases:
        speeds = [decode_rate(engine, sessions, context, count) for _ in range(repeats)]
        rows.append({"engine": name, "sessions": sessions, "context": context, "tokens/s": statistics.median(speeds)})
        print(f"{name}, {sessions} sessions, context {context}: {rows[-1]['tokens/s']:.1f} tokens/s", flush=True)
    firsts = [engine([prompt_tokens(PREFILL, 0)], 1)[0] for _ in range(repeats)]
    rows.append({"engine": name, "sessions": 1, "context": PREFILL, "first token s": statistics.median(firsts)})
    return rows


def measure_all(args: argparse.Namespace) -> list[dict]:
    cases = [(sessions, 128) for sessions in args.sessions] + [(sessions, 1024) for sessions in args.long_sessions]
    few = [case for case in cases if case in ((1, 128), (8, 128), (1, 1024))]  # for float32, which takes minutes
    rows = []
    for hops, quant in itertools.product(args.hops, args.quants):
        with swarm_engine(hops, quant) as engine:
            format = "float32" if quant == "none" else quant
            name = f"swarm {format}, {hops} peer{'s' * (hops > 1)}"
            rows += measure(name, engine, few if quant == "none" else cases, args.repeats, args.tokens)
    if find_spec("llama_cpp"):
        sessions, context = max(sessions for sessions, _ in cases), max(PREFILL, *(context for _, context in cases))
        for kind in ("Q8_0", "Q4_0"):
            with llama_cpp_engine(kind, sessions, context + args.tokens + 8) as engine:
                rows += measure(f"llama.cpp {kind}", engine, cases, args.repeats, args.tokens)
    else:
        print("llama-cpp-python is not installed: no rows for llama.cpp")
    with transformers_engine() as engine:
        rows += measure("transformers float32", engine, few, 1, args.tokens)
    return rows


def head_to_head(rounds: int, count: int) -> list[dict]:
    """One session on each engine in turn, several times over: a shared machine may run at half its speed a minute
    later, and only neighbours in time can be compared."""
    with ExitStack() as stack:
        engines = {f"swarm {quant}, 2 peers": stack.enter_context(swarm_engine(2, quant)) for quant in ("int8", "int4")}
        if find_spec("llama_cpp"):
            for kind in ("Q8_0", "Q4_0"):
                engines[f"llama.cpp {kind}"] = stack.enter_context(llama_cpp_engine(kind, 1, PREFILL + count))
        engines["transformers float32"] = stack.enter_context(transformers_engine())
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(rounds):
            for name, engine in engines.items():
                speeds[name].append(decode_rate(engine, 1, 128, count))
    slowest = statistics.median(speeds["transformers float32"])
    return [
        {
            "engine, one session, context 128": name,
            "tokens/s": statistics.median(values),
            "least": min(values),
            "most": max(values),
            "times transformers": statistics.median(values) / slowest,
        }
        for name, values in speeds.items()
    ]


def tabulate(rows: list[dict]) -> list[dict]:
    """One line for each engine, one column for each case."""
    table = []
    for name in dict.fromkeys(row["engine"] for row in rows):
        line: dict[str, object] = {"engine": name}
        for row in rows:
            if "tokens/s" in row:
                column = f"{row['sessions']} x {row['context']}"
                line.setdefault(column, "")
                if row["engine"] == name:
                    line[column] = row["tokens/s"]
        mine = [row for row in rows if row["engine"] == name]
        line[f"first token of {PREFILL}, s"] = next(row["first token s"] for row in mine if "first token s" in row)
        table.append(line)
    return table


def plot(rows: list[dict], title: str) -> Figure:
    """Left: throughput over sessions. Right: one session's speed, context 128."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    lines, bars = figure.subplots(1, 2)
    decode = [row for row in rows if row.get("context") == 128 and "tokens/s" in row]
    names = list(dict.fromkeys(row["engine"] for row in decode))
    greys = itertools.cycle(("0.2", "0.45", "0.7"))
    hues = itertools.cycle(f"C{index}" for index in range(10))
    colours = {name: next(hues if name.startswith("swarm") else greys) for name in names}
    for name in names:
        mine = [row for row in decode if row["engine"] == name]
        style = "-" if "swarm" in name else "--"
        lines.plot(
            [row["sessions"] for row in mine],
            [row["tokens/s"] for row in mine],
            style,
            marker="o",
            label=name,
            color=colours[name],
        )
    lines.set_xlabel("sessions at once")
    lines.set_ylabel("tokens per second, all sessions")
    lines.set_xticks(sorted({row["sessions"] for row in decode}))
    lines.set_ylim(bottom=0)
    lines.grid(alpha=0.3)
    lines.legend(frameon=False, fontsize=8)
    single = sorted((row for row in decode if row["sessions"] == 1), key=lambda row: row["tokens/s"])
    bars.barh(
        [row["engine"] for row in single],
        [row["tokens/s"] for row in single],
        color=[colours[row["engine"]] for row in single],
    )
    for index, row in enumerate(single):
        bars.text(row["tokens/s"], index, f" {row['tokens/s']:.0f}", va="center", fontsize=8)
    bars.set_xlabel("tokens per second, one session")
    for side in ("top", "right"):
        bars.spines[side].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 2], help="of the swarm's chains")
    parser.add_argument("--quants", nargs="+", default=["none", "int8", "int4"])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 8, 16], help="with a context of 128")
    parser.add_argument("--long-sessions", type=int, nargs="*", default=[1, 4], help="with a context of 1024")
    parser.add_argument("--tokens", type=int, default=48, help="new tokens per session")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="of the comparison in turns")
    parser.add_argument("--duel", action="store_true", help="only that comparison")
    parser.add_argument("--quick", action="store_true", help="1 and 8 sessions, short contexts, once")
    args = parser.parse_args()
    report = Report(args)
    if args.quick:
        args.sessions, args.long_sessions, args.repeats, args.tokens = [1, 8], [], 1, 32
    torch.set_num_threads(1)
    duel = head_to_head(args.rounds, args.tokens)
    print_table(duel)
    report.save("head_to_head", {"tokens": args.tokens, "rows": duel})
    if args.duel:
        return
    rows = measure_all(args)
    print_table(tabulate(rows))
    report.save("tokens_per_second", {"tokens": args.tokens, "rows": rows})
    report.draw(plot(rows, f"SmolLM2-135M, one compute thread per process, {report.where}"), "tokens_per_second")


if __name__ == "__main__":
    main()
