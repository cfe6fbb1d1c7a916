"""What others see of one server while it computes a prompt: one JSON object, see __main__.py. Uses names that both
trees have."""

import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import swarm
from swarm.peers.directory import Directory
from swarm.wire.transport import Peer

LOOK_S, FRESH_EVERY_S, PING_EVERY_S, PING_LIMIT_S = 0.5, 8.0, 0.1, 60.0
CALM_S = 3.0  # of looking before the prompt and after the answer


class Watcher:
    """Looks at one peer from another process until told to stop."""

    def __init__(self, addresses: list[str], model: str, peer_id: str):
        self._addresses, self._model, self._peer_id = addresses, model, peer_id
        self._over = threading.Event()
        self.pings_s: list[float] = []
        self.absent_s = self.fresh_absent = self.gap_s = 0.0
        self.fresh = 0

    async def run(self) -> None:
        directory = await Directory.join(self._addresses, client=True, timeout_s=PING_LIMIT_S)
        try:
            (info,) = [one for one in await directory.peers(self._model) if one.peer_id == self._peer_id]
            peer = Peer(info.endpoint, 2**20)
            with suppress(asyncio.CancelledError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._look(directory))
                    group.create_task(self._look_afresh())
                    group.create_task(self._ping(peer))
            await peer.close()
        finally:
            await directory.leave()

    def stop(self) -> None:
        self._over.set()

    async def _look(self, directory: Directory) -> None:
        """Absence counts from the last look that found it; gaps are between the records' own times."""
        seen_s, issued_ms = time.monotonic(), 0
        while not self._over.is_set():
            found = [one for one in await directory.peers(self._model) if one.peer_id == self._peer_id]
            now_s = time.monotonic()
            if found:
                seen_s = now_s
                if issued_ms:
                    self.gap_s = max(self.gap_s, (found[0].issued_ms - issued_ms) / 1000)
                issued_ms = found[0].issued_ms
            else:
                self.absent_s = max(self.absent_s, now_s - seen_s)
            await asyncio.sleep(LOOK_S)

    async def _look_afresh(self) -> None:
        while not self._over.is_set():
            directory = await Directory.join(self._addresses, client=True, timeout_s=60.0)
            found = [one for one in await directory.peers(self._model) if one.peer_id == self._peer_id]
            self.fresh += 1
            self.fresh_absent += not found
            await directory.leave()
            await asyncio.sleep(FRESH_EVERY_S)

    async def _ping(self, peer: Peer) -> None:
        while not self._over.is_set():
            started = time.monotonic()
            with suppress(swarm.PeerUnreachable):
                await peer.status(PING_LIMIT_S)
            self.pings_s.append(time.monotonic() - started)
            await asyncio.sleep(PING_EVERY_S)


def watched(watcher: Watcher, work: Callable[[], object]) -> None:
    thread = threading.Thread(target=lambda: asyncio.run(watcher.run()))
    thread.start()
    time.sleep(CALM_S)
    try:
        work()
        time.sleep(CALM_S)
    finally:
        watcher.stop()
        thread.join()


def main() -> None:
    task = json.loads(sys.argv[1])
    prompt = [1000 + 37 * index % 20_000 for index in range(task["prompt"])]
    outs: list[swarm.Generation] = []
    error = ""
    with swarm.LocalSwarm("demo", ["0:30"], dtype="float32", quant=task["quant"]) as local:
        options = {"coverage_timeout_s": 0.0, "audit": "off"}
        with swarm.Client("demo", local.peers, **options) as client:
            client.generate("warm up", max_new_tokens=4)
            print("ready", flush=True)
            sys.stdin.readline()  # until others keep the cores busy
            watcher = Watcher(local.peers, client.parts.checkpoint.name, local.servers[0].peer_id)

            def generate() -> None:
                nonlocal error
                stream = client.stream(prompt, max_new_tokens=task["tokens"], ignore_eos=True)
                try:
                    for _ in stream:
                        pass
                except swarm.SwarmError as raised:
                    error = f"{type(raised).__name__}: {raised}"
                outs.append(stream.generation)

            watched(watcher, generate)
    (out,) = outs
    print(json.dumps({
        "record absent s": watcher.absent_s,
        "fresh readers without it": f"{watcher.fresh_absent:.0f} of {watcher.fresh}",
        "longest ping s": max(watcher.pings_s, default=PING_LIMIT_S),
        "median ping s": statistics.median(watcher.pings_s or [PING_LIMIT_S]),
        "longest record gap s": watcher.gap_s,
        "prefill tokens/s": len(prompt) / out.time_to_first_token_s if out.token_ids else 0.0,
        "decode tokens/s": 1 / statistics.median(out.step_latencies_s) if out.step_latencies_s else 0.0,
        "repairs": len(out.repairs), "reroutes": out.reroutes, "error": error,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
