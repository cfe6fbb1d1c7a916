"""Emulated network links: TCP proxies that add delay, jitter, a bandwidth limit and cuts, where the kernel cannot.

    with Network() as network:
        link = network.link("127.0.0.1", port, one_way_s=0.025)
        ...  # connect to link.host and link.port
        link.cut()

All links of a network live in one small process of their own, so that they share no event loop with what is measured.
Run as a program it measures itself: what a link of no delay adds to a round trip, and how well it keeps a delay.

What it does not imitate: lost packets, and TCP's slow start and its congestion window (the sender's own TCP ends at
the proxy, which takes everything at once).
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.link_process import Shape

if TYPE_CHECKING:  # importing it takes seconds, and is not needed to emulate links
    from swarm import LocalSwarm

PROCESS = Path(__file__).with_name("link_process.py")


class EmulatedLink:
    """A link in front of one address; connect to `host` and `port` instead. Made by `Network.link`."""

    def __init__(self, network: "Network", port: int):
        self._network, self.host, self.port = network, "127.0.0.1", port

    def shape(self, one_way_s: float = 0.0, jitter_s: float = 0.0, bytes_per_s: float | None = None) -> None:
        """From now on delay bytes so; those already on their way are not affected."""
        self._network.call("shape", self.port, **asdict(Shape(one_way_s, jitter_s, bytes_per_s)))

    def set_delay(self, one_way_s: float, jitter_s: float = 0.0) -> None:
        """Like `shape`, without a bandwidth limit."""
        self.shape(one_way_s, jitter_s)

    def cut(self) -> None:
        """As if the cable were pulled: nothing passes any more, and nobody is told. New connections hang."""
        self._network.call("cut", self.port)

    def heal(self) -> None:
        """End a cut. What was sent meanwhile arrives now, as TCP's retransmissions would bring it."""
        self._network.call("heal", self.port)

    def reset(self) -> None:
        """Close all connections at once, with a TCP reset to both sides. New ones are accepted."""
        self._network.call("reset", self.port)


class Network:
    """The process in which links live. It ends with the context, and with its parent: its standard input breaks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> "Network":
        command = [sys.executable, str(PROCESS)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def link(
        self,
        target_host: str,
        target_port: int,
        one_way_s: float = 0.0,
        jitter_s: float = 0.0,
        bytes_per_s: float | None = None,
    ) -> EmulatedLink:
        """A new link to a server, which need not run yet. bytes_per_s: in each direction; None: no limit."""
        shape = asdict(Shape(one_way_s, jitter_s, bytes_per_s))
        return EmulatedLink(self, self.call("link", target_host, target_port, **shape))

    def call(self, verb: str, *arguments: object, **fields: object) -> int:
        """One order to the process, and its answer: a port, or 0."""
        with self._lock:
            self._process.stdin.write(json.dumps([verb, arguments, fields]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


def start_behind_links(local: "LocalSwarm", network: Network, blocks: Sequence[str]) -> list[EmulatedLink]:
    """Start a server of `local` for each of `blocks`, all at once, each announcing a link of its own: whoever dials it,
    client or server, goes through that."""
    ports = [free_port() for _ in blocks]
    links = [network.link("127.0.0.1", port) for port in ports]

    def start(index: int) -> None:
        link = links[index]
        local.start(blocks[index], port=ports[index], announce=f"{link.host}:{link.port}")

    with ThreadPoolExecutor(len(blocks)) as pool:
        list(pool.map(start, range(len(blocks))))
    return links


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- measuring itself -------------------------------------------------------------------------------------------------


@contextmanager
def echo_server() -> Iterator[int]:
    """A thread that returns what it receives; the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        with connection, suppress(ConnectionResetError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(2**18):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=echo, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def round_trips(port: int, size: int, count: int, pause_s: float = 0.0) -> list[float]:
    """Seconds that `size` bytes take to an echo server and back, one after another."""
    seconds, message = [], bytes(size)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            time.sleep(pause_s)
            started, missing = time.perf_counter(), size
            connection.sendall(message)
            while missing:
                missing -= len(connection.recv(2**18))
            seconds.append(time.perf_counter() - started)
    return seconds[count // 10 :]


def measure_self(count: int) -> list[dict[str, object]]:
    """What is added to a round trip of a token's activations and of a chunk of a prompt, and how a delay is kept."""
    rows = []
    with Network() as network, echo_server() as port:
        link = network.link("127.0.0.1", port)
        for one_way_s, size in ((0.0, 2_500), (0.0, 600_000), (0.025, 2_500), (0.01, 2_500)):
            link.set_delay(one_way_s)
            trips = count if one_way_s == 0 else count // 10
            direct = statistics.median(round_trips(port, size, trips))
            through = [seconds - direct for seconds in round_trips(link.port, size, trips, pause_s=one_way_s * 0.1)]
            rows.append({
                "one way ms": one_way_s * 1000,
                "bytes": size,
                "direct ms": direct * 1000,
                "added ms": statistics.median(through) * 1000,
                "added, per leg over its delay, ms": (statistics.median(through) / 2 - one_way_s) * 1000,
                "p95": (statistics.quantiles(through, n=20)[-1] / 2 - one_way_s) * 1000,
            })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--round-trips", type=int, default=2000)
    args = parser.parse_args()
    for row in measure_self(args.round_trips):
        print("  ".join(f"{name}: {value:.3g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
