"""Homes, keys and addresses that are not as they should be, and what a user reads of it: a table, by real processes.

Needs root and util-linux, for mounts (each situation gets a mount namespace) and another user. `--tree FOLDER` looks at
another checkout, as at the commit before a change: `python benchmarks/homes.py --tree /path/to/it`.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 120.0
SERVE = "-m swarm.server --blocks 0:1 --threads 1 --kv-memory 16M"
INT8 = " --quant int8"
LEDGER = "-m swarm ledger serve"
GENERATE = "-m swarm generate x --max-new-tokens 2 --peers {peers}"
NOBODY = "env -u HOME -u XDG_CACHE_HOME unshare --user --map-user=12345"  # in no list of users
WEAK = "setpriv --bounding-set=-all --inh-caps=-all"  # without root's right to read and write what is another user's


@dataclass(frozen=True)
class Situation:
    name: str
    command: str  # what Python runs; {home} and {peers} are filled in
    before: str = ""  # shell, in the same mount namespace
    through: str = ""  # what starts Python
    stdin: str = "/dev/null"


FILE, READ_ONLY = "touch {home}", "mkdir {home} && mount -t tmpfs -o ro none {home}"
FULL = (
    "mkdir {home} && mount -t tmpfs -o size=64k none {home} && (dd if=/dev/zero of={home}/fill bs=4k 2>/dev/null; true)"
)
FOREIGN = "mkdir -m 700 {home} && chown 12345 {home}"
NOEXEC = "mkdir -p {home} {home}-k && mount -t tmpfs -o noexec none {home}-k"
KEYLESS = "mkdir -p {home}/nodes && echo '{{\"pid\":1}}' >{home}/nodes/1.json"
BAD_INPUT = "printf 'caf\\351' >{home}-in"
HOMES = {"a file": FILE, "read-only": READ_ONLY, "on a full disk": FULL, "of another user": FOREIGN}
SITUATIONS = [
    *(
        Situation(f"{who}, home {what}", command, before, WEAK if before == FOREIGN else "")
        for what, before in HOMES.items()
        for who, command in (("server", SERVE), ("ledger", LEDGER), ("client", GENERATE))
    ),
    Situation("client, address file without keys", "-m swarm status --once", KEYLESS),
    Situation("server, no passwd entry, no HOME", SERVE + INT8, "", NOBODY + " env -u SWARM_HOME"),
    Situation("the same with SWARM_HOME", SERVE + INT8, "", NOBODY),
    Situation("client, the same", GENERATE, "", NOBODY),
    Situation("server, kernels' cache noexec", SERVE + INT8, NOEXEC, "env SWARM_KERNEL_CACHE={home}-k"),
    Situation("prompt that is not UTF-8", "-m swarm generate $'caf\\xe9' --max-new-tokens 2 --peers {peers}"),
    Situation("standard input that is not UTF-8", GENERATE.replace(" x ", " - "), BAD_INPUT, "", "{home}-in"),
    Situation("model that is not UTF-8", "-m swarm.server --model $'caf\\xe9'"),
    Situation("server, --host localhost", SERVE + " --host localhost"),
    Situation("server, --host nowhere.invalid", SERVE + " --host nowhere.invalid"),
    Situation("ledger, --host localhost", LEDGER + " --host localhost"),
    Situation("server, --announce nowhere.invalid", SERVE + " --announce nowhere.invalid"),
    Situation("server, --announce 203.0.113.7", SERVE + " --host 0.0.0.0 --announce 203.0.113.7"),
    Situation("ledger, --announce nowhere.invalid", LEDGER + " --announce nowhere.invalid"),
]  # fmt: skip


class Swarm:
    """A server of all blocks, for clients to join."""

    def __init__(self, tree: Path, folder: Path):
        self._process = launch(tree, folder / "swarm", "-m swarm.server --threads 1 --json", stdout=subprocess.PIPE)
        assert self._process.stdout
        ready = next(line for line in self._process.stdout if '"ready"' in line)
        self.peers = re.findall(r'"(/ip4/[^"]+)"', ready)[0]

    def close(self) -> None:
        self._process.kill()


def launch(
    tree: Path,
    home: Path,
    command: str,
    before: str = "",
    through: str = "",
    stdin: str = "/dev/null",
    **options: object,
) -> subprocess.Popen[str]:
    path = f"{tree}:{tree / 'kernels'}"
    environment = {**os.environ, "SWARM_HOME": str(home), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    script = f"{before or 'true'} && exec {through} {shlex.quote(sys.executable)} {command} <{stdin}"
    return subprocess.Popen(
        ["unshare", "-m", "bash", "-c", script], env=environment, cwd=tree, text=True, errors="replace", **options
    )


def observe(process: subprocess.Popen[str], log: Path) -> str:
    """What is to be read until it ends, or serves."""
    wait_until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text(errors="replace"))
    status = process.poll()
    process.kill()
    process.wait()
    lines = [
        line for line in log.read_text(errors="replace").splitlines() if line.strip() and "Warning:" not in line[:60]
    ]
    if status is None:
        serving = next((line for line in lines if line.startswith(("Serving", "Others reach"))), "hangs")
        notes = [line for line in lines if line.startswith(("WARN", "Warning")) or "--announce" in line]
        return " / ".join([*notes, serving])
    kind = (
        f"traceback of {sum(line.startswith('  File') for line in lines)} calls: "
        if "Traceback" in "\n".join(lines)
        else ""
    )
    tell = [line for line in lines if line.startswith("WARN")] if not kind else []
    return f"{status}: {kind}{' / '.join([*tell, lines[-1] if lines else ''])}"


class Story:
    """Several processes on one home, or on copies of it."""

    def __init__(self, tree: Path, folder: Path):
        self._tree, self._folder, self._processes = tree, folder, []

    def serve(self, home: str, options: str = "", through: str = "") -> tuple[subprocess.Popen[str], str, Path]:
        """A server, and what it says until it serves or ends."""
        log = self._folder / f"{len(self._processes)}-{home}.log"
        with open(log, "w") as output:
            process = launch(
                self._tree, self._folder / home, f"{SERVE} {options}", "", through, stdout=output, stderr=output
            )
        self._processes.append(process)
        wait_until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text())
        return process, log.read_text(), log

    def look(self, home: str) -> str:
        """What a client on that machine sees, told no address."""
        log = self._folder / "look.log"
        with open(log, "w") as output:
            launch(self._tree, self._folder / home, "-m swarm status --json", stdout=output, stderr=output).wait()
        said = log.read_text()
        return f"{said.count('peer_id')} found" if said.startswith("{") else said.strip().splitlines()[-1]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def clock_set(story: Story, folder: Path) -> str:
    story.serve("home")
    (file,) = (folder / "home" / "nodes").glob("*.json")
    with open(file, "r+") as opened:  # not a new file: the server holds this one
        entry = json.load(opened)
        opened.seek(0)
        json.dump({**entry, "started": entry["started"] - 1.0}, opened)
    return f"{story.look('home')}; address files left: {len(list(file.parent.glob('*.json')))}"


def two_containers(story: Story, folder: Path) -> str:
    for _ in range(2):
        story.serve("home", through="unshare --pid --fork --kill-child")
    return f"address files of two servers: {len(list((folder / 'home' / 'nodes').glob('*.json')))}"


def copied_key(story: Story, folder: Path) -> str:
    _, said, log = story.serve("home")
    shutil.copytree(folder / "home", folder / "copy")
    peers = re.findall(r"--peers (\S+)", said)[0]
    story.serve("other", f"--peers {peers}")
    through = re.findall(r"--peers (\S+)", (folder / "1-other.log").read_text())[0]
    _, second, _ = story.serve("copy", f"--peers {through}")
    time.sleep(12)
    first = [line for line in log.read_text().splitlines() if line.startswith("WARN")]
    last = next((line for line in second.splitlines() if line.startswith(("Serving", "error"))), "nothing")
    return f"second: {last}; first: {'; '.join(first) or 'says nothing'}"


def killed_and_started_again(story: Story, folder: Path) -> str:
    process, before, _ = story.serve("home")
    process.kill()
    process.wait()
    time.sleep(1)
    _, after, _ = story.serve("home")
    places = [(re.findall(r" at (\S+),", said)[0], re.findall(r"/tcp/(\d+)", said)[0]) for said in (before, after)]
    return "gRPC and directory: " + ", then ".join(f"{grpc} and {dht}" for grpc, dht in places)


STORIES = {
    "client, a server's start time differs by 1 s": clock_set,
    "two containers on one home": two_containers,
    "a key copied to a second machine": copied_key,
    "a server killed and started again": killed_and_started_again,
}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--only", default="", help="part of a situation's name")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="homes-") as folder:
        Path(folder).chmod(0o777)
        swarm = Swarm(args.tree.resolve(), Path(folder))
        try:
            for number, one in enumerate(SITUATIONS):
                if args.only not in one.name:
                    continue
                home = Path(folder) / f"home {number}" if "spaces" in one.name else Path(folder) / str(number)
                filled = [
                    text.format(home=home, peers=swarm.peers)
                    for text in (one.command, one.before, one.through, one.stdin)
                ]
                log = Path(folder) / f"{number}.log"
                with open(log, "w") as output:
                    process = launch(args.tree.resolve(), home, *filled, stdout=output, stderr=output)
                print(f"| {one.name} | {observe(process, log)} |", flush=True)
        finally:
            swarm.close()
    for name, tell in STORIES.items():
        if args.only in name:
            with tempfile.TemporaryDirectory(prefix="homes-") as folder:
                story = Story(args.tree.resolve(), Path(folder))
                try:
                    print(f"| {name} | {tell(story, Path(folder))} |", flush=True)
                finally:
                    story.close()


if __name__ == "__main__":
    main()
