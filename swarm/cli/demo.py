"""`python -m swarm demo`: the main job on one machine, from start to figures."""

import argparse

from swarm.cli.common import describe, run
from swarm.client.client import Client
from swarm.client.local_swarm import LocalSwarm

PROMPTS = ("The capital of France is", "Once upon a time, in a forest,")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm demo", description="Start servers on this machine, generate through them, and stop them."
    )
    parser.add_argument("--blocks", nargs="+", default=["0:10", "10:20", "20:30"], metavar="START:STOP")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--max-new-tokens", type=int, default=48, metavar="N")
    return run(_demo, parser.parse_args(arguments))


def _demo(args: argparse.Namespace) -> None:
    print(f"Starting {len(args.blocks)} servers on this machine ...", flush=True)
    # One thread each: the hops of a chain take turns, and on a small machine their threads would only collide.
    with LocalSwarm("demo", args.blocks, dtype=args.dtype, threads=1) as local:
        for server in local.servers:
            print(f"  blocks {server.blocks[0]}:{server.blocks[1]}  peer {server.peer_id}  port {server.port}")
        with Client("demo", local.peers) as client:
            for prompt in PROMPTS:
                print(f"\n{prompt}", end="", flush=True)
                stream = client.stream(prompt, max_new_tokens=args.max_new_tokens)
                for piece in stream:
                    print(piece, end="", flush=True)
                print(f"\n\n{describe(stream.generation)}")
