"""Tokens per second across distance, against what distance and the hops' own computing leave possible.

    python benchmarks/wan.py [--quick] [--cut]

Real server processes on this machine, three to a chain, one compute thread each, float32. In front of each is an
emulated link (links.py) whose one-way delay is half of the round trip named, so that every two processes are one round
trip apart: client and hop, hop and next hop. A token travels four legs of half a round trip: client, hop 1, 2, 3,
client.

One session. The bound is 1 / (legs x one way + compute of all hops as they report it + the client's head); the head is
timed by itself, on one row, in this process. Whatever else a token costs (gRPC, TLS, digests, scheduling, the emulated
links themselves) counts against us.

Sixteen sessions. The bound is the smaller of what the machine does at no distance, and 16 / (legs + compute of one
session's token alone): a session cannot go round faster than that, whatever the others do. On the demo model the
second is the smaller from 50 ms on; so there is a heavier model too, of random weights, that keeps the processors
busy through 100 ms.

A prompt of 512 tokens. The bound on its first token is a pipeline: chunks of 256 tokens, each leg and each hop taking
them one after another, plus the round trip in which the session opens.

--cut instead pulls the cable between two hops in mid-generation and says what became of it.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import LlamaConfig, LlamaForCausalLM

import swarm
from harness.distance import CHUNK, FLOAT_BYTES, PROMPT, Path, first_token_s, token_s
from harness.links import EmulatedLink, Network, start_behind_links
from harness.report import Report, make_parser, print_table
from swarm.model.checkpoint import open_checkpoint
from swarm.model.ends import ModelEnds

DEMO = ["0:10", "10:20", "20:30"]
HEAVY = ["0:8", "8:16", "16:24"]
ROUND_TRIPS_S = (0.0, 0.02, 0.05, 0.1)
ROUGH = (Path(0.05, jitter_s=0.01), Path(0.05, bytes_per_s=1.25e6))


# --- a chain across distance ------------------------------------------------------------------------------------------


class Chain:
    """Three hops behind links, and a client of theirs."""

    def __init__(self, model: str, client: swarm.Client, links: Sequence[EmulatedLink]):
        self.client, self.links = client, links
        self.hidden_size = client.config.hidden_size
        self._ends = ModelEnds.load(open_checkpoint(model), torch.float32, "float32")

    def set(self, path: Path) -> None:
        for link in self.links:
            link.shape(path.round_trip_s / 2, path.jitter_s, path.bytes_per_s or None)

    def head_s(self) -> float:
        """What norm and head take for one row, with the rest of the memory swept in between, as the hops do it."""
        row, other, seconds = torch.ones(1, self.hidden_size), torch.ones(2**24), []
        for _ in range(10):
            other.sum()
            started = time.perf_counter()
            self._ends.logits(row)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)

    def generate(self, sessions: int, count: int, prompt: int = 1) -> list[swarm.Generation]:
        prompts = [[(37 * index + 101 * session) % 4000 for index in range(prompt)] for session in range(sessions)]
        return self.client.generate(prompts, max_new_tokens=count + 1, ignore_eos=True)


@contextmanager
def heavy_model() -> Iterator[str]:
    """A folder with a model of random weights, 24 blocks of 26 million each and a small vocabulary."""
    config = LlamaConfig(
        vocab_size=4096, hidden_size=1536, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=12,
        num_key_value_heads=4, max_position_embeddings=2048,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        open_checkpoint("demo").load_tokenizer().save_pretrained(folder)
        yield folder


@contextmanager
def chain(model: str, blocks: Sequence[str], **options: object) -> Iterator[Chain]:
    options = {"dtype": "float32", "threads": 1, "kv_memory": "512M", **options}
    with Network() as network, swarm.LocalSwarm(model, [], **options) as local:
        links = start_behind_links(local, network, blocks)
        with swarm.Client(model, local.peers) as client:
            built = Chain(model, client, links)
            built.generate(2, 8)  # warms up
            yield built


def computes_s(out: swarm.Generation) -> list[float]:
    """What each hop took for a step, in the mean."""
    return [timing.compute_s / timing.steps for timing in out.timings]


# --- the cases --------------------------------------------------------------------------------------------------------


def one_session(built: Chain, path: Path, count: int, repeats: int) -> dict[str, object]:
    built.set(path)
    built.generate(1, 4)
    head_s = built.head_s()
    tries = []
    for _ in range(repeats):
        out = built.generate(1, count)[0]
        computes, token = computes_s(out), statistics.mean(out.step_latencies_s)  # means both: they must fit together
        tries.append((token_s(path, computes, head_s, built.hidden_size), token, sum(computes)))
    bound, token, compute_s = sorted(tries, key=lambda figures: figures[0] / figures[1])[repeats // 2]
    return {
        "round trip": str(path),
        "round_trip_s": path.round_trip_s,
        "token ms": token * 1000,
        "legs ms": 4 * path.leg_s(built.hidden_size * FLOAT_BYTES) * 1000,
        "compute ms": compute_s * 1000,
        "head ms": head_s * 1000,
        "rest ms": (token - bound) * 1000,
        "tokens/s": 1 / token,
        "bound": 1 / bound,
        "of bound": bound / token,
    }


def many_sessions(built: Chain, path: Path, sessions: int, count: int) -> dict[str, object]:
    """Tokens of all sessions, in the second half of each, when prompts are long done."""
    built.set(path)
    outs = built.generate(sessions, count)
    halves = [out.step_latencies_s[count // 2 :] for out in outs]
    rounds = [statistics.mean(half) for half in halves]
    return {
        "round trip": str(path),
        "round_trip_s": path.round_trip_s,
        "sessions": sessions,
        "tokens/s": sum(1 / seconds for seconds in rounds),
        "round ms": statistics.mean(rounds) * 1000,
        "compute ms": statistics.mean(sum(computes_s(out)) for out in outs) * 1000,
        "queued ms": statistics.mean(sum(t.queue_s / t.steps for t in out.timings) for out in outs) * 1000,
    }


def across(built: Chain, paths: Sequence[Path], sessions: int, count: int, repeats: int) -> list[dict[str, object]]:
    """Many sessions at each of `paths`, the first being no distance, taking turns."""
    built.set(paths[0])
    built.generate(sessions, count)  # servers learn what batches take
    alone = computes_s(built.generate(1, count)[0])
    runs = [[many_sessions(built, path, sessions, count) for path in paths] for _ in range(repeats)]
    rows = []
    for path, tries in zip(paths, zip(*runs, strict=True), strict=True):
        row = sorted(tries, key=lambda row: row["tokens/s"])[len(tries) // 2]
        near = rows[0]["tokens/s"] if rows else row["tokens/s"]
        by_links = sessions / token_s(path, alone, built.head_s(), built.hidden_size)
        rows.append({**row, "bound": min(by_links, near), "of 0 ms": row["tokens/s"] / near})
    return rows


def first_token(built: Chain, path: Path, repeats: int) -> dict[str, object]:
    """Of a prompt of PROMPT tokens, through connections that stand."""
    built.set(path)
    built.generate(1, 1)
    outs = [built.generate(1, 0, PROMPT)[0] for _ in range(repeats)]
    out = sorted(outs, key=lambda out: out.time_to_first_token_s)[len(outs) // 2]
    chunks = [timing.compute_s / (PROMPT // CHUNK) for timing in out.timings]
    bound = first_token_s(path, chunks, built.head_s(), built.hidden_size)
    return {
        "round trip": str(path),
        "first token s": out.time_to_first_token_s,
        "bound s": bound,
        "of bound": bound / out.time_to_first_token_s,
    }


def cut_in_generation(built: Chain, path: Path, count: int, cut_s: float) -> dict[str, object]:
    """Pull the cable of the middle hop in the middle of a generation, and put it back after `cut_s`."""
    built.set(path)
    undisturbed = built.generate(1, count)[0].token_ids
    link, stream = built.links[1], built.client.stream([0], max_new_tokens=count + 1, ignore_eos=True)
    started, error = time.perf_counter(), ""
    for _ in range(count // 2):
        next(stream)
    link.cut()
    healing = threading.Timer(cut_s, link.heal)
    healing.start()
    try:
        for _ in stream:
            pass
    except swarm.SwarmError as failure:
        error = f"{type(failure).__name__}: {failure}"
    healing.join()
    out = stream.generation
    return {
        "cut s": cut_s,
        "tokens": f"{len(out.token_ids)} of {count + 1}",
        "equal": out.token_ids == undisturbed[: len(out.token_ids)],
        "longest pause s": max(out.step_latencies_s, default=0.0),
        "all s": time.perf_counter() - started,
        "reroutes": out.reroutes,
        "error": error or "none",
    }


# --- output -----------------------------------------------------------------------------------------------------------


def plot(single: list[dict], many: dict[str, list[dict]], title: str) -> Figure:
    """Left: one session. Right: many, by model. The bounds are dashed."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curve(left, single, "demo model", "C0")
    for index, (name, rows) in enumerate(many.items()):
        _curve(right, rows, name, f"C{index}")
    left.set_ylabel("tokens per second, one session")
    right.set_ylabel(f"tokens per second, {next(iter(many.values()))[0]['sessions']} sessions")
    for axes in (left, right):
        axes.set_xlabel("round trip between every two peers, ms")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _curve(axes: Axes, rows: list[dict], name: str, colour: str) -> None:
    distances = [row["round_trip_s"] * 1000 for row in rows]
    axes.plot(distances, [row["tokens/s"] for row in rows], marker="o", color=colour, label=name)
    axes.plot(distances, [row["bound"] for row in rows], "--", color=colour, label=f"{name}: bound")


