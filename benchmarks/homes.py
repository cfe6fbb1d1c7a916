"""Homes, keys and addresses that are not as they should be, and what a user reads of it: a table, by real processes.

Needs root and util-linux, for mounts (each situation gets a mount namespace) and another user. `--tree FOLDER` looks at
another checkout, as at the commit before a change: `python benchmarks/homes.py --tree /path/to/it`.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 60.0
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
HOMES = {"a file": FILE, "read-only": READ_ONLY, "on a full disk": FULL, "of another user": FOREIGN}
SITUATIONS = [
    *(
        Situation(f"{who}, home {what}", command, before, WEAK if before == FOREIGN else "")
        for what, before in HOMES.items()
        for who, command in (("server", SERVE), ("ledger", LEDGER), ("client", GENERATE))
    ),
    Situation("client, address file without keys", "-m swarm status --once", "mkdir -p {home}/nodes; echo '{{\"pid\":1}}' >{home}/nodes/1.json"),
    Situation("server, no passwd entry, no HOME", SERVE + INT8, "", NOBODY + " env -u SWARM_HOME"),
    Situation("the same with SWARM_HOME", SERVE + INT8, "", NOBODY),
    Situation("client, the same", GENERATE, "", NOBODY),
    Situation("server, kernels' cache noexec", SERVE + INT8, NOEXEC, "env SWARM_KERNEL_CACHE={home}-k"),
    Situation("prompt that is not UTF-8", "-m swarm generate $'caf\\xe9' --max-new-tokens 2 --peers {peers}"),
    Situation("standard input that is not UTF-8", "-m swarm generate - --max-new-tokens 2 --peers {peers}", "printf 'caf\\351' >{home}-in", "", "{home}-in"),
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
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if "Ctrl-C" in log.read_text(errors="replace"):
            break
        time.sleep(0.1)
    status = process.poll()
    process.kill()
    process.wait()
    lines = [
        line for line in log.read_text(errors="replace").splitlines() if line.strip() and "Warning:" not in line[:60]
    ]
    if status is None:
        serving = next((line for line in lines if line.startswith(("Serving", "Others reach"))), "hangs")
        notes = [line for line in lines if line.startswith(("WARNING", "Warning")) or "--announce" in line]
        return " / ".join([*notes, serving])
    kind = (
        f"traceback of {sum(line.startswith('  File') for line in lines)} calls: "
        if "Traceback" in "\n".join(lines)
        else ""
    )
    tell = [line for line in lines if line.startswith("WARNING")] if not kind else []
    return f"{status}: {kind}{' / '.join([*tell, lines[-1] if lines else ''])}"


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


if __name__ == "__main__":
    main()
