"""What a machine at home goes through without its server's fault, and without its death."""

import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing

import psutil

from harness.replicas import Replicas
from swarm.client.local_swarm import LocalServer

LONGEST_S = 20.0
OTHER_HOST = "127.0.0.2"  # where half of the servers are: what goes there can be lost


class Troubles:
    """One at a time, at random; each in a thread of its own, over after LONGEST_S."""

    def __init__(self, replicas: Replicas, rng: random.Random):
        self._replicas, self._rng = replicas, rng
        self._kinds: dict[str, Callable[[], None]] = {
            "daemon": self._kill_daemon, "stopped": self._stop_server, "locked": self._lock_disk,
        }  # fmt: skip
        if os.geteuid() == 0:
            self._kinds["outage"] = self._lose_packets
        else:
            print("no outages: they need root")

    def next(self) -> str:
        """Begin one; returns which."""
        kind = self._rng.choice(list(self._kinds))
        threading.Thread(target=self._kinds[kind], daemon=True).start()
        return kind

    def _server(self) -> LocalServer:
        return self._rng.choice([one for blocks in self._replicas.ranges for one in self._replicas.live(blocks)])

    def _kill_daemon(self) -> None:
        for process in psutil.Process(self._server().pid).children(recursive=True):
            if process.name() == "p2pd":
                process.kill()

    def _stop_server(self) -> None:
        pid = self._server().pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(LONGEST_S)
        os.kill(pid, signal.SIGCONT)

    def _lock_disk(self) -> None:
        """As a backup or another program does, whose transaction takes its time."""
        (file,) = self._server().home.glob("receipts/*.db")
        with closing(sqlite3.connect(file, timeout=LONGEST_S, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(LONGEST_S)
            other.execute("ROLLBACK")

    def _lose_packets(self) -> None:
        """To one half of the swarm, and its answers by connections that were made from there."""
        route = ["blackhole", f"{OTHER_HOST}/32", "table", "local"]
        subprocess.run(["ip", "route", "add", *route], check=True)
        try:
            time.sleep(self._rng.uniform(5.0, LONGEST_S))
        finally:
            subprocess.run(["ip", "route", "del", *route], check=True)
