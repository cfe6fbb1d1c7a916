"""What was seen during the soak, over time."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from harness.soak_client import ClientProcess

BIN_S = 10.0
COLOURS = {"killed": "C3", "left": "C1", "added": "C2", "daemon": "C4", "stopped": "C5", "locked": "C6", "outage": "C3"}


def series(samples: Sequence[dict], of: Callable[[dict], dict | None]) -> tuple[list[float], list[dict]]:
    """Times and footprints, where there are any."""
    pairs = [(sample["t"], of(sample)) for sample in samples]
    pairs = [(t, value) for t, value in pairs if value]
    return [t for t, _ in pairs], [value for _, value in pairs]


def plot(
    samples: Sequence[dict],
    changes: Sequence[dict],
    clients: Sequence[ClientProcess],
    ranges: Sequence[str],
    title: str,
) -> Figure:
    """Tokens, replicas, memory and files over time, as Soak has them."""
    figure = Figure(figsize=(10, 9), layout="constrained")
    speed, replicas, memory, files = figure.subplots(4, 1, sharex=True)
    outs = sorted((out["t"], out["tokens"]) for client in clients for out in client.generations())
    edges = np.arange(0, samples[-1]["t"] + BIN_S, BIN_S)
    tokens, _ = np.histogram([t for t, _ in outs], edges, weights=[count for _, count in outs])
    speed.stairs(tokens / BIN_S, edges, fill=True, alpha=0.4)
    speed.set_ylabel("tokens/s")
    times = [sample["t"] for sample in samples]
    for blocks in ranges:
        counts = [sample["replicas"][blocks] for sample in samples]
        replicas.step(times, counts, where="post", label=f"blocks {blocks}")
    for change in changes:
        replicas.axvline(change["t"], color=COLOURS[change["what"]], alpha=0.3)
    replicas.set_ylabel("servers")
    replicas.legend(frameon=False, fontsize=7, ncols=3)
    for axes, key in ((memory, "rss_mib"), (files, "fds")):
        for number in range(len(clients)):
            when, prints = series(samples, lambda sample, number=number: sample["clients"][number])
            axes.plot(when, [one[key] for one in prints], color="C0", label="clients" if not number else None)
        for number, peer_id in enumerate(dict.fromkeys(id for sample in samples for id in sample["servers"])):
            when, prints = series(samples, lambda sample, peer_id=peer_id: sample["servers"].get(peer_id))
            label = "servers" if not number else None
            axes.plot(when, [one[key] for one in prints], color="0.6", linewidth=0.8, label=label)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7)
    memory.set_ylabel("resident MiB")
    files.set_ylabel("open files")
    files.set_xlabel(
        "seconds; red: killed or cut off, orange: left, green: added, purple: its daemon, brown: stopped, pink: locked"
    )
    for axes in (speed, replicas, memory, files):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure
