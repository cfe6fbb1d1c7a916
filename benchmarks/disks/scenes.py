"""What happens to a server, to a client and to a ledger's service while the disk of one of them fails."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from disks.faults import Disk, wait_until
from swarm.errors import SwarmError
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.audit import audit
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import Identity

USER = Path(__file__).with_name("user.py")
BEFORE_S, BACK_S = 3.0, 20.0
LONG_S = 3.0  # that a try may take without that being said
PRICE = 1000


class Process:
    """One that prints JSON lines, and what it has printed so far."""

    def __init__(self, command: Sequence[str], home: Path, tree: Path, log: Path, **environment: str):
        home.mkdir(parents=True, exist_ok=True)
        paths = {"PYTHONPATH": f"{tree}:{tree / 'kernels'}", "SWARM_HOME": str(home), "OMP_NUM_THREADS": "1"}
        self.log, self.events = log, []
        self._process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True,
            env={**os.environ, **paths, **environment}, start_new_session=True, cwd=tree,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["event"] == name]

    def wait_for(self, name: str, limit_s: float = 90.0) -> dict[str, Any]:
        wait_until(lambda: self.named(name) or self._process.poll() is not None, limit_s)
        if not self.named(name):
            raise RuntimeError(f"no {name!r}: {self.events} {self.log.read_text()[-2000:]}")
        return self.named(name)[0]

    def tries(self) -> list[tuple[float, float, str]]:
        """When each began and ended, and what was wrong with it."""
        return [(one["began"], one["ended"], one["error"]) for one in self.named("try")]

    def end(self, limit_s: float = 60.0) -> None:
        """Close its standard input, and wait."""
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(5)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _serve(home: Path, tree: Path, base: Path, ledger: Path, **environment: str) -> Process:
    command = ["-m", "swarm.server", "--model", "demo", "--blocks", "0:30", "--quant", "int4", "--threads", "1",
               "--json", "--exit-with-parent", "--ledger", str(ledger), "--price", f"{PRICE}n", "--settle-every", "600",
               "--kv-memory", "512M"]  # fmt: skip
    server = Process(command, home, tree, base / "server.log", **environment)
    server.wait_for("ready")
    return server


def _use(
    peers: Sequence[str], home: Path, tree: Path, base: Path, ledger: Path, long: bool, **environment: str
) -> Process:
    options = json.dumps({"peers": peers, "ledger": str(ledger), "long": long})
    return Process([str(USER), options], home, tree, base / "user.log", **environment)


def _purse(base: Path, home: Path) -> Path:
    """A ledger on a disk that is well, on which the client of `home` has money."""
    ledger = open_ledger(str(base / "ledger"), Identity.load_or_create(home / "client.key"))
    ledger.mint(ledger.address, 100 * CREDIT)
    ledger.shut()
    return base / "ledger"


def _suffer(disk: Disk, fault: str, databases: Sequence[Path], seconds: float, tries: object) -> tuple[Counter, Any]:
    """What is met during the fault, and how long after it the first thing works again. tries: all so far, as (began,
    ended, error)."""
    began = time.monotonic()
    with disk.failing(fault, databases):
        time.sleep(seconds)
    over = time.monotonic()
    wait_until(lambda: any(ended > over and not error for _, ended, error in tries()), BACK_S)
    back = [ended - over for _, ended, error in tries() if ended > over and not error]
    seen = Counter(_words(*one) for one in tries() if began <= one[0] < over)
    return seen, round(min(back), 1) if back else f"not within {BACK_S:.0f}"


def _words(began: float, ended: float, error: str) -> str:
    return (error[:160] or "works") + (f", after {ended - began:.0f} s" if ended - began > LONG_S else "")


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=20)) as database:
        return database.execute(query).fetchall()


def _warnings(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if line.strip()]


def server_scene(disk: Disk, fault: str, seconds: float, base: Path, tree: Path) -> list[dict[str, object]]:
    """The server's home is on the disk; it is killed in the end, so that only what is on disk counts."""
    user_home, home = base / "user", disk.folder / "server"
    ledger = _purse(base, user_home)
    server = _serve(home, tree, base, ledger, **disk.environment)
    ready = server.wait_for("ready")
    receipts, payments = (home / kind / f"{ready['peer_id']}.db" for kind in ("receipts", "payments"))
    user = _use(ready["addresses"], user_home, tree, base, ledger, long=True)
    user.wait_for("begun")
    time.sleep(BEFORE_S)

    seen, back = _suffer(disk, fault, [receipts, payments], seconds, user.tries)
    user.end(45)
    long = (user.named("long") or [{"worst_s": "?", "error": "never ended"}])[0]
    time.sleep(3)
    server.kill()
    got = _rows(user_home / "receipts" / "client.db", "SELECT session, start, attempt, number FROM receipts")
    kept = set(_rows(receipts, "SELECT session, start, attempt, number FROM receipts"))
    begun = {one[:3] for one in got}
    opened = set(_rows(receipts, "SELECT session, start, attempt FROM openings"))
    signed = max(event.get("signed", 0) for event in user.events)
    vouchers = [SignedVoucher.decode(data) for (data,) in _rows(payments, "SELECT data FROM vouchers")]
    paid = sum(one.voucher.amount for one in vouchers)
    common = {"fault": fault, "client sees": dict(seen), "back after s": back,
              "session under way": long["error"] or f"goes on; a token waited {long['worst_s']:.2f} s at most",
              "log lines": len(_warnings(server.log))}  # fmt: skip
    return [
        {**common, "of": "receipts", "there": f"{len(set(got) & kept)} of {len(set(got))}",
         "lost": len(set(got) - kept)},
        {**common, "of": "openings", "there": f"{len(begun & opened)} of {len(begun)}", "lost": len(begun - opened)},
        {**common, "of": "vouchers", "there": f"{paid} of {signed} nano-credits", "lost": max(signed - paid, 0)},
    ]  # fmt: skip


