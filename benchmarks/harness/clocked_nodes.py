"""A process with nodes of the directory, whose machine's clock may be off, and which may lie about the time.

    python benchmarks/harness/clocked_nodes.py '{"hosts": ["127.0.0.2"], "peers": [...], "lie_s": 540}'

Says where its nodes are or why they are not, and for each line that it reads, what time they have. The number in such a
line is how many seconds its machine has stood still since, without its clocks noticing.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from swarm import clock
from swarm.errors import SwarmError
from swarm.peers.dht import dht_time, timekeeper
from swarm.peers.directory import Directory
from swarm.wire.secret import Secret


class ClockedNodes:
    """Such a process, started."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        start: Callable[..., subprocess.Popen] = subprocess.Popen,
        **options: object,
    ):
        """environment: what it has beside this process's. start: another way to. options: as above."""
        command = [sys.executable, __file__, json.dumps(options)]
        pipe = subprocess.PIPE
        self._process = start(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **(environment or {})}
        )
        self.said = json.loads(self._process.stdout.readline())

    @property
    def addresses(self) -> list[str]:
        return self.said["addresses"]

    def ahead_s(self) -> float:
        """By how much its time is ahead of this process's."""
        return self.stand_still(0.0)

    def stand_still(self, seconds: float) -> float:
        """As if its machine had, which a virtual one does not notice; returns `ahead_s`."""
        asked_s = time.time()
        print(seconds, file=self._process.stdin, flush=True)
        told_s = json.loads(self._process.stdout.readline())
        return told_s - (asked_s + time.time()) / 2

    def close(self) -> str:
        """What it said on standard error."""
        return self._process.communicate(timeout=30)[1]

    def __enter__(self) -> "ClockedNodes":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()


async def run(
    hosts: Sequence[str] = ("127.0.0.1",),
    peers: Sequence[str] = (),
    lie_s: float = 0.0,
    secret: str | None = None,
    settled_s: float = 0.0,
    memory: str | None = None,
) -> None:
    timekeeper.ASK_EVERY_S, timekeeper.SETTLED_S = 1.0, settled_s
    kept = {"secret": Secret(secret) if secret else None, "memory": Path(memory) if memory else None}
    try:
        nodes = [await Directory.join(peers, host=host, **kept) for host in hosts]
    except SwarmError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    if lie_s:
        dht_time.set_dht_time(lambda: time.time() + lie_s)
    addresses = [address for node in nodes for address in await node.addresses()]
    print(json.dumps({"addresses": addresses}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        clock.CLOCK.shift(-float(line))
        print(json.dumps(clock.now_s()), flush=True)
    await asyncio.gather(*(node.leave() for node in nodes))


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    asyncio.run(run(**json.loads(sys.argv[1])))
