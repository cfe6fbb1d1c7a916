"""Tokens per second of the swarm, by peers and sessions, against transformers in one process.

    python benchmarks/tokens_per_second.py

Everything runs on this machine in one run: real server processes on loopback, the demo model, one compute thread per
process. A figure is new tokens of all sessions over the wall time of the whole call, short prompts included; every
configuration is measured several times and the median is kept. Writes a table, JSON and a plot to benchmarks/results.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM, PreTrainedModel

import swarm
from common import RESULTS, machine, print_table, save_json
from swarm.model.checkpoint import demo_file

PROMPT = "The history of the printing press begins with"


def measure(run: Callable[[], int], repeats: int) -> float:
    """Median tokens per second of `run`, which returns how many tokens it made; a first call warms up."""
    run()
    speeds = []
    for _ in range(repeats):
        started = time.perf_counter()
        tokens = run()
        speeds.append(tokens / (time.perf_counter() - started))
    return statistics.median(speeds)


def through_swarm(client: swarm.Client, sessions: int, tokens: int) -> int:
    prompts = [f"{PROMPT} {index}" for index in range(sessions)]
    outs = client.generate(prompts, max_new_tokens=tokens, ignore_eos=True)
    return sum(len(out.token_ids) for out in outs)


def through_transformers(model: PreTrainedModel, prompt: list[int], sessions: int, tokens: int) -> int:
    ids = torch.tensor([prompt] * sessions)
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens,
        pad_token_id=0,
    )
    return out[:, len(prompt) :].numel()


def split(blocks: int, peers: int) -> list[str]:
    edges = [round(index * blocks / peers) for index in range(peers + 1)]
    return [f"{start}:{stop}" for start, stop in itertools.pairwise(edges)]


def plot(rows: list[dict[str, object]], sessions: list[int], title: str) -> None:
    """Lines over the number of sessions, one for each way of running."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for way in dict.fromkeys(row["way"] for row in rows):
        speeds = [row["tokens/s"] for row in rows if row["way"] == way]
        style = {"color": "0.45", "linestyle": "--"} if way == "transformers" else {}
        axes.plot(sessions, speeds, marker="o", label=way, **style)
    axes.set_xticks(sessions)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("sessions at once")
    axes.set_ylabel("tokens per second, all sessions")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path = RESULTS / "tokens_per_second.png"
    figure.savefig(path, dpi=150)
    print(f"saved {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=48, help="new tokens per session")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for peers in args.peers:
        way = f"swarm, {peers} peer{'s' * (peers > 1)}"
        peers_of_demo = swarm.LocalSwarm("demo", split(30, peers), dtype=args.dtype, threads=1)
        with peers_of_demo as local, swarm.Client("demo", local.peers) as client:
            prompt = client.encode(PROMPT + " 0")
            for sessions in args.sessions:
                speed = measure(lambda n=sessions: through_swarm(client, n, args.tokens), args.repeats)
                rows.append({"way": way, "sessions": sessions, "tokens/s": speed})
    path = demo_file()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=getattr(torch, args.dtype))
    for sessions in args.sessions:
        speed = measure(lambda n=sessions: through_transformers(model, prompt, n, args.tokens), args.repeats)
        rows.append({"way": "transformers", "sessions": sessions, "tokens/s": speed})
    reference = {row["sessions"]: row["tokens/s"] for row in rows if row["way"] == "transformers"}
    for row in rows:
        row["vs transformers"] = row["tokens/s"] / reference[row["sessions"]]
    print_table(rows)
    about = machine()
    save_json("tokens_per_second", {"machine": about, "dtype": args.dtype, "tokens": args.tokens, "rows": rows})
    plot(rows, args.sessions, f"SmolLM2-135M {args.dtype}, one thread per process, {about['cores']} cores")


if __name__ == "__main__":
    main()
