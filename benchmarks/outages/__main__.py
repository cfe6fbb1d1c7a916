"""Two halves of a swarm lose sight of each other for a while: when does everybody see everybody again?

    python benchmarks/outages [--seconds 5 13 60] [--kinds outage one-way moved suspended] [--tree CHECKOUT]

Seven peers, four at one site and three at the other (see two_sites.py; needs root), announce themselves as servers do,
every ten seconds for thirty, and a peer that comes fresh looks a minute after the end.

outage: nothing gets through between the sites. one-way: nothing gets to the second one. moved: an outage, after which
the second site has another address. suspended: all that runs at the second site is stopped, as by a laptop's lid.

--tree: another checkout, whose peers are looked at instead.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

from harness.report import Report, make_parser, print_table
from outages.two_sites import TwoSites, two_sites

ROOT = Path(__file__).parents[2]
MEMBER = Path(__file__).with_name("member.py")
PLACES = "aaaabbb"
SETTLE_S, AFTER_S = 120.0, 60.0


class Member:
    """A process of member.py, and whom it saw when."""

    def __init__(self, sites: TwoSites, site: str, tree: Path, peers: Sequence[str]):
        environment = {**os.environ, "PYTHONPATH": f"{tree}:{tree / 'kernels'}"}
        command = sites.command(site, sys.executable, str(MEMBER), sites.host(site), *peers)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        first = json.loads(self.process.stdout.readline())
        self.peer_id, self.addresses = first["peer_id"], first["addresses"]
        self.seen: set[str] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.seen = set(json.loads(line)["seen"])

    def signal(self, number: int) -> None:
        """To it and all that it has started."""
        itself = psutil.Process(self.process.pid)
        for process in (itself, *itself.children(recursive=True)):
            process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


# --- what may happen: each returns when it is over -------------------------------------------------------------------


def outage(sites: TwoSites, members: Sequence[Member], seconds: float, *directions: str) -> None:
    sites.lose(*(directions or ("to a", "to b")))
    time.sleep(seconds)
    sites.mend()


def one_way(sites: TwoSites, members: Sequence[Member], seconds: float) -> None:
    outage(sites, members, seconds, "to b")


def moved(sites: TwoSites, members: Sequence[Member], seconds: float) -> None:
    sites.lose("to a", "to b")
    time.sleep(seconds)
    sites.move("b")
    sites.mend()


def suspended(sites: TwoSites, members: Sequence[Member], seconds: float) -> None:
    theirs = [member for place, member in zip(PLACES, members, strict=True) if place == "b"]
    for member in theirs:
        member.signal(signal.SIGSTOP)
    time.sleep(seconds)
    for member in theirs:
        member.signal(signal.SIGCONT)


KINDS = {"outage": outage, "one-way": one_way, "moved": moved, "suspended": suspended}


# --- what is seen of it ----------------------------------------------------------------------------------------------


def wait_whole(members: Sequence[Member], limit_s: float) -> float | None:
    """Seconds until all members see all; None if that takes longer."""
    started, everybody = time.monotonic(), {member.peer_id for member in members}
    while time.monotonic() - started < limit_s:
        if all(everybody <= member.seen for member in members):
            return time.monotonic() - started
        time.sleep(0.1)
    return None


def whole_for_good(members: Sequence[Member], look_s: float) -> tuple[float | None, int]:
    """Seconds until all members see all and go on to do so, None if they do not at the end; and the fewest that one saw
    meanwhile. Records live on for a while: what is lost shows only then."""
    started, everybody = time.monotonic(), {member.peer_id for member in members}
    last, fewest = 0.0, len(members)
    while (now := time.monotonic() - started) < look_s:
        least = min(len(everybody & member.seen) for member in members)
        fewest = min(fewest, least)
        if least < len(everybody):
            last = now
        time.sleep(0.1)
    return (None if last > look_s - 1 else last), fewest


def trial(tree: Path, kind: str, seconds: float) -> dict[str, object]:
    with two_sites() as sites:
        members: list[Member] = []
        try:
            for site in PLACES:
                members.append(Member(sites, site, tree, members[0].addresses if members else ()))
            if wait_whole(members, SETTLE_S) is None:
                raise SystemExit("the swarm was not whole before the outage")
            KINDS[kind](sites, members, seconds)
            whole_s, fewest = whole_for_good(members, AFTER_S)
            fresh = Member(sites, "a", tree, members[0].addresses)
            members.append(fresh)
            time.sleep(3.0)
            seen = [len(member.seen & {one.peer_id for one in members[:-1]}) for member in members]
            return {
                "what": kind, "for s": seconds, "fewest seen": fewest,
                "whole again after s": "never" if whole_s is None else round(whole_s, 1),
                "seen then by each": seen[:-1],
                "by a fresh one": seen[-1],
            }  # fmt: skip
        finally:
            for member in members:
                member.close()


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 13.0, 60.0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="CHECKOUT")
    args = parser.parse_args()
    report, rows = Report(args), []
    for seconds in args.seconds:
        for kind in args.kinds:
            rows.append(trial(args.tree.resolve(), kind, seconds))
            print(rows[-1], flush=True)
            report.save("outages", {"rows": rows})
    print_table(rows)


if __name__ == "__main__":
    main()
