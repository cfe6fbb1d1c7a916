"""`python -m swarm secret`: a new secret, with which a swarm becomes private."""

import argparse

from swarm.cli.support.terminal import run
from swarm.wire.secret import Secret


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm secret",
        description="Print a new random secret of 256 bits. Put it into a file that only you can read, give it to the "
        "members of your swarm over a channel that you trust, and start servers and clients with --secret-file FILE or "
        "with SWARM_SECRET set to it: nobody else can join that swarm, read it, or list it.",
    )
    return run(parser, arguments, lambda args: print(Secret.generate()))