def run_cut(report: Report, args: argparse.Namespace) -> None:
    with chain("demo", DEMO) as built:
        rows = [cut_in_generation(built, Path(0.05), args.tokens, cut_s) for cut_s in args.cut_seconds]
    print_table(rows)
    report.save("wan_cut", {"rows": rows})


def run(report: Report, args: argparse.Namespace) -> None:
    near, far = Path(0.0), Path(0.1)
    many: dict[str, list[dict]] = {}
    with chain("demo", DEMO) as built:
        single = [one_session(built, Path(round_trip), args.tokens, args.repeats) for round_trip in ROUND_TRIPS_S]
        print_table(single)
        rough = [one_session(built, path, args.tokens, args.repeats) for path in ROUGH]
        print_table(rough)
        firsts = [first_token(built, path, args.repeats) for path in (near, far, *ROUGH)]
        print_table(firsts)
        many["demo model"] = across(built, [near, far], args.sessions, args.tokens, args.repeats)
        print_table(many["demo model"])
    if not args.quick:
        with heavy_model() as model, chain(model, HEAVY) as built:
            name = "heavier model, float32"
            many[name] = across(built, [near, far], args.sessions, args.tokens // 2, args.repeats)
        print_table(many[name])
    rows = {"one session": single, "jitter and bandwidth": rough, "first token": firsts, "many sessions": many}
    report.save("wan", {"tokens": args.tokens, **rows})
    report.draw(plot(single, many, f"three hops, one compute thread each, {report.where}"), "wan")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens per session")
    parser.add_argument("--sessions", type=int, default=16, help="at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cut", action="store_true", help="only: pull a cable in mid-generation")
    parser.add_argument("--cut-seconds", type=float, nargs="+", default=[1.0, 20.0], help="how long it stays out")
    parser.add_argument("--quick", action="store_true", help="the demo model only, once")
    args = parser.parse_args()
    report = Report(args)
    if args.quick:
        args.tokens, args.repeats = 32, 1
    torch.set_num_threads(1)
    run_cut(report, args) if args.cut else run(report, args)


if __name__ == "__main__":
    main()
