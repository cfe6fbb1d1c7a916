"""Two servers whose calls are counted, and in a process of its own a client of theirs (generate.py)."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import swarm
from serve import SOCKET

HERE = Path(__file__).parent


def local_swarm(flags: list[str], **options: object) -> swarm.LocalSwarm:
    """With servers that count. flags: for each server's command line."""
    program = (str(HERE / "serve.py"), *flags)
    if "program" in inspect.signature(swarm.LocalSwarm.__init__).parameters:
        return swarm.LocalSwarm("demo", ["0:15", "15:30"], program=program, **options)
    counted = type("Counted", (swarm.LocalSwarm,), {"program": program})
    return counted("demo", ["0:15", "15:30"], **options)


def main(flags: list[str], servers: dict, client: dict, lengths: list[int], repeats: int) -> None:
    with local_swarm(flags, quant="int4", threads=1, **servers) as local:
        sockets = [str(one.home / SOCKET) for one in local.servers]
        task = {"peers": local.peers, "sockets": sockets, "options": client, "lengths": lengths, "repeats": repeats}
        subprocess.run([sys.executable, str(HERE / "generate.py"), json.dumps(task)], check=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
