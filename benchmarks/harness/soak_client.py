"""The clients of the soak: each generates in a process of its own and tells its parent what it got."""

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch

import swarm
from harness.report import prompt_tokens
from swarm.client.background import background_loop

CASES = [(8, 48), (24, 32), (24, 96), (120, 24), (400, 16), (700, 12)]  # tokens of the prompt, new tokens
QUIET_S = 15.0  # for connections and sessions to end


def client_process(peers: Sequence[str], seed: int) -> None:
    """Reads the expected tokens from standard input, says what it does on standard output, a JSON object a line, and
    generates until it reads another line; then waits to be looked at until standard input closes."""
    torch.set_num_threads(1)
    rng, stop = random.Random(seed), threading.Event()
    expected = json.loads(sys.stdin.readline())
    with swarm.Client("demo", peers, quant="none") as client:
        client.generate(prompt_tokens(*CASES[0]), max_new_tokens=4, ignore_eos=True)
        report("ready", tasks=count_tasks())
        threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
        while not stop.is_set():
            index = rng.randrange(len(CASES))
            report("generation", **one_generation(client, index, expected[index]))
        time.sleep(QUIET_S / 2)
        gc.collect()
        report("quiet", tasks=count_tasks())
        time.sleep(QUIET_S)


def one_generation(client: swarm.Client, index: int, expected: list[int]) -> dict[str, object]:
    prompt, count = CASES[index]
    stream = client.stream(prompt_tokens(prompt, index), max_new_tokens=count, ignore_eos=True)
    error = ""
    try:
        for _ in stream:
            pass
    except swarm.SwarmError as failure:
        error = f"{type(failure).__name__}: {failure}"
    out = stream.generation
    return {
        "case": index,
        "tokens": len(out.token_ids),
        "wrong": out.token_ids != expected[: len(out.token_ids)],
        "error": error,
        "repairs": len(out.repairs),
        "planned": sum(repair.planned for repair in out.repairs),
        "longest_s": max(out.step_latencies_s, default=0.0),
    }


def count_tasks() -> int:
    """Of the client's event loop."""
    return len(asyncio.all_tasks(background_loop()))


def report(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


@dataclass
class ClientProcess:
    """One of them, as the parent sees it."""

    process: subprocess.Popen
    started: float
    events: list[dict] = field(default_factory=list)

    def read(self) -> None:
        """In a thread: everything it says, with the time at which it was said."""
        for line in self.process.stdout:
            self.events.append({**json.loads(line), "t": time.monotonic() - self.started})

    def generations(self) -> list[dict]:
        return [event for event in self.events if event["event"] == "generation"]

    def tasks(self, event: str) -> int | None:
        return next((one["tasks"] for one in self.events if one["event"] == event), None)

    def said(self, event: str) -> bool:
        return self.tasks(event) is not None


@contextmanager
def client_processes(
    count: int, peers: Sequence[str], expected: list[list[int]], seed: int
) -> Iterator[list[ClientProcess]]:
    started, path = time.monotonic(), {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        clients = []
        for number in range(count):
            command = [sys.executable, "-m", "harness.soak_client", str(seed + number), *peers]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=path)
            stack.callback(process.kill)
            clients.append(ClientProcess(process, started))
            process.stdin.write(json.dumps(expected) + "\n")
            process.stdin.flush()
            threading.Thread(target=clients[-1].read, daemon=True).start()
        wait_for_all(clients, "ready", 120)
        yield clients


def wait_for_all(clients: Sequence[ClientProcess], event: str, timeout_s: float) -> None:
    """Until all have said `event`, or ended, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if all(client.said(event) or client.process.poll() is not None for client in clients):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    client_process(sys.argv[2:], int(sys.argv[1]))