def client_scene(disk: Disk, fault: str, seconds: float, base: Path, tree: Path) -> list[dict[str, object]]:
    """The client's home is on the disk, which fails before its first channel is opened."""
    home = disk.folder / "user"
    ledger = _purse(base, home)
    server = _serve(base / "server", tree, base, ledger)
    user = _use(server.wait_for("ready")["addresses"], home, tree, base, ledger, long=False, **disk.environment)
    files = [home / kind / "client.db" for kind in ("receipts", "payments")]
    wait_until(lambda: all(file.exists() and file.stat().st_size for file in files), 60)

    seen, back = _suffer(disk, fault, files, seconds, user.tries)
    user.end(45)
    server.kill()
    spent = sum(one["cost"] for one in user.named("try"))
    billed = sum(amount for (amount,) in _rows(files[1], "SELECT amount FROM bills"))
    opened = open_ledger(str(ledger), Identity(bytes([9]) * 32))
    channels = len(opened.channels())
    opened.shut()
    return [{"fault": fault, "client sees": dict(seen), "back after s": back, "session under way": "-",
             "log lines": len(_warnings(user.log)), "of": "channels (a client's home)",
             "there": f"{channels} channel; bills over {billed} of {spent} nano-credits",
             "lost": max(spent - billed, 0)}]  # fmt: skip


def ledger_scene(disk: Disk, fault: str, seconds: float, base: Path, tree: Path) -> list[dict[str, object]]:
    """The ledger is on the disk; its service is killed in the end, and what it had answered must be in the book."""
    folder, issuer = disk.folder / "ledger", base / "issuer.key"
    identity = Identity.load_or_create(issuer)
    command = ["-m", "swarm", "ledger", "serve", "--folder", str(folder), "--identity", str(issuer), "--json",
               "--exit-with-parent"]  # fmt: skip
    service = Process(command, base / "keeper", tree, base / "ledger.log", **disk.environment)
    ledger = open_ledger(service.wait_for("ready")["where"], identity)
    seen, answered, stop = [], [], threading.Event()

    def order() -> None:
        for number in range(1, 10**6):
            began, error = time.monotonic(), ""
            try:
                ledger.mint(identity.address, number)
                answered.append(number)
            except SwarmError as failure:
                error = f"{type(failure).__name__}: {failure}"
            seen.append((began, time.monotonic(), error))
            if stop.wait(0.2):
                return

    thread = threading.Thread(target=order)
    thread.start()
    time.sleep(BEFORE_S)
    met, back = _suffer(disk, fault, [folder / "ledger.db"], seconds, lambda: list(seen))
    stop.set()
    thread.join()
    service.kill()
    report = audit(folder / "ledger.db")
    minted = report.supply.minted
    return [{"fault": fault, "client sees": dict(met), "back after s": back, "session under way": "-",
             "log lines": len(_warnings(service.log)), "of": "ledger",
             "there": f"{len(answered)} answered; the book {'holds' if report.holds else report.problems[0]}",
             "lost": max(sum(answered) - minted, 0)}]  # fmt: skip


DIGESTS = """
import sys; from pathlib import Path
from swarm.model import open_checkpoint; from swarm.model.digest_cache import DigestCache
print(b"".join(DigestCache(Path(sys.argv[1])).digests(open_checkpoint("demo"), 0, 30)).hex())
"""


def digests_scene(disk: Disk, fault: str, seconds: float, base: Path, tree: Path) -> list[dict[str, object]]:
    """The cache of digests is on the disk: it may be of no use, and must not be wrong."""
    folder = disk.folder / "digests"
    folder.mkdir()
    environment = {**os.environ, **disk.environment, "PYTHONPATH": f"{tree}:{tree / 'kernels'}"}

    def take() -> tuple[str, str]:
        command = [sys.executable, "-c", DIGESTS, str(folder)]
        done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
        return done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]

    with disk.failing(fault, []):
        during, error = take()
    left = len([file for file in folder.iterdir() if file.stat().st_size != 64])
    after, _ = take()
    kept = len(list(folder.iterdir())) - left
    return [{"fault": fault, "client sees": {"works" if during == after and during else error: 1}, "back after s": 0,
             "session under way": "-", "log lines": "-", "of": "digests",
             "there": f"{kept} of 30 the next time, {left} files that are none", "lost": 0}]  # fmt: skip


SCENES = {"server": server_scene, "client": client_scene, "ledger": ledger_scene, "digests": digests_scene}
